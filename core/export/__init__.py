"""What a search has found, as a file to take away: CSV, Excel, or a list for a restore.

Begin with ``writer.py``, which the command uses; ``background.py`` does the same for the console,
within bounds for everybody.
"""
