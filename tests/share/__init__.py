"""Shares, and links in them."""
