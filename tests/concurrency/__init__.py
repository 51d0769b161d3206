"""Pools of threads."""
