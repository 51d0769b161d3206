"""The archive list in both databases: what goes in comes out, nothing is overwritten."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from core.model import Entry, SearchQuery
from core.paths.normalization import fold
from db import SqlCatalogue
from db.connection.engine import make_engine, writing
from tests.support.entries import DIRECTORY, WHEN, entry, stored

JST = timezone(timedelta(hours=9))
# What goes in comes out


def test_a_row_comes_back_as_it_was_added(catalogue: SqlCatalogue) -> None:
    row = entry("見積書.xlsx", content="百万円", comment="2行\nの コメント", requester="佐藤")
    assert catalogue.add([row]) == []
    (found,) = catalogue.find([row.search_key])[row.search_key]
    assert replace(found, id=0) == row
    assert found.id > 0


def test_nothing_is_found_in_an_empty_list(catalogue: SqlCatalogue) -> None:
    assert catalogue.find(["x"]) == {}
    assert catalogue.find([]) == {}
    assert catalogue.add([]) == []
    assert catalogue.search(SearchQuery()).total == 0
    catalogue.check()


def test_what_was_not_typed_comes_back_empty(catalogue: SqlCatalogue) -> None:
    row = entry("a.txt", request_id="", requester="", comment="")
    catalogue.add([row])
    assert stored(catalogue) == [row]


def test_generations_are_grouped_in_the_order_of_the_table(catalogue: SqlCatalogue) -> None:
    """Whatever their times say: a clock may have been ahead when the first one was stored."""
    old, new = (
        entry("a.txt", content=n, key=f"a_{n}.txt", archived_at=WHEN + timedelta(days=int(n)))
        for n in "12"
    )
    other = entry("Ａ.TXT", key="other")
    for row in (new, other, old):
        catalogue.add([row])
    found = catalogue.find([old.search_key, "absent"])
    assert {k: [replace(e, id=0) for e in v] for k, v in found.items()} == {
        old.search_key: [new, other, old]
    }


def test_more_keys_are_found_than_one_statement_takes(catalogue: SqlCatalogue) -> None:
    rows = [entry(f"{n}.txt") for n in range(1203)]
    assert catalogue.add(rows) == []
    found = catalogue.find(row.search_key for row in rows * 40)
    assert len(found) == 1203
    assert catalogue.add(rows) == []


def test_moments_keep_microseconds_and_lose_no_zone(catalogue: SqlCatalogue) -> None:
    noon = datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=JST)
    oldest = datetime(1601, 1, 1, tzinfo=UTC)
    catalogue.add([entry("a.txt", archived_at=noon, modified_at=oldest)])
    (row,) = stored(catalogue)
    assert (row.archived_at, row.modified_at) == (noon, oldest)
    assert row.archived_at.tzinfo is UTC
    assert row.archived_at.isoformat() == "2026-11-23T03:00:00.000001+00:00"


def test_the_database_fills_in_the_moment(database_url: str) -> None:
    values = {
        "ディレクトリパス": "'d'", "アーカイブファイル名": "'a.txt_archived.txt'",
        "S3バケット名": "'b'", "S3キー": "'k'", "ファイルサイズ": "0", "SHA256": "'0'",
        "更新日時": "'2026-01-02 03:04:05.678901'", "検索キー": "'d'",
    }  # fmt: skip
    names = ", ".join(f'"{name}"' for name in values)
    engine = make_engine(database_url)
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # SQLite's clock is no finer
    with writing(engine).begin() as connection:
        statement = f"INSERT INTO archive_list ({names}) VALUES ({', '.join(values.values())})"
        connection.exec_driver_sql(statement)
    (row,) = stored(SqlCatalogue(engine))
    engine.dispose()
    assert before <= row.archived_at <= datetime.now(UTC)
    assert row.modified_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_search_key_may_be_longer_than_an_index_entry(catalogue: SqlCatalogue) -> None:
    rows = [entry("名.txt", search_key="\\".join([f"{n}㍿" * 5000])) for n in range(2)]
    rows = [replace(row, key=f"{n}") for n, row in enumerate(rows)]
    assert catalogue.add(rows) == []
    assert set(catalogue.find(row.search_key for row in rows)) == {r.search_key for r in rows}


# Nothing is overwritten


def test_adding_twice_changes_nothing(catalogue: SqlCatalogue) -> None:
    rows = [entry("a.txt"), entry("b.txt", content="b")]
    catalogue.add(rows)
    again = [replace(row, archived_at=WHEN + timedelta(1), request_id="REQ-2") for row in rows]
    assert catalogue.add(again) == []
    assert catalogue.add([again[0], entry("c.txt"), again[0]]) == []
    assert sorted(r.name for r in stored(catalogue)) == ["a.txt", "b.txt", "c.txt"]
    assert {row.request_id for row in stored(catalogue)} == {"REQ-1"}


@pytest.mark.parametrize(
    "difference",
    [{"sha256": "f" * 64}, {"size": 1}, {"directory": DIRECTORY + "2"}, {"archived_name": "x"}],
    ids=lambda difference: next(iter(difference)),
)
def test_a_taken_key_is_returned_and_the_others_are_stored(
    catalogue: SqlCatalogue, difference: dict[str, object]
) -> None:
    first, other = entry("a.txt"), entry("b.txt")
    catalogue.add([first])
    different = replace(first, **difference)  # type: ignore[arg-type]
    assert catalogue.add([different, other]) == [different]
    assert sorted(stored(catalogue), key=lambda r: r.key) == [first, other]


def test_two_contents_for_one_key_in_one_call(catalogue: SqlCatalogue) -> None:
    one, two = entry("a.txt", content="1"), entry("a.txt", content="2")
    assert catalogue.add([one, two, one]) == [two]
    assert stored(catalogue) == [one]


def test_the_same_key_in_another_bucket_is_free(catalogue: SqlCatalogue) -> None:
    rows = [entry("a.txt", bucket="another", content="1"), entry("a.txt", content="2")]
    assert catalogue.add(rows) == []
    assert stored(catalogue) == rows


def test_keys_differ_in_case_and_composition(catalogue: SqlCatalogue) -> None:
    rows = [entry(name) for name in ("\u30ac.txt", "\u30ab\u3099.txt", "A.txt", "a.txt")]
    assert catalogue.add(rows) == []
    assert len(stored(catalogue)) == 4


def test_characters_no_database_holds_harm_only_their_own_row(catalogue: SqlCatalogue) -> None:
    typed = entry("typed.txt", comment="終わり\0\ud800", request_id="R\0", requester="\0")
    bad = [entry("nul\0.txt"), entry("half\udc80.txt")]
    assert catalogue.add([bad[0], typed, bad[1]]) == bad
    assert stored(catalogue) == [replace(typed, comment="終わり?", request_id="R", requester="")]
    assert catalogue.find([bad[0].search_key, bad[1].search_key]) == {}
    fields = ("words", "directory", "request_id", "requester", "file_types")
    signs: list[dict[str, Any]] = [{f: sign} for f in fields for sign in ("\0", "\udc80")]
    for query in (SearchQuery(**sign) for sign in signs):
        assert catalogue.search(query).total == 0


@pytest.mark.parametrize("field", ["request_id", "requester"])
def test_what_does_not_fit_is_refused_before_anything_is_stored(
    catalogue: SqlCatalogue, field: str
) -> None:
    fits = entry("a.txt", **{field: "依" * 255})
    assert catalogue.add([fits]) == []
    with pytest.raises(ValueError, match="255"):
        catalogue.add([entry("b.txt"), entry("c.txt", **{field: "依" * 256})])
    assert stored(catalogue) == [fits]


def test_threads_that_add_the_same_rows_end_in_one_row_each(catalogue: SqlCatalogue) -> None:
    rows = [entry(f"{n}.txt") for n in range(300)]
    together = threading.Barrier(4)

    def add(number: int) -> list[Entry]:
        together.wait()
        ours = rows if number % 2 else rows[::-1]
        return [e for start in range(0, 300, 50) for e in catalogue.add(ours[start : start + 50])]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(add, range(4))) == [[]] * 4
    assert sorted(r.key for r in stored(catalogue)) == sorted(r.key for r in rows)


def test_readers_do_not_wait_for_a_writer(database_url: str) -> None:
    engine = make_engine(database_url)
    catalogue = SqlCatalogue(engine)
    with writing(engine).begin() as connection:
        connection.execute(text("DELETE FROM archive_list"))
        assert catalogue.search(SearchQuery()).total == 0
        catalogue.check()
    engine.dispose()


# Any legal name

LEGAL = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters='<>:"/\\|?*')
TRICKY = st.sampled_from(
    "%_#'[]{}^~!&;$` \u3000.かカ\u3099ｶﾞ〜～－—―￥¥＼／ＡａßİΣςﬁ㍿﷽🗻👨\u200d👩葛\U000e0100"
)
NAMES = st.text(TRICKY | LEGAL, min_size=1, max_size=12).filter(lambda n: n.strip() == n)
DIRECTORIES = st.lists(NAMES, max_size=4).map(lambda parts: "\\".join([DIRECTORY, *parts]))
NUMBERS = iter(range(1_000_000))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.tuples(DIRECTORIES, NAMES), min_size=1, max_size=4, unique=True))
def test_any_legal_name_comes_back_identical(
    catalogue: SqlCatalogue, files: list[tuple[str, str]]
) -> None:
    bucket = f"bucket-{next(NUMBERS)}"
    rows = [entry(name, directory, bucket=bucket) for directory, name in files]
    assert catalogue.add(rows) == []
    found = catalogue.find(row.search_key for row in rows)
    ours = {replace(e, id=0) for es in found.values() for e in es if e.bucket == bucket}
    assert ours == set(rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(directory=DIRECTORIES, name=NAMES, data=st.data())
def test_any_part_of_a_path_finds_it(
    catalogue: SqlCatalogue, directory: str, name: str, data: st.DataObject
) -> None:
    row = entry(name, directory, bucket=f"bucket-{next(NUMBERS)}")
    catalogue.add([row])
    # A cut inside a letter and its accent leaves something that nobody would type.
    cuts = [
        n
        for n in range(len(row.path) + 1)
        if fold(row.path[:n]) + fold(row.path[n:]) == fold(row.path)
    ]
    start, end = sorted(data.draw(st.tuples(st.sampled_from(cuts), st.sampled_from(cuts))))
    words = row.path[start:end]
    assume(words.strip())
    other = data.draw(st.sampled_from(SPELLINGS))(words)
    # Some letters have a form that is another letter, and a quotation mark means something.
    typed = other if fold(other) == fold(words) and '"' not in other else words
    for query in (SearchQuery(words=typed), SearchQuery(directory=directory)):
        page = catalogue.search(query, per_page=1_000_000)
        assert row in [replace(e, id=0) for e in page.entries]


def _with(letters: dict[int, int]) -> Callable[[str], str]:
    return lambda text: text.translate(letters)


SPELLINGS = (
    str,
    str.upper,
    str.lower,
    _with({code: code + 0xFEE0 for code in range(0x21, 0x7F)}),  # full width
    _with({code: code + 0x60 for code in range(0x3041, 0x3097)}),  # katakana
    _with({code: code - 0x60 for code in range(0x30A1, 0x30F7)}),  # hiragana
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFC", text),
)
"""How somebody else may type the same."""
