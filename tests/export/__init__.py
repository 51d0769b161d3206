"""Files of hits, read back by other programs."""
