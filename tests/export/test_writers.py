"""Files of hits, read back by programs that did not write them; lists for restores by ours."""

from __future__ import annotations

import csv
import errno
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from core.errors import ListError
from core.export import restore_list_writer, writer, xlsx_writer
from core.export.csv_writer import COLUMNS, LocalTime
from core.export.writer import Form
from core.lists.cells import SheetReader, unescaped
from core.lists.parser import parse
from core.lists.table import Effort
from core.lists.workbook import Workbook
from core.model import Entry, ListKind, ListSource
from core.paths.unc import EDGE
from core.ports import Hits
from core.restore.check import RestoreCheck
from core.restore.model import RestorePlan
from tests.support.entries import DIRECTORY, WHEN, entry
from tests.support.fakes import MemoryCatalogue

TOKYO = ZoneInfo("Asia/Tokyo")
NEW_YORK = ZoneInfo("America/New_York")


def written(
    form: Form, rows: Sequence[Entry], zone: ZoneInfo = TOKYO, batch: int = 2
) -> tuple[bytes, writer.Written]:
    file = io.BytesIO()
    batches = (rows[n : n + batch] for n in range(0, len(rows), batch))
    end = writer.write(file, form, Hits(len(rows), batches), zone)
    return file.getvalue(), end


def csv_rows(content: bytes) -> list[list[str]]:
    """Return the cells of a CSV as Excel is to find them."""
    assert content.startswith(b"\xef\xbb\xbf")
    text = content.decode("utf-8-sig")
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def sheets(content: bytes) -> dict[str, list[list[object]]]:
    """Return the cells of a workbook, read by calamine."""
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    return {
        name: [list(row) for row in book.get_sheet_by_name(name).to_python()]
        for name in book.sheet_names
    }


PLAIN = entry("見積.xlsx", comment="年度末", size=1234)
JST = "2026-11-23 18:30:15"


# CSV


def test_csv() -> None:
    content, end = written(Form.CSV, [PLAIN, entry('a,"b".txt', requester="")])
    assert csv_rows(content) == [
        list(COLUMNS),
        [
            JST, DIRECTORY, "見積.xlsx_archived.txt", "bucket", "fsx01/share/営業部/見積.xlsx",
            "REQ-1", "山田 花子", "年度末", "1234", PLAIN.sha256, "2020-03-01 08:59:59",
        ],
        [
            JST, DIRECTORY, 'a,"b".txt_archived.txt', "bucket", 'fsx01/share/営業部/a,"b".txt',
            "REQ-1", "", "", "0", PLAIN.sha256, "2020-03-01 08:59:59",
        ],
    ]  # fmt: skip
    assert (end.rows, end.total, end.size, end.listed_bytes) == (2, 2, len(content), 1234)
    assert content.count(b"\r\n") == 3


@pytest.mark.parametrize("sign", "=+-@＝＋－＠\t\r\n")
def test_no_cell_of_a_csv_runs(sign: str) -> None:
    row = entry(f"{sign}cmd|'/c calc'!A1.txt", request_id=f"{sign}1", comment=f"{sign}x\ny")
    (_, cells) = csv_rows(written(Form.CSV, [row])[0])
    assert cells[2] == f"'{row.archived_name}"
    assert cells[5] == f"'{sign}1"
    assert cells[7] == f"'{sign}x\ny"


TEXT = st.text(
    st.sampled_from("aA1あ漢🗻ﾊﾟ =+-@＝'\"&<>,;\t\r\n_x0041_　％\x01\x7f\u2028\ufffe")
    | st.characters(),
    max_size=12,
)
ROWS = st.builds(
    lambda directory, name, typed, size, when, modified: entry(
        name,
        directory,
        request_id=typed[0],
        requester=typed[1],
        comment=typed[2],
        size=size,
        archived_at=when,
        modified_at=modified,
    ),
    TEXT,
    TEXT,
    st.tuples(TEXT, TEXT, TEXT),
    st.integers(0, 2**62),
    st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.datetimes(timezones=st.just(UTC)),
)


def shown(text: str) -> str:
    """Return what a cell of text holds: all but the letters that no file can hold."""
    return re.sub("[\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


@given(st.lists(ROWS, max_size=5))
def test_csv_of_any_rows(rows: list[Entry]) -> None:
    _, *found = csv_rows(written(Form.CSV, rows)[0])
    assert len(found) == len(rows)
    for cells, row in zip(found, rows, strict=True):
        texts = (row.directory, row.archived_name, row.request_id, row.requester, row.comment)
        for cell, text in zip(cells[1:3] + cells[5:8], texts, strict=True):
            text = text.encode("utf-8", "backslashreplace").decode()
            assert cell == ("'" + text if text.startswith(tuple("=+-@＝＋－＠\t\r\n")) else text)
        assert cells[8] == str(row.size)


# Times


@given(
    st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=4),
    st.sampled_from(["Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
@example([datetime(2026, 3, 8, h, tzinfo=UTC) for h in (6, 7, 6)], "America/New_York")
@example([datetime(2026, 4, 4, 14, m, tzinfo=UTC) for m in (59, 31)], "Australia/Lord_Howe")
def test_times_are_those_of_clocks(moments: list[datetime], zone: str) -> None:
    clock = LocalTime(ZoneInfo(zone))
    for when in moments:
        try:
            local = when.astimezone(ZoneInfo(zone))
        except OverflowError:
            local = when
        assert clock.text(when) == f"{local.year:04}-{local:%m-%d %H:%M:%S}"


# Excel


def test_excel() -> None:
    content, end = written(Form.XLSX, [PLAIN, entry("b.txt", comment="")])
    ((name, (header, first, second)),) = sheets(content).items()
    assert (name, header) == ("アーカイブ一覧", list(COLUMNS))
    when = datetime(2026, 11, 23, 18, 30, 15)  # noqa: DTZ001
    modified = datetime(2020, 3, 1, 8, 59, 59)  # noqa: DTZ001
    assert first == [
        when, DIRECTORY, "見積.xlsx_archived.txt", "bucket", "fsx01/share/営業部/見積.xlsx",
        "REQ-1", "山田 花子", "年度末", 1234.0, PLAIN.sha256, modified,
    ]  # fmt: skip
    assert (second[2], second[7], second[8]) == ("b.txt_archived.txt", "", 0.0)
    assert (end.rows, end.size, end.note) == (2, len(content), "")


def test_how_excel_looks() -> None:
    content, _ = written(Form.XLSX, [PLAIN])
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("A2", "A1:K2")
    assert all(cell.font.b for cell in sheet[1])
    assert not any(cell.font.b for cell in sheet[2])
    assert sheet["A2"].is_date
    assert sheet["K2"].is_date
    assert sheet["I2"].number_format == "#,##0"
    widths = [sheet.column_dimensions[letter].width for letter in "ABCDEFGHIJK"]
    assert min(widths) >= 16
    assert widths[1] == 60


@pytest.mark.parametrize("sign", "=+-@＝＋－＠\t")
def test_no_cell_of_excel_runs_and_names_stay_as_they_are(sign: str) -> None:
    row = entry(f"{sign}1+1.txt", request_id="=1")
    content, _ = written(Form.XLSX, [row])
    cell = openpyxl.load_workbook(io.BytesIO(content)).active["C2"]
    assert (cell.data_type, cell.value) == ("s", row.archived_name)
    # Excel's own note that this is a text, also after somebody edited it.
    assert cell.quotePrefix
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert b"<f" not in opened.read("xl/worksheets/sheet1.xml").replace(b"<family", b"")


@given(st.lists(ROWS, max_size=4))
@example([entry("_x0041_", comment="_x005F_x0041_", requester="_x_x0009_")])
@example([entry("a", modified_at=datetime(2026, 11, 24, 15, tzinfo=UTC))])
@example([entry("a", comment=" \n ", request_id="001", requester="1e5", size=10**15)])
def test_excel_of_any_rows(rows: list[Entry]) -> None:
    ((_, (_, *found)),) = sheets(written(Form.XLSX, rows)[0]).items()
    assert len(found) == len(rows)
    for cells, row in zip(found, rows, strict=True):
        texts = (row.directory, row.archived_name, row.request_id, row.requester, row.comment)
        assert [*cells[1:3], *cells[5:8]] == [shown(text) for text in texts]
        # Beyond 15 digits Excel would round it.
        assert cells[8] == (row.size if row.size < 10**15 else str(row.size))
        local = LocalTime(TOKYO)
        if row.modified_at >= datetime(1900, 3, 1, tzinfo=UTC):
            naive = local.shifted(row.modified_at).replace(microsecond=0, tzinfo=None)
            # calamine takes a midnight for a day without a time.
            assert cells[10] in (naive, naive.date() if naive.time() == time() else None)
        elif row.modified_at < datetime(1900, 2, 27, tzinfo=UTC):
            assert cells[10] == local.text(row.modified_at)


ESCAPES = st.lists(
    st.sampled_from(
        ["_", "x", "_x0041", "_x000D", "_x005F_", "0041", "_x", "\r", "\x01", "\n", "a"]
    ),
    max_size=10,
).map("".join)


@given(ESCAPES)
@example("_x0041\r")
@example("_x0041\x01_")
@example("_x0041_x0041\r_")
@example("_x005F\r_x000D_")
def test_what_looks_like_an_escape_comes_back_as_it_was(text: str) -> None:
    """A control letter is written as an escape, whose underline may close one that was none."""
    # A cell of our reader is a path: what surrounds it tells where it ends.
    row = entry("a", rf"\\s\d\b{text}c", comment=f"b{text}c")
    content, _ = written(Form.XLSX, [row])
    ((_, (_, cells)),) = sheets(content).items()
    assert cells[7] == f"b{text}c"
    # openpyxl leaves every escape as it is.
    opened = openpyxl.load_workbook(io.BytesIO(content)).active
    assert unescaped(str(opened["H2"].value)) == f"b{text}c"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        book = Workbook(archive, len(content), Effort())
        with book.opened(book.sheets[0]) as part:
            (_, (_, found, _)) = SheetReader(book.book).rows(part)
    assert [found[1], found[7]] == [rf"\\s\d\b{text}c", f"b{text}c"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("あ" * 32_767, "あ" * 32_767),
        ("あ" * 32_768, "あ" * 32_766 + "…"),
        # Two units each
        ("🗻" * 16_383 + "a", "🗻" * 16_383 + "a"),
        ("🗻" * 16_384, "🗻" * 16_383 + "…"),
        ("&" * 32_767, "&" * 32_767),
    ],
)
def test_excel_cuts_what_no_cell_holds(text: str, kept: str) -> None:
    ((_, (_, row)),) = sheets(written(Form.XLSX, [entry("a", comment=text)])[0]).items()
    assert row[7] == kept


@pytest.mark.parametrize("limit", ["SHEET_ROWS", "_SHEET_BYTES"])
def test_further_sheets(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_writer, limit, 4 if limit == "SHEET_ROWS" else 1)
    rows = [entry(f"{n}.txt") for n in range(7)]
    content, end = written(Form.XLSX, rows, batch=5 if limit == "SHEET_ROWS" else 3)
    found = sheets(content)
    about = found.pop("このファイルについて")
    assert list(found) == ["1～3件目", "4～6件目", "7～7件目"]
    assert [cells[0] for cells in found.values()] == [list(COLUMNS)] * 3
    names = [row[2] for cells in found.values() for row in cells[1:]]
    assert names == [row.archived_name for row in rows]
    assert "7件を3枚のシートに分けてあります" in end.note
    assert about[0] == [end.note]
    filters = [s.auto_filter.ref for s in openpyxl.load_workbook(io.BytesIO(content))]
    assert filters == ["A1:K4", "A1:K4", "A1:K2", None]


def test_a_full_sheet_needs_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_writer, "SHEET_ROWS", 4)
    content, end = written(Form.XLSX, [entry(f"{n}.txt") for n in range(3)])
    assert (list(sheets(content)), end.note) == (["アーカイブ一覧"], "")


@pytest.mark.parametrize("form", Form)
def test_nothing_found(form: Form) -> None:
    content, end = written(form, [])
    assert (end.rows, end.note) == (0, "")
    if form is Form.XLSX:
        assert sheets(content) == {"アーカイブ一覧": [list(COLUMNS)]}
    else:
        assert len(csv_rows(content)) == 1


class FullDisk(io.BytesIO):
    def write(self, data: object) -> int:
        if self.tell() > 500:
            raise OSError(errno.ENOSPC, "full")
        return super().write(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", Form)
def test_a_full_disk_ends_it_with_the_reason(form: Form) -> None:
    rows = [entry(f"{n}.txt", comment=f"{n**9}") for n in range(3000)]
    with pytest.raises(OSError, match="full"):
        writer.write(FullDisk(), form, Hits(len(rows), iter([rows, rows])), TOKYO)


# Lists for restores


def plan_of(content: bytes, rows: Sequence[Entry], zone: ZoneInfo = TOKYO) -> RestorePlan:
    """Return what a restore makes of a list when the archive list holds these rows."""
    catalogue = MemoryCatalogue()
    assert catalogue.add(rows) == []
    parsed = parse([ListSource("復元一覧.csv", content)], ListKind.RESTORE, zone)
    return RestoreCheck(catalogue, "bucket").run(parsed)


def test_a_restore_list() -> None:
    rows = [entry("見積.xlsx", size=5), entry("=1+1.txt", size=7)]
    content, end = written(Form.RESTORE, rows)
    assert csv_rows(content) == [
        ["ディレクトリパス", "復元対象ファイル名", "アーカイブ日時"],
        [DIRECTORY, "見積.xlsx", "2026-11-23 18:30:15.123456+09:00"],
        [DIRECTORY, f"{DIRECTORY}\\=1+1.txt", "2026-11-23 18:30:15.123456+09:00"],
    ]
    assert (end.rows, end.listed_bytes, end.note) == (2, 12, "")
    plan = plan_of(content, rows)
    assert ([item.key for item in plan.items], plan.problems) == ([r.key for r in rows], ())


def test_a_restore_list_at_the_end_of_the_calendar() -> None:
    row = entry("a.txt", archived_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    content, end = written(Form.RESTORE, [row])
    assert (end.rows, end.note) == (1, "")
    assert [item.key for item in plan_of(content, [row]).items] == [row.key]


def generations(*seconds: float) -> list[Entry]:
    """Return one file archived at several moments, counted from a full minute."""
    minute = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    return [
        entry("a.txt", key=f"a_{n}", archived_at=minute + timedelta(seconds=after))
        for n, after in enumerate(seconds)
    ]


@pytest.mark.parametrize("chosen", [0, 1, 2, 3])
def test_of_several_generations_just_this_one(chosen: int) -> None:
    """Also of two within a second, and of one at a full minute."""
    rows = generations(0, 0.000001, 0.9, 40)
    content, _ = written(Form.RESTORE, [rows[chosen]])
    plan = plan_of(content, rows)
    assert [item.key for item in plan.items] == [rows[chosen].key]


LETTERS = st.sampled_from("aB1あ漢🗻ｶﾞが'=+-@ 　.,;_~#%&()（）【】￥¥／－\u200b\u202a\xa0^[]{}!$`")
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(
    lambda name: name.strip("\\. ") != "" and name.strip(EDGE) not in (".", "..")
)
"""Without those that no list can hold, which another test is about."""
TIMES = st.integers(0, 200_000_000).map(lambda n: WHEN + timedelta(microseconds=n))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "営業", "営業　", "=a", "\u3000b"]),
            NAMES | st.sampled_from(["a.txt", "a.txt_archived.txt", "=a.txt", "'=a.txt", "1-2"]),
            TIMES,
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[2],
    ),
    st.sets(st.integers(0, 7)),
    st.sampled_from([TOKYO, NEW_YORK, ZoneInfo("UTC")]),
)
@example([("", "a.txt", WHEN), ("", "a.txt　", WHEN + timedelta(hours=1))], {0}, TOKYO)
@example([("", "=a.txt", WHEN), ("", "'=a.txt", WHEN + timedelta(hours=1))], {0, 1}, TOKYO)
@example([("営業　", "+a", WHEN)], {0}, NEW_YORK)
def test_a_list_means_exactly_its_rows(
    files: list[tuple[str, str, datetime]], chosen: set[int], zone: ZoneInfo
) -> None:
    rows = [
        entry(
            name,
            f"{DIRECTORY}\\{below}" if below else DIRECTORY,
            key=f"key-{n}",
            archived_at=when,
        )
        for n, (below, name, when) in enumerate(files)
    ]
    wanted = [row for n, row in enumerate(rows) if n in chosen]
    assume(wanted)
    content, end = written(Form.RESTORE, wanted, zone)
    assert end.note == ""
    plan = plan_of(content, rows, zone)
    assert [item.key for item in plan.items] == [row.key for row in wanted]
    assert plan.problems == ()


def test_names_that_no_list_can_hold_are_counted() -> None:
    rows = [entry("a.txt", size=5), entry(" . ", size=7), entry("..\u3000", size=7)]
    content, end = written(Form.RESTORE, rows)
    assert len(csv_rows(content)) == 2
    assert (end.rows, end.total, end.listed_bytes) == (1, 3, 5)
    assert "2件は、名前に一覧では指定できない文字があるため入っていません" in end.note


def test_too_many_rows_for_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ListError, match=r"200,000件、20 MBまで.*絞り込み"):
        writer.write(io.BytesIO(), Form.RESTORE, Hits(200_001, iter([])), TOKYO)
    monkeypatch.setattr(restore_list_writer, "MAX_BYTES", 300)
    with pytest.raises(ListError, match="絞り込み"):
        written(Form.RESTORE, [entry(f"{n}.txt") for n in range(6)])


def test_the_archive_list_itself_is_a_list_too() -> None:
    """Also a name that got an apostrophe, and one that was called so from the beginning."""
    rows = [entry("=a.txt"), entry("'=b.txt"), entry("c.txt")]
    for form in (Form.CSV, Form.XLSX):
        plan = plan_of(written(form, rows)[0], rows)
        assert ([item.key for item in plan.items], plan.problems) == ([r.key for r in rows], ())


def test_hits_are_taken_batch_by_batch() -> None:
    """What was written is told before the next batch is asked for."""
    told: list[int] = []

    def batches() -> Iterator[list[Entry]]:
        for n in range(3):
            assert told == [0, 2, 4][: n + 1]
            yield [entry(f"{n}a.txt"), replace(PLAIN, size=1)]

    hits = Hits(6, batches())
    end = writer.write(io.BytesIO(), Form.CSV, hits, TOKYO, lambda w: told.append(w.rows))
    assert (told, end.listed_bytes) == ([0, 2, 4, 6], 3)
