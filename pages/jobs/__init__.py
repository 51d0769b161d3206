"""What the pages of archive and restore share: upload, check, progress, results, addresses.

Begin with ``upload.py``, the first step of both. ``addresses.py`` is which step an address shows.
"""
