"""``make bench``: Himuro beside other programs, measured. Begin with ``__main__.py``."""
