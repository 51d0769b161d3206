"""``/runs``: every run, for those who have to find out why something failed.

Begin with ``page.py``. ``listing.py`` is the list, ``report.py`` one run, ``asked.py`` what the
address asks for.
"""
