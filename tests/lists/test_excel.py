"""Workbooks part by part: as Excel itself writes them, and as nobody honest would."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from xml.sax.saxutils import quoteattr
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import pytest

from core.errors import Code
from core.lists.parser import parse
from core.model import ListKind, ListSource, ParsedList

TOKYO = ZoneInfo("Asia/Tokyo")
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
SHEET, BOOK = "xl/worksheets/sheet1.xml", "xl/workbook.xml"
HEAD = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
HEADINGS = "<si><t>ディレクトリパス</t></si><si><t>{}</t></si>"


def parts(
    rows: str, strings: str = "", formats: tuple[int | str, ...] = (), heading: str = "ファイル名"
) -> dict[str, str]:
    """Return a workbook of one sheet; ``rows`` follow the headings, ``strings`` count from 2.

    The cell formats, from 1 on, are numbers that Excel knows or codes of one's own.
    """
    codes = {200 + i: code for i, code in enumerate(formats) if isinstance(code, str)}
    own = "".join(
        f'<numFmt numFmtId="{number}" formatCode={quoteattr(code)}/>'
        for number, code in codes.items()
    )
    used = (200 + i if isinstance(code, str) else code for i, code in enumerate(formats))
    cells = "".join(f'<xf numFmtId="{number}"/>' for number in (0, *used))
    return {
        "_rels/.rels": relations(("rId1", "officeDocument", BOOK)),
        "xl/_rels/workbook.xml.rels": relations(
            ("rId1", "worksheet", "worksheets/sheet1.xml"),
            ("rId2", "styles", "styles.xml"),
            ("rId3", "sharedStrings", "sharedStrings.xml"),
        ),
        BOOK: (
            f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><workbookPr/><sheets>'
            '<sheet name="一覧" sheetId="1" r:id="rId1"/></sheets></workbook>'
        ),
        "xl/styles.xml": (
            f'<styleSheet xmlns="{MAIN}"><numFmts>{own}</numFmts>'
            f'<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs>{cells}</cellXfs>'
            '<dxfs><dxf><numFmt numFmtId="200" formatCode="@"/></dxf></dxfs></styleSheet>'
        ),
        "xl/sharedStrings.xml": (f'<sst xmlns="{MAIN}">{HEADINGS.format(heading)}{strings}</sst>'),
        SHEET: (
            f'<worksheet xmlns="{MAIN}"><dimension ref="A1:B2"/>'
            f"<sheetData>{HEAD}{rows}</sheetData></worksheet>"
        ),
    }


def relations(*entries: tuple[str, str, str]) -> str:
    inside = "".join(
        f'<Relationship Id="{id_}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for id_, kind, target in entries
    )
    return f'<Relationships xmlns="{PACKAGE}">{inside}</Relationships>'


def packed(written: dict[str, str], codec: str = "utf-8") -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, xml in written.items():
            archive.writestr(name, f'<?xml version="1.0"?>{xml}'.encode(codec))
    return stream.getvalue()


def read(written: dict[str, str], kind: ListKind = ListKind.ARCHIVE) -> ParsedList:
    return parse([ListSource("list.xlsx", packed(written))], kind, TOKYO)


def files(*cells: str) -> str:
    r"""Return rows from 2 on: the directory ``\\s\d`` and a cell each."""
    return "".join(
        f'<row r="{line}"><c r="A{line}" t="str"><v>\\\\s\\d</v></c>{cell}</row>'
        for line, cell in enumerate(cells, 2)
    )


def entries(parsed: ParsedList) -> list[tuple[int, str]]:
    return [(row.line, row.path) for row in parsed.rows]


def names(parsed: ParsedList) -> list[str]:
    assert parsed.problems == ()
    return [row.path.removeprefix("\\\\s\\d\\") for row in parsed.rows]


def test_readings_are_no_part_of_a_name() -> None:
    """Japanese Excel keeps with each text how its kanji were typed."""
    reading = '<rPh sb="0" eb="2"><t>ミツモリ</t></rPh><phoneticPr fontId="1"/>'
    shared = (
        f"<si><t>見積.xlsx</t>{reading}</si>"
        f"<si><r><t>見積</t></r><r><rPr><b/></rPr><t>書</t></r>{reading}</si>"
    )
    inline = f'<c t="inlineStr"><is><t>見積メモ</t>{reading}</is></c>'
    rows = files('<c t="s"><v>2</v></c>', '<c t="s"><v>3</v></c>', inline)
    assert names(read(parts(rows, shared))) == ["見積.xlsx", "見積書", "見積メモ"]


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("<t>0001</t>", "0001"),
        ('<t xml:space="preserve"> a  b </t>', "a  b"),
        ('<r><t>太</t></r><r><rPr><b/></rPr><t xml:space="preserve"> 字</t></r>', "太 字"),
        ("<t><![CDATA[a & b]]>&amp;&#x3042;</t>", "a & b&あ"),
        ("<t>a.txt_x000D_\n</t>", "a.txt"),
        ("<t>a_x0042_c</t>", "aBc"),
        ("<t>a_x005F_x0042_c</t>", "a_x0042_c"),
        ("<t>_xD867__xDE3D_</t>", "\U00029e3d"),
    ],
)
def test_texts_are_as_excel_shows_them(inside: str, name: str) -> None:
    shared = read(parts(files('<c t="s"><v>2</v></c>'), f"<si>{inside}</si>"))
    inline = read(parts(files(f'<c t="inlineStr"><is>{inside}</is></c>')))
    assert names(shared) == names(inline) == [name]


def test_half_a_letter_is_the_fault_of_its_row() -> None:
    rows = files('<c t="str"><v>a_xD867_</v></c>', '<c t="str"><v>b</v></c>')
    parsed = read(parts(rows))
    assert [(p.line, p.code) for p in parsed.problems] == [(2, Code.NAME_NOT_STORABLE)]
    assert entries(parsed) == [(3, r"\\s\d\b")]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("2024", "2024"),
        ("0001", "1"),
        ("1E3", "1000"),
        ("-0", "0"),
        ("0.10000000000000001", "0.1"),
        ("99999999999", "99999999999"),
    ],
)
def test_numbers_are_names_as_shown(written: str, name: str) -> None:
    assert names(read(parts(files(f"<c><v>{written}</v></c>")))) == [name]


def test_errors_are_the_fault_of_their_rows() -> None:
    values = ("#REF!", "#N/A", "#SPILL!", "#CALC!", "#BLOCKED!", "#GETTING_DATA")
    cells = [f'<c t="e"><v>{value}</v></c>' for value in values]
    parsed = read(parts(files(*cells, '<c t="str"><v>a.txt</v></c>')))
    assert [(p.line, p.code) for p in parsed.problems] == [
        (line, Code.PATH_SYNTAX) for line in range(2, 8)
    ]
    assert entries(parsed) == [(8, r"\\s\d\a.txt")]


def dated(cells: list[str], formats: tuple[int | str, ...] = (14,)) -> dict[str, str]:
    r"""Return a restore list of ``\\s\2``, ``\\s\3``, … with a cell each in the date's column."""
    rows = "".join(
        f'<row><c t="str"><v>\\\\s\\{line}</v></c>{cell}</row>'
        for line, cell in enumerate(cells, 2)
    )
    return parts(rows, formats=formats, heading="アーカイブ日時")


def styled(count: int, number: str) -> list[str]:
    return [f'<c s="{style}"><v>{number}</v></c>' for style in range(1, count + 1)]


MOMENT = datetime(2026, 10, 5, 10, 15, tzinfo=TOKYO)
DATES = (
    *(14, 22, 30, 31, 57, "yyyy/mm/dd hh:mm", 'yyyy"年"m"月"d"日"', "[Red]d;@"),
    *('[$-411]ggge"年"m"月"d"日"', r"[$-F800]dddd\,\ mmmm\ dd\,\ yyyy", "mm:ss.0"),
)
NUMBERS = (0, 3, 9, 11, 49, '0"day"', r"0\m", "0_d", "[Red]0", "General", "0;yyyy", "[$USD]0")


def test_formats_make_dates() -> None:
    parsed = read(dated(styled(len(DATES), "46300.427083333336"), DATES), ListKind.RESTORE)
    assert parsed.problems == ()
    assert [row.archived_at for row in parsed.rows] == [MOMENT] * len(DATES)


def test_other_formats_do_not() -> None:
    parsed = read(dated(styled(len(NUMBERS), "46300.427083333336"), NUMBERS), ListKind.RESTORE)
    assert {p.code for p in parsed.problems} == {Code.NAMED_DATE}
    rounded, exact = "46300", "46300.4270833333"
    assert [p.detail for p in parsed.problems] == [
        *(exact, "46,300", "4630043%", exact, exact),
        *(f"{rounded}day", f"{rounded}m", rounded, rounded, exact, rounded, exact),
    ]


def test_dates_of_old_macs_and_of_strict_workbooks() -> None:
    iso = [f'<c t="d"><v>2026-10-05T10:15:00{zone}</v></c>' for zone in ("", "Z", ".000")]
    written = dated([*styled(1, "44838.427083333336"), *iso])
    written[BOOK] = written[BOOK].replace("<workbookPr/>", '<workbookPr date1904="1"/>')
    parsed = read(written, ListKind.RESTORE)
    assert [row.archived_at for row in parsed.rows] == [MOMENT] * 4


def test_the_day_that_only_excel_knows() -> None:
    parsed = read(dated([f'<c s="1"><v>{day}</v></c>' for day in (1, 59, 61)]), ListKind.RESTORE)
    assert [row.archived_at for row in parsed.rows] == [
        datetime(1900, 1, 1, tzinfo=TOKYO),
        datetime(1900, 2, 28, tzinfo=TOKYO),
        datetime(1900, 3, 1, tzinfo=TOKYO),
    ]


def test_dates_that_are_none() -> None:
    values = ("0", "0.5", "-1", "3000000", "1E300")
    cells = [f'<c s="1"><v>{value}</v></c>' for value in values]
    cells += ['<c s="2"><v>1.5</v></c>', '<c t="d"><v>10:15</v></c>']
    parsed = read(dated(cells, (14, 46)), ListKind.RESTORE)
    assert [(p.line, p.code, p.detail) for p in parsed.problems] == [
        (2, Code.NAMED_DATE, "00:00:00"),
        (3, Code.NAMED_DATE, "12:00:00"),
        (4, Code.NAMED_DATE, "#VALUE!"),
        (5, Code.NAMED_DATE, "#VALUE!"),
        (6, Code.NAMED_DATE, "#VALUE!"),
        (7, Code.NAMED_DATE, "36:00:00"),
        (8, Code.NAMED_DATE, "10:15"),
    ]


def test_texts_are_whole_wherever_the_stream_is_cut() -> None:
    texts = [f"{'見積' * (number % 40)}{number:04}" for number in range(1500)]
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    rows = files(*(f'<c t="s"><v>{2 + number}</v></c>' for number in range(1500)))
    assert names(read(parts(rows, shared))) == texts


def test_rows_and_columns_are_counted_where_the_file_does_not_number_them() -> None:
    path, name = '<c t="str"><v>\\\\s\\d</v></c>', '<c t="str"><v>{}</v></c>'
    rows = (
        f"<row>{path}{name.format('a')}</row><row/>"
        f"<row>{path}{name.format('b')}</row>"
        f'<row r="9"><c r="B9" t="str"><v>c</v></c><c r="A9" t="str"><v>\\\\s\\e</v></c></row>'
    )
    assert entries(read(parts(rows))) == [(2, r"\\s\d\a"), (4, r"\\s\d\b"), (9, r"\\s\e\c")]


def test_notes_far_to_the_right_are_ignored() -> None:
    written = parts("")
    row = '<row><c t="str"><v>\\\\s\\d</v></c><c r="{}1" t="str"><v>a note</v></c></row>'
    written[SHEET] = written[SHEET].replace(HEAD, row.format("BM"))
    assert entries(read(written)) == [(1, r"\\s\d")]
    written[SHEET] = written[SHEET].replace("BM1", "BL1")
    assert [p.code for p in read(written).problems] == [Code.LIST_FORMAT]


def test_a_list_may_begin_anywhere() -> None:
    written = parts(
        '<row r="7"><c r="C7" t="s"><v>0</v></c><c r="D7" s="1"/><c r="F7" t="s"><v>1</v></c></row>'
        '<row r="9"><c r="C9" t="str"><v>\\\\s\\d</v></c>'
        '<c r="F9" t="str"><v>a</v></c></row>'
    )
    written[SHEET] = written[SHEET].replace(HEAD, '<row r="3"><c r="B3" s="1"/></row>')
    assert entries(read(written)) == [(9, r"\\s\d\a")]


def test_the_farthest_cells_cost_nothing() -> None:
    """A table of all cells between them would have 17,179,869,184."""
    last = '<row r="1048576"><c t="str"><v>\\\\s\\d</v></c><c r="XFD1048576"><v>1</v></c></row>'
    written = parts(last)
    written[SHEET] = written[SHEET].replace("A1:B2", "A1:XFD4294967295")
    assert entries(read(written)) == [(1_048_576, r"\\s\d")]


def test_rows_below_the_last_are_none() -> None:
    rows = files('<c t="str"><v>a</v></c>').replace('r="2"', 'r="10000000"')
    assert [p.code for p in read(parts(rows)).problems] == [Code.LIST_EMPTY]


def test_other_ways_to_write_the_same() -> None:
    """Strict Open XML, namespace prefixes, part names with other letters or from the root."""
    written = parts(files('<c t="s"><v>2</v></c>'), "<si><t>a</t></si>")
    sheet = written[SHEET].replace("xmlns=", "xmlns:x=")
    written[SHEET] = sheet.replace("</", "</x:").replace("<", "<x:").replace("<x:/x:", "</x:")
    written["xl/sharedstrings.XML"] = written.pop("xl/sharedStrings.xml")
    rels = written["xl/_rels/workbook.xml.rels"]
    written["xl/_rels/workbook.xml.rels"] = rels.replace('"styles.xml', '"/xl/styles.xml')
    ooxml = "http://purl.oclc.org/ooxml"
    strict = {
        name: xml.replace(OFFICE, f"{ooxml}/officeDocument/relationships").replace(
            MAIN, f"{ooxml}/spreadsheetml/main"
        )
        for name, xml in written.items()
    }
    assert names(read(written)) == names(read(strict)) == ["a"]


def test_parts_that_hold_no_cells_may_be_missing() -> None:
    written = parts("").copy()
    del written["xl/styles.xml"], written["xl/sharedStrings.xml"]
    written["xl/_rels/workbook.xml.rels"] = relations(
        ("rId1", "worksheet", "worksheets/sheet1.xml")
    )
    written[SHEET] = written[SHEET].replace(
        HEAD, '<row><c t="inlineStr"><is><t>\\\\s\\d</t></is></c></row>'
    )
    assert entries(read(written)) == [(1, r"\\s\d")]


ONE = files('<c t="str"><v>a</v></c>')
CELL = '<row r="2"><c r="B2"{}><v>{}</v></c></row>'


@pytest.mark.parametrize(
    "rows",
    [
        ONE + ONE,
        ONE.replace('r="2"', 'r="0"'),
        ONE.replace('r="2"', 'r="two"'),
        ONE.replace('r="A2"', 'r="ABCD2"'),
        ONE.replace('r="A2"', 'r="2"'),
        ONE.replace('r="A2"', 'r="あ2"'),
        CELL.format(' t="s"', "2"),
        CELL.format(' t="s"', "-1"),
        CELL.format("", "nan"),
        CELL.format("", "1e999"),
        CELL.format("", "text"),
        CELL.format(' t="str"', "x" * 250_000),
        "<a>" * 100 + "</a>" * 100,
        "".join(f"<a{i}/>" for i in range(2000)),
    ],
)
def test_what_excel_never_writes_is_refused(rows: str) -> None:
    assert [(p.code, p.detail) for p in read(parts(rows)).problems] == [
        (Code.LIST_FORMAT, "Excelのブックとして読み取れません。ファイルが壊れています")
    ]


def test_one_part_cannot_be_many_sheets() -> None:
    written = parts(ONE)
    written[BOOK] = written[BOOK].replace(
        "</sheets>", '<sheet name="再" sheetId="2" r:id="rId1"/></sheets>'
    )
    assert [p.code for p in read(written).problems] == [Code.LIST_FORMAT]


@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
@pytest.mark.parametrize("part", [SHEET, BOOK, "_rels/.rels", "xl/sharedStrings.xml"])
def test_definitions_are_refused_in_every_part_and_encoding(part: str, codec: str) -> None:
    written = parts(ONE)
    written[part] = '<!DOCTYPE x [<!ENTITY a "b">]>' + written[part]
    content = packed(written, codec)
    (problem,) = parse([ListSource("list.xlsx", content)], ListKind.ARCHIVE, TOKYO).problems
    assert (problem.code, problem.detail) == (
        Code.LIST_FORMAT,
        "Excelのブックにないはずの定義があります",
    )
