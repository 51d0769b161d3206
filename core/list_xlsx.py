"""An Excel workbook as a package of XML parts (ECMA-376): its sheets and their rows.

Read here and not with a library; ``docs/architecture.md`` says why.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zipfile import ZipFile

from core.list_cells import Book, SheetReader, Style, unescaped
from core.list_table import Cell
from core.list_xml import XmlReader

_IDS = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships}id",
    "http://purl.oclc.org/ooxml/officeDocument/relationships}id",
)
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel has no zones
_EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001
_DATE_FORMATS = frozenset((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)))
"""Formats that every Excel knows without their code (18.8.30); 27 to 36 and 50 to 58 are the
dates of Japanese, Chinese and Korean ones."""
_ELAPSED_FORMAT = 46
_LITERAL = re.compile(r'"[^"]*"|[\\_*].|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
"""What a format shows as it stands, its spaces, and colours and languages in brackets."""
_ELAPSED = re.compile(r"\[[hms]", re.IGNORECASE)
_DATE = re.compile("[dmyhs]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A visible sheet that has cells (a chart has none)."""

    title: str
    part: str
    """Its name in the package."""


@dataclass(frozen=True, slots=True)
class _Relation:
    kind: str
    """The last word of its type, such as ``worksheet``."""
    part: str


class Workbook:
    """What an open archive holds as a workbook. Closing the archive is left to the caller."""

    def __init__(self, archive: ZipFile) -> None:
        """Read everything but the sheets.

        Raises ``ListUnreadable(LIST_FORMAT)`` for a DOCTYPE. A broken workbook raises what
        zipfile and expat do, ``LookupError`` or ``ValueError``; so does ``rows``.
        """
        self._archive = archive
        # Part names are the same in either letter case (ECMA-376 part 2, 6.2.2.3).
        self._files = {name.replace("\\", "/").lower(): name for name in archive.namelist()}
        (main,) = self._parts(self._relations(""), "officeDocument")
        relations = self._relations(main)
        directory, strings, styles = _Directory(), _SharedStrings(), _Styles()
        self._read(directory, main)
        for part in self._parts(relations, "sharedStrings")[:1]:
            self._read(strings, part)
        for part in self._parts(relations, "styles")[:1]:
            self._read(styles, part)
        self._book = Book(strings.strings, styles.styles, directory.epoch)
        self.sheets = [
            Sheet(title, relations[id_].part)
            for title, id_ in directory.visible
            if relations[id_].kind == "worksheet"
        ]
        """In the order of their tabs."""
        # One part named as a thousand sheets would be read a thousand times.
        if len({sheet.part for sheet in self.sheets}) < len(self.sheets):
            raise ValueError("two sheets are one part")

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, list[Cell]]]:
        """Yield what ``SheetReader.rows`` does, from the first row with every call."""
        with self._archive.open(self._files[sheet.part]) as part:
            yield from SheetReader(self._book).rows(part)

    def _read(self, reader: XmlReader, name: str) -> None:
        with self._archive.open(self._files[name]) as part:
            reader.read(part)

    def _relations(self, part: str) -> dict[str, _Relation]:
        """Return by id what a part, "" for the package, points at."""
        directory, name = posixpath.split(part)
        reader = _Relations(directory)
        self._read(reader, posixpath.join(directory, "_rels", f"{name}.rels"))
        return reader.relations

    @staticmethod
    def _parts(relations: dict[str, _Relation], kind: str) -> list[str]:
        return [relation.part for relation in relations.values() if relation.kind == kind]


class _Relations(XmlReader):
    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory
        self.relations: dict[str, _Relation] = {}

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag != "Relationship" or attributes.get("TargetMode") == "External":
            return
        path = posixpath.join("/", self._directory, attributes["Target"])
        part = posixpath.normpath(path).lstrip("/").lower()
        kind = attributes["Type"].rpartition("/")[2]
        self.relations[attributes["Id"]] = _Relation(kind, part)


class _Directory(XmlReader):
    """The workbook part itself."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = _EPOCH
        self.visible: list[tuple[str, str]] = []
        """Name and relation of each sheet that is not hidden."""

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            self.epoch = _EPOCH_1904
        elif tag == "sheet" and attributes.get("state", "visible") == "visible":
            id_ = next(attributes[name] for name in _IDS if name in attributes)
            self.visible.append((attributes["name"], id_))


class _SharedStrings(XmlReader):
    """The texts that cells name by number, without the readings that Japanese Excel adds."""

    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []

    def started(self, tag: str, _attributes: dict[str, str]) -> None:
        if tag == "t" and "rPh" not in self.path:
            self.listen()

    def ended(self, tag: str) -> None:
        if tag == "t":
            self.pause()
        elif tag == "si":
            self.strings.append(unescaped(self.heard()))


class _Styles(XmlReader):
    """Which cell formats make a number a date."""

    def __init__(self) -> None:
        super().__init__()
        self.styles: dict[str, Style] = {}
        self._formats = dict.fromkeys(map(str, _DATE_FORMATS), Style.DATE)
        self._formats[str(_ELAPSED_FORMAT)] = Style.ELAPSED
        self._count = 0

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "numFmt":
            number, style = attributes["numFmtId"], _style(attributes["formatCode"])
            if style:
                self._formats[number] = style
            else:
                self._formats.pop(number, None)
        elif tag == "xf" and "cellXfs" in self.path:
            style = self._formats.get(attributes.get("numFmtId", "0"))
            if style:
                self.styles[str(self._count)] = style
            self._count += 1


def _style(code: str) -> Style | None:
    """Return what a format makes of a number; its first section, for positive ones, decides."""
    shown = _LITERAL.sub("", code).partition(";")[0]
    if _ELAPSED.search(shown):
        return Style.ELAPSED
    return Style.DATE if _DATE.search(shown) else None
