"""Threads: pools of workers, work in the background, rate limits, and how work is stopped.

Begin with ``worker_pool.py``; ``parallel.py`` makes many short calls that wait on a network with
one, and ``core/runs/workers.py`` is that of a run. ``cancellation.py`` is how a run learns that it
shall stop.
"""
