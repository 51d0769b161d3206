"""Paths as people write them, and the forms in which they are compared and stored.

Begin with ``unc.py``: text of a list → UNC path. ``normalization.py`` has one normal form for each
kind of comparison, and the keys of objects.
"""
