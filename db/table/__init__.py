"""The table of the archive list: its columns, its rows as they are read, its version.

Begin with ``models.py``. A difference there needs a migration in ``db/migrations/versions``.
"""
