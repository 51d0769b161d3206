"""Measurements on an archive list of millions of rows. Begin with ``big.py``, which makes it."""
