"""The page of the archive list, without a browser: address → widgets, rows and words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from core.jobs.queue import Jobs
from core.model import Entry, SearchPage, SearchQuery
from db import SqlCatalogue, open_catalogue
from pages import services
from pages.search import ticks
from pages.search.asked import COLUMNS
from pages.services import Services
from tests.support.arrange import Desk, no_restores
from tests.support.entries import WHEN, entry, stored

SALES, OLD = r"\\fsx01\share\営業部", r"\\fsx01\share\営業部\2025年度"
ROWS = (
    entry("見積書.xlsx", SALES, size=1536, request_id="REQ-1", requester="山田 花子"),
    entry("契約書.pdf", SALES, size=20 * 1024**2, request_id="REQ-2", requester="佐藤"),
    entry("見積書_最終.xlsx", OLD, size=2048, request_id="REQ-2", requester="佐藤"),
)


@pytest.fixture
def catalogue(tmp_path: Path, migrated_sqlite_file: Path) -> Iterator[SqlCatalogue]:
    """Three rows, a day apart, behind the console."""
    file = tmp_path / "catalogue.db"
    shutil.copy(migrated_sqlite_file, file)
    opened = open_catalogue(f"sqlite:///{file}")
    opened.add([replace(r, archived_at=WHEN + timedelta(days=n)) for n, r in enumerate(ROWS)])
    desk = Desk(tmp_path)
    jobs = Jobs(desk.settings, opened, lambda _settings: desk.store, no_restores)
    services.replace(Services(desk.settings, opened, jobs))
    yield opened
    jobs.close()
    opened.close()
    services.replace(None)


def opened(panel: str = "", /, **address: str) -> AppTest:
    """Open the page at an address, with one of its panels."""
    app = AppTest.from_string(
        "from pages.search import page as search\nsearch.render()", default_timeout=60
    )
    for name, value in address.items():
        app.query_params[name] = value
    if panel:
        app.session_state[panel] = True
    return app.run()


def address(app: AppTest) -> dict[str, str]:
    """Return the address; what a test has put there itself is a list."""
    there = app.query_params.items()
    return {name: value if isinstance(value, str) else value[0] for name, value in there}


def said(app: AppTest) -> str:
    assert not app.exception, [e.value for e in app.exception]
    kinds = (app.text, app.caption, app.markdown, app.info, app.warning, app.error)
    return "\n".join(str(each.value) for kind in kinds for each in kind)


def names(app: AppTest) -> list[str]:
    assert not app.exception, [e.value for e in app.exception]
    return list(app.dataframe[0].value["ファイル名"]) if app.dataframe else []


ALL = ["見積書_最終.xlsx", "契約書.pdf", "見積書.xlsx"]


@pytest.mark.parametrize(
    ("address", "found"),
    [({}, ALL), ({"q": "見積"}, [ALL[0], ALL[2]]), ({"q": "見積 最終"}, ALL[:1]),
     ({"q": SALES + "\\見積書.xlsx"}, ALL[2:]), ({"directory": SALES}, ALL),
     ({"directory": SALES, "only": "1"}, ALL[1:]), ({"request": "req-2"}, ALL[:2]),
     ({"requester": "山田"}, ALL[2:]), ({"type": "xlsx"}, [ALL[0], ALL[2]]),
     ({"min": "２ＫＢ"}, ALL[:2]), ({"min": "2KB", "max": "1MB"}, ALL[:1]),
     ({"from": "2026-11-24", "to": "2026-11-24"}, ALL[1:2]), ({"from": "2026/11/25"}, ALL[:1]),
     ({"ascending": "1"}, ALL[::-1]), ({"sort": "size"}, [ALL[1], ALL[0], ALL[2]]),
     ({"sort": "path", "ascending": "1"}, [ALL[0], ALL[1], ALL[2]]),
     ({"q": "見積", "request": "REQ-2"}, ALL[:1])],
)  # fmt: skip
def test_the_address_is_the_search(
    catalogue: SqlCatalogue, address: dict[str, str], found: list[str]
) -> None:
    assert sorted(names(opened(**address))) == sorted(found)
    if "path" not in address.values():
        assert names(opened(**address)) == found


@pytest.mark.parametrize(
    "address",
    [{"page": "x"}, {"page": "-1"}, {"page": "9" * 30}, {"sort": "color"}, {"ascending": "yes"},
     {"period": "next-month"}, {"only": "1"}, {"columns": "a,b"}, {"view": "x"}, {"exact": "x"},
     {"folder": "x"}, {"other": "x"}, {"q": "  \x00 "}],
)  # fmt: skip
def test_nonsense_restricts_nothing(catalogue: SqlCatalogue, address: dict[str, str]) -> None:
    app = opened(**address)
    assert names(app) == ALL
    assert "3 件（1～3件目を表示、新しい順）" in said(app)


@pytest.mark.parametrize(
    ("address", "problem"),
    [({"from": "きのう"}, "現在: きのう"), ({"min": "大"}, "現在: 大"),
     ({"from": "2026-11-02", "to": "2026-11-01"}, "後になっています"),
     ({"min": "2MB", "max": "1MB"}, "大きくなっています"), ({"q": "あ" * 1500}, "長すぎます")],
)  # fmt: skip
def test_what_cannot_be_searched_is_said(
    catalogue: SqlCatalogue, address: dict[str, str], problem: str
) -> None:
    app = opened(**address)
    assert problem in said(app)
    assert not app.dataframe


def test_widgets_show_the_address_and_change_it(catalogue: SqlCatalogue) -> None:
    app = opened("list-filters", q="見積", requester="佐藤", page="1")
    assert app.text_input(key="list-q").value == "見積"
    assert app.text_input(key="list-requester").value == "佐藤"
    app.text_input(key="list-type").set_value(" pdf ").run()
    assert address(app) == {"q": "見積", "requester": "佐藤", "type": "pdf"}
    app.text_input(key="list-q").set_value("").run()
    assert address(app) == {"requester": "佐藤", "type": "pdf"}
    assert names(app) == [ALL[1]]


def test_quick_clicks_add_up(catalogue: SqlCatalogue) -> None:
    """A run that is broken off has told the browser nothing: it sends the old address."""
    script = """
import streamlit as st
from pages.widgets import address
def click(**values):
    address.put(**values)
st.button("1", key="1", on_click=click, kwargs={"q": "a"})
st.button("2", key="2", on_click=click, kwargs={"type": "b"})
if st.checkbox("done", key="done"):
    address.settled()
"""
    app = AppTest.from_string(script, default_timeout=60)
    app.query_params["page"] = "2"
    app.run().button(key="1").click().run()
    assert address(app) == {"page": "2", "q": "a"}
    _send(app, page="2")
    app.button(key="2").click().run()
    assert address(app) == {"page": "2", "q": "a", "type": "b"}
    app.checkbox(key="done").check().run()
    _send(app, page="2")  # the way back, after the page was drawn
    app.button(key="2").click().run()
    assert address(app) == {"page": "2", "type": "b"}


def _send(app: AppTest, **values: str) -> None:
    app.query_params.clear()
    for name, value in values.items():
        app.query_params[name] = value


def test_filters_are_told_and_cleared_at_once(catalogue: SqlCatalogue) -> None:
    app = opened(q="見積", directory=SALES, request="REQ-2", to="2026-12-01", max="1GB")
    text = said(app)
    for each in (
        f"フォルダー: {SALES}（その下も）",
        "依頼ID: REQ-2",
        "期間: ～2026/12/01",
        "～1GB",
    ):
        assert each in text
    app.button(key="clear").click().run()
    assert address(app) == {"q": "見積"}
    assert names(app) == [ALL[0], ALL[2]]
    assert "絞り込み中" not in said(app)


def test_last_month_is_relative_to_today(catalogue: SqlCatalogue) -> None:
    timezone = services.current().settings.timezone
    first = datetime.now(timezone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    times = {"先月の終わり.txt": first - timedelta(seconds=1), "今月の初め.txt": first}
    catalogue.add([entry(name, archived_at=at.astimezone(UTC)) for name, at in times.items()])
    app = opened("list-filters")
    app.checkbox(key="list-period").check().run()
    assert address(app) == {"period": "last-month"}
    assert "先月の終わり.txt" in names(app)
    assert "今月の初め.txt" not in names(app)
    last = (first - timedelta(days=1)).date()
    assert app.date_input(key="list-to").value == last
    app.date_input(key="list-from").set_value(None).run()
    assert address(app) == {"to": last.isoformat()}


def test_orders_are_chosen_and_said(catalogue: SqlCatalogue) -> None:
    app = opened(q="書", page="1")
    orders = app.selectbox(key="list-sort")
    orders.select_index([*orders.options].index("大きい順")).run()
    assert address(app) == {"q": "書", "sort": "size"}
    assert names(app)[0] == "契約書.pdf"
    assert "大きい順）" in said(app)


def test_too_many_to_sort_is_said(catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = tuple(catalogue.search(SearchQuery()).entries)
    page = SearchPage(10_000, entries, over=True, unsorted=True)
    monkeypatch.setattr(SqlCatalogue, "search", lambda *_args, **_options: page)
    text = said(opened(sort="size", q="書"))
    assert "10,000 件以上（1～3件目を表示、新しい順）" in text
    assert "大きい順に並べられません" in text
    assert "絞り込む" in text


def test_the_sums_know_what_takes_too_long_to_count(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = tuple(catalogue.search(SearchQuery()).entries)
    monkeypatch.setattr(
        SqlCatalogue, "search", lambda *_args, **_options: SearchPage(2, entries[:2], over=True)
    )
    text = said(opened())
    assert re.search(r"3 件（1～2件目を表示、新しい順、件数は \d\d:\d\d 時点）", text)
    assert "検索結果 3 件を" in text
    assert "2 件以上（1～2件目を表示、新しい順）" in said(opened(q="書"))


def test_more_pages_than_were_counted(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tuple(entry(f"{n}.txt", id=n) for n in range(1, 101))
    page = SearchPage(10_000, full, over=True)
    monkeypatch.setattr(SqlCatalogue, "search", lambda *_args, **_options: page)
    assert "（20,000～20,099件目" not in said(opened(page="200"))
    assert "（19,901～20,000件目を表示" in said(opened(page="200"))


def test_columns_are_hidden_and_values_exact(catalogue: SqlCatalogue) -> None:
    app = opened("list-view", columns="name,size,sha256,nonsense", exact="1")
    assert list(app.dataframe[0].value.columns) == ["ファイル名", "サイズ", "SHA256"]
    assert list(app.dataframe[0].value["サイズ"]) == ["2,048", "20,971,520", "1,536"]
    app.toggle(key="list-exact").set_value(False).run()
    assert list(app.dataframe[0].value["サイズ"]) == ["2.0 KB", "20.0 MB", "1.5 KB"]
    assert address(app) == {"columns": "name,size,sha256,nonsense"}
    exact = opened(columns="date,modified", exact="1").dataframe[0].value
    assert list(exact["アーカイブ日時"])[2] == "2026/11/23 18:30:15"
    assert list(exact["更新日時"])[2] == "2020/03/01 08:59:59"


def test_every_column_is_drawn(catalogue: SqlCatalogue) -> None:
    shown = opened(columns=",".join(COLUMNS)).dataframe[0].value
    assert list(shown.columns) == list(COLUMNS.values())


def test_ticks_stay_over_searches(catalogue: SqlCatalogue) -> None:
    rows = {row.name: row for row in catalogue.search(SearchQuery()).entries}
    app = opened()
    assert "選択中" not in said(app)
    app.session_state["ticked"] = {r.id: r for r in (rows["契約書.pdf"], rows["見積書.xlsx"])}
    app.query_params["q"] = "見積"
    app.run()
    assert "選択中 2 件、合計 20.0 MB" in said(app)
    assert _ticked_at_first(app) == [1]
    app.query_params["q"] = "契約"
    app.run()
    assert _ticked_at_first(app) == [0]
    app.button(key="untick").click().run()
    assert _ticked_at_first(app) == []
    assert "選択中" not in said(app)


def _ticked_at_first(app: AppTest) -> list[int]:
    default = json.loads(app.dataframe[0].proto.selection_default)
    return list(default["selection"]["rows"])


def _tick(shown: list[Entry], chosen: list[int]) -> tuple[bool, list[str]]:
    fits = ticks.take(shown, chosen)
    return fits, [entry.name for entry in ticks.ticked()]


def test_ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.session_state", {})
    monkeypatch.setattr(ticks, "MOST", 3)
    one, two = ([entry(f"{p}{n}", id=p * 10 + n) for n in range(2)] for p in (1, 2))
    assert _tick(one, [1]) == (True, ["11"])
    assert _tick(two, [0, 1]) == (True, ["11", "20", "21"])
    assert _tick(one, [0, 1]) == (False, ["11", "20", "21"])
    assert _tick(two, [1]) == (True, ["11", "21"])
    assert _tick(one, [0, 1]) == (True, ["11", "21", "10"])
    assert _tick(one, [7, -1]) == (True, ["21"])


def test_nothing_found_says_what_to_try(catalogue: SqlCatalogue) -> None:
    app = opened(q="見積書 サーバー設定", page="1")
    text = said(app)
    assert "該当するファイルはありません" in text
    assert "サーバー設定 を含むものは、アーカイブ一覧のどこにもありません" in text
    assert "見積書 を含むものは" not in text
    assert app.button(key="hint-0").label == "2 件を見る"
    app.button(key="hint-0").click().run()
    assert address(app) == {"q": "見積書"}
    assert names(app) == [ALL[0], ALL[2]]


def test_a_filter_that_hides_everything_can_be_taken_away(catalogue: SqlCatalogue) -> None:
    app = opened(q="見積", requester="佐藤", type="pdf", sort="size")
    assert "「種類」の条件をやめる" in said(app)
    hints = [button for button in app.button if str(button.key).startswith("hint-")]
    assert [hint.label for hint in hints] == ["2 件を見る", "1 件を見る"]
    hints[1].click().run()
    assert address(app) == {"q": "見積", "requester": "佐藤", "sort": "size"}


def test_an_empty_list_has_no_advice(tmp_path: Path, catalogue: SqlCatalogue) -> None:
    assert len(stored(catalogue)) == 3
    desk = Desk(tmp_path)
    here = services.current()
    services.replace(Services(here.settings, desk.catalogue, here.jobs))
    text = said(opened())
    assert "まだありません" in text
    assert "言葉を減らす" not in text


def test_what_was_typed_is_no_markdown(catalogue: SqlCatalogue) -> None:
    odd = ":red[x] *y*"
    app = opened(q=odd, requester=odd)
    readers = (app.markdown, app.caption, app.info, app.button)
    texts = (getattr(e, "value", "") or getattr(e, "label", "") for kind in readers for e in kind)
    assert not any(":red[x]" in str(text) for text in texts)
    assert f"依頼者: {odd}" in said(app)


def test_the_rows_keep_their_place(catalogue: SqlCatalogue) -> None:
    """Whatever stands above them: a click is lost in a fragment that has moved."""
    searches: list[dict[str, str]] = [
        {},
        {"q": "見積"},
        {"requester": "佐藤"},
        {"q": "見積", "requester": "佐藤"},
    ]
    places = [_places(opened(**search)) for search in searches]
    assert places == [[1]] * len(searches)


def _places(app: AppTest) -> list[int]:
    """Return which parts of the page hold a table."""
    parts = app.main.children.items()
    return [n for n, part in parts if isinstance(part, Block) and part.dataframe]
