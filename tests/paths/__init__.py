"""Paths as people write them."""
