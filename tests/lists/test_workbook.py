"""Lists as Excel workbooks, whole and broken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, time
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import pytest
from openpyxl import Workbook
from openpyxl.chart import BarChart

from core.errors import Code
from core.lists.parser import parse
from core.model import DetectedList, ListKind, ListSource, ParsedList

TOKYO = ZoneInfo("Asia/Tokyo")
SAMPLES = Path(__file__).parent / "samples"
HEADER = ("ディレクトリパス", "ファイル名")
SHEET = "xl/worksheets/sheet1.xml"
Row = tuple[object, ...]


def excel_date(*fields: int) -> datetime:
    """Return a date as Excel has it: without time zone."""
    year, month, day, hour, minute, second, *rest = (*fields, 0, 0, 0, 0)
    return datetime(year, month, day, hour, minute, second, rest[0], TOKYO).replace(tzinfo=None)


def workbook(*rows: Row) -> Workbook:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    return book


def saved(book: Workbook) -> bytes:
    stream = BytesIO()
    book.save(stream)
    return stream.getvalue()


def read(content: Workbook | bytes, kind: ListKind = ListKind.ARCHIVE) -> ParsedList:
    data = saved(content) if isinstance(content, Workbook) else content
    return parse([ListSource("list.xlsx", data)], kind, TOKYO)


def entries(parsed: ParsedList) -> list[tuple[int, str]]:
    return [(row.line, row.path) for row in parsed.rows]


def rewritten(content: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return the workbook with one of its parts changed."""
    stream = BytesIO()
    with ZipFile(BytesIO(content)) as old, ZipFile(stream, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name == part else data)
    return stream.getvalue()


def in_sheet(old: bytes, new: bytes, *rows: Row) -> bytes:
    return rewritten(saved(workbook(*rows)), SHEET, lambda xml: xml.replace(old, new))


def text_cell(content: bytes) -> bytes:
    """Return the workbook with the result of the formula in B2 declared as text."""
    return rewritten(content, SHEET, lambda xml: xml.replace(b'<c r="B2"', b'<c r="B2" t="str"'))


def test_sample() -> None:
    parsed = read((SAMPLES / "archive_list.xlsx").read_bytes())
    assert parsed.problems == ()
    assert entries(parsed) == [
        (2, r"\\fsx01\share\営業部\2024年度\見積\見積書_A社.xlsx"),
        (3, r"\\fsx01\share\経理部\請求書"),
        (4, r"\\fsx01\share\開発部\設計書\基本設計.docx"),
    ]
    assert parsed.detected == (DetectedList("list.xlsx", "Excel", "columns", 3),)


def test_line_is_the_sheet_row() -> None:
    book = workbook((), ("No.", *HEADER), (1, r"\\s\d", "a.txt"), (2,), (), (3, r"\\s\d", None))
    parsed = read(book)
    assert parsed.problems == ()
    assert entries(parsed) == [(3, r"\\s\d\a.txt"), (6, r"\\s\d")]


def test_numbers_are_names_as_shown() -> None:
    rows = [(r"\\s\d", value) for value in (2024, 2025.0, 1.5, True)]
    assert entries(read(workbook(HEADER, *rows))) == [
        (2, r"\\s\d\2024"),
        (3, r"\\s\d\2025"),
        (4, r"\\s\d\1.5"),
        (5, r"\\s\d\TRUE"),
    ]


@pytest.mark.parametrize("value", [excel_date(2026, 10, 5), time(10, 15), "#REF!"])
def test_cells_that_excel_has_changed_are_refused(value: object) -> None:
    parsed = read(workbook(HEADER, (r"\\s\d", value)))
    assert [(p.line, p.code) for p in parsed.problems] == [(2, Code.PATH_SYNTAX)]


@pytest.mark.parametrize("value", ["2026/10/05 10:15:00", excel_date(2026, 10, 5, 10, 15)])
def test_date_cell(value: object) -> None:
    rows = (
        ("ディレクトリパス", "復元対象ファイル名", "アーカイブ日時"),
        (r"\\s\d", "a.txt", value),
    )
    parsed = read(workbook(*rows), ListKind.RESTORE)
    assert parsed.problems == ()
    assert parsed.rows[0].archived_at == datetime(2026, 10, 5, 10, 15, tzinfo=TOKYO)


def test_date_cells_that_are_no_dates() -> None:
    header = ("ディレクトリパス", "アーカイブ日時")
    rows = [(r"\\s\a", excel_date(9999, 12, 31, 23, 59, 59, 900000)), (r"\\s\b", time(1, 0))]
    parsed = read(workbook(header, *rows, (r"\\s\c", 46300.5)), ListKind.RESTORE)
    assert [(p.line, p.code) for p in parsed.problems] == [
        (2, Code.NAMED_DATE),
        (3, Code.NAMED_DATE),
        (4, Code.NAMED_DATE),
    ]


def test_every_visible_sheet_with_headings_is_read_and_the_others_are_named() -> None:
    book = workbook(("説明",))
    book.active.title = "書き方"
    hidden = book.create_sheet("隠し")
    hidden.sheet_state = "hidden"
    for title, sheet in (("隠し", hidden), ("一覧", None), ("追加", None)):
        target = sheet or book.create_sheet(title)
        target.append(HEADER)
        target.append((r"\\s\d", f"{title}.txt"))
    book.create_sheet("空")
    book.create_chartsheet("グラフ").add_chart(BarChart())
    parsed = read(book)
    assert [(row.source, row.line, row.path) for row in parsed.rows] == [
        ("list.xlsx「一覧」", 2, r"\\s\d\一覧.txt"),
        ("list.xlsx「追加」", 2, r"\\s\d\追加.txt"),
    ]
    assert [(p.code, p.detail, p.is_error) for p in parsed.problems] == [
        (Code.SHEET_UNREAD, "「書き方」", True),
        (Code.SHEET_IGNORED, "「隠し」", False),
    ]
    assert [(d.source, d.rows) for d in parsed.detected] == [
        ("list.xlsx「一覧」", 1),
        ("list.xlsx「追加」", 1),
    ]


def test_path_list() -> None:
    parsed = read(workbook((), (None, r"\\s\d\a, b.txt"), (None, r'"\\s\d\c"')))
    assert parsed.problems == ()
    assert entries(parsed) == [(2, r"\\s\d\a, b.txt"), (3, r"\\s\d\c")]
    assert parsed.detected[0].form == "paths"


@pytest.mark.parametrize("rows", [[(r"\\s\d", "a.txt")], [("フォルダ", "名前"), (r"\\s\d", "a")]])
def test_columns_without_headings_are_refused(rows: list[Row]) -> None:
    parsed = read(workbook(*rows))
    assert [(p.line, p.code) for p in parsed.problems] == [(1, Code.LIST_FORMAT)]


def test_merged_directory_cells_are_an_error_not_a_guess() -> None:
    book = workbook(HEADER, (r"\\s\d", "a.txt"), (None, "b.txt"))
    book.active.merge_cells("A2:A3")
    parsed = read(book)
    assert entries(parsed) == [(2, r"\\s\d\a.txt")]
    assert [(p.line, p.code) for p in parsed.problems] == [(3, Code.PATH_SYNTAX)]
    assert "結合" in parsed.problems[0].detail


@pytest.mark.parametrize("rows", [(), (HEADER,), (HEADER, (None, " "))])
def test_empty_workbook(rows: tuple[Row, ...]) -> None:
    assert [p.code for p in read(workbook(*rows)).problems] == [Code.LIST_EMPTY]


def test_formulas_have_their_calculated_values() -> None:
    formula = (HEADER, (r"\\s\d", '="a"&".txt"'))
    refused = read(workbook(*formula))
    assert [(p.line, p.code) for p in refused.problems] == [(2, Code.LIST_FORMAT)]
    assert "数式" in refused.problems[0].detail

    calculated = in_sheet(b"<v /></c>", b"<v>a.txt</v></c>", *formula)
    assert entries(read(text_cell(calculated))) == [(2, r"\\s\d\a.txt")]


def test_a_formula_may_result_in_nothing() -> None:
    content = text_cell(saved(workbook(HEADER, (r"\\s\d", '=""'))))
    assert entries(read(content)) == [(2, r"\\s\d")]


def test_formulas_of_sheets_that_are_not_read_do_not_matter() -> None:
    book = workbook(HEADER, (r"\\s\d", "a.txt"))
    book.create_sheet("隠し").append(("=1+1",))
    book["隠し"].sheet_state = "hidden"
    book.create_sheet("メモ").append(("作成日",))
    book["メモ"].append(("=TODAY()",))
    parsed = read(book)
    assert entries(parsed) == [(2, r"\\s\d\a.txt")]
    assert [(p.code, p.detail) for p in parsed.problems] == [
        (Code.SHEET_UNREAD, "「メモ」"),
        (Code.SHEET_IGNORED, "「隠し」"),
    ]


def test_wrong_size_of_the_sheet_is_ignored() -> None:
    content = in_sheet(b'ref="A1:B2"', b'ref="A1"', HEADER, (r"\\s\d", "a.txt"))
    assert entries(read(content)) == [(2, r"\\s\d\a.txt")]


def test_forged_row_number_ends() -> None:
    content = in_sheet(b'<row r="2"', b'<row r="99999999999"', HEADER, (r"\\s\d", "a.txt"))
    assert [p.code for p in read(content).problems] == [Code.LIST_EMPTY]


def test_extensions_are_of_no_interest() -> None:
    extension = b'</sheetData><extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst>'
    content = in_sheet(b"</sheetData>", extension, HEADER, (r"\\s\d", "a.txt"))
    assert entries(read(content)) == [(2, r"\\s\d\a.txt")]


def bomb() -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive, archive.open("xl/a.xml", "w") as part:
        for _ in range(201):
            part.write(bytes(1024 * 1024))
    return stream.getvalue()


GOOD = saved(workbook(HEADER, (r"\\s\d", "a.txt")))
ENTITY = b'<!DOCTYPE x [<!ENTITY a "b">]>'


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        (b"PK\x03\x04 torn", Code.LIST_FORMAT, "壊れています"),
        (GOOD[: len(GOOD) // 2], Code.LIST_FORMAT, "壊れています"),
        (rewritten(GOOD, "xl/workbook.xml", lambda _: b"<x"), Code.LIST_FORMAT, "壊れています"),
        (rewritten(GOOD, "xl/workbook.xml", lambda xml: ENTITY + xml), Code.LIST_FORMAT, "定義"),
        (bomb(), Code.LIST_TOO_LARGE, "200 MiB"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), Code.LIST_FORMAT, ".xlsx"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            Code.LIST_FORMAT,
            "パスワード",
        ),
    ],
)
def test_broken_workbooks(content: bytes, code: Code, detail: str) -> None:
    parsed = parse(
        [ListSource("bad.xlsx", content), ListSource("good.xlsx", GOOD)], ListKind.ARCHIVE, TOKYO
    )
    assert [(p.source, p.code) for p in parsed.problems] == [("bad.xlsx", code)]
    assert detail in parsed.problems[0].detail
    assert entries(parsed) == [(2, r"\\s\d\a.txt")]


def test_lists_do_not_load_openpyxl() -> None:
    code = (
        "import sys; from pathlib import Path; from zoneinfo import ZoneInfo;"
        "from core.lists.parser import parse; from core.model import *;"
        "content = Path(sys.argv[1]).read_bytes();"
        "found = parse([ListSource('a', content)], ListKind.ARCHIVE, ZoneInfo('UTC'));"
        "sys.exit('openpyxl' in sys.modules or not found.rows)"
    )
    command = [sys.executable, "-c", code, str(SAMPLES / "archive_list.xlsx")]
    assert subprocess.run(command, check=False).returncode == 0
