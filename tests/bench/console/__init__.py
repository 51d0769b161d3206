"""Measurements on a console that many people use, or one floods. Begin with ``visitors.py``."""
