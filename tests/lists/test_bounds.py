"""Whatever a list of the permitted size holds: bounded by what is in it, not by counts.

Memory is asserted where it can be told exactly: by what Python has allocated at its peak, and
by a limit of the address space for what lies in libraries. Time is asserted as the work that is
done for it. Bounds in number are a hundredth of the real ones here.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import count
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import pytest

from core.errors import Code
from core.lists.blank_cells import BlankCells, WithoutBlankCells
from core.lists.cells import SheetReader
from core.lists.delimited import Splitter
from core.lists.lines import Encoding, Lines
from core.lists.number_formats import LONGEST_CODE, Kind, style
from core.lists.parser import parse
from core.lists.table import MAX_BYTES, MAX_SECONDS, Effort
from core.model import ListKind, ListSource, ParsedList
from core.restore.folder import RestoreFolder
from core.runs.folder import RunFolder
from tests.support.books import (
    BOOK,
    HEADINGS,
    MAIN,
    RELATIONS,
    SHEET,
    cell,
    parts,
    relations,
    row,
    sheet,
)
from tests.support.environment import CHECKOUT

TOKYO = ZoneInfo("Asia/Tokyo")
MIB = 1024 * 1024
LINES = 10_000
D = r"\\s\d"
HEAD = row(*HEADINGS)
STRINGS, STYLES = "xl/sharedStrings.xml", "xl/styles.xml"


def read(content: bytes, kind: ListKind = ListKind.ARCHIVE) -> ParsedList:
    return parse([ListSource("一覧", content)], kind, TOKYO)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, bound in {
        "workbook._MAX_ELEMENTS": 64_000,
        "workbook._MAX_STRINGS_BYTES": 480_000,
        "workbook._MAX_LOOKED_UP": 5_000_000,
        "workbook._MAX_SHEETS": 10,
        "workbook._MAX_RELATIONS": 100,
        "workbook._MAX_STYLES": 700,
        "workbook._MAX_FORMATS": 50,
        "cells.MAX_ROWS": 2_000,
        "lines.MAX_LINES": LINES,
        "sheets._MAX_PARTS": 100,
        "parser._MAX_TEXT_BYTES": 640_000,
    }.items():
        monkeypatch.setattr(f"core.lists.{name}", bound)


def packed(large: dict[str, Iterable[str]], written: dict[str, str] | None = None) -> bytes:
    """Return a workbook with some parts of many pieces, none of which is whole in memory."""
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for name, xml in (written or parts(sheet([HEAD]))).items():
            if name not in large:
                archive.writestr(name, xml)
        for name, pieces in large.items():
            with archive.open(name, "w") as part:
                for piece in pieces:
                    part.write(piece.encode())
    return stream.getvalue()


def with_strings() -> dict[str, str]:
    written = parts(sheet([HEAD]))
    written[RELATIONS] = written[RELATIONS].replace(
        "</Relationships>",
        relations(("rIdX", "sharedStrings", "sharedStrings.xml")).partition(">")[2],
    )
    return written


def repeated(piece: str, count: int, at_once: int = 100) -> Iterable[str]:
    yield from [piece * at_once] * (count // at_once)


def in_sheet(pieces: Iterable[str], after: Iterable[str] = ()) -> dict[str, Iterable[str]]:
    def xml() -> Iterable[str]:
        yield f'<worksheet xmlns="{MAIN}"><sheetData>{HEAD}'
        yield from pieces
        yield "</sheetData>"
        yield from after
        yield "</worksheet>"

    return {SHEET: xml()}


def in_part(name: str, open_: str, pieces: Iterable[str], close: str) -> dict[str, Iterable[str]]:
    def xml() -> Iterable[str]:
        yield open_
        yield from pieces
        yield close

    return {name: xml()}


def peak_of(content: bytes) -> tuple[ParsedList, int]:
    """Return what is read, and the most bytes that Python had allocated for it."""
    tracemalloc.start()
    try:
        parsed = read(content)
        return parsed, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Number formats


@pytest.mark.parametrize(
    "sign", ['"', "[", "\\", "_", "*", "#", "0", ",", "#,", "0,", "d", ";", "あ"]
)
def test_a_format_takes_no_longer_than_it_is_long(sign: str) -> None:
    """Each letter is looked at a few times: what is longer than Excel allows, not at all."""
    whole = (sign * LONGEST_CODE)[:LONGEST_CODE]
    assert style(whole).number(1.5) is None or sign in '0#"'
    assert style(whole + sign).kind is Kind.UNKNOWN
    assert style(sign * 1_000_000).text("x") is None


def test_a_million_brackets() -> None:
    codes = ["[" * 1_000_000]
    lines = [HEAD, row(D, "a.txt"), row(D, cell(12, 1))]
    parsed = read(packed({}, parts(sheet(lines), codes=codes)))
    assert [row.line for row in parsed.rows] == [2]
    assert [(p.line, p.code) for p in parsed.problems] == [(3, Code.PATH_SYNTAX)]


# Workbooks: refused before the work is done


def sst(pieces: Iterable[str]) -> dict[str, Iterable[str]]:
    return in_part(STRINGS, f'<sst xmlns="{MAIN}">', pieces, "</sst>")


def styled(pieces: Iterable[str]) -> dict[str, Iterable[str]]:
    return in_part(STYLES, f'<styleSheet xmlns="{MAIN}">', pieces, "</styleSheet>")


def formats(count: int) -> Iterable[str]:
    yield "<numFmts>"
    yield from (f'<numFmt numFmtId="{200 + n}" formatCode="0"/>' for n in range(count))
    yield "</numFmts>"


def sheets(count: int) -> dict[str, Iterable[str]]:
    named = (f'<sheet name="{n}" sheetId="{n}" r:id="rId1"/>' for n in range(1, count + 1))
    first = parts(sheet([HEAD]))[BOOK].partition("<sheet ")[0]
    return in_part(BOOK, first, named, "</sheets></workbook>")


def many_relations(count: int) -> dict[str, Iterable[str]]:
    one = '<Relationship Id="x{}" Type="x/theme" Target="t"/>'
    start, end = parts(sheet([HEAD]))[RELATIONS].split("<Relationship ", 1)
    return in_part(RELATIONS, start, map(one.format, range(count)), f"<Relationship {end}")


def strings(pieces: Iterable[str]) -> bytes:
    return packed(sst(pieces), with_strings())


def rows(*pieces: str | Iterable[str], after: Iterable[str] = ()) -> bytes:
    """Return a book with this below its headings."""
    inside = (p for some in pieces for p in ([some] if isinstance(some, str) else some))
    return packed(in_sheet(inside, after))


def merges() -> bytes:
    many = repeated('<mergeCell ref="B1:B9"/>', 2_100)
    return rows(row(D), after=["<mergeCells>", *many, "</mergeCells>"])


def cell_formats() -> bytes:
    many = repeated('<xf numFmtId="0"/>', 800)
    return packed(styled(["<cellXfs>", *many, "</cellXfs>"]))


WIDE = f"<row>{'<c><v>1</v></c>' * 63}</row>"
TEXT = '<row><c t="str"><v>{}</v></c></row>'
LETTERS = ["a" * MIB] * 6
TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "strings": lambda: strings(repeated("<si><t>ab</t></si>", 33_000)),
    "long strings": lambda: strings(f"<si><t>{'漢' * 30_000}</t></si>" for _ in range(6)),
    "wide rows": lambda: rows(repeated(WIDE, 600)),
    "elements": lambda: rows(repeated("<a/>", 65_000)),
    "escapes": lambda: rows([TEXT.format("_x0041_" * 20_000)] * 5),
    "references": lambda: rows([TEXT.format("&#65;" * 20_000)] * 5),
    "merges": merges,
    "formats": lambda: packed(styled(formats(51))),
    "cell formats": cell_formats,
    "sheets": lambda: packed(sheets(11)),
    "blank sheets": lambda: packed({}, parts(*[sheet(["<row><c/></row>"] * 5_000)] * 9)),
}
FORGED: dict[str, Callable[[], bytes]] = {
    "relations": lambda: packed(many_relations(101)),
    "depth": lambda: rows(repeated("<a>", 1_000)),
    "names": lambda: rows(f"<a{n}/>" for n in range(2_000)),
    "attributes": lambda: rows(f'<a b{n}=""/>' for n in range(2_000)),
    "prefixes": lambda: rows(f'<a xmlns:b{n}="u"/>' for n in range(20_000)),
    "one attribute": lambda: rows('<a b="', LETTERS, '"/>'),
    "one comment": lambda: rows("<!--", LETTERS, "-->"),
    "one text": lambda: rows('<row><c t="str"><v>', LETTERS, "</v></c></row>"),
}
REFUSED = [
    *((name, make, Code.LIST_TOO_LARGE) for name, make in TOO_LARGE.items()),
    *((name, make, Code.LIST_FORMAT) for name, make in FORGED.items()),
]


@pytest.mark.parametrize(("make", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_no_honest_book_has_is_refused_within_bounds(
    make: Callable[[], bytes], code: Code
) -> None:
    content = make()
    assert len(content) < MAX_BYTES
    parsed, peak = peak_of(content)
    assert ([p.code for p in parsed.problems], parsed.rows) == ([code], ())
    assert peak < 16 * MIB


def test_a_directory_of_a_zip_has_a_bound() -> None:
    """Each entry takes 47 bytes of the file and half a kilobyte of memory."""
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    directory = entry * 200
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 200, 200, len(directory), 4, 0)
    parsed, peak = peak_of(b"PK\x03\x04" + directory + end)
    assert [p.code for p in parsed.problems] == [Code.LIST_TOO_LARGE]
    assert peak < MIB


def test_the_text_of_all_rows_has_a_bound() -> None:
    """One long shared string that every row uses."""
    written = with_strings()
    text = f'<sst xmlns="{MAIN}"><si><t>{"漢" * 32_000}</t></si></sst>'
    used = '<row><c t="str"><v>\\\\s\\d</v></c><c t="s"><v>0</v></c></row>'
    content = packed({**in_sheet(repeated(used, 1_000)), STRINGS: [text]}, written)
    parsed, peak = peak_of(content)
    assert [p.code for p in parsed.problems] == [Code.LIST_TOO_LARGE]
    assert peak < 4 * MIB


@pytest.mark.parametrize("text", [" " * 200_000, "2026/10/05 10:15 " + "x" * 200_000])
def test_one_long_text_in_every_row_has_a_bound(text: str) -> None:
    """Nothing of it is kept, but every row would have it made and gone through again."""
    head = row("ディレクトリパス", "復元対象ファイル名", "アーカイブ日時")
    used = '<row><c t="str"><v>\\\\s\\d</v></c><c t="s"><v>0</v></c><c t="s"><v>0</v></c></row>'
    start, end = f'<worksheet xmlns="{MAIN}"><sheetData>{head}', "</sheetData></worksheet>"
    sheet_ = in_part(SHEET, start, repeated(used, 1_000), end)
    strings_ = sst([f'<si><t xml:space="preserve">{text}</t></si>'])
    parsed = read(packed({**sheet_, **strings_}, with_strings()), ListKind.RESTORE)
    assert [p.code for p in parsed.problems] == [Code.LIST_TOO_LARGE]


def test_one_long_string_in_20000_rows_is_refused_with_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """20,000 rows of one long shared string, 53 KB as Excel packs them: the row is told."""
    monkeypatch.setattr("core.lists.workbook._MAX_ELEMENTS", 6_400_000)
    written = with_strings()
    text = f'<sst xmlns="{MAIN}"><si><t>{"漢" * 32_000}</t></si></sst>'
    used = '<row><c t="str"><v>\\\\s\\d</v></c><c t="s"><v>0</v></c></row>'
    content = packed({**in_sheet(repeated(used, 20_000)), STRINGS: [text]}, written)
    assert len(content) < 53_000
    parsed, peak = peak_of(content)
    (problem,) = parsed.problems
    # Headings in row 1; a path in each row, of 64,094 bytes in memory.
    assert (problem.code, problem.line) == (Code.LIST_TOO_LARGE, 11)
    assert problem.detail == "パスの文字が合計で多すぎます。一覧をいくつかに分けてください"
    assert peak < 8 * MIB


def test_strings_that_are_looked_up_too_often_are_refused_with_the_row() -> None:
    head = row("ディレクトリパス", "復元対象ファイル名", "アーカイブ日時")
    used = '<row><c t="str"><v>\\\\s\\d</v></c><c t="s"><v>0</v></c></row>'
    start, end = f'<worksheet xmlns="{MAIN}"><sheetData>{head}', "</sheetData></worksheet>"
    strings_ = sst([f'<si><t xml:space="preserve">{" " * 200_000}</t></si>'])
    content = packed(
        {**in_part(SHEET, start, repeated(used, 1_000), end), **strings_}, with_strings()
    )
    (problem,) = read(content, ListKind.RESTORE).problems
    # 5,000,000 bytes are 25 of them: that of row 27 is one too many.
    assert (problem.code, problem.line) == (Code.LIST_TOO_LARGE, 27)


def test_cells_are_bounded_by_the_size_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 MB of cells in 20 KB: four elements for each byte of the file, beside 100,000."""
    monkeypatch.setattr("core.lists.workbook._MAX_ELEMENTS", 6_400_000)
    parts_read = 0
    started = SheetReader.started

    def counted(self: SheetReader, tag: str, attributes: dict[str, str]) -> None:
        nonlocal parts_read
        parts_read += 1
        started(self, tag, attributes)

    monkeypatch.setattr(SheetReader, "started", counted)
    content = rows("<row>", repeated("<c/>", 5_000_000), "</row>")
    assert len(content) < 150_000
    (problem,) = read(content).problems
    assert problem.code is Code.LIST_TOO_LARGE
    assert problem.detail.endswith(
        "ブックのセルが多すぎます。使わない行・列・シートを、書式だけのものも含めて削除してください"
    )
    # Only what stands before the headings were found, not one of five million.
    assert parts_read < 300_000


def test_blank_cells_with_a_format_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    started = SheetReader.started

    def counted(self: SheetReader, tag: str, attributes: dict[str, str]) -> None:
        taken.append(tag)
        started(self, tag, attributes)

    monkeypatch.setattr(SheetReader, "started", counted)
    blank = "".join(f'<c r="{c}{{0}}" s="1"/>' for c in "CDEFG")
    many = [f'<row r="{n}">{blank.format(n)}</row>' for n in range(3, 4_003)]
    first = '<row r="2"><c r="A2" t="str"><v>\\\\s\\d</v></c><c r="B2" s="1"/></row>'
    head = "".join(
        f'<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>'
        for at, text in zip(("A1", "B1"), HEADINGS, strict=True)
    )
    whole = sheet([f'<row r="1">{head}</row>', first, *many])
    parsed = read(packed({}, parts(whole)))
    assert ([r.path for r in parsed.rows], parsed.problems) == ([r"\\s\d"], ())
    # The first 16 KB are read for the headings; of the rest the rows alone.
    assert taken.count("row") > 4_000
    assert taken.count("c") < 1_000


@pytest.mark.parametrize("unit", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize(
    ("xml", "plain"),
    [
        ('<row r="1"><c r="A1" s="3"/><c r="B1"/><c r="C1"><v>1</v></c></row>', True),
        ('<row><c r="A1"/><c><v>1</v></c></row>', False),  # it stands beside A1
        ('<row><c r="A1" t="str"><v><![CDATA[<c r="B1"/>]]></v></c></row>', False),
        ('<row><c s="1" r="A1"/><c r="B1"/></row>', False),
        ("<row/>", True),
    ],
)
def test_what_is_left_out_of_a_sheet(xml: str, plain: bool, unit: int) -> None:
    content = xml.encode()
    looked = BlankCells()
    for start in range(0, len(content), unit):
        looked.look(content[start : start + unit])
    assert looked.can_be_left_out is plain
    part = WithoutBlankCells(BytesIO(content))
    read_ = b"".join(iter(lambda: part.read(unit), b""))
    if unit >= 64:
        assert read_ == re.sub(rb'<c r="[A-Z]\d"(?: s="\d")?/>', b"", content)
    assert re.sub(rb'<c r="[A-Z]\d"(?: s="\d")?/>', b"", read_) == re.sub(
        rb'<c r="[A-Z]\d"(?: s="\d")?/>', b"", content
    )


@pytest.mark.parametrize("form", ["text", "rows", "blank rows"])
def test_processor_time_has_a_bound(form: str) -> None:
    """The clock of this test goes on by a second each time it is looked at."""
    ticks = count()
    content = {
        "text": "".join(f"\\\\s\\d\\{n}\n" for n in range(2_000)).encode(),
        "rows": rows(row(D, n) for n in range(1_900)),
        "blank rows": rows(repeated('<row spans="1:2" s="1"/>', 30_000)),
    }[form]
    effort = Effort(lambda: float(next(ticks)))
    whole = Effort(lambda: float(next(ticks)) - 10_000)
    assert parse([ListSource("x", content)], ListKind.ARCHIVE, TOKYO, effort=whole).rows or (
        form == "blank rows"
    )
    for _ in range(MAX_SECONDS):
        next(ticks)
    (problem,) = parse([ListSource("x", content)], ListKind.ARCHIVE, TOKYO, effort=effort).problems
    assert problem.code is Code.LIST_TOO_LARGE
    assert problem.detail.startswith("読み取りに時間がかかりすぎます（処理時間で60秒まで）。")
    assert problem.line == (200 if form == "text" else None)


def test_the_logs_of_a_long_list_are_written_in_pieces(tmp_path: Path) -> None:
    """In one piece and encoded, the lines of 200,000 problems took 110 MB."""
    folder = RunFolder(tmp_path, TOKYO)
    line = "漢" * 100
    tracemalloc.start()
    try:
        folder.log_lines(line for _ in range(50_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "error_log.txt").stat().st_size == 50_000 * 301
    assert peak < 5 * MIB
    restore = RestoreFolder(tmp_path / "r", TOKYO)
    restore.path.mkdir()
    restore.log_lines(iter(["a", "b"]))
    assert [restore.path.joinpath(name).read_text() for name in restore.logs] == ["a\nb\n"] * 2


def test_only_the_columns_of_the_headings_are_kept() -> None:
    wide = row(D, "{}", *[1] * 61)
    parsed, peak = peak_of(rows(wide.format(n) for n in range(300)))
    assert (len(parsed.rows), parsed.problems) == (300, ())
    # A chunk of rows as they stand, and 300 rows.
    assert peak < 4 * MIB


def test_rows_of_formats_alone_are_no_entries() -> None:
    blank = repeated('<row spans="1:2" s="1"/>', 30_000)
    parsed, peak = peak_of(rows(row(D, "a.txt"), blank))
    assert (len(parsed.rows), parsed.problems) == (1, ())
    assert peak < 4 * MIB


# Text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\n" * (LINES + 1), Code.LIST_TOO_LARGE),
        (b'"' * MAX_BYTES, Code.PATH_SYNTAX),
        (b"," * MAX_BYTES, Code.LIST_EMPTY),
        (b"\t" * MAX_BYTES, Code.LIST_EMPTY),
        (D.encode() + b"\\" + b"a" * (MAX_BYTES - 10), Code.PATH_SYNTAX),
        (b"\xff\xfe" + b"\n\0" * (LINES + 1), Code.LIST_TOO_LARGE),
    ],
    ids=["lines", "quotes", "commas", "tabs", "letters", "lines of UTF-16"],
)
def test_texts_are_read_in_pieces(content: bytes, code: Code) -> None:
    parsed, peak = peak_of(content)
    assert ([p.code for p in parsed.problems], parsed.rows) == ([code], ())
    assert peak < 10 * MIB
    assert all(len(p.path) <= 1_000 for p in parsed.problems)


@pytest.mark.parametrize("line", ['x","', '"', 'a,"x', '""",', '"a"b'])
def test_quotes_that_are_never_closed_are_looked_for_so_often(line: str) -> None:
    """Every line begins a quote anew: with a thousand lines looked at for each, hours."""
    content = f"{line}\n".encode() * (LINES - 1)

    class Counted(Lines):
        looks = 0

        def ahead(self, distance: int = 0) -> str | None:
            Counted.looks += 1
            return super().ahead(distance)

    lines = Counted(content, Encoding("UTF-8", "utf-8"))
    records = sum(1 for _ in Splitter(lines, ",", 0).records(2))
    assert records > 0
    assert lines.number == LINES
    assert Counted.looks < 50 * LINES


def test_blank_lines_are_few_objects() -> None:
    content = b"\xe3\x83\x87,x\n" + b' ,"",\t\n' * (LINES - 10)
    parsed, peak = peak_of("ディレクトリパス,ファイル名\n".encode() + content[6:])
    assert [p.code for p in parsed.problems] == [Code.LIST_EMPTY]
    assert peak < MIB


# The whole process


LIMITED = """
import resource, sys
from pathlib import Path
from zoneinfo import ZoneInfo
from core.model import ListKind, ListSource
from core.lists.parser import parse
from core.restore.folder import RestoreFolder
from core.runs.folder import RunFolder
content = Path(sys.argv[1]).read_bytes()
pages = int(Path('/proc/self/statm').read_text().split()[0])
limit = pages * resource.getpagesize() + 200 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
parsed = parse([ListSource('x', content)], ListKind.ARCHIVE, ZoneInfo('Asia/Tokyo'))
print(len(parsed.rows), *{p.code.name for p in parsed.problems})
"""


def test_no_more_than_200_mib_of_address_space(tmp_path: Path) -> None:
    """The address space itself is limited, libraries included."""
    attributes = " ".join(f'b{n}=""' for n in range(100_000))
    text = "".join(f"\\\\fsx01\\share\\{n:05}\\{'n' * 75}\n" for n in range(5_000))
    for name, content, said in (
        ("attributes.xlsx", rows(f"<a {attributes}/>"), "0 LIST_FORMAT"),
        ("names.txt", text.encode(), "5000"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(path)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout.strip(), done.stderr) == (said, "")
