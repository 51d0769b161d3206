"""Buttons above the archive list, the files they make, and the way to a restore."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from python_calamine import CalamineWorkbook
from starlette.applications import Starlette
from streamlit.testing.v1 import AppTest

from core.config.settings import load_settings
from core.errors import ListError, SettingsError
from core.export.background import Exports
from core.export.csv_writer import COLUMNS
from core.export.job import ExportState
from core.jobs.queue import DraftState, Jobs
from core.model import Entry, RunRequest, SearchQuery
from core.ports import Hits
from core.restore.model import RestorePlan
from pages import services
from pages.auth import guard
from pages.http.export_routes import EXPORT_ROUTES, export_address
from pages.search import takeaway
from pages.services import Services
from tests.support.arrange import UNC, Desk, no_restores
from tests.support.entries import entry
from tests.support.fakes import MemoryCatalogue, MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore

PAGE = """
import streamlit as st
from core.model import SearchQuery
from pages import services
from pages.widgets import words
from pages.search import takeaway
here = services.current()
query = SearchQuery(words=st.text_input("words", key="q"))
found = here.catalogue.search(query)
ticked = found.entries[:1] if st.checkbox("tick", key="tick") else ()
takeaway.render(here, query, words.count(found.total) if found.total else "", ticked)
"""
REQUEST = RunRequest("REQ-9", "佐藤", "", "tanaka")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Services]:
    environ = {"HIMURO_RESTORE_ROOTS": str(tmp_path), "HIMURO_BUCKET": "bucket"}
    desk = Desk(tmp_path, environ=environ)
    desk.catalogue.add(
        [entry(f"{name}.txt", UNC, size=1024) for name in ("見積", "議事録", "=1+1")]
    )
    settings = desk.settings
    store = MemoryRestoreStore(desk.store)
    jobs = Jobs(settings, desk.catalogue, lambda _settings: desk.store, lambda _settings: store)
    made = Services(settings, desk.catalogue, jobs)
    services.replace(made)
    yield made
    made.exports.close()
    jobs.close()
    services.replace(None)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "is_operator", lambda: True)


def fetch(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask the routes as a browser does."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=EXPORT_ROUTES))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def page() -> AppTest:
    return AppTest.from_string(PAGE, default_timeout=60).run()


def held(app: AppTest) -> str:
    return str(app.session_state["takeaway"].export_id)


def finished(here: Services, export_id: str) -> ExportState:
    for _ in range(12_000):
        view = here.exports.view(export_id)
        assert view is not None
        if view.state.is_final:
            return view.state
        threading.Event().wait(0.005)
    raise AssertionError("it never ended")


def pressed(here: Services, app: AppTest, key: str) -> AppTest:
    """Press a button and wait until the file is there."""
    app.button(key=key).click().run()
    finished(here, held(app))
    return app.run()


def shown(app: AppTest) -> str:
    assert not app.exception, [e.value for e in app.exception]
    kinds = (app.text, app.caption, app.error, app.info)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def address(app: AppTest) -> str:
    (link,) = app.get("link_button")
    return str(link.proto.url)


def test_everything_that_was_found_as_excel(here: Services) -> None:
    app = page()
    assert "検索結果 3 件を" in shown(app)
    assert labels(app) == ["Excelで保存", "CSVで保存", "復元の一覧を作る"]
    pressed(here, app, "takeaway-all-xlsx")
    assert "Excel：すべてのファイル" in shown(app)
    assert "3 件、" in shown(app)
    answer = fetch(address(app))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename*=utf-8''")
    assert unquote(disposition).rpartition("'")[2].startswith("アーカイブ一覧_20")
    assert disposition.endswith(".xlsx")
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(answer.content)).get_sheet_by_index(0)
    assert [row[2] for row in sheet.to_python()] == [
        COLUMNS[2], "=1+1.txt_archived.txt", "議事録.txt_archived.txt", "見積.txt_archived.txt",
    ]  # fmt: skip


def test_rows_that_are_ticked(here: Services) -> None:
    app = page()
    app.checkbox(key="tick").check().run()
    assert "選んだ 1 件を" in shown(app)
    pressed(here, app, "takeaway-ticked-csv")
    assert "CSV：選んだ 1 件" in shown(app)
    lines = fetch(address(app)).content.decode("utf-8-sig").splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == ["'=1+1.txt_archived.txt"]


def test_a_file_says_which_search_it_is_of(here: Services) -> None:
    app = page()
    app.text_input(key="q").set_value("見積").run()
    pressed(here, app, "takeaway-all-csv")
    assert "CSV：検索語「見積」" in shown(app)
    assert "別の検索" not in shown(app)
    app.text_input(key="q").set_value("議事").run()
    assert "CSV：検索語「見積」" in shown(app)
    assert "いま表示している検索とは別の検索のものです" in shown(app)
    app.button(key="takeaway-close").click().run()
    assert "CSV：" not in shown(app)


def test_nothing_to_take_away(here: Services) -> None:
    app = page()
    app.text_input(key="q").set_value("極秘").run()
    assert labels(app) == []


def test_progress_and_stopping(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Semaphore(0)

    def slowly(_query: SearchQuery) -> Hits:
        def batches() -> Iterator[Sequence[Entry]]:
            rows = here.catalogue.search(SearchQuery()).entries
            yield rows[:2]
            gate.acquire(timeout=60)
            yield rows[2:]

        return Hits(2_400_000, batches())

    monkeypatch.setattr(here.catalogue, "hits", slowly)
    app = page()
    app.button(key="takeaway-all-csv").click().run()
    export_id = held(app)
    for _ in range(12_000):
        view = here.exports.view(export_id)
        if view and view.written and view.written.rows:
            break
        threading.Event().wait(0.005)
    app.run()
    (bar,) = app.get("progress")
    assert bar.proto.text == "2 / 2,400,000 件"
    app.button(key="takeaway-stop").click().run()
    gate.release()
    assert finished(here, export_id) is ExportState.STOPPED
    assert "takeaway" not in app.session_state
    assert labels(app) == ["Excelで保存", "CSVで保存", "復元の一覧を作る"]


def test_a_failure_is_said_once(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_arguments: object) -> str:
        raise ListError("書き出しが混み合っています。")

    monkeypatch.setattr(Exports, "start", busy)
    app = page()
    app.button(key="takeaway-all-csv").click().run()
    assert "混み合っています" in shown(app)
    assert "混み合っています" not in shown(app.run())


def test_a_file_that_failed(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.export.restore_list_writer.MAX_ROWS", 2)
    app = pressed(here, page(), "takeaway-all-restore")
    assert "書き出せませんでした" in shown(app)
    assert "絞り込み" in shown(app)


def test_a_file_that_is_gone(here: Services) -> None:
    app = pressed(here, page(), "takeaway-all-csv")
    link = address(app)
    here.exports.close()
    gone = fetch(link)
    assert (gone.status_code, "もうありません" in gone.text) == (404, True)
    assert gone.headers["Cache-Control"] == "no-store"
    services.replace(Services(here.settings, here.catalogue, here.jobs))
    assert "もうありません" in shown(app.run())
    assert "もうありません" not in shown(app.run())


def expiring(here: Services, path: str, routes: Sequence[Any]) -> tuple[httpx.Response, list[str]]:
    """Ask for a file that is removed after the route has found it; returns also what was sent."""
    sent: list[str] = []
    app = Starlette(routes=routes)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            sent.append(message["type"])
            await send(message)

        await app(scope, receive, tell)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get(path)

    return asyncio.run(ask()), sent


@pytest.mark.parametrize("moment", ["before it is looked at", "before it is opened"])
def test_a_download_that_expires_before_its_first_byte(
    here: Services, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It was a broken answer, and an error in the log."""
    app = pressed(here, page(), "takeaway-all-csv")
    link = address(app)
    find, look = Exports.file, os.stat
    path = here.exports.file(held(app))
    assert path is not None

    def found(self: Exports, export_id: str) -> tuple[Path, str] | None:
        there = find(self, export_id)
        if moment == "before it is looked at":
            here.exports.close()
        return there

    def looked(path: Any, *more: Any, **options: Any) -> os.stat_result:
        status = look(path, *more, **options)
        if str(path).endswith(".csv") and moment == "before it is opened":
            Path(path).unlink(missing_ok=True)
        return status

    monkeypatch.setattr(Exports, "file", found)
    monkeypatch.setattr("starlette.responses.os.stat", looked)
    gone, sent = expiring(here, link, EXPORT_ROUTES)
    assert gone.status_code == 404
    assert "もう一度書き出してください" in gone.text
    assert gone.headers["Cache-Control"] == "no-store"
    assert sent == ["http.response.start", "http.response.body"]


def test_a_download_goes_on_in_ranges(here: Services) -> None:
    app = pressed(here, page(), "takeaway-all-csv")
    whole = fetch(address(app)).content
    part = fetch(address(app), {"Range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole[3:10])


def test_a_restore_list_that_expires_before_it_is_read(
    here: Services, operator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = pressed(here, page(), "takeaway-all-restore")
    find = Exports.file

    def found(self: Exports, export_id: str) -> tuple[Path, str] | None:
        there = find(self, export_id)
        self.close()
        return there

    export_id = held(app)
    monkeypatch.setattr(Exports, "file", found)
    with pytest.raises(ListError, match="もう一度書き出してください"):
        takeaway.hand_over(here, export_id, REQUEST)


def test_a_third_file_of_one_machine_has_to_wait_for_a_turn(
    here: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four pages of it have one each: two are made, two wait."""
    gate = threading.Semaphore(0)

    def slowly(_query: SearchQuery) -> Hits:
        def batches() -> Iterator[Sequence[Entry]]:
            gate.acquire(timeout=60)
            yield ()

        return Hits(3, batches())

    monkeypatch.setattr(here.catalogue, "hits", slowly)
    pages = [page() for _ in range(5)]
    for app in pages[:4]:
        app.button(key="takeaway-all-csv").click().run()
        assert "書き出せません" not in shown(app)
    pages[4].button(key="takeaway-all-csv").click().run()
    assert "このパソコンの書き出しが2件、順番を待っています" in shown(pages[4])
    for _ in pages:
        gate.release()


@pytest.mark.parametrize("guess", ["", "x", "..%2Fcatalogue.db", "%00", "a" * 3000])
def test_addresses_that_lead_nowhere(here: Services, guess: str) -> None:
    assert fetch(export_address(guess)).status_code == 404


def test_a_requester_gets_the_list_and_no_way_on(here: Services) -> None:
    app = pressed(here, page(), "takeaway-all-restore")
    assert "復元の一覧：すべてのファイル" in shown(app)
    assert "ファイル 3 件、合計 3.0 KB" in shown(app)
    assert "復元へ進む" not in labels(app)


def test_an_operator_is_offered_the_way_on(here: Services, operator: None) -> None:
    app = pressed(here, page(), "takeaway-all-restore")
    assert "復元へ進む" in labels(app)
    app.button(key="takeaway-restore").click().run()
    assert not app.exception
    assert [field.label for field in app.text_input][1:3] == ["依頼ID（必須）", "依頼者（必須）"]
    assert "復元へ進む" not in labels(pressed(here, app, "takeaway-all-csv"))


def test_the_list_goes_straight_to_the_check(here: Services, operator: None) -> None:
    app = pressed(here, page(), "takeaway-all-restore")
    draft_id = takeaway.hand_over(here, held(app), REQUEST)
    for _ in range(12_000):
        draft = here.jobs.draft(draft_id)
        assert draft is not None
        if draft.state is not DraftState.CHECKING:
            break
        threading.Event().wait(0.005)
    assert draft is not None
    assert (draft.state, draft.kind, draft.request) == (DraftState.READY, "restore", REQUEST)
    assert isinstance(draft.plan, RestorePlan)
    assert {item.name for item in draft.plan.items} == {"見積.txt", "議事録.txt", "=1+1.txt"}
    assert draft.plan.problems == ()


@pytest.mark.parametrize("request_", [RunRequest("", "佐藤"), RunRequest("REQ-9", "あ" * 256)])
def test_who_wants_it_has_to_be_known(here: Services, operator: None, request_: RunRequest) -> None:
    app = pressed(here, page(), "takeaway-all-restore")
    with pytest.raises(ListError, match="を入力してください"):
        takeaway.hand_over(here, held(app), request_)


def test_what_keeps_a_list_from_going_on(here: Services, operator: None, tmp_path: Path) -> None:
    with pytest.raises(ListError, match="もうありません"):
        takeaway.hand_over(here, "unknown", REQUEST)
    settings = load_settings({"HIMURO_DATA_DIR": str(tmp_path)})
    jobs = Jobs(settings, MemoryCatalogue(), lambda _settings: MemoryStore(), no_restores)
    bare = Services(settings, MemoryCatalogue(), jobs)
    with pytest.raises(SettingsError):
        takeaway.hand_over(bare, "unknown", REQUEST)


def test_nobody_else_goes_on(here: Services) -> None:
    app = AppTest.from_string(
        "from core.model import RunRequest\n"
        "from pages import services\n"
        "from pages.search import takeaway\n"
        "takeaway.hand_over(services.current(), 'x', RunRequest('REQ-9', '佐藤'))\n",
        default_timeout=60,
    ).run()
    assert not app.exception
    assert app.title
    assert here.jobs.active() == ()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (SearchQuery(), "すべてのファイル"),
        (SearchQuery(words="a *b*", requester="山"), "検索語「a *b*」、依頼者「山」"),
        (
            SearchQuery(directory=r"\\s\t", directory_only=True, file_types="pdf"),
            "フォルダー「\\\\s\\t（直下だけ）」、種類「pdf」",
        ),
        (SearchQuery(least_size=1024, order="size"), "サイズ「1.0 KB～」、大きい順"),  # type: ignore[arg-type]
    ],
)
def test_what_a_file_is_made_of(here: Services, query: SearchQuery, text: str) -> None:
    assert takeaway.described(query, here) == text
