"""Searching the archive list: what people type, what to suggest, and sums over folders and months.

Begin with ``typed_query.py``: texts of the search form → ``SearchQuery``. The search itself is
done in ``db/search``.
"""
