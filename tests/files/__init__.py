"""Files opened, written and named."""
