"""CSV as Japanese Excel opens it: UTF-8 with BOM, CRLF, and no cell that runs as a formula."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from core.files.private_file import open_private
from core.resources.shortage import insistently

FORMULA = frozenset("=+-@＝＋－＠\t\r\n")
"""What a cell that runs begins with (OWASP, "CSV Injection"); Japanese Excel takes the full-width
signs for the others."""
_APOSTROPHE_OR_FORMULA = FORMULA | {"'"}
_MARKED = re.compile(f"'*[{re.escape(''.join(sorted(FORMULA)))}]")


def safe_cell(value: object) -> str:
    """Return a cell's text; one that Excel would run gets an apostrophe in front
    (``docs/facts.md``, "Excel")."""
    text = str(value)
    return "'" + text if text[:1] in FORMULA else text


def marked_cell(value: object) -> str:
    """Return ``safe_cell`` of a text so that ``unmarked_cell`` can undo it: an apostrophe that was
    there already gets one in front as well."""
    text = str(value)
    # The look at the first letter alone settles nearly all of them.
    return "'" + text if text[:1] in _APOSTROPHE_OR_FORMULA and _MARKED.match(text) else text


def unmarked_cell(text: str) -> str:
    """Return what ``marked_cell`` was given."""
    return text[1:] if text.startswith("'") and _MARKED.match(text) else text


def create_csv(path: Path) -> TextIO:
    """Open a new file for ``write_rows``, with the mark by which Excel knows UTF-8.

    Nobody else may read it.
    """
    # Not "utf-8-sig": that codec is written in Python and would run once for every write.
    file: TextIO = insistently(open_private, path, "w", encoding="utf-8", newline="")
    file.write("\ufeff")
    return file


def write_rows(
    file: TextIO, rows: Iterable[Iterable[object]], cell: Callable[[object], str] = safe_cell
) -> None:
    """Write rows to a file that ``create_csv`` opened, or to text that it would take."""
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerows([cell(value) for value in row] for row in rows)


def read_rows(content: bytes) -> list[list[str]]:
    """Return the rows that ``write_rows`` wrote with ``marked_cell``, the header included.

    No cell of such a file holds a line break, so every line stands for itself: one that is
    not whole or damaged costs none of the others. Damaged letters become U+FFFD.
    """
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")[:-1]
    rows = (read_row(line.decode("utf-8", "replace").removesuffix("\r")) for line in lines)
    return [row for row in rows if row]


def read_row(line: str) -> list[str]:
    """Return the cells of one line that ``write_rows`` wrote with ``marked_cell``, without the
    line break; empty for a damaged one."""
    try:
        (row,) = csv.reader([line])
    except (csv.Error, ValueError):
        return []
    return [unmarked_cell(text) for text in row]
