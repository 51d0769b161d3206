"""One XML part of a workbook, read with expat as a stream. Forged parts cost little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO
from xml.parsers.expat import ParserCreate

from core.errors import Code
from core.list_table import ListUnreadable

_NAMESPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",  # saved as "Strict Open XML"
    "http://schemas.openxmlformats.org/package/2006/relationships",
)
_TAGS = {
    f"{namespace}}}{tag}": tag
    for namespace in _NAMESPACES
    for tag in (
        *("Relationship", "workbookPr", "sheet", "numFmt", "cellXfs", "xf"),
        *("si", "t", "rPh", "sheetData", "row", "c", "f", "v"),
    )
}
"""What expat calls the elements of interest, and their names without namespace."""
_FIRST_CHUNK, _CHUNK = 16 * 1024, 1024 * 1024
"""Bytes. The headings need few. Expat scans an unfinished token again with every chunk, so
small ones would let a forged part take hours."""
_MAX_DEPTH = 64
"""Excel's own parts have less than 20. Each open element takes 50 times the bytes it was in."""
_MAX_NAMES = 1000
"""Different elements without interest; expat remembers each name to the end of the part."""
_MAX_TEXT = 7 * 32_767
"""Characters: Excel's limit for a cell, each of them escaped (``_x000D_``). A longer text would
be copied over and over."""


class XmlReader:
    """Base of those who read one part: ``started`` and ``ended`` are told of known elements."""

    def __init__(self) -> None:
        # Without interning: a forged part could fill the memory with names.
        self._parser = ParserCreate(namespace_separator="}", intern=None)
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended
        self._parser.StartDoctypeDeclHandler = _refuse_definitions
        self._strange: set[str] = set()
        self._text: list[str] = []
        self.path: list[str] = []
        """The open elements, the innermost last; "" for one without interest."""
        self.finished = False
        """Set by a subclass that needs nothing more of the part."""

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        """Take the beginning of an element; ``path`` ends with it."""

    def ended(self, tag: str) -> None:
        """Take the end of an element; ``path`` ends with its parent."""

    def chunks(self, part: IO[bytes]) -> Iterator[None]:
        """Read the part to its end, pausing after each chunk.

        Raises ``ListUnreadable`` for a DOCTYPE, ``ValueError`` or ``ExpatError`` for what is
        no sound part; zipfile notices a wrong checksum at its end, hence no early stop.
        """
        size = _FIRST_CHUNK
        while chunk := part.read(size):
            if not self.finished:
                self._parser.Parse(chunk)
            yield
            size = _CHUNK
        if not self.finished:
            self._parser.Parse(b"", True)

    def read(self, part: IO[bytes]) -> None:
        """Read the part to its end; raises like ``chunks``."""
        for _ in self.chunks(part):
            pass

    def listen(self) -> None:
        """Take the text that follows, until ``pause``."""
        self._parser.CharacterDataHandler = self._text.append

    def pause(self) -> None:
        """Ignore the text that follows."""
        self._parser.CharacterDataHandler = None

    def heard(self) -> str:
        """Return the text since the last call; ``ValueError`` for more than Excel allows."""
        text = "".join(self._text)
        self._text.clear()
        if len(text) > _MAX_TEXT:
            raise ValueError(f"a text of {len(text)} characters")
        return text

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        tag = _TAGS.get(name, "")
        if len(self.path) == _MAX_DEPTH:
            raise ValueError("elements nested too deeply")
        self.path.append(tag)
        if tag:
            self.started(tag, attributes)
        else:
            self._strange.add(name)
            if len(self._strange) > _MAX_NAMES:
                raise ValueError("too many kinds of elements")

    def _ended(self, _name: str) -> None:
        tag = self.path.pop()
        if tag:
            self.ended(tag)


def _refuse_definitions(*_: object) -> None:
    raise ListUnreadable(Code.LIST_FORMAT, "Excelのブックにないはずの定義があります")
