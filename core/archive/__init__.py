"""Archive runs: a checked list becomes objects in S3, rows of the archive list, and markers.

Begin with ``run.py``, a run from the uploaded bytes to its record. ``check.py`` makes the plan,
``collector.py`` carries it out and ``archiver.py`` does the work on one file. ``ports.py`` says
what an object store has to do.
"""
