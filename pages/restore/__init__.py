"""``/restore``: from a list to files in a directory, over days.

Begin with ``page.py``. ``opened.py`` shows one restore, ``overview.py`` all that are open.
"""
