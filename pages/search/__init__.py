"""``/``: the archive list, for everyone.

Begin with ``page.py``. All that is asked stands in the address, which ``asked.py`` reads and
writes; ``table.py`` shows the hits, ``takeaway.py`` makes files of them.
"""
