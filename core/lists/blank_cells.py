"""Cells that have a format and nothing in them: left out before a sheet is taken apart.

People give formats to whole columns, and Excel then writes a million cells that mean nothing.
Each costs three microseconds in an XML parser and a tenth of one here.
"""

from __future__ import annotations

import re
from typing import IO

_BLANK = re.compile(rb'<c r="[A-Z]{1,3}[1-9][0-9]{0,6}"(?: s="[0-9]{1,6}")?/>')
"""A cell without a value, in the form in which Excel writes it."""
_CELLS = (b"<c>", b"<c/>", b"<c ", b"<c\t", b"<c\n", b"<c\r")
_PLACED = b'<c r="'
_LONGEST = 9
"""Bytes of what is looked for."""


class BlankCells:
    """Looks through a sheet for what forbids leaving them out.

    A cell without a reference stands beside the one before it, and in a CDATA section what
    looks like a cell is text. In UTF-16 nothing looks like one.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._placed = self._cells = self._sections = 0

    def look(self, block: bytes) -> None:
        """Take the next bytes of the sheet."""
        seen, text = self._tail, self._tail + block
        self._placed += text.count(_PLACED) - seen.count(_PLACED)
        self._cells += sum(text.count(cell) - seen.count(cell) for cell in _CELLS)
        self._sections += text.count(b"<![CDATA[") - seen.count(b"<![CDATA[")
        self._tail = text[-_LONGEST + 1 :]

    @property
    def can_be_left_out(self) -> bool:
        """Whether every cell says where it stands; asked when all was seen."""
        return self._placed == self._cells and not self._sections


class WithoutBlankCells:
    """The open part of a sheet, read without them."""

    def __init__(self, part: IO[bytes]) -> None:
        self._part = part
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at least one unless the part is at its end."""
        while block := self._part.read(size):
            text = self._rest + block
            # A tag may go on in the next block.
            end = text.rfind(b"<")
            if end < 0 or len(text) - end > size:
                end = len(text)
            self._rest = text[end:]
            if plain := _BLANK.sub(b"", text[:end]):
                return plain
        rest, self._rest = self._rest, b""
        return rest

    def __enter__(self) -> WithoutBlankCells:
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()
