"""``/archive``: from a list to its result, in four steps.

Begin with ``page.py``, which decides what is shown; what restores need as well is in
``pages/jobs``.
"""
