"""The commands (``python -m core …``): arguments in, exit code out.

Begin with ``main.py``. Each larger command has a module of its own; ``output.py`` is what they
write to a terminal.
"""
