"""What archive runs and restores have in common: a folder, a record, locks, a history.

Begin with ``base.py``: the beginning and the end of every run. ``folder.py`` writes a run's files
and ``history.py`` reads them back, whatever has become of them.
"""
