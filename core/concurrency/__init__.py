"""Threads: pools of workers, work in the background, rate limits, and how work is stopped.

Begin with ``worker_pool.py``, which runs use, or ``parallel.py`` for many short calls that wait on
a network. ``cancellation.py`` is how a run learns that it shall stop.
"""
