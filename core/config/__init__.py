"""What an administrator sets: the environment, read once when a process starts, and the form of
its log lines.

Begin with ``settings.py``. ``limits.py`` and ``database_url.py`` read two groups of settings that
are long enough for a module of their own.
"""
