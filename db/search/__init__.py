"""Finding rows: every row is looked at on SQLite, an index of terms is walked on PostgreSQL.

Begin with ``conditions.py``, which alone says what is a hit. ``full_scan.py`` and ``indexed.py``
are the two ways; ``block_walk.py`` is the heart of the second.
"""
