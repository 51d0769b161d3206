"""``/restore`` without a browser, on a store that thaws by a clock of the test."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from core.errors import Code, FatalError
from core.jobs.queue import DraftState, Jobs, JobView
from core.model import ListSource, RunState
from core.restore.model import Stage, Tier
from core.restore.queries import Restores
from pages import services
from pages.auth import guard
from pages.jobs.upload import typed_paths
from pages.services import Services
from pages.widgets import confirmation, words
from tests.pages.test_every_page import shown
from tests.pages.test_runs import RECORD
from tests.support.arrange import REQUEST, UNC, Desk, archive_list
from tests.support.fakes import MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore

PAGE = "from pages.restore import page as restore\nrestore.render()"
DAY = timedelta(days=1)
SECONDS = 30
QUOTE, PLAN, LOG = r"営業部\見積.xlsx", r"開発部\計画.docx", r"総務部\議事録.txt"


class Office:
    """A console with three archived files, and a clock for S3 and the restores."""

    def __init__(self, root: Path) -> None:
        self.placed = root / "restored"
        self.placed.mkdir()
        environ = {"HIMURO_RESTORE_ROOTS": str(self.placed), "HIMURO_RESTORE_DAYS": "7"}
        self.desk = Desk(root, environ=environ)
        for path, size in ((QUOTE, 2000), (PLAN, 300), (LOG, 4)):
            self.desk.write(path.replace("\\", "/"), b"x" * size)
        self.desk.archive(rf"{UNC}\営業部", rf"{UNC}\開発部", rf"{UNC}\総務部")
        assert isinstance(self.desk.store, MemoryStore)
        # Pages compare with the real clock: what is ahead of it stays so. Copies expire at
        # midnight: the hour decides how long they last.
        evening = datetime.combine(datetime.now(UTC).date() + 2 * DAY, time(21), UTC)
        self.store = MemoryRestoreStore(self.desk.store, evening)
        settings = self.desk.settings
        self.jobs = Jobs(
            settings,
            self.desk.catalogue,
            lambda _settings: self.desk.store,
            lambda _settings: self.store,
            now=self.now,
        )
        here = Services(settings, self.desk.catalogue, self.jobs)
        here.restores = Restores(settings, lambda _settings: self.store, now=self.now)
        services.replace(here)
        here.open_jobs()

    def now(self) -> datetime:
        """No two things happen at the same time."""
        self.store.now += timedelta(microseconds=1)
        return self.store.now

    def checked(self, *paths: str) -> str:
        """Check a restore list and return the draft's id once it is done."""
        source = ListSource("復元.csv", archive_list(*(rf"{UNC}\{path}" for path in paths)))
        draft_id = self.jobs.check_restore([source], REQUEST)
        self.until(lambda: self.state(draft_id) is not DraftState.CHECKING)
        return draft_id

    def state(self, draft_id: str) -> DraftState:
        draft = self.jobs.draft(draft_id)
        assert draft is not None
        return draft.state

    def requested(self, *paths: str) -> str:
        """Request files and return the run's id once S3 was asked."""
        run_id = self.jobs.start_restore(self.checked(*paths), Tier.BULK, 7)
        self.idle()
        return run_id

    def idle(self) -> None:
        self.until(lambda: not self.jobs.active())

    def until(self, reached: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(SECONDS * 100):
            if reached():
                return
            pause.wait(0.01)
        raise AssertionError("it takes too long")

    def known(self, run_id: str) -> None:
        """Let S3 answer before the page is drawn."""
        restores = services.current().restores
        self.until(lambda: not restores.status(run_id).working)

    def open(self, run_id: str) -> AppTest:
        self.known(run_id)
        return page(run=run_id)

    def later(self, run_id: str, by: timedelta) -> AppTest:
        """Let time go by and press the button that looks again."""
        self.store.now += by
        app = self.open(run_id)
        app.button(key="refresh").click().run()
        self.known(run_id)
        return app.run()


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(guard, "is_operator", lambda: True)
    made = Office(tmp_path)
    yield made
    made.jobs.close()
    services.replace(None)


def page(script: str = PAGE, **query: str) -> AppTest:
    app = AppTest.from_string(script, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def keys(app: AppTest) -> set[str | None]:
    return {button.key for button in app.button}


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def table(app: AppTest, column: str) -> list[object]:
    """Return a column of the first table that has it."""
    return next(list(t.value[column]) for t in app.dataframe if column in t.value.columns)


# The list and its check


def test_form_needs_a_list_or_paths(office: Office) -> None:
    app = page()
    assert "1. 復元の一覧をアップロードする" in shown(app)
    app.button(key="check").click().run()
    assert "か復元するパス、依頼ID" in app.error[0].value
    app.text_area(key="paths-0").set_value(f"{UNC}\\{QUOTE}\n\n")
    app.text_input(key="request-id").set_value("REQ-7")
    app.text_input(key="requester").set_value("山田")
    app.button(key="check").click().run()
    [draft] = [app.query_params["draft"]]
    office.until(lambda: office.state(draft) is not DraftState.CHECKING)
    assert numbers(page(draft=draft))["対象ファイル"] == "1 件"


def test_roots_are_needed(office: Office) -> None:
    here = services.current()
    services.replace(Services(replace(here.settings, restore_roots=()), here.catalogue, here.jobs))
    assert "HIMURO_RESTORE_ROOTS が設定されていません" in shown(page())


def test_check_says_what_will_be_and_what_is_left_out(office: Office) -> None:
    app = page(draft=office.checked(QUOTE, PLAN, r"総務部\議事禄.txt"))
    text = shown(app)
    assert "1 行は対象外です" in text
    assert numbers(app) == {
        "対象ファイル": "2 件",
        "合計サイズ": "2.2 KB",
        "配置に必要な空き容量": "2.2 KB",
        "対象外の行": "1 件",
        "注意": "0 件",
    }
    assert table(app, "コード") == ["NOT_ARCHIVED"]
    assert "Expedited" in text
    assert app.radio[0].value is Tier.BULK
    assert (app.number_input[0].value, app.number_input[0].min) == (7, 3)
    in_two_days = [datetime.now(UTC) + 2 * DAY - ago for ago in (timedelta(), timedelta(minutes=9))]
    zone = office.desk.settings.timezone
    assert any(words.moment(when, zone)[:13] in text for when in in_two_days)  # to the hour
    app.radio[0].set_value(Tier.STANDARD).run()
    assert (app.number_input[0].value, app.number_input[0].min) == (7, 1)


def test_days_of_the_settings_that_are_too_few_for_bulk(office: Office) -> None:
    draft_id = office.checked(QUOTE)
    here = services.current()
    services.replace(Services(replace(here.settings, restore_days=1), here.catalogue, here.jobs))
    assert page(draft=draft_id).number_input[0].value == 3


def test_nothing_to_restore_cannot_be_requested(office: Office) -> None:
    app = page(draft=office.checked("ない.txt"))
    assert "復元できません" in shown(app)
    assert "restore" not in keys(app)
    assert office.store.requests == []


# One restore


def test_from_request_to_the_last_file(office: Office) -> None:
    run_id = office.requested(QUOTE, PLAN)
    app = office.open(run_id)
    text = shown(app)
    assert "2 件は取り出し準備中です。遅くとも" in text
    assert table(app, "状況") == ["取り出し準備中"] * 2
    assert "place" not in keys(app)
    assert "again" not in keys(app)

    app = office.later(run_id, 2 * DAY)
    assert "2 件を取り出せます。期限は" in shown(app)
    assert app.text_input[0].value == str(office.placed)
    office.jobs.place(run_id, str(office.placed), (), "tester")
    office.idle()
    app.run()  # what S3 said before is not believed any more
    office.known(run_id)
    app.run()
    assert "完了　すべて配置しました" in shown(app)
    assert "配置済み 2 / 2 件（100%）" in shown(app)
    assert table(app, "配置先") == [
        str(office.placed / "見積.xlsx"),
        str(office.placed / "計画.docx"),
    ]


def test_a_step_that_goes_on_does_not_wait_for_its_turn(office: Office) -> None:
    seen: dict[str, JobView] = {}

    def before(call: str, _key: str) -> None:
        seen.update((call, job) for job in office.jobs.active())

    office.store.before = before
    run_id = office.requested(QUOTE)
    office.store.now += 2 * DAY
    office.jobs.place(run_id, str(office.placed), (), "tester")
    office.idle()
    for step in ("thaw", "fetch"):
        assert (seen[step].queued, seen[step].started_at is None) == (False, False), step


def test_what_expires_is_said_and_can_be_requested_again(office: Office) -> None:
    run_id = office.requested(QUOTE)
    app = office.later(run_id, 6 * DAY + timedelta(hours=12))
    assert "まもなく期限が切れます" in shown(app)
    assert table(app, "状況") == ["まもなく期限切れ"]
    app = office.later(run_id, 2 * DAY)
    assert "1 件は期限が切れて読み取れません" in shown(app)
    assert app.button(key="again").label == "期限切れをもう一度要求する"
    assert "place" not in keys(app)
    office.jobs.request_again(run_id, "tester")
    office.idle()
    app.run()  # what S3 said before is not believed any more
    office.known(run_id)
    app.run()
    assert table(app, "状況") == ["取り出し準備中"]
    assert "again" not in keys(app)


def test_what_was_never_requested_is_asked_for_with_one_click(office: Office) -> None:
    """The requests were stopped after the first one; nobody is told that the rest thaws."""
    draft_id = office.checked(QUOTE, PLAN)

    def stop(call: str, _key: str) -> None:
        if call == "state":
            office.jobs.stop(office.jobs.active()[0].run_id)

    office.store.before = stop
    run_id = office.jobs.start_restore(draft_id, Tier.BULK, 7)
    office.idle()
    office.store.before = lambda _call, _key: None
    assert office.store.requests == []
    first = next(key for key in office.store.objects if "見積" in key)
    office.store.thaw(first, Tier.BULK, 7)  # by somebody else
    app = office.open(run_id)
    text = shown(app)
    assert "1 件は、途中で終わったため、まだ要求していません" in text
    assert "1 件は取り出し準備中です" in text
    assert table(app, "状況") == ["未要求", "取り出し準備中"]
    office.known(run_id)
    listed = page()
    assert f"open-{run_id}" in keys(listed)
    assert app.button(key="rest").label == "残りの 1 件を要求する"
    assert "again" not in keys(app)
    app.button(key="rest").click().run()
    office.idle()
    assert len(office.store.requests) == 2
    app.run()
    office.known(run_id)
    app.run()
    assert table(app, "状況") == ["取り出し準備中"] * 2
    assert "rest" not in keys(app)
    record = office.jobs.record(run_id)
    assert record is not None
    assert record.last_by == guard.seat()


def test_the_history_counts_what_was_never_requested(office: Office) -> None:
    run_id = office.requested(QUOTE)
    record = office.jobs.record(run_id)
    assert record is not None
    assert "未要求" not in dict(words.numbers(record))
    assert dict(words.numbers(replace(record, unrequested_files=1200)))["未要求"] == "1,200 件"


def test_a_directory_that_may_not_be_used(office: Office, tmp_path: Path) -> None:
    run_id = office.requested(QUOTE)
    app = office.later(run_id, 2 * DAY)
    app.text_input[0].set_value(str(tmp_path / "elsewhere"))
    app.button(key="place").click().run()
    restores = services.current().restores
    office.until(lambda: not restores.preview(run_id, str(tmp_path / "elsewhere")).working)
    app.run()
    text = shown(app)
    assert "このフォルダーには配置できません" in text
    assert f"次のフォルダーの中を指定してください: {office.placed}" in text


def test_rows_left_out_stay_with_the_restore(office: Office) -> None:
    app = office.open(office.requested(QUOTE, "ない.txt"))
    assert app.expander[0].label == "対象外の行（1 件）"
    assert table(app, "一覧に書かれたもの") == [rf"{UNC}\ない.txt"]


def test_files_that_failed_come_first_with_their_reason(office: Office) -> None:
    run_id = office.requested(QUOTE, PLAN)
    del office.store.objects[next(key for key in office.store.objects if "計画" in key)]
    app = office.later(run_id, timedelta())
    assert table(app, "状況") == ["失敗", "取り出し準備中"]
    assert table(app, "理由")[0] == Code.OBJECT_MISSING.what
    assert "1 件は失敗しました" in shown(app)


def test_s3_that_does_not_answer(office: Office) -> None:
    run_id = office.requested(QUOTE)

    def away(_call: str, _key: str) -> None:
        raise FatalError(Code.S3_UNREACHABLE)

    office.store.before = away
    services.current().restores.forget(run_id)
    app = office.open(run_id)
    assert "S3に接続できません" in shown(app)
    assert numbers(app)["準備中"] == "1 件"  # as it was at the end of the step
    office.store.before = lambda _call, _key: None
    app = office.later(run_id, timedelta())
    assert "1 件は取り出し準備中です" in shown(app)


def test_the_list_asks_for_no_more_than_it_may_hold(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest restores first; of the others their record is shown, and the way to them."""
    runs = []
    for paths in ((QUOTE, PLAN), (LOG,), (PLAN,)):
        runs.append(office.requested(*paths))
        office.store.now += timedelta(minutes=1)
    monkeypatch.setattr("pages.restore.status.MAX_TOGETHER", 2)
    app = page()
    for run_id in runs[1:]:
        office.known(run_id)
    app.run()
    assert {f"open-{run_id}" for run_id in runs} <= keys(app)
    assert shown(app).count("取り出し準備中 1") == 2
    assert "取り出し準備中 2" not in shown(app)


def test_what_is_late_is_said(office: Office) -> None:
    office.store.now = datetime.now(UTC) - 3 * DAY
    run_id = office.requested(QUOTE)
    text = shown(office.open(run_id))
    assert "を過ぎています" in text


# The list of open restores, and the other pages


def test_open_and_finished_restores(office: Office) -> None:
    assert "取り出し中の復元" not in shown(page())
    first, second = office.requested(QUOTE), office.requested(PLAN, LOG)
    for run_id in (first, second):
        office.known(run_id)
    app = page()
    assert "取り出し中の復元（2 件）" in shown(app)
    assert {f"open-{first}", f"open-{second}"} <= keys(app)
    assert "最近の実行" not in shown(app)
    app.button(key=f"open-{second}").click().run()
    assert app.query_params["run"] in (second, [second])

    office.store.now += 2 * DAY
    office.jobs.place(first, str(office.placed), (), "tester")
    office.idle()
    office.known(second)
    text = shown(page())
    assert "取り出し中の復元（1 件）" in text
    assert "最近の実行" in text


ARCHIVE = "from pages.archive import page as archive\narchive.render()"


def test_archive_page_leaves_restores_to_this_one(office: Office) -> None:
    draft_id, run_id = office.checked(QUOTE), office.requested(QUOTE)
    text = shown(page(ARCHIVE, draft=draft_id))
    assert "これは復元の一覧の確認です" in text
    assert "対象ファイル" not in text
    assert "これは復元の実行です" in shown(page(ARCHIVE, run=run_id))
    recent = shown(page(ARCHIVE)).partition("最近の実行")[2]
    assert "完了" in recent  # the archive run
    assert "待機中" not in recent


def test_this_page_leaves_archive_runs_to_theirs(office: Office) -> None:
    run = next(run for run in office.jobs.listing().runs if run.kind == "archive")
    assert "これはアーカイブの実行です" in shown(page(run=run.run_id))
    source = ListSource("一覧.csv", archive_list(rf"{UNC}\{QUOTE}"))
    draft_id = office.jobs.check([source], REQUEST)
    office.until(lambda: office.state(draft_id) is not DraftState.CHECKING)
    assert "これはアーカイブの一覧の確認です" in shown(page(draft=draft_id))


def test_past_runs_know_restores(office: Office) -> None:
    run_id = office.requested(QUOTE, "ない.txt")
    app = page("from pages.runs import page as runs\nruns.render()", run=run_id)
    assert numbers(app) == {
        "対象ファイル": "1 件",
        "配置済み": "0 件",
        "サイズ": "0 バイト",
        "準備中": "1 件",
        "失敗・期限切れ": "0 件",
        "対象外の行": "1 件",
    }
    assert "待機中　取り出せるようになったファイルから配置できます" in shown(app)
    assert "retry" not in keys(app)


def test_unknown_addresses_say_so(office: Office) -> None:
    assert "見つかりません" in shown(page(run="../../etc/passwd"))
    assert "残っていません" in shown(page(draft="x"))


def test_a_demo_says_so(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "デモ" not in shown(page())
    monkeypatch.setattr(words, "rehearsal", "これはデモです。")
    assert "これはデモです。" in shown(page())


# Rules and words

CALLED = ("render", "_look_again", "_ask")


def test_callbacks_and_fragments_check_again() -> None:
    """Each of them may be run without the page around it."""
    folder = Path(guard.__file__).parent.parent
    seen = 0
    dialog = Path(confirmation.__file__)
    for module in (*(folder / "restore").glob("*.py"), dialog):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name in CALLED):
                body = [n for n in node.body if not _is_docstring(n)]
                assert ast.unparse(body[0]) == "guard.require_operator()", (module, node.name)
                seen += 1
    assert seen >= 10  # the three dialogs are one


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_every_stage_tier_and_state_has_its_word() -> None:
    assert set(words.STAGE_COLORS) == set(Stage)
    assert set(words.TIER_WORDS) == set(Tier)
    assert set(words.RESTORE_NEXT_STEPS) == set(RunState)


def test_next_step_when_only_rows_were_left_out() -> None:
    record = replace(RECORD, kind="restore", state=RunState.FAILED_FILES, left_out_rows=1)
    assert words.next_step(replace(record, placed_files=3)).startswith("配置できたファイル")
    assert words.next_step(replace(record, placed_files=4)) == words.ALL_BUT_LEFT_OUT


@pytest.mark.parametrize(
    ("counts", "cells", "given"),
    [
        ([1, 1], 10, [5, 5]),
        ([1, 0, 3], 8, [2, 0, 6]),
        ([999, 1], 10, [9, 1]),
        ([1, 1, 998], 4, [1, 1, 2]),
        ([0, 0], 5, [0, 0]),
    ],
)
def test_portions_of_a_bar(counts: list[int], cells: int, given: list[int]) -> None:
    assert words.portions(counts, cells) == given


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_a_bar_is_full_and_shows_everything(counts: list[int]) -> None:
    given = words.portions(counts, 60)
    assert sum(given) == (60 if any(counts) else 0)
    assert [number > 0 for number in counts] == [cells > 0 for cells in given]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ""),
        (" \r\n\t\n", ""),
        ("\\\\s\\x\\a.txt\r\n  \\\\s\\x\\b.txt  ", "\\\\s\\x\\a.txt\n\\\\s\\x\\b.txt\n"),
        ("\\\\s\\x\ta.txt", "\\\\s\\x\\a.txt\n"),
        ("2026/11/23 10:05\t\\\\s\\x\ta.txt\t1.5 KB\tREQ", "\\\\s\\x\\a.txt\n"),
        ("Z:\\a.txt", "Z:\\a.txt\n"),
    ],
)
def test_paths_copied_from_the_archive_list(text: str, paths: str) -> None:
    assert typed_paths(text) == paths
