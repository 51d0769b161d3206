"""The check-up: everything that jobs need, looked at in parallel, each with a deadline.

Begin with ``checks.py``. ``findings.py`` holds the values that it returns, ``local_checks.py`` what
is looked at on this machine, ``ports.py`` what a database and a bucket are asked.
"""
