"""Searches as people type them, suggestions, sums."""
