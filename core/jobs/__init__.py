"""The console's own work: its queue of runs, checks of uploaded lists, and what dead runs left.

Begin with ``queue.py``. ``pending_checks.py`` holds lists between their upload and the operator's
word, ``recovery.py`` ends runs whose process died, ``single_instance.py`` keeps a second console
away.
"""
