"""Lists as people send them, and what is said about each mistake in them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.errors import Code
from core.lists.parser import parse
from core.model import DetectedList, ListKind, ListRow, ListSource, ParsedList

TOKYO = ZoneInfo("Asia/Tokyo")
SAMPLES = Path(__file__).parent / "samples"
HEADER = "ディレクトリパス,ファイル名\n"
RESTORE_HEADER = "ディレクトリパス,復元対象ファイル名,アーカイブ日時\n"


def read(
    content: str | bytes, kind: ListKind = ListKind.ARCHIVE, name: str = "list.csv"
) -> ParsedList:
    data = content.encode() if isinstance(content, str) else content
    return parse([ListSource(name, data)], kind, TOKYO)


def paths(parsed: ParsedList) -> list[str]:
    assert parsed.problems == ()
    return [row.path for row in parsed.rows]


def faults(parsed: ParsedList) -> list[tuple[int | None, Code]]:
    return [(p.line, p.code) for p in parsed.problems]


SAMPLE_PATHS = [
    r"\\fsx01\share\営業部\2024年度\見積\見積書_A社.xlsx",
    r"\\fsx01\share\営業部\2024年度\見積\見積書～B社（最終）.xlsx",
    r"\\fsx01\share\経理部\請求書",
    r"\\fsx01\share\開発部\設計書\基本設計.docx",
    r"\\fsx01\share\総務部\会議, 議事録\第1回 定例.txt",
]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("archive_list_cp932.csv", "CP932"),
        ("archive_list_utf8.csv", "UTF-8"),
        ("archive_list_utf8bom.csv", "UTF-8 (BOM)"),
        ("archive_list_excel_unicode_text.txt", "UTF-16"),
    ],
)
def test_the_same_list_in_each_encoding(name: str, encoding: str) -> None:
    parsed = read((SAMPLES / name).read_bytes(), name=name)
    assert paths(parsed) == SAMPLE_PATHS
    assert [row.line for row in parsed.rows] == [2, 3, 4, 5, 6]
    assert parsed.detected == (DetectedList(name, encoding, "columns", 5),)


def test_utf16_big_endian() -> None:
    parsed = read(b"\xfe\xff" + (HEADER + "\\\\s\\d,表.txt\n").encode("utf-16-be"))
    assert paths(parsed) == [r"\\s\d\表.txt"]
    assert parsed.detected[0].encoding == "UTF-16"


def test_error_file_list() -> None:
    parsed = read((SAMPLES / "failed_uploads.txt").read_bytes(), name="failed_uploads.txt")
    assert paths(parsed) == [SAMPLE_PATHS[0], SAMPLE_PATHS[3], SAMPLE_PATHS[4]]
    assert parsed.detected == (DetectedList("failed_uploads.txt", "UTF-8 (BOM)", "paths", 3),)


def test_restore_list() -> None:
    parsed = read((SAMPLES / "restore_list_cp932.csv").read_bytes(), ListKind.RESTORE)
    assert paths(parsed) == [
        SAMPLE_PATHS[0],
        SAMPLE_PATHS[1] + "_archived.txt",
        r"\\FSX01\Share\経理部\請求書",
    ]
    assert [row.archived_at for row in parsed.rows] == [None, None, None]


def test_a_row_keeps_what_was_written() -> None:
    parsed = read(HEADER + "//fsx01/share/営業部/ , a.txt \n")
    assert parsed.rows == (
        ListRow(
            "list.csv",
            2,
            "//fsx01/share/営業部/a.txt",
            r"\\fsx01\share\営業部\a.txt",
            exact="\\\\fsx01\\share\\営業部\\ \\ a.txt ",
        ),
    )


@pytest.mark.parametrize(
    "header",
    [
        "ディレクトリパス,ファイル名",
        "\ufeffﾃﾞｨﾚｸﾄﾘﾊﾟｽ , ﾌｧｲﾙ名",
        '"ディレクトリ パス","ファイル　名"',
        '"ディレクトリ\nパス","ファイル名"',
    ],
)
def test_headings_are_compared_leniently(header: str) -> None:
    assert paths(read(header + "\n\\\\s\\d,a.txt\n")) == [r"\\s\d\a.txt"]


def test_columns_in_any_order_and_extra_ones() -> None:
    text = (
        "No.,ファイル名,備考,ディレクトリパス,\n"
        '1,a.txt,"至急\n1,2",\\\\s\\d,\n2,,,,\n3,b.txt,,\\\\s\\d,\n'
    )
    parsed = read(text)
    assert paths(parsed) == [r"\\s\d\a.txt", r"\\s\d\b.txt"]
    assert [row.line for row in parsed.rows] == [2, 5]
    assert parsed.detected[0].rows == 2


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_newlines_and_blank_lines(delimiter: str, newline: str) -> None:
    lines = ["", "ディレクトリパス,ファイル名", "", "\\\\s\\d,a.txt", ",", "\\\\s\\d,", ""]
    parsed = read(newline.join(lines).replace(",", delimiter))
    assert [(row.line, row.path) for row in parsed.rows] == [(4, r"\\s\d\a.txt"), (6, r"\\s\d")]


def test_half_a_surrogate_pair_concerns_one_row() -> None:
    text = HEADER + "\\\\s\\d,\ud842.txt\n\\\\s\\d,a.txt\n"
    parsed = read(b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass"))
    assert faults(parsed) == [(2, Code.NAME_NOT_STORABLE)]
    assert [row.line for row in parsed.rows] == [3]


def test_every_problem_of_every_list_is_reported() -> None:
    parsed = parse(
        [
            ListSource("a.csv", (HEADER + "Z:\\a,\n\\\\s\\d,a.txt\n..\\b,\n").encode()),
            ListSource("b.csv", b"\x81\xff"),
            ListSource("c.txt", rb"\\s\d\c.txt"),
        ],
        ListKind.ARCHIVE,
        TOKYO,
    )
    assert [(p.source, p.line, p.code, p.path) for p in parsed.problems] == [
        ("a.csv", 2, Code.PATH_SYNTAX, "Z:\\a"),
        ("a.csv", 4, Code.PATH_SYNTAX, "..\\b"),
        ("b.csv", None, Code.LIST_ENCODING, "b.csv"),
    ]
    assert [row.path for row in parsed.rows] == [r"\\s\d\a.txt", r"\\s\d\c.txt"]
    assert [d.source for d in parsed.detected] == ["a.csv", "c.txt"]


def test_path_list_keeps_commas_and_unwraps_copied_paths() -> None:
    text = '\\\\s\\d\\a, b.txt\n"\\\\s\\d\\c, d.txt"\n\n￥￥s￥d￥e;f.txt\t\n'
    parsed = read(text, name="list.txt")
    assert paths(parsed) == [r"\\s\d\a, b.txt", r"\\s\d\c, d.txt", r"\\s\d\e;f.txt"]
    assert [row.line for row in parsed.rows] == [1, 2, 4]


def test_a_single_heading_leaves_commas_alone() -> None:
    parsed = read('ディレクトリパス\n\\\\s\\d\\a, b.txt\n"\\\\s\\d\\c, d"\n')
    assert paths(parsed) == [r"\\s\d\a, b.txt", r"\\s\d\c, d"]
    assert parsed.detected[0].form == "columns"


def test_faulty_lines_of_a_path_list_are_named() -> None:
    assert faults(read("Z:\\a\n\\\\s\\d\\..\\b\nab\n")) == [
        (1, Code.PATH_SYNTAX),
        (2, Code.PATH_PARENT),
        (3, Code.PATH_SYNTAX),
    ]


@pytest.mark.parametrize(
    ("text", "line", "detail"),
    [
        ("フォルダ,名前\n\\\\s\\d,a.txt\n", 1, "「フォルダ,名前」"),
        ("\n営業部の一覧\n\\\\s\\d\\a.txt\n", 2, "「営業部の一覧」"),
        ("\\\\s\\d\ta.txt\n", 1, "1行に1つのパス"),
        ("\\\\s\\d\\a.txt\n\\\\s\\d\tb.txt\n", 2, "1行に1つのパス"),
        ("ディレクトリパス,復元対象ファイル名\n\\\\s\\d,a.txt\n", 1, "「復元対象ファイル名」"),
        ("ディレクトリパス,対象のファイル名\n\\\\s\\d,a.txt\n", 1, "「対象のファイル名」"),
    ],
)
def test_lists_that_are_not_understood(text: str, line: int, detail: str) -> None:
    parsed = read(text)
    assert faults(parsed) == [(line, Code.LIST_FORMAT)]
    assert detail in parsed.problems[0].detail
    assert parsed.rows == ()
    assert parsed.detected == ()


def test_a_comma_that_nobody_quoted_is_an_error_not_another_path() -> None:
    parsed = read(HEADER + "\\\\s\\d\\a, b,c.txt\n\\\\s\\d,e.txt,\n")
    assert faults(parsed) == [(2, Code.PATH_SYNTAX)]
    assert parsed.problems[0].path == "\\\\s\\d\\a,b,c.txt"
    assert [row.path for row in parsed.rows] == [r"\\s\d\e.txt"]


@pytest.mark.parametrize(
    "text",
    [
        'ディレクトリパス,ファイル名,備考\n\\\\s\\d,a.txt,"至急\n\\\\s\\d,b.txt,\n',
        'ディレクトリパス,ファイル名,備考\n\\\\s\\d,a.txt,"x\n\\\\s\\d,b.txt,"至急"\n',
    ],
)
def test_a_quote_that_is_not_closed_swallows_nothing(text: str) -> None:
    parsed = read(text)
    assert faults(parsed) == [(2, Code.PATH_SYNTAX)]
    assert "引用符" in parsed.problems[0].detail


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\r\n \r\n", HEADER.encode()])
def test_empty_list(content: bytes) -> None:
    parsed = read(content)
    assert faults(parsed) == [(None, Code.LIST_EMPTY)]
    assert parsed.detected[0].rows == 0


@pytest.mark.parametrize(
    "content",
    [
        HEADER.encode("utf-16-le") + "\\\\s\\d,a".encode("utf-16-le"),
        b"\xff\xfe\x00\x00" + HEADER.encode("utf-32-le"),
        b"\xef\xbb\xbf" + HEADER.encode("cp932"),
        b"\xff\xfe\x41",
        HEADER.encode("cp932") + b"\\\\s\\d,\xa0\n",
        HEADER.encode("cp932") + b"\\\\s\\d,\x81\n",
    ],
)
def test_undecodable(content: bytes) -> None:
    parsed = read(content)
    assert faults(parsed) == [(None, Code.LIST_ENCODING)]
    assert "CSV UTF-8" in parsed.problems[0].remedy


def test_duplicates_are_named_with_their_first_place() -> None:
    first = ListSource("a.csv", (HEADER + "\\\\s\\d,が.txt\n//s/d/,が.txt\n").encode())
    again = ListSource("b.txt", "\\\\s\\d\\が.txt\n\\\\s\\d\n".encode())
    parsed = parse([first, again], ListKind.ARCHIVE, TOKYO)
    assert [(p.source, p.line, p.code, p.detail) for p in parsed.problems] == [
        ("a.csv", 3, Code.DUPLICATE_ENTRY, "最初は2行目"),
        ("b.txt", 1, Code.DUPLICATE_ENTRY, "最初はa.csv の2行目"),
    ]
    assert not any(p.is_error for p in parsed.problems)
    assert [row.path for row in parsed.rows] == [r"\\s\d\が.txt", r"\\s\d"]
    assert [d.rows for d in parsed.detected] == [2, 2]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026/10/05 10:15:00", datetime(2026, 10, 5, 10, 15, tzinfo=TOKYO)),
        ("2026-10-05 10:15", datetime(2026, 10, 5, 10, 15, tzinfo=TOKYO)),
        ("2026/10/5 9:05", datetime(2026, 10, 5, 9, 5, tzinfo=TOKYO)),
        ("２０２６／１０／０５　１０：１５：３０", datetime(2026, 10, 5, 10, 15, 30, tzinfo=TOKYO)),
        ("2026-10-05T10:15:00+09:00", datetime(2026, 10, 5, 1, 15, tzinfo=UTC)),
        ("2026-10-05T01:15:00.5Z", datetime(2026, 10, 5, 1, 15, 0, 500000, tzinfo=UTC)),
        ("", None),
    ],
)
def test_named_generation(text: str, moment: datetime | None) -> None:
    parsed = read(f"{RESTORE_HEADER}\\\\s\\d,a.txt,{text}\n", ListKind.RESTORE)
    assert parsed.problems == ()
    named = parsed.rows[0].archived_at
    assert named == moment
    assert moment is None or (named is not None and named.tzinfo is not None)


@pytest.mark.parametrize(
    "text", ["昨日", "2026/10/05", "2026/13/05 10:00", "2026/10/05 10:00+99:00"]
)
def test_unreadable_date(text: str) -> None:
    parsed = read(f"{RESTORE_HEADER}\\\\s\\d,a.txt,{text}\nZ:\\b,,{text}\n", ListKind.RESTORE)
    assert faults(parsed) == [
        (2, Code.NAMED_DATE),
        (3, Code.PATH_SYNTAX),
        (3, Code.NAMED_DATE),
    ]
    assert parsed.rows == ()


def test_two_generations_of_a_file_are_two_entries() -> None:
    lines = ["", "2026/10/05 10:15", "2026/10/06 10:15", "2026-10-05T01:15:00Z"]
    text = RESTORE_HEADER + "".join(f"\\\\s\\d,a.txt,{date}\n" for date in lines)
    parsed = read(text, ListKind.RESTORE)
    assert [row.line for row in parsed.rows] == [2, 3, 4]
    assert faults(parsed) == [(5, Code.DUPLICATE_ENTRY)]
    assert [row.line for row in read(text.replace("復元対象", "")).rows] == [2]


def test_downloaded_archive_list_is_a_restore_list() -> None:
    text = (
        "ディレクトリパス,アーカイブファイル名,S3バケット名,アーカイブ日時\n"
        "\\\\s\\d,a.txt_archived.txt,bucket,2026/10/05 10:15:00\n"
    )
    parsed = read(text, ListKind.RESTORE)
    assert paths(parsed) == [r"\\s\d\a.txt_archived.txt"]
    assert parsed.rows[0].archived_at == datetime(2026, 10, 5, 10, 15, tzinfo=TOKYO)
    assert faults(read(text)) == [(1, Code.LIST_FORMAT)]


def test_too_large() -> None:
    assert faults(read(b" " * (20 * 1024 * 1024 + 1))) == [(None, Code.LIST_TOO_LARGE)]
    lines = "".join(f"\\\\s\\d\\{i}\n" for i in range(100_000)).encode()
    more = "".join(f"\\\\s\\e\\{i}\n" for i in range(100_001)).encode()
    sources = [ListSource("a.txt", lines), ListSource("b.txt", more), ListSource("c.txt", b"//s/c")]
    parsed = parse(sources, ListKind.ARCHIVE, TOKYO)
    assert [(p.source, p.code) for p in parsed.problems] == [("b.txt", Code.LIST_TOO_LARGE)]
    assert len(parsed.rows) == 100_001


def test_nothing_uploaded() -> None:
    assert parse([], ListKind.ARCHIVE, TOKYO) == ParsedList((), (), ())


def test_only_the_same_spelling_is_a_duplicate() -> None:
    names = ["A.txt", "a.txt", "が.txt", "か\u3099.txt", "b.txt", "b.txt ", "b.txt\u3000"]
    lines = [rf"\\s\d\{name}" for name in names]
    parsed = read("\ufeff" + "".join(f"{line}\r\n" for line in lines), name="failed_uploads.txt")
    assert parsed.problems == ()
    assert [row.exact or row.path for row in parsed.rows] == lines
    assert [row.path for row in parsed.rows[-3:]] == [r"\\s\d\b.txt"] * 3


@pytest.mark.parametrize(
    ("line", "path", "exact"),
    [
        ("\\\\s\\d\\x\u3000", r"\\s\d\x", "\\\\s\\d\\x\u3000"),
        (' "\\\\s\\d\\x\u3000" ', r"\\s\d\x", "\\\\s\\d\\x\u3000"),
        ("\u202a//s/d/x\u00a0", r"\\s\d\x", "\\\\s\\d\\x\u00a0"),
        ("  \\\\s\\d\\x", r"\\s\d\x", ""),
        ("\\\\s\\d\\x\\", r"\\s\d\x", ""),
    ],
)
def test_spaces_at_the_end_of_a_path_are_kept_beside(line: str, path: str, exact: str) -> None:
    (row,) = read(line + "\n").rows
    assert (row.path, row.exact) == (path, exact)


def test_spaces_around_names_in_columns_are_kept_beside() -> None:
    text = (
        HEADER
        + '\\\\s\\資料\u3000,"\u3000a.txt"\n\\\\s\\d,\\\\s\\d\\b.txt\u200b\n\\\\s\\d\u3000,　\n'
    )
    assert [(row.path, row.exact) for row in read(text).rows] == [
        (r"\\s\資料\a.txt", "\\\\s\\資料\u3000\\\u3000a.txt"),
        (r"\\s\d\b.txt", "\\\\s\\d\\b.txt\u200b"),
        (r"\\s\d", "\\\\s\\d\u3000"),
    ]


def test_a_path_list_may_hold_what_windows_forbids() -> None:
    lines = [rf"\\s\d\{name}" for name in ("a?.txt", "b:c", 'q"q', "<x>|*", "ディレクトリパス")]
    assert paths(read("".join(f"{line}\n" for line in lines))) == lines
    assert faults(read("\\\\s\\d\\a\x01b\n")) == [(1, Code.PATH_SYNTAX)]
    (problem,) = read(HEADER + "\\\\s\\d,見積?.txt\n").problems
    assert (problem.code, "CSV UTF-8" in problem.detail) == (Code.PATH_SYNTAX, True)


def test_a_path_that_holds_the_heading_after_a_comma_is_a_path() -> None:
    line = r"\\s\d\a,ディレクトリパス,b.txt"
    assert paths(read(f"{line}\n\\\\s\\d\\c.txt\n")) == [line, r"\\s\d\c.txt"]
