"""``/runs`` without a browser: the list, its filters in the address, and one run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs.queue import Jobs
from core.model import RunRecord, RunRequest, RunState
from core.runs.record import dump_record
from pages import services
from pages.auth import guard
from pages.runs import listing
from pages.services import Services
from pages.widgets import words
from tests.pages.test_every_page import ODD, shown
from tests.support.arrange import UNC, Desk, Done, no_restores

PAGE = "from pages.runs import page as runs\nruns.render()"
WHEN = datetime(2026, 11, 23, 1, 5, tzinfo=UTC)
RECORD = RunRecord(
    run_id="20261123-100500-archive-000000",
    kind="archive",
    state=RunState.DONE,
    request=RunRequest("REQ-1", "山田 花子", "決算", "tanaka"),
    created_at=WHEN,
    started_at=WHEN + timedelta(seconds=5),
    finished_at=WHEN + timedelta(seconds=95),
    total_files=4,
    total_bytes=4096,
    archived_files=2,
    archived_bytes=2048,
    unchanged_files=1,
    failed_files=1,
    inputs=("一覧.csv",),
)

REFUSED = "中止（確認でエラー）"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    monkeypatch.setattr(guard, "is_operator", lambda: True)
    settings = desk.settings
    settings.runs_dir.mkdir(parents=True)
    jobs = Jobs(settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(settings, desk.catalogue, jobs))
    yield desk
    jobs.close()
    services.replace(None)


def page(**query: str) -> AppTest:
    app = AppTest.from_string(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def write(desk: Desk, record: RunRecord) -> Path:
    folder = desk.settings.runs_dir / record.run_id
    folder.mkdir()
    (folder / "run.json").write_text(dump_record(record, desk.settings.timezone), "utf-8")
    return folder


def elsewhere() -> None:
    """Let runs go on that have no process: opening the jobs would give them their end."""
    services.current()._opened = True


def write_many(desk: Desk, number: int) -> None:
    for n in range(number):
        record = replace(RECORD, run_id=f"20261123-100500-archive-{n:06x}")
        write(desk, replace(record, request=replace(RECORD.request, request_id=f"REQ-{n}")))


def listed(app: AppTest, column: str = "依頼ID") -> list[object]:
    return list(app.dataframe[0].value[column]) if app.dataframe else []


# The list


def test_no_runs_yet(desk: Desk) -> None:
    assert "実行はまだありません" in shown(page())


def test_a_row_of_each_kind(desk: Desk) -> None:
    write(desk, RECORD)
    kinds: list[dict[str, Any]] = [
        {"kind": "validate", "started_at": None, "archived_files": 0, "failed_files": 0},
        {"kind": "restore-request", "state": RunState.WAITING, "finished_at": None},
        {"state": RunState.REFUSED, "started_at": None, "failed_files": 0},
        {"state": RunState.RUNNING, "finished_at": None, "failed_files": 0},
    ]
    for number, changes in enumerate(kinds, start=1):
        kind = changes.get("kind", "archive")
        write(desk, replace(RECORD, run_id=f"20261123-10050{number}-{kind}-abcdef", **changes))
    (desk.settings.runs_dir / "20261123-100509-archive-abcdef").mkdir()
    elsewhere()
    app = page()
    assert "6 件（1～6件目を表示、新しい順）" in shown(app)
    rows = [tuple(map(str, row)) for row in app.dataframe[0].value.itertuples(index=False)]
    when, who = "2026/11/23 10:05", ("REQ-1", "山田 花子", "tanaka")
    none = ("-1",)
    assert rows == [
        (when, "アーカイブ", "破損", "", "", "", *none * 6, "run.json がありません"),
        (when, "アーカイブ", "実行中", *who, "4", *none * 2, "4096", *none * 2, "決算"),
        (when, "アーカイブ", REFUSED, *who, "4", *none * 2, "4096", "-1", "95", "決算"),
        (when, "restore-request", "待機中", *who, "4", "3", "1", "4096", "2048", "-1", "決算"),
        (when, "確認のみ", "完了", *who, "4", *none * 2, "4096", "-1", "95", "決算"),
        (when, "アーカイブ", "完了", *who, "4", "3", "1", "4096", "2048", "90", "決算"),
    ]  # fmt: skip


def test_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PER_PAGE", 2)
    write_many(desk, 3)
    app = page()
    assert "3 件（1～2件目を表示" in shown(app)
    assert listed(app) == ["REQ-2", "REQ-1"]
    for asked in ("2", "99"):
        assert listed(page(page=asked)) == ["REQ-0"]
    for nonsense in ("0", "-1", "x", "1" * 50, "２"):
        assert listed(page(page=nonsense)) == ["REQ-2", "REQ-1"]


def test_filters_stand_in_the_address(desk: Desk) -> None:
    write(desk, RECORD)
    other = replace(RECORD.request, request_id="REQ-2", requester="鈴木", started_by="sato")
    write(
        desk,
        replace(
            RECORD,
            run_id="20261201-090000-validate-abcdef",
            kind="validate",
            created_at=WHEN + timedelta(days=8),
            request=other,
        ),
    )
    for query in (
        {"text": "req-2 ｖａｌｉｄａｔｅ"},
        {"kind": "validate"},
        {"person": "ＳＡＴＯ"},
        {"person": "鈴"},
        {"from": "2026-11-24"},
        {"from": "2026-12-01", "to": "2026-12-01"},
    ):
        assert listed(page(**query)) == ["REQ-2"], query
    assert listed(page(to="2026-11-23")) == ["REQ-1"]
    app = page(state="failed_files")
    assert "該当する実行はありません" in shown(app)
    app.button(key="clear").click().run()
    assert listed(app) == ["REQ-2", "REQ-1"]
    assert app.query_params == {}


def test_quick_changes_of_filters_add_up(desk: Desk) -> None:
    """Who changes a second filter while the page is drawn sends the address of before the first."""
    script = """
import streamlit as st
from pages.runs import asked

def click(**values):
    asked.put(**values)

st.button("1", key="1", on_click=click, kwargs={"person": "山田", "page": ""})
st.button("2", key="2", on_click=click, kwargs={"state": "error", "page": ""})
"""
    app = AppTest.from_string(script, default_timeout=60)
    app.query_params["page"] = "2"
    app.run().button(key="1").click().run()
    app.query_params.clear()
    app.query_params["page"] = "2"
    app.button(key="2").click().run()
    there = {name: app.query_params[name] for name in app.query_params}
    assert there in ({"person": "山田", "state": "error"}, {"person": ["山田"], "state": ["error"]})


def test_a_space_that_was_just_typed_stays(desk: Desk) -> None:
    write(desk, RECORD)
    app = page()
    app.text_input(key="runs-text").set_value("req-1 ").run()
    assert app.text_input(key="runs-text").value == "req-1 "
    assert app.query_params == {"text": "req-1"}
    assert listed(app) == ["REQ-1"]


def test_a_filter_changes_the_address_and_begins_at_the_first_page(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PER_PAGE", 2)
    write_many(desk, 3)
    app = page(page="2")
    app.text_input(key="runs-person").set_value("山田").run()
    assert app.query_params == {"person": "山田"}
    assert listed(app) == ["REQ-2", "REQ-1"]
    app.selectbox(key="runs-state").set_value("error").run()
    app.date_input(key="runs-from").set_value(date(2026, 11, 1)).run()
    assert app.query_params == {"person": "山田", "state": "error", "from": "2026-11-01"}
    assert listed(app) == []
    app.selectbox(key="runs-state").set_value("").run()
    assert listed(app) == ["REQ-2", "REQ-1"]


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "<b>"}, {"state": "unknown"}, {"from": "yesterday"}, {"to": "9999-12-31"},
        {"from": "0001-01-01"}, {"page": "\0"}, {"code": "x", "log": "y", "file": "../z"},
    ],
)  # fmt: skip
def test_nonsense_in_the_address_restricts_nothing(desk: Desk, query: dict[str, str]) -> None:
    write(desk, RECORD)
    assert listed(page(**query)) == ["REQ-1"]


def test_what_is_no_run_is_mentioned(desk: Desk) -> None:
    write(desk, RECORD)
    (desk.settings.runs_dir / ODD.replace("/", "")).touch()
    text = shown(page())
    assert "実行の記録ではないものが" in text
    assert ODD.replace("/", "") in text


# One run


def failed(desk: Desk) -> Done:
    """Return a run in which one file has vanished after the check."""
    desk.write("a.txt", "x")
    desk.write(f"{ODD.replace('/', '').replace(chr(92), '')}.txt", "x")
    run = desk.new_run(f"{UNC}\n".encode())
    plan = run.check()
    (desk.share / "a.txt").unlink()
    run.begin(plan)
    return Done(run.execute(lambda: desk.store, desk.stop), run.folder.path, plan)


def test_a_run_with_its_causes_log_and_files(desk: Desk) -> None:
    run_id = failed(desk).record.run_id
    app = page(run=run_id)
    text = shown(app)
    assert "1件が失敗しました" in text
    assert {m.label: m.value for m in app.metric}["失敗"] == "1 件"
    causes, lines, settings = (frame.value for frame in app.dataframe)
    assert causes.iloc[0].to_list() == [
        "誤り",
        "ファイルが存在しません",
        "1 件",
        "パスを確認し、一覧を直してください",
        rf"{UNC}\a.txt",
        "SOURCE_NOT_FOUND",
    ]
    assert list(lines["対象"]) == [rf"{UNC}\a.txt"]
    assert "himuro-test" in set(settings["値"])
    assert app.button(key="retry").label == "エラーファイル一覧で再実行する"
    links = {link.proto.url for link in app.get("link_button")}
    names = "input.csv run.json plan.csv outcomes.csv error_log.txt failed_uploads.txt report.csv"
    assert links == {
        f"/files/{run_id}.zip",
        *(f"/files/{run_id}/{name}" for name in names.split()),
    }


def test_the_log_is_searched(desk: Desk) -> None:
    folder = write(desk, RECORD)
    with (folder / "error_log.txt").open("w", encoding="utf-8") as file:
        for number in range(600):
            file.write(
                f"[2026-11-23 10:05:00] ERROR: {UNC}\\{number}.txt - "
                "ファイルが存在しません (SOURCE_NOT_FOUND)\n"
            )
        file.write(f"{ODD}\n")
    app = page(run=RECORD.run_id)
    assert "601行" in shown(app)
    assert "最後の500行を表示しています" in shown(app)
    assert app.dataframe[1].value["内容"].iloc[-1] == ODD
    app.text_input(key="log-text").set_value("５９９.TXT").run()
    assert list(app.dataframe[1].value["対象"]) == [rf"{UNC}\599.txt"]
    assert app.query_params == {"run": RECORD.run_id, "log": "５９９.TXT"}
    app = page(run=RECORD.run_id, code="SOURCE_NOT_FOUND")
    assert "600行" in shown(app)
    assert "601行" in shown(page(run=RECORD.run_id, code="FORGED"))


def test_the_way_back_keeps_the_filters(desk: Desk) -> None:
    write(desk, RECORD)
    app = page(run=RECORD.run_id, person="山田", page="1", log="x", code="y")
    app.button(key="back").click().run()
    assert app.query_params == {"person": "山田", "page": "1"}
    assert listed(app) == ["REQ-1"]


@pytest.mark.parametrize(
    "run_id", ["../../etc", "20261123-100500-archive-ffffff", "%00", "x" * 999]
)
def test_an_unknown_run_is_said_to_be_none(desk: Desk, run_id: str) -> None:
    assert "この実行は見つかりません" in shown(page(run=run_id))


def test_a_damaged_run_gives_what_is_left_of_it(desk: Desk) -> None:
    done = failed(desk)
    (done.folder / "run.json").write_text("{")
    app = page(run=done.record.run_id)
    text = shown(app)
    assert "破損しています" in text
    assert "run.json の内容が壊れています" in text
    assert app.dataframe[0].value["コード"].to_list() == ["SOURCE_NOT_FOUND"]
    assert len(app.get("link_button")) == 8
    assert "retry" not in {button.key for button in app.button}


def test_a_log_that_is_none_breaks_nothing(desk: Desk) -> None:
    folder = write(desk, RECORD)
    os.mkfifo(folder / "error_log.txt")
    (folder / "restore_errors.txt").write_bytes(b"\xff\x00" * 100)
    app = page(run=RECORD.run_id)
    assert "1行" in shown(app)
    assert len(app.get("link_button")) == 3


def test_two_logs_are_shown_one_at_a_time(desk: Desk) -> None:
    folder = write(desk, RECORD)
    (folder / "error_log.txt").write_text("one\n")
    (folder / "restore_errors.txt").write_text("two\nlines\n")
    assert "1行" in shown(page(run=RECORD.run_id))
    assert "2行" in shown(page(run=RECORD.run_id, file="restore_errors.txt"))
    assert "1行" in shown(page(run=RECORD.run_id, file="/etc/passwd"))


def test_what_was_typed_is_shown_as_typed(desk: Desk) -> None:
    write(desk, replace(RECORD, request=RunRequest(ODD, ODD, ODD, ODD), message=ODD))
    app = page(run=RECORD.run_id)
    assert [element.value for element in app.text].count(ODD) == 5
    readers = (app.markdown, app.caption, app.title, app.subheader, app.success, app.error)
    assert not any(":red[e]" in str(e.value) for kind in readers for e in kind)


def test_a_run_of_another_process_has_no_downloads_yet(desk: Desk) -> None:
    write(desk, replace(RECORD, state=RunState.RUNNING, finished_at=None))
    elsewhere()
    app = page(run=RECORD.run_id)
    assert "実行が終わると、ここからダウンロードできます" in shown(app)
    assert not app.get("link_button")


# Rules


def test_strangers_see_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    write(desk, RECORD)
    monkeypatch.setattr(guard, "is_operator", lambda: False)
    for query in ({}, {"run": RECORD.run_id}):
        app = page(**query)
        text = shown(app)
        assert "運用者のページはまだ開かれていません" in text
        assert "REQ-1" not in text
        assert not app.dataframe


ENTRIES = {"render", "changed", "clear", "open_run", "leave_run", "put", "_turn", "_chosen"}


def test_callbacks_and_fragments_check_again() -> None:
    folder = Path(guard.__file__).parent.parent
    seen = set()
    for module in (folder / "runs").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            marks = {ast.unparse(mark).partition("(")[0] for mark in node.decorator_list}
            if node.name in ENTRIES or marks & {"st.fragment", "st.dialog"}:
                body = [n for n in node.body if not isinstance(n, ast.Expr | ast.Constant)
                        or ast.unparse(n).startswith("guard.")]  # fmt: skip
                assert ast.unparse(body[0]) == "guard.require_operator()", (module, node.name)
                seen.add(node.name)
    assert seen == ENTRIES | {"_until_one_ends", "_until_it_ends"}


def test_checks_and_kinds_have_numbers_of_their_own() -> None:
    assert dict(words.numbers(RECORD))["アーカイブした"] == "2 件"
    check = replace(RECORD, kind="validate", started_at=None)
    assert dict(words.numbers(check))["所要時間"] == "1分35秒"
    assert "何も変更していません" in words.next_step(check)
    later = replace(RECORD, kind="purge")
    assert dict(words.numbers(later))["成功"] == "3 件"
    assert words.next_step(later) == ""
