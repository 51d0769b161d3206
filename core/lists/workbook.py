"""An Excel workbook as a package of XML parts (ECMA-376): its sheets and their rows.

Read here and not with a library; ``docs/decisions/0008-lists-are-read-with-expat.md`` says why.
"""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import IO, cast
from zipfile import ZipFile

from core.errors import Code
from core.lists.blank_cells import BlankCells, WithoutBlankCells
from core.lists.cells import Book, unescaped
from core.lists.number_formats import BUILT_IN, GENERAL, UNKNOWN, Style, style
from core.lists.table import Effort, ListUnreadable
from core.lists.xml_parts import XmlReader

_IDS = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships}id",
    "http://purl.oclc.org/ooxml/officeDocument/relationships}id",
)
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel has no zones
_EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001
_MAX_ELEMENTS = 6_400_000
"""Of all parts that are read; each takes about a microsecond. 200,000 rows of the archive list
as we write it have 6,200,000."""
_FREE_ELEMENTS, _MAX_ELEMENTS_A_BYTE = 100_000, 4
"""Of a small file, and for each of its bytes. Rows of lists take two bytes an element, rows of
formats alone nearly one; only what is the same a million times over is more than that."""
_MAX_STRINGS_BYTES = 48 * 1024 * 1024
"""Of the shared strings in UTF-8."""
_MAX_LOOKED_UP = 128 * 1024 * 1024
"""Bytes of shared strings that cells ask for, each time counted: of 200,000 rows each may have
200 Japanese letters. Spaces take longest, 16 seconds for a gigabyte."""
_MAX_SHEETS = 1000
_MAX_RELATIONS = 10_000
_MAX_STYLES = 70_000
"""Cell formats; Excel has 65,490."""
_MAX_FORMATS = 5_000
"""Number formats; Excel has 250."""
_MAX_NAME = 1000
"""Letters of a part's name, of a relation's, and of what is shown of a sheet's."""
_BLOCK = 1024 * 1024
_TOO_MUCH_TEXT = "ブックの中の文字が多すぎます"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet that has cells (a chart has none)."""

    title: str
    part: str
    """Its name in the package."""
    visible: bool


@dataclass(frozen=True, slots=True)
class _Relation:
    kind: str
    """The last word of its type, such as ``worksheet``."""
    part: str


class Workbook:
    """What an open archive holds as a workbook. Closing the archive is left to the caller."""

    def __init__(self, archive: ZipFile, size: int, effort: Effort) -> None:
        """Read everything but the sheets. ``size``: bytes of the file.

        Raises ``ListUnreadable``: ``LIST_FORMAT`` for a DOCTYPE, ``LIST_TOO_LARGE``. A broken
        workbook raises what zipfile and expat do, ``LookupError`` or ``ValueError``; so do
        ``opened`` and reading from it.
        """
        self._archive = archive
        self._effort = effort
        self._elements = 0
        self._most_elements = min(_MAX_ELEMENTS, _FREE_ELEMENTS + size * _MAX_ELEMENTS_A_BYTE)
        self._bare: dict[str, bool] = {}
        """By part that was counted: whether cells without content can be left out of it."""
        # Part names are the same in either letter case (ECMA-376 part 2, 6.2.2.3).
        self._files = {name.replace("\\", "/").lower(): name for name in archive.namelist()}
        (main,) = self._parts(self._relations(""), "officeDocument")
        relations = self._relations(main)
        directory, strings, styles = _Directory(), _SharedStrings(), _Styles()
        self._read(directory, main)
        # Excel, too, opens a book without the parts that it names, as long as no cell needs them.
        for part in self._parts(relations, "sharedStrings")[:1]:
            if part in self._files:
                self._read(strings, part)
        for part in self._parts(relations, "styles")[:1]:
            if part in self._files:
                self._read(styles, part)
        self.book = Book(strings, styles, directory.epoch)
        self.sheets = [
            Sheet(title, relations[id_].part, visible)
            for title, id_, visible in directory.sheets
            # The sheet of a macro module has no relation.
            if id_ in relations and relations[id_].kind == "worksheet"
        ]
        """In the order of their tabs."""
        # One part named as a thousand sheets would be read a thousand times.
        if len({sheet.part for sheet in self.sheets}) < len(self.sheets):
            raise ValueError("two sheets are one part")

    def opened(self, sheet: Sheet) -> IO[bytes]:
        """Return the open part of a sheet; raises ``ListUnreadable`` for one too large."""
        try:
            self._count(sheet.part)
        except ListUnreadable as exc:
            raise ListUnreadable(exc.code, f"シート「{sheet.title}」: {exc.detail}") from exc
        part = self._part(sheet.part, lambda _block: self._effort.check())
        return cast("IO[bytes]", WithoutBlankCells(part)) if self._bare[sheet.part] else part

    def beginning(self, sheet: Sheet) -> IO[bytes]:
        """Return the same, to read its first rows: what is read is counted as it is."""
        return self._part(sheet.part, self._add)

    def _part(self, name: str, take: Callable[[bytes], None]) -> IO[bytes]:
        """Return an open part whose blocks ``take`` sees as they are read."""
        part = self._archive.open(self._files[name])
        return cast("IO[bytes]", _Watched(part, take))

    def _read(self, reader: XmlReader, name: str) -> None:
        self._count(name)
        with self._part(name, lambda _block: self._effort.check()) as part:
            reader.read(part)

    def _count(self, name: str) -> None:
        """Count the elements of a part before they are read, which takes far longer."""
        blanks = BlankCells()
        with self._archive.open(self._files[name]) as part:
            while block := part.read(_BLOCK):
                self._add(block)
                blanks.look(block)
        self._bare[name] = blanks.can_be_left_out

    def _add(self, block: bytes) -> None:
        self._effort.check()
        self._elements += block.count(b"<") - block.count(b"</")
        # An escape and a character by its number cost as much as an element does.
        self._elements += block.count(b"_x") + block.count(b"_\0x") + block.count(b"&#")
        if self._elements > self._most_elements:
            raise ListUnreadable(
                Code.LIST_TOO_LARGE,
                "ブックのセルが多すぎます。"
                "使わない行・列・シートを、書式だけのものも含めて削除してください",
            )

    def _relations(self, part: str) -> dict[str, _Relation]:
        """Return by id what a part, "" for the package, points at."""
        directory, name = posixpath.split(part)
        reader = _Relations(directory)
        self._read(reader, posixpath.join(directory, "_rels", f"{name}.rels"))
        return reader.relations

    @staticmethod
    def _parts(relations: dict[str, _Relation], kind: str) -> list[str]:
        return [relation.part for relation in relations.values() if relation.kind == kind]


class _Watched:
    """An open part whose blocks somebody sees as they are read."""

    def __init__(self, part: IO[bytes], take: Callable[[bytes], None]) -> None:
        self._part = part
        self._take = take

    def read(self, size: int) -> bytes:
        block = self._part.read(size)
        self._take(block)
        return block

    def close(self) -> None:
        self._part.close()

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Relations(XmlReader):
    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory
        self.relations: dict[str, _Relation] = {}

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag != "Relationship" or attributes.get("TargetMode") == "External":
            return
        target, id_ = attributes["Target"], attributes["Id"]
        if max(len(target), len(id_)) > _MAX_NAME or len(self.relations) == _MAX_RELATIONS:
            raise ValueError("relations without end")
        path = posixpath.join("/", self._directory, target)
        part = posixpath.normpath(path).lstrip("/").lower()
        kind = attributes["Type"].rpartition("/")[2][:_MAX_NAME]
        self.relations[id_] = _Relation(kind, part)


class _Directory(XmlReader):
    """The workbook part itself."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = _EPOCH
        self.sheets: list[tuple[str, str, bool]] = []
        """Name, relation (empty when it has none) and visibility of each sheet."""

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            self.epoch = _EPOCH_1904
        elif tag == "sheet":
            id_ = next((attributes[name] for name in _IDS if name in attributes), "")
            visible = attributes.get("state", "visible") == "visible"
            self.sheets.append((attributes["name"][:_MAX_NAME], id_[:_MAX_NAME], visible))
            if len(self.sheets) > _MAX_SHEETS:
                raise ListUnreadable(
                    Code.LIST_TOO_LARGE, f"シートが多すぎます（{_MAX_SHEETS:,}枚まで）"
                )


class _SharedStrings(XmlReader):
    """The texts that cells name by number, without the readings that Japanese Excel adds.

    Kept in one piece: as objects of their own, short ones would take thirty times their bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()
        self._ends = array("I")
        self._looked_up = 0

    def __getitem__(self, number: int) -> str:
        """Return a text; raises ``ListUnreadable`` when that has become too much: one long text
        may be in every cell."""
        end = self._ends[number]
        start = self._ends[number - 1] if number else 0
        self._looked_up += end - start
        if self._looked_up > _MAX_LOOKED_UP:
            raise ListUnreadable(Code.LIST_TOO_LARGE, _TOO_MUCH_TEXT)
        return self._bytes[start:end].decode("utf-8", "surrogatepass")

    def started(self, tag: str, _attributes: dict[str, str]) -> None:
        if tag == "t" and "rPh" not in self.path:
            self.listen()

    def ended(self, tag: str) -> None:
        if tag == "t":
            self.pause()
        elif tag == "si":
            self._bytes += unescaped(self.heard()).encode("utf-8", "surrogatepass")
            self._ends.append(len(self._bytes))
            if len(self._bytes) > _MAX_STRINGS_BYTES:
                raise ListUnreadable(Code.LIST_TOO_LARGE, _TOO_MUCH_TEXT)


class _Styles(XmlReader):
    """What cell formats make of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._codes = {str(number): code for number, code in BUILT_IN.items()}
        self._numbers: list[str] = []
        """Of the number format of each cell format."""
        self._known: dict[str, Style] = {}
        """By number format, those that were asked for."""

    def style(self, index: str) -> Style:
        if not index or (index == "0" and not self._numbers):
            return GENERAL
        place = int(index)
        if not 0 <= place < len(self._numbers):
            return UNKNOWN
        number = self._numbers[place]
        known = self._known.get(number)
        if known is None:
            code = self._codes.get(number)
            known = self._known[number] = UNKNOWN if code is None else style(code)
        return known

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        # Those after the cell formats belong to conditions.
        if tag == "numFmt" and not self._numbers:
            self._codes[attributes["numFmtId"][:20]] = attributes["formatCode"][:300]
            if len(self._codes) > _MAX_FORMATS:
                raise ListUnreadable(Code.LIST_TOO_LARGE, "表示形式が多すぎます")
        elif tag == "xf" and "cellXfs" in self.path:
            self._numbers.append(attributes.get("numFmtId", "0")[:20])
            if len(self._numbers) > _MAX_STYLES:
                raise ListUnreadable(Code.LIST_TOO_LARGE, "セルの書式が多すぎます")
