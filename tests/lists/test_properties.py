"""What holds for every list: legal paths come back as they were, and nothing is raised."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from io import BytesIO, StringIO
from zipfile import ZipFile
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

from core.errors import Code
from core.lists.parser import parse
from core.lists.sheets import OLE_MAGIC
from core.model import ListKind, ListSource, ParsedList
from core.paths.normalization import identity
from core.paths.unc import EDGE

TOKYO = ZoneInfo("Asia/Tokyo")

# A busy machine is no reason to fail.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
few = settings(untimed, max_examples=25)

ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 (BOM)",
    "cp932": "CP932",
    "utf-16": "UTF-16",
}

# Composed and decomposed kana, both wave dashes, full width, yen, and what CSV quotes for.
LETTERS = "aZ09 .,;'-_~#%&()[]{}^$@!=+がハﾊ゛が営業部表ソ能髙〜～−－￥＼／（）　①ÀßİΣ\u200b"
SPECIAL = st.sampled_from(LETTERS)
ANY = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters='\\/<>:"|?*')


def names(letters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return names that Windows allows and that no space surrounds."""
    return (
        st.text(letters, min_size=1, max_size=12)
        .map(lambda name: name.strip(EDGE))
        # Two separators as people type them would begin another path.
        .filter(lambda name: name.strip(". ") and name[0] not in "￥＼／¥")
        # What Excel shows for a formula that failed is refused, legal though it is.
        .filter(lambda name: not (name[0] == "#" and name[-1] == "!"))
    )


def rows(letters: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    directories = st.lists(names(letters), min_size=2, max_size=4).map(
        lambda parts: "\\\\" + "\\".join(parts)
    )
    pairs = st.tuples(directories, st.just("") | names(letters))
    return st.lists(
        pairs,
        min_size=1,
        max_size=8,
        unique_by=lambda pair: identity("\\".join(filter(None, pair))),
    )


def joined(pair: tuple[str, str]) -> str:
    return "\\".join(filter(None, pair))


def read(content: bytes, kind: ListKind = ListKind.ARCHIVE) -> ParsedList:
    return parse([ListSource("list.csv", content)], kind, TOKYO)


@untimed
@given(
    pairs=rows(SPECIAL | ANY),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from(",\t;"),
    blank=st.booleans(),
)
def test_written_columns_come_back(
    pairs: list[tuple[str, str]], encoding: str, newline: str, delimiter: str, blank: bool
) -> None:
    stream = StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=newline)
    writer.writerow(["ファイル名", "備考", "ディレクトリパス"])
    kept = [pair for pair in pairs if encodable("".join(pair), encoding)]
    for directory, name in kept:
        writer.writerow([name, f"a{newline}b" if blank else "", directory])
        stream.write(newline * blank)
    parsed = read(stream.getvalue().encode(encoding))
    assert [(row.line, row.path) for row in parsed.rows] == [
        # With a remark of two lines and a blank line after it a row takes three.
        (2 + i * (3 if blank else 1), joined(pair))
        for i, pair in enumerate(kept)
    ]
    assert [p.code for p in parsed.problems] == ([] if kept else [Code.LIST_EMPTY])
    assert parsed.detected[0].encoding == ENCODINGS[encoding]


@untimed
@given(pairs=rows(SPECIAL | ANY), encoding=st.sampled_from(sorted(ENCODINGS)))
def test_written_path_lists_come_back(pairs: list[tuple[str, str]], encoding: str) -> None:
    paths = [
        path
        for path in map(joined, pairs)
        if encodable(path, encoding) and not path.endswith("\\,")
    ]
    parsed = read("".join(f"{path}\r\n" for path in paths).encode(encoding))
    # A comma at the end may be part of a name, or a second, empty column.
    assert [(row.line, row.exact or row.path) for row in parsed.rows] == list(enumerate(paths, 1))
    assert [row.path for row in parsed.rows] == [path.rstrip(",") for path in paths]


@few
@given(pairs=rows(SPECIAL))
def test_written_workbooks_come_back(pairs: list[tuple[str, str]]) -> None:
    book = Workbook()
    book.active.append(["ディレクトリパス", "ファイル名"])
    for row, pair in enumerate(pairs, 2):
        for column, text in enumerate(pair, 1):
            cell = book.active.cell(row, column, text)
            cell.data_type = "s"  # a name may begin with an equals sign
    stream = BytesIO()
    book.save(stream)
    parsed = read(stream.getvalue())
    assert [(row.line, row.path) for row in parsed.rows] == list(enumerate(map(joined, pairs), 2))


@few
@given(
    # Excel shows 11 digits of a number, and counts days from 1904 at the latest.
    moments=st.dictionaries(
        st.integers(-(10**11) + 1, 10**11 - 1),
        st.datetimes(CALENDAR_MAC_1904 + timedelta(days=1)).map(lambda m: m.replace(microsecond=0)),
        min_size=1,
        max_size=8,
    ),
    epoch=st.sampled_from([CALENDAR_WINDOWS_1900, CALENDAR_MAC_1904]),
    row=st.integers(1, 2000),
    column=st.integers(1, 50),
)
def test_written_numbers_and_dates_come_back(
    moments: dict[int, datetime], epoch: datetime, row: int, column: int
) -> None:
    book = Workbook()
    book.epoch = epoch
    cells: list[tuple[object, ...]] = [("ディレクトリパス", "ファイル名", "アーカイブ日時")]
    cells += [(r"\\s\d", number, moment) for number, moment in moments.items()]
    for down, values in enumerate(cells):
        for right, value in enumerate(values):
            book.active.cell(row + down, column + right, value)
    stream = BytesIO()
    book.save(stream)
    parsed = read(stream.getvalue(), ListKind.RESTORE)
    assert [(found.line, found.path, found.archived_at) for found in parsed.rows] == [
        (line, rf"\\s\d\{number}", moment.replace(tzinfo=TOKYO))
        for line, (number, moment) in enumerate(moments.items(), row + 1)
    ]


@untimed
@given(rows(SPECIAL | ANY))
def test_the_same_path_twice_is_one_row(pairs: list[tuple[str, str]]) -> None:
    # A comma at the end is said.
    pairs = [pair for pair in pairs if not joined(pair).endswith(",")]
    assume(pairs)
    lines = "".join(f"{joined(pair)}\n" for pair in pairs)
    parsed = read((lines + lines).encode())
    assert [row.line for row in parsed.rows] == list(range(1, len(pairs) + 1))
    assert {p.code for p in parsed.problems} == {Code.DUPLICATE_ENTRY}
    assert [p.line for p in parsed.problems] == list(range(len(pairs) + 1, 2 * len(pairs) + 1))


HEADER = "ディレクトリパス,ファイル名,アーカイブ日時\n"
STARTS = [b"", b"PK", b"PK\x03\x04", OLE_MAGIC, b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]
BEGINNINGS = st.sampled_from([*STARTS, HEADER.encode(), HEADER.encode("cp932"), b"\\\\s\\d\n"])


@untimed
@given(BEGINNINGS, st.binary(max_size=300), st.sampled_from(ListKind))
def test_nothing_is_raised_for_bytes(start: bytes, rest: bytes, kind: ListKind) -> None:
    consistent(read(start + rest, kind))


@untimed
@given(st.text(st.characters() | st.sampled_from('\\/,"\t;\r\n'), max_size=200), st.booleans())
def test_nothing_is_raised_for_text(text: str, utf16: bool) -> None:
    content = HEADER + text
    mark = b"\xff\xfe" if utf16 else b""
    codec = "utf-16-le" if utf16 else "utf-8"
    consistent(read(mark + content.encode(codec, "surrogatepass"), ListKind.RESTORE))


@untimed
@given(st.data())
def test_nothing_is_raised_for_damaged_workbooks(data: st.DataObject) -> None:
    with ZipFile(BytesIO(WORKBOOK)) as archive:
        parts = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    damaged = parts[data.draw(st.sampled_from(sorted(parts)))]
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=10))
    stream = BytesIO()
    with ZipFile(stream, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, bytes(part))
    consistent(read(stream.getvalue()))


def consistent(parsed: ParsedList) -> None:
    """Check what every result promises, whatever went in."""
    assert len(parsed.detected) <= 1
    assert parsed.detected or not parsed.rows
    assert parsed.rows or parsed.problems
    assert all(row.path.startswith("\\\\") and row.line for row in parsed.rows)
    assert not {r.line for r in parsed.rows} & {p.line for p in parsed.problems}


def encodable(text: str, encoding: str) -> bool:
    try:
        return text.encode(encoding).decode(encoding) == text
    except UnicodeEncodeError:
        return False


def workbook() -> bytes:
    book = Workbook()
    book.active.append(["ディレクトリパス", "ファイル名", 1.5])
    book.active.append(["\\\\s\\d", "a.txt", '="x"'])
    stream = BytesIO()
    book.save(stream)
    return stream.getvalue()


WORKBOOK = workbook()
