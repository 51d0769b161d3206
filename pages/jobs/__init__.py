"""What the pages of archive and restore share: upload, check, progress, results.

Begin with ``upload.py``, the first step of both; which step is shown is in the page's address.
"""
