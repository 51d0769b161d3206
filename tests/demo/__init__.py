"""``make demo``: the console with a file share and an S3 of its own. Begin with ``__main__.py``."""
