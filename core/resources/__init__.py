"""What a machine has only so much of: file descriptors, threads, memory.

Begin with ``shortage.py``: how any call is repeated while the machine lacks something, and what an
operator reads when it still does. ``memory_budget.py`` counts the bytes that people make the
console hold.
"""
