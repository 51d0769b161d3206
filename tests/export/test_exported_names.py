"""Whatever the archive list holds can be asked back with the lists exported from it."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.errors import Code
from core.export import writer
from core.export.writer import Form
from core.lists.parser import parse
from core.model import Entry, ListKind, ListSource
from core.paths.normalization import fold, identity, storable
from core.paths.unc import comes_back, tidy
from core.ports import Hits
from core.restore.check import RestoreCheck
from core.restore.model import RestorePlan
from tests.support.entries import DIRECTORY, entry
from tests.support.fakes import MemoryCatalogue

TOKYO = ZoneInfo("Asia/Tokyo")
MINUTE = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
MARKER = "_archived.txt"
EXAMPLES = int(os.environ.get("HIMURO_EXAMPLES", "40"))


def exported(form: Form, rows: Sequence[Entry]) -> bytes:
    file = io.BytesIO()
    end = writer.write(file, form, Hits(len(rows), iter([rows])), TOKYO)
    assert "一覧では指定できない" not in end.note
    return file.getvalue()


def asked(content: bytes, rows: Sequence[Entry]) -> RestorePlan:
    """Return what a list means when the archive list holds these rows."""
    catalogue = MemoryCatalogue()
    assert catalogue.add(rows) == []
    parsed = parse([ListSource("一覧", content)], ListKind.RESTORE, TOKYO)
    return RestoreCheck(catalogue, "bucket").run(parsed)


def keys(plan: RestorePlan) -> list[str]:
    return [item.key for item in plan.items]


def codes(plan: RestorePlan) -> list[Code]:
    return [problem.code for problem in plan.problems]


def csv_list(*rows: Sequence[str], encoding: str = "utf-8-sig") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(encoding)


TITLES = ("ディレクトリパス", "復元対象ファイル名", "アーカイブ日時")
DOWNLOADED = ("ディレクトリパス", "アーカイブファイル名", "アーカイブ日時")
NASTY = ["報告:2024*最終?.txt", " lead.txt", '"quoted".txt', '"all"', "a<b>|c.txt", "\u3000a", "*"]


@pytest.mark.parametrize("name", NASTY)
def test_names_that_a_linux_mount_shows(name: str) -> None:
    rows = [entry(name, key="it")]
    if (bare := name.strip(' "\u3000')) != name:
        rows.append(entry(bare, key="other"))
    for line in ((DIRECTORY, name), ("", rf"{DIRECTORY}\{name}")):
        if name != '"all"' or not line[0]:  # quotes around a cell are Windows' "copy as path"
            plan = asked(csv_list(TITLES[:2], line), rows)
            assert (keys(plan), plan.problems) == (["it"], ())
    for form in Form:
        plan = asked(exported(form, rows[:1]), rows)
        assert (keys(plan), plan.problems) == (["it"], ())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("*.xlsx", "「*」や「?」でまとめて指定することはできません"),
        ("見積?.txt", "保存のときに文字が失われたのなら"),
        ("a:b.txt", "名前に使えない文字「:」が含まれています"),
    ],
)
def test_a_letter_that_no_archived_name_has_is_explained(name: str, said: str) -> None:
    plan = asked(csv_list(TITLES[:2], (DIRECTORY, name)), [entry("c.txt")])
    (problem,) = plan.problems
    assert problem.code is Code.PATH_SYNTAX
    assert said in problem.detail


def test_a_question_mark_in_cp932_may_be_another_letter() -> None:
    """Excel writes it for each letter that CP932 has not."""
    rows = [entry("見積?.txt", key="mark"), entry("見積🗻.txt", key="mountain")]
    plan = asked(csv_list(TITLES[:2], (DIRECTORY, "見積?.txt"), encoding="cp932"), rows)
    assert (keys(plan), codes(plan)) == ([], [Code.PATH_SYNTAX])
    assert "CSV UTF-8" in plan.problems[0].detail
    when = rows[0].archived_at.isoformat(" ", "microseconds")
    plan = asked(csv_list(TITLES, (DIRECTORY, "見積?.txt", when), encoding="cp932"), rows[:1])
    assert keys(plan) == ["mark"]


# Generations


def two(first: float, second: float) -> list[Entry]:
    return [
        entry("a.txt", key=f"k{n}", archived_at=MINUTE + timedelta(seconds=after))
        for n, after in enumerate((first, second))
    ]


def test_seconds_that_excel_has_dropped_are_a_question() -> None:
    rows = two(15.5, 40)
    plan = asked(csv_list(TITLES, (DIRECTORY, "a.txt", "2026/11/23 18:30")), rows)
    assert (keys(plan), codes(plan)) == ([], [Code.RESTORE_AMBIGUOUS])
    assert plan.problems[0].detail == (
        "アーカイブ日時 2026/11/23 18:30:15.500000、アーカイブ日時 2026/11/23 18:30:40.000000"
    )
    for text, key in (
        ("2026/11/23 18:30:15", "k0"),
        ("2026/11/23 18:30:15.500000", "k0"),
        ("2026/11/23 18:30:40", "k1"),
    ):
        assert keys(asked(csv_list(TITLES, (DIRECTORY, "a.txt", text)), rows)) == [key]
    # A list of ours is exact, also at a full minute; its seconds may be lost all the same.
    rows = two(0, 40)
    for row in rows:
        assert keys(asked(exported(Form.RESTORE, [row]), rows)) == [row.key]
    assert keys(asked(csv_list(TITLES, (DIRECTORY, "a.txt", "2026/11/23 18:30")), rows)) == []


@pytest.mark.parametrize("form", [Form.CSV, Form.XLSX])
def test_two_generations_of_a_second_in_a_download(form: Form) -> None:
    """It shows seconds, but it also has the key."""
    rows = two(15.25, 15.5)
    for row in rows:
        plan = asked(exported(form, [row]), rows)
        assert (keys(plan), plan.problems) == ([row.key], ())
    line = (DIRECTORY, "a.txt_archived.txt", "2026/11/23 18:30:15")
    plan = asked(csv_list(DOWNLOADED, line), rows)
    assert (keys(plan), codes(plan)) == ([], [Code.RESTORE_AMBIGUOUS])


def test_a_key_never_outweighs_path_and_time() -> None:
    rows = [entry("a.txt", key="a"), entry("b.txt", key="b")]
    titles = ("ディレクトリパス", "アーカイブファイル名", "S3キー")
    plan = asked(csv_list(titles, (DIRECTORY, "a.txt_archived.txt", "b")), rows)
    assert keys(plan) == ["a"]


def test_an_apostrophe_of_a_download_or_of_the_name() -> None:
    """Nothing in the cell tells; the key beside it does, and without it nobody guesses."""
    rows = [entry("=a.txt", key="plain"), entry("'=a.txt", key="apostrophe")]
    for row in rows:
        assert keys(asked(exported(Form.CSV, [row]), rows)) == [row.key]
    plan = asked(csv_list(DOWNLOADED[:2], (DIRECTORY, "'=a.txt_archived.txt")), rows)
    assert (keys(plan), codes(plan)) == ([], [Code.RESTORE_AMBIGUOUS])
    # A name that somebody has written means itself.
    assert keys(asked(csv_list(TITLES[:2], (DIRECTORY, "'=a.txt")), rows)) == ["apostrophe"]


# Any archive list

_LETTERS = st.sampled_from(
    "aAbBé1ガがｶﾞ漢🗻\u3099 \u3000\u00a0\u200b\u200e\u202a\ufeff\u2028'\"=+-@＝:*?<>|,;.#%_~$()"
    "￥／＼\u00a5"
)
_BASES = st.one_of(
    st.text(_LETTERS, min_size=1, max_size=6),
    st.sampled_from(["x", "ガ.txt", "Report.txt", "=a.txt", "'=a", "1.e5", "a.csv"]),
)
_TURNS = st.sampled_from(
    [
        lambda name: name,
        str.upper,
        str.lower,
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: unicodedata.normalize("NFC", name),
        lambda name: name + MARKER,
        lambda name: name + MARKER + MARKER,
        lambda name: f" {name}",
        lambda name: f"{name}\u3000",
        lambda name: f"'{name}",
        lambda name: f'"{name}"',
    ]
)
_FOLDERS = [
    "",
    "営業",
    "営業\u3000",
    "data",
    "Data",
    " data",
    "が",
    "か\u3099",
    "a:b?",
    '"q"',
    "'=f",
]


@st.composite
def archive_lists(draw: st.DrawFn) -> list[Entry]:
    """Return rows with every kind of twin, and times that hardly differ."""
    bases = draw(st.lists(_BASES, min_size=1, max_size=3))
    rows: dict[tuple[str, datetime], Entry] = {}
    for number in range(draw(st.integers(1, 10))):
        name = draw(_TURNS)(draw(st.sampled_from(bases)))
        folder = draw(st.sampled_from(_FOLDERS[: draw(st.integers(1, len(_FOLDERS)))]))
        directory = f"{DIRECTORY}\\{folder}" if folder else DIRECTORY
        when = MINUTE + timedelta(microseconds=draw(st.sampled_from(_AFTER)))
        path = f"{directory}\\{name}"
        if storable(name) and storable(folder) and comes_back(path):
            row = entry(name, directory, key=f"{path}/{number}"[2:], archived_at=when)
            rows.setdefault((path, when), row)
    return list(rows.values())


_AFTER = [0, 1, 500_000, 1_000_000, 1_000_001, 40_000_000, 59_999_999, 60_000_000]


_SERVER = re.compile("[￥／＼\u00a5]{2}")


def meant(row: Entry, rows: Sequence[Entry]) -> list[str]:
    """Return what a row of an exported restore list may mean, the simple way."""
    return [e.key for e in rows if (e.path, e.archived_at) == (row.path, row.archived_at)]


@settings(max_examples=EXAMPLES)
@given(archive_lists(), st.data())
@example([entry("=a", key="1"), entry("'=a", key="2"), entry("' =a", key="3")], None)
@example([entry(n, key=n) for n in (" x", "x", "x\u3000", 'x"', '"x"', "X", "x" + MARKER)], None)
def test_exported_lists_mean_exactly_their_rows(
    rows: list[Entry], data: st.DataObject | None
) -> None:
    assume(rows)
    some = rows
    if data is not None:
        chosen = data.draw(st.sets(st.sampled_from(range(len(rows))), min_size=1))
        some = [rows[n] for n in sorted(chosen)]
    for wanted in (some, *([row] for row in some)):
        for form in (Form.CSV, Form.XLSX):
            plan = asked(exported(form, wanted), rows)
            # A name of two yen signs or more reads as a server there: it is left out and said.
            told = [row.key for row in wanted if not _SERVER.match(tidy(row.archived_name))]
            assert keys(plan) == told
            assert codes(plan) == [Code.PATH_SYNTAX] * (len(wanted) - len(told))
        plan = asked(exported(Form.RESTORE, wanted), rows)
        told = [row.key for row in wanted if len(meant(row, rows)) == 1]
        assert keys(plan) == told
        assert codes(plan) == [Code.RESTORE_AMBIGUOUS] * (len(wanted) - len(told))


_DATE = re.compile(r"(\d{4})-0?(\d+)-0?(\d+) 0?(\d+):(\d\d):\d\d")


def saved_by_excel(content: bytes, encoding: str, titles: Sequence[str]) -> bytes:
    """Return a CSV as Excel saves it again: dates without seconds, hardly any quotes, and a
    question mark for each letter that the encoding has not; only these columns."""
    head, *lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    columns = [head.index(title) for title in titles if title in head]
    out = io.StringIO(newline="")
    for line in (head, *lines):
        cells = [line[n] for n in columns]
        cells = [_DATE.sub(r"\1/\2/\3 \4:\5", c) if _DATE.fullmatch(c) else c for c in cells]
        out.write(",".join(map(_quoted, cells)) + "\r\n")
    mark = b"\xef\xbb\xbf" if encoding == "utf-8" else b""
    return mark + out.getvalue().encode(encoding, "replace")


def _quoted(cell: str) -> str:
    needs = any(sign in cell for sign in ',"\n\r')
    return '"' + cell.replace('"', '""') + '"' if needs else cell


@settings(max_examples=EXAMPLES)
@given(
    archive_lists(),
    st.sampled_from(["utf-8", "cp932"]),
    st.booleans(),
    st.sampled_from([Form.CSV, Form.RESTORE]),
)
def test_what_excel_has_saved_again_never_means_another_file(
    rows: list[Entry], encoding: str, with_key: bool, form: Form
) -> None:
    """What it cannot tell any more is left out, and nothing else is brought in its place."""
    assume(rows)
    names = DOWNLOADED if form is Form.CSV else TITLES
    for row in rows:
        titles = (*names, "S3キー") if with_key else names
        plan = asked(saved_by_excel(exported(form, [row]), encoding, titles), rows)
        assert keys(plan) in ([row.key], [])
        if (
            form is Form.CSV
            and with_key
            and encoding == "utf-8"
            and not _SERVER.match(tidy(row.archived_name))
        ):
            assert keys(plan) == [row.key]
        assert bool(keys(plan)) or plan.left_out == 1


@given(st.text(_LETTERS, max_size=8), _TURNS, _TURNS)
def test_what_windows_takes_for_one_path_is_found_by_one_key(
    name: str, first: object, second: object
) -> None:
    """Otherwise twins would not be looked at at all."""
    one, other = first(name), second(name)  # type: ignore[operator]
    assert identity(one) != identity(other) or fold(one) == fold(other)
