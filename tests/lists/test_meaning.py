"""A cell means what its sender sees in Excel; what cannot be shown to is refused by name."""

from __future__ import annotations

import struct
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import pytest

from core.errors import Code, Severity
from core.lists.parser import parse
from core.model import ListKind, ListSource, ParsedList
from tests.support.books import (
    BOOK,
    HEADINGS,
    MAIN,
    OFFICE,
    RELATIONS,
    book,
    cell,
    packed,
    parts,
    relations,
    row,
    sheet,
)

TOKYO = ZoneInfo("Asia/Tokyo")
D = "\\\\fsx01\\share"
RESTORE = ("ディレクトリパス", "復元対象ファイル名", "アーカイブ日時")


def read(content: bytes | str, kind: ListKind = ListKind.ARCHIVE) -> ParsedList:
    data = content.encode() if isinstance(content, str) else content
    return parse([ListSource("一覧", data)], kind, TOKYO)


def entries(parsed: ParsedList) -> list[tuple[int, str]]:
    return [(row.line, row.path.removeprefix(D + "\\")) for row in parsed.rows]


def faults(parsed: ParsedList) -> list[tuple[int | None, Code]]:
    return [(p.line, p.code) for p in parsed.problems]


# Numbers

SHOWN = [
    ("0000", 12, "0012"),
    ("0.00", 1.1, "1.10"),
    ('"A"000', 7, "A007"),
    (r"\A000", 7, "A007"),
    (1, 12, "12"),
    (2, 1.1, "1.10"),
    (3, 1234567, "1,234,567"),
    ("#,##0", 1234, "1,234"),
    ("#,##0", 12, "12"),
    ("0,000", 12, "0,012"),
    ("#,###", 1234, "1,234"),
    (9, 0.5, "50%"),
    ("0.0%", 0.1234, "12.3%"),
    (49, 12, "12"),
    ("General", 1.1000000000000001, "1.1"),
    ('General"号"', 3, "3号"),
    ("G/標準", 3, "3"),
    ("0;-0", -3, "-3"),
    ("0;-0", 3, "3"),
    ("0;(0)", -3, "(3)"),
    ('0;-0;"無し"0', 0, "無し0"),
    ('"A"000', -7, "-A007"),
    ("[Red]0", 5, "5"),
    ("0_ ", 5, "5"),
    ("0", 1.5, "2"),
    ("0.00", 0.125, "0.13"),
    ("00000000000000", 12345678901234, "12345678901234"),
]


@pytest.mark.parametrize(("code", "number", "name"), SHOWN)
def test_a_name_that_is_a_number_is_what_excel_shows(
    code: str | int, number: float, name: str
) -> None:
    parsed = read(book(sheet([row(*HEADINGS), row(D, cell(number, 1))]), codes=[code]))
    assert (faults(parsed), entries(parsed)) == ([], [(2, name)])


NOT_CERTAIN: list[tuple[str | int, float]] = [
    ("0.00E+00", 12), (11, 12), ("# ?/?", 0.5), (12, 0.5), ("ggge", 12), ("aaa", 12),
    ("???0", 12), ("*-0", 12), ("000-0000", 1234567), ("[<100]0;0.0", 12), ("[$¥-411]0", 12),
    ("[DBNum1]0", 12), ("0,", 5000), ("0.##", 1), ("#", 0), ("0;;", -3), (";;;", 3), ('"済"', 1),
    ("A000", 7), ("0", 10.0**15), ("0.00", 1.005), ("0.00", -0.001), (41, 12), (5, 12), (60, 12),
    (38, -5), ("0;0;0;0;0", 5), ('"A', 5), ("[", 5), ("[" * 300, 5), ("0" * 256, 5),
    ("General", 123456789012), ("General", 1 / 3), ("General", 0.00001234), ("@", 123456789012),
]  # fmt: skip


@pytest.mark.parametrize(("code", "number"), NOT_CERTAIN)
@pytest.mark.parametrize("kind", ListKind)
def test_a_number_whose_look_is_not_certain_is_refused(
    code: str | int, number: float, kind: ListKind
) -> None:
    headings = HEADINGS if kind is ListKind.ARCHIVE else RESTORE
    parsed = read(book(sheet([row(*headings), row(D, cell(number, 1))]), codes=[code]), kind)
    assert (faults(parsed), parsed.rows) == ([(2, Code.PATH_SYNTAX)], ())
    assert "「文字列」" in parsed.problems[0].detail


@pytest.mark.parametrize("code", ["yyyy/mm/dd", "h:mm", "[h]:mm", 14, 46, "[$-411]ge.m.d;@"])
@pytest.mark.parametrize("number", [0.25, 46300.5])
def test_dates_and_times_are_no_names(code: str | int, number: float) -> None:
    parsed = read(book(sheet([row(*HEADINGS), row(D, cell(number, 1))]), codes=[code]))
    assert faults(parsed) == [(2, Code.PATH_SYNTAX)]
    assert "「文字列」" in parsed.problems[0].detail


def test_numbers_in_columns_that_are_not_used_do_not_matter() -> None:
    odd = row(D, "a.txt", cell(1 / 3, 1), cell(12, 9))
    parsed = read(book(sheet([row(*HEADINGS, "備考"), odd]), codes=["0.00E+00"]))
    assert (faults(parsed), entries(parsed)) == ([], [(2, "a.txt")])


@pytest.mark.parametrize(
    ("code", "name"),
    [("@", "x"), ('@".txt"', "x.txt"), ('0;0;0;"案"@', "案x"), ("0.00E+00", "x"), ("_ @_ ", "x")],
)
def test_a_format_may_add_to_a_text(code: str, name: str) -> None:
    parsed = read(book(sheet([row(*HEADINGS), row(D, cell("x", 1))]), codes=[code]))
    assert (faults(parsed), entries(parsed)) == ([], [(2, name)])


@pytest.mark.parametrize("code", [";;;", '0;0;0;"済"', "*-@", "[" * 300])
def test_a_text_that_its_format_hides_is_refused(code: str) -> None:
    parsed = read(book(sheet([row(*HEADINGS), row(D, cell("x", 1))]), codes=[code]))
    assert faults(parsed) == [(2, Code.PATH_SYNTAX)]


def test_a_cell_format_that_the_book_does_not_have_is_not_certain() -> None:
    parsed = read(book(sheet([row(*HEADINGS), row(D, cell(12, 7)), row(D, cell("a", 7))])))
    assert (faults(parsed), entries(parsed)) == ([(2, Code.PATH_SYNTAX)], [(3, "a")])


def test_numbers_as_dates_of_generations_are_refused() -> None:
    lines = [row(*RESTORE), row(D, "a.txt", cell(12, 1)), row(D, "b.txt", cell(1 / 3, 2))]
    parsed = read(book(sheet(lines), codes=["0000", "0.00E+00"]), ListKind.RESTORE)
    assert [(p.line, p.code, p.detail) for p in parsed.problems] == [
        (2, Code.NAMED_DATE, "0012"),
        (3, Code.NAMED_DATE, "0.333333333333333"),
    ]


# Merged cells


def merged(*ranges: str) -> str:
    inside = "".join(f'<mergeCell ref="{r}"/>' for r in ranges)
    return f"<mergeCells>{inside}</mergeCells>"


@pytest.mark.parametrize("kind", ListKind)
def test_a_name_merged_over_rows_is_refused_with_each_row(kind: ListKind) -> None:
    headings = HEADINGS if kind is ListKind.ARCHIVE else RESTORE
    lines = [row(*headings), row(f"{D}\\a", "議事録.docx"), row(f"{D}\\b"), row(f"{D}\\c")]
    lines.append(row(f"{D}\\d", "x.txt"))
    parsed = read(book(sheet(lines, after=merged("B2:B4"))), kind)
    assert entries(parsed) == [(2, "a\\議事録.docx"), (5, "d\\x.txt")]
    assert faults(parsed) == [(3, Code.PATH_SYNTAX), (4, Code.PATH_SYNTAX)]
    assert all("結合" in p.detail and "B2:B4" in p.detail for p in parsed.problems)


def test_a_name_merged_with_its_directory_is_refused() -> None:
    lines = [row(*HEADINGS), row(f"{D}\\a"), row(f"{D}\\b"), row(f"{D}\\c", "x.txt", "備考")]
    parsed = read(book(sheet(lines, after=merged("A2:B2", "B4:C4"))))
    assert entries(parsed) == [(3, "b"), (4, "c\\x.txt")]
    assert faults(parsed) == [(2, Code.PATH_SYNTAX)]


def test_a_date_merged_over_rows_is_refused() -> None:
    lines = [row(*RESTORE), row(D, "a.txt", "2026/10/05 10:15:00"), row(D, "b.txt")]
    parsed = read(book(sheet(lines, after=merged("C2:C3"))), ListKind.RESTORE)
    assert (entries(parsed), faults(parsed)) == ([(2, "a.txt")], [(3, Code.PATH_SYNTAX)])


def test_a_value_that_a_merge_covers_is_not_read() -> None:
    lines = [row(*HEADINGS), row(D, "a.txt"), row(D, "unseen.txt"), row(D, "unseen.txt")]
    parsed = read(book(sheet(lines, after=merged("B2:B3"))))
    assert (entries(parsed), faults(parsed)) == (
        [(2, "a.txt"), (4, "unseen.txt")],
        [(3, Code.PATH_SYNTAX)],
    )


def test_merges_of_other_cells_do_not_matter() -> None:
    lines = [row(*HEADINGS, "備考", line=3), row(D, "a.txt", "x", line=4), row(D, line=5)]
    after = merged("A1:C2", "C4:C5", "A8:B9", "A4", "x", "ZZZZ1:B2")
    assert entries(read(book(sheet(lines, after=after)))) == [(4, "a.txt"), (5, D)]


# Sheets

LIST = sheet([row(*HEADINGS), row(D, "a.txt")])
MORE = sheet([row(f"{D}\\b\\y.txt"), row(f"{D}\\c\\z.txt")])
HIDDEN = ("visible", "hidden", "veryHidden")


def test_a_list_that_goes_on_without_headings_is_named_and_stops_the_check() -> None:
    for kind in ListKind:
        (problem,) = read(book(LIST, MORE), kind).problems
        assert (problem.code, problem.detail) == (Code.SHEET_UNREAD, "「シート2」")
        assert problem.is_error


def test_hidden_sheets_that_hold_something_are_named() -> None:
    parsed = read(book(LIST, MORE, LIST, states=HIDDEN))
    assert entries(parsed) == [(2, "a.txt")]
    (problem,) = parsed.problems
    assert (problem.code, problem.severity) == (Code.SHEET_IGNORED, Severity.WARNING)
    assert problem.detail == "「シート2」「シート3」"


def test_empty_sheets_are_not_mentioned() -> None:
    empty = sheet([row(line=3), '<row r="5"><c r="A5" s="1"/></row>'])
    assert faults(read(book(LIST, empty, empty, states=("visible", "hidden")))) == []


def test_of_path_lists_one_sheet_is_read_and_the_others_are_named() -> None:
    parsed = read(book(MORE, MORE.replace("b\\", "d\\")))
    assert entries(parsed) == [(1, "b\\y.txt"), (2, "c\\z.txt")]
    assert faults(parsed) == [(None, Code.SHEET_UNREAD)]


def test_the_same_line_of_two_sheets_is_told_apart() -> None:
    parsed = read(book(LIST, LIST))
    assert [row.source for row in parsed.rows] == ["一覧「シート1」"]
    (problem,) = parsed.problems
    assert (problem.source, problem.line, problem.detail) == (
        "一覧「シート2」",
        2,
        "最初は一覧「シート1」 の2行目",
    )


def test_a_hidden_column_of_ours_is_refused() -> None:
    for cols in ('<col min="2" max="2" hidden="1"/>', '<col min="1" max="1" width="0"/>'):
        hidden = sheet([row(*HEADINGS), row(D, "a.txt")], before=f"<cols>{cols}</cols>")
        parsed = read(book(hidden))
        assert (parsed.rows, faults(parsed)) == ((), [(1, Code.LIST_FORMAT)])
        assert "非表示" in parsed.problems[0].detail
    other = '<cols><col min="3" max="16384" hidden="1"/></cols>'
    lines = [row(*HEADINGS, "備考"), row(D, "a.txt", "x")]
    assert faults(read(book(sheet(lines, before=other)))) == []
    unseen = sheet([row(f"{D}\\a")], before='<cols><col min="1" max="1" hidden="1"/></cols>')
    assert faults(read(book(unseen))) == [(1, Code.LIST_FORMAT)]


# Books of other programs


def test_a_sheet_without_relation_is_no_sheet() -> None:
    """The module sheet of a book with macros."""
    written = parts(LIST)
    module = '<sheet name="Module1" sheetId="9" r:id=""/><sheet name="M2" sheetId="8"/>'
    written[BOOK] = written[BOOK].replace("</sheets>", f"{module}</sheets>")
    parsed = read(packed(written))
    assert (faults(parsed), entries(parsed)) == ([], [(2, "a.txt")])


def test_parts_that_are_named_and_missing_do_not_matter_while_no_cell_needs_them() -> None:
    written = parts(LIST)
    del written["xl/styles.xml"]
    written[RELATIONS] = relations(
        ("rId1", "worksheet", "worksheets/sheet1.xml"),
        ("rIdS", "styles", "styles.xml"),
        ("rIdT", "theme", "theme/theme1.xml"),
        ("rIdX", "sharedStrings", "sharedStrings.xml"),
    )
    parsed = read(packed(written))
    assert (faults(parsed), entries(parsed)) == ([], [(2, "a.txt")])
    written["xl/worksheets/sheet1.xml"] = LIST.replace(
        "</sheetData>", '<row><c t="s"><v>0</v></c></row></sheetData>'
    )
    assert faults(read(packed(written))) == [(None, Code.LIST_FORMAT)]


# Text lists

COLUMNS = "ディレクトリパス,ファイル名\n"


def test_the_first_heading_may_begin_like_a_zip() -> None:
    parsed = read(f"PK,ディレクトリパス,ファイル名\r\n1,{D},x.txt\r\n".encode("cp932"))
    assert (faults(parsed), entries(parsed)) == ([], [(2, "x.txt")])


@pytest.mark.parametrize("sign", ";,|\t")
def test_a_line_that_says_the_delimiter_is_obeyed_and_not_shown(sign: str) -> None:
    head = f"ディレクトリパス{sign}ファイル名"
    parsed = read(f"sep={sign}\r\n{head}\r\n{D}{sign}x, y.txt\r\n".replace("x, y", "x"))
    assert entries(parsed) == [(3, "x.txt")]
    assert faults(parsed) == [(None, Code.LIST_ADJUSTED)]
    assert parsed.problems[0].severity is Severity.NOTE


def test_a_path_list_with_a_said_delimiter_has_one_column() -> None:
    assert entries(read(f"SEP=;\n{D}\\a,b.txt\n\n{D}\\c.txt;\n")) == [(2, "a,b.txt"), (4, "c.txt")]
    assert (1, Code.LIST_FORMAT) not in faults(read(f"sep=;\n{D};a.txt\n"))
    assert read(f"sep=;\n{D};a.txt\n").rows == ()


def test_a_comma_at_the_end_of_each_line_is_no_part_of_the_name() -> None:
    parsed = read(f'{D}\\a\\f1.txt,\r\n"{D}\\a\\b, f2.txt",,\r\n,,\r\n')
    assert entries(parsed) == [(1, "a\\f1.txt"), (2, "a\\b, f2.txt")]
    # A file that is really called so is found first.
    assert [r.exact.removeprefix(D) for r in parsed.rows] == ["\\a\\f1.txt,", ""]
    (note,) = parsed.problems
    assert (note.code, note.severity) == (Code.LIST_ADJUSTED, Severity.NOTE)
    assert "2行、最初は1行目" in note.detail


def test_one_quote_that_is_never_closed_costs_one_line() -> None:
    lines = [f"{D},資料{n}.txt" for n in range(1, 60)]
    lines[4] = lines[4].replace("資料", '"資料')
    parsed = read((COLUMNS + "\r\n".join(lines)).encode("cp932"))
    assert faults(parsed) == [(6, Code.PATH_SYNTAX)]
    assert "引用符" in parsed.problems[0].detail
    assert entries(parsed) == [(n + 1, f"資料{n}.txt") for n in range(1, 60) if n != 5]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f'{D},"a.txt"b', True),
        (f'{D},"a.txt" ', True),
        (f'{D},a.txt,"完了', True),
        (f'{D},a.txt,"" x', True),
        (f'{D},a.txt,5" 8"', False),
        (f'"{D}",a.txt,"""至急"""', False),
    ],
)
def test_quotes_where_none_belong_cost_their_line_alone(line: str, fault: bool) -> None:
    parsed = read(f'ディレクトリパス,ファイル名,備考\n{line}\n{D},b.txt,"済"\n{D},c.txt,完了"\n')
    assert faults(parsed) == ([(2, Code.PATH_SYNTAX)] if fault else [])
    assert entries(parsed)[-2:] == [(3, "b.txt"), (4, "c.txt")]


def test_remarks_may_have_lines() -> None:
    remark = '"至急\n次の行, まで\n"'
    text = f"備考,ファイル名,ディレクトリパス\n{remark},a.txt,{D}\n{remark},b.txt,{D}\n"
    parsed = read(text)
    assert (faults(parsed), entries(parsed)) == ([], [(2, "a.txt"), (5, "b.txt")])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"{D}\\a\x85b", Code.PATH_SYNTAX),
        (f"{D}\\a\x00b", Code.PATH_SYNTAX),
        (f"{D}\\a\x0bb", Code.PATH_SYNTAX),
    ],
)
def test_signs_that_nobody_sees_cost_their_line_alone(line: str, code: Code) -> None:
    for text in (f"{line}\n{D}\\b\n", f"ディレクトリパス,ファイル名\n{line},\n{D},b\n"):
        parsed = read(text)
        assert [p.code for p in parsed.problems] == [code]
        assert [r.path for r in parsed.rows] == [f"{D}\\b"]


def test_other_delimiters_below_the_headings_are_not_obeyed() -> None:
    parsed = read(f"{COLUMNS}{D},a.txt\n{D}\tb.txt\n{D};c.txt\n")
    assert faults(parsed) == [(3, Code.PATH_SYNTAX)]
    assert entries(parsed) == [(2, "a.txt"), (4, f"{D};c.txt")]


# Names as the archive list has them


def test_a_restore_list_may_hold_what_a_share_shows() -> None:
    head = "ディレクトリパス,復元対象ファイル名"
    text = f'{head}\r\n{D}\\mac,報告:2024*最終?.txt\r\n{D}," lead.txt"\r\n'
    parsed = read(text.encode("utf-8-sig"), ListKind.RESTORE)
    assert parsed.problems == ()
    assert [row.exact or row.path for row in parsed.rows] == [
        f"{D}\\mac\\報告:2024*最終?.txt",
        f"{D}\\ lead.txt",
    ]


# Files that are no lists


def zipped(*names: str, flag: int = 0) -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    content = bytearray(stream.getvalue())
    if flag:
        at = content.index(b"PK\x01\x02")
        content[at + 8] |= flag
    return bytes(content)


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
KINDS = [
    (zipped("[Content_Types].xml", "xl/workbook.bin"), "xlsb"),
    (zipped("mimetype", "content.xml"), ".ods"),
    (zipped("Index/Document.iwa"), "Numbers"),
    (zipped("[Content_Types].xml", "word/document.xml"), ".docx"),
    (zipped("[Content_Types].xml", "ppt/presentation.xml"), ".pptx"),
    (zipped("一覧.csv"), "ZIP"),
    (zipped(), "ZIP"),
    (zipped("一覧.csv", flag=1), "パスワード"),
    (OLE, "古い形式（.xls）"),
    (OLE + "WordDocument".encode("utf-16-le"), ".doc"),
    (OLE + "EncryptedPackage".encode("utf-16-le"), "パスワード"),
    (b"\x09\x08\x08\x00\x00\x05\x05\x00", "古い形式（.xls）"),
    (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG"),
    (b"GIF89a" + bytes(10), "GIF"),
    (b"BM" + struct.pack("<I", 70) + bytes(20), "BMP"),
    (b"RIFF" + struct.pack("<I", 70) + b"WEBPVP8 ", "WebP"),
    (struct.pack(">I", 24) + b"ftypheic" + bytes(10), "HEIC"),
    (b"II*\x00" + bytes(20), "TIFF"),
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
    (b"{\\rtf1\\ansi x}", ".rtf"),
    (b"\r\n<html xmlns:o=''><body>", "Webページ"),
    (b"MIME-Version: 1.0\r\n", "Webページ"),
    (b"\xef\xbb\xbf<?xml version='1.0'?><Workbook/>", "XML"),
    ("<html>".encode("utf-16"), "Webページ"),
    (b"ID;PWXL;N;E\r\nP;PGeneral\r\n", "SYLK"),
    (b"L\x00\x00\x00\x01\x14\x02\x00" + bytes(20), ".lnk"),
    (b"[InternetShortcut]\r\nURL=x", ".url"),
    (b"\x1f\x8b\x08\x00", "圧縮"),
]


@pytest.mark.parametrize(("content", "name"), KINDS)
def test_other_files_are_called_what_they_are(content: bytes, name: str) -> None:
    parsed = read(content)
    assert parsed.rows == ()
    (problem,) = parsed.problems
    assert problem.code in (Code.LIST_FORMAT, Code.LIST_ENCODING)
    assert name in problem.detail
    # What to do
    assert "ください" in problem.detail


def test_an_empty_file_is_called_empty() -> None:
    (problem,) = read(b"").problems
    assert (problem.code, "0バイト" in problem.detail) == (Code.LIST_EMPTY, True)


def test_a_list_may_begin_with_id() -> None:
    assert entries(read(f"ID;ディレクトリパス;ファイル名\n1;{D};a.txt\n")) == [(2, "a.txt")]


def test_relations_of_other_kinds_of_sheets_do_not_matter() -> None:
    written = parts(LIST)
    written[BOOK] = written[BOOK].replace(
        "</sheets>", '<sheet name="グラフ" sheetId="9" r:id="rId9"/></sheets>'
    )
    written[RELATIONS] = written[RELATIONS].replace(
        "</Relationships>",
        f'<Relationship Id="rId9" Type="{OFFICE}/chartsheet" Target="c.xml"/></Relationships>',
    )
    assert MAIN in written[BOOK]
    assert faults(read(packed(written))) == []
