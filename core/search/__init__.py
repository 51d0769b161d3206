"""Searching the archive list: what people type, what to suggest, and sums over folders and months.

Begin with ``typed_query.py``: texts of the search form → ``SearchQuery``. ``query_words.py`` takes
them apart; what counts as the same letter is ``fold`` in ``core/paths/normalization.py``. The
search itself is done in ``db/search``.
"""
