"""CSV as Japanese Excel opens it: UTF-8 with BOM, CRLF, and no cell that runs as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: object) -> str:
    """Return a cell's text; one that Excel would run gets an apostrophe in front (FACTS)."""
    text = str(value)
    return "'" + text if text.startswith(_FORMULA) else text


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows to a file opened with ``encoding="utf-8-sig", newline=""``."""
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerows([safe_cell(value) for value in row] for row in rows)
