"""Lists that people upload: the bytes of a CSV, text or Excel file → rows and problems.

Begin with ``parser.py``, whose ``parse`` is all that other packages need. ``text.py`` and
``sheets.py`` read the two kinds of files into the tables of ``table.py``; ``headings.py`` and
``rows.py`` make rows of them. Encodings are told in ``lines.py``.
"""
