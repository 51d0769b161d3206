"""What tests are built from: a small installation, doubles, lists, shares and people.

Begin with ``arrange.py``. Nothing here starts a process; ``tests/support/servers`` does.
"""
