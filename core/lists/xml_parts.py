"""One XML part of a workbook, read with expat as a stream. Forged parts cost little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO
from xml.parsers.expat import ParserCreate

from core.errors import Code
from core.lists.table import ListUnreadable

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
        *("si", "t", "rPh", "col", "sheetData", "row", "c", "f", "v", "mergeCell", "mergeCells"),
    )
}
"""What expat calls the elements of interest, and their names without namespace."""
_FIRST_CHUNK, _CHUNK = 16 * 1024, 1024 * 1024
"""Bytes. The headings need few. Expat scans an unfinished token again with every chunk, so
small ones would let a forged part take hours."""
_LONGEST_TOKEN = 4 * 1024 * 1024
"""Bytes of one tag or comment, which expat keeps whole."""
_MAX_DEPTH = 64
"""Excel's own parts have less than 20. Each open element takes 50 times the bytes it was in."""
_MAX_NAMES = 1000
"""Different elements without interest, attributes and prefixes; expat remembers each name to
the end of the part."""
_LONGEST_NAME = 400
_MAX_TEXT = 7 * 32_767
"""Characters: Excel's limit for a cell, each of them escaped (``_x000D_``)."""


class XmlReader:
    """Base of those who read one part: ``started`` and ``ended`` are told of known elements."""

    def __init__(self) -> None:
        # Without interning: a forged part could fill the memory with names.
        self._parser = ParserCreate(namespace_separator="}", intern=None)
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended
        self._parser.StartDoctypeDeclHandler = _refuse_definitions
        self._parser.StartNamespaceDeclHandler = self._prefixed
        self._strange: set[str] = set()
        self._attributes: set[str] = set()
        self._prefixes = 0
        self._text: list[str] = []
        self._letters = 0
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
        size, fed = _FIRST_CHUNK, 0
        while chunk := part.read(size):
            if not self.finished:
                self._parser.Parse(chunk)
                fed += len(chunk)
                if fed - self._parser.CurrentByteIndex > _LONGEST_TOKEN:
                    raise ValueError("a token without end")
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
        self._parser.CharacterDataHandler = self._take

    def pause(self) -> None:
        """Ignore the text that follows."""
        self._parser.CharacterDataHandler = None

    def heard(self) -> str:
        """Return the text since the last call."""
        if not self._text:
            return ""
        text = self._text[0] if len(self._text) == 1 else "".join(self._text)
        self._text.clear()
        self._letters = 0
        return text

    def _take(self, text: str) -> None:
        self._letters += len(text)
        if self._letters > _MAX_TEXT:
            raise ValueError("a text longer than Excel allows")
        self._text.append(text)

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        path = self.path
        if len(path) == _MAX_DEPTH:
            raise ValueError("elements nested too deeply")
        if attributes and not attributes.keys() <= self._attributes:
            _remember(self._attributes, attributes)
        tag = _TAGS.get(name)
        if tag is None:
            path.append("")
            if name not in self._strange:
                _remember(self._strange, {name: ""})
            return
        path.append(tag)
        self.started(tag, attributes)

    def _ended(self, _name: str) -> None:
        tag = self.path.pop()
        if tag:
            self.ended(tag)

    def _prefixed(self, _prefix: str | None, _namespace: str) -> None:
        self._prefixes += 1
        if self._prefixes > 10 * _MAX_NAMES:
            raise ValueError("too many prefixes")


def _remember(names: set[str], more: Mapping[str, str]) -> None:
    """Add names that expat remembers; raises ``ValueError`` when they are too many."""
    names.update(more)
    if len(names) > _MAX_NAMES or max(map(len, more)) > _LONGEST_NAME:
        raise ValueError("too many names")


def _refuse_definitions(*_: object) -> None:
    raise ListUnreadable(Code.LIST_FORMAT, "Excelのブックにないはずの定義があります")
