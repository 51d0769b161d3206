"""What each page shows, without a browser, and rules that all of them keep."""

from __future__ import annotations

import ast
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.errors import Code, FatalError, SettingsError
from core.jobs.queue import DraftState, Jobs
from core.model import Entry, ListSource, RunRequest
from core.paths.normalization import search_key
from pages import services
from pages.auth import guard
from pages.services import Services
from pages.widgets import address, confirmation, view
from tests.support.arrange import UNC, Desk, archive_list, no_restores
from tests.support.fakes import MemoryCatalogue
from tests.support.people import OPERATOR, write_accounts

ROUTER = str(Path(__file__).resolve().parents[2] / "pages" / "router.py")
WHEN = datetime(2026, 11, 23, 1, 5, tzinfo=UTC)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.write("営業部/見積.xlsx", b"x" * 2000)
    settings = desk.settings
    jobs = Jobs(settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(settings, desk.catalogue, jobs))
    yield desk
    jobs.close()
    services.replace(None)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "is_operator", lambda: True)


ARCHIVE = "from pages.archive import page as archive\narchive.render()"
"""AppTest cannot switch to a page that is no file of its own."""


def page(path: str = "", **query: str) -> AppTest:
    """Run the console at an address."""
    if path:
        app = AppTest.from_string(ARCHIVE, default_timeout=60)
    else:
        app = AppTest.from_file(ROUTER, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def shown(app: AppTest) -> str:
    """Return everything that can be read, errors of the script included."""
    assert not app.exception, [e.value for e in app.exception]
    kinds = (app.title, app.subheader, app.text, app.caption, app.markdown, app.metric)
    boxes = (app.error, app.warning, app.info, app.success)
    return "\n".join(str(element.value) for kind in (*kinds, *boxes) for element in kind)


def entry(number: int, name: str = "報告書") -> Entry:
    directory = f"{UNC}\\営業部"
    file = f"{name}{number}.xlsx"
    return Entry(
        directory, f"{file}_archived.txt", "bucket", f"k/{number}", WHEN, "REQ-1", "山田 花子",
        "", 1536 * number, "0" * 64, WHEN, search_key(directory, file),
    )  # fmt: skip


def test_empty_archive_list(desk: Desk) -> None:
    assert "まだありません" in shown(page())


def test_archive_list(desk: Desk) -> None:
    desk.catalogue.add([entry(1), entry(2)])
    app = page()
    assert "2 件（1～2件目を表示、新しい順）" in shown(app)
    rows = app.dataframe[0].value
    assert list(rows["ファイル名"]) == ["報告書2.xlsx", "報告書1.xlsx"]
    assert list(rows["アーカイブ日時"]) == ["2026/11/23 10:05"] * 2
    assert list(rows["サイズ"]) == ["3.0 KB", "1.5 KB"]


def test_search_narrows(desk: Desk) -> None:
    desk.catalogue.add([entry(1), entry(2, "議事録")])
    app = page()
    app.text_input(key="list-q").set_value("議事録").run()
    assert "1 件" in shown(app)


def test_search_from_an_address(desk: Desk) -> None:
    desk.catalogue.add([entry(1)])
    assert "該当するファイルはありません" in shown(page(q="どこにもない"))


@pytest.mark.parametrize(
    ("asked", "first"), [("3", 201), ("2", 101), ("99", 201), ("0", 1), ("-1", 1), ("x", 1)]
)
def test_pages_of_a_hundred(desk: Desk, asked: str, first: int) -> None:
    desk.catalogue.add([entry(n) for n in range(1, 251)])
    app = page(page=asked)
    last = min(250, first + 99)
    assert f"250 件（{first}～{last}件目を表示" in shown(app)
    assert app.dataframe[0].value["ファイル名"].iloc[0] == f"報告書{251 - first}.xlsx"


def test_archive_is_not_for_strangers(desk: Desk) -> None:
    write_accounts(desk.settings.accounts_file, OPERATOR)
    app = page("archive")
    text = shown(app)
    assert "サインインが必要です" in text
    assert "アップロード" not in text
    assert not app.text_input


def test_archive_form(desk: Desk, operator: None) -> None:
    app = page("archive")
    assert "1. 一覧をアップロードする" in shown(app)
    app.button(key="check").click().run()
    assert "一覧のファイル" in app.error[0].value
    assert services.current().jobs.records(10) == ()


def test_unknown_addresses_say_so(desk: Desk, operator: None) -> None:
    for name in ("run", "draft"):
        text = shown(page("archive", **{name: "../../etc/passwd"}))
        assert "見つかりません" in text or "残っていません" in text


def test_wrong_settings_are_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, operator: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIMURO_RESTORE_DAYS", "many")
    monkeypatch.setenv("HIMURO_TIMEZONE", "Mars/Olympus")
    services.replace(None)
    try:
        for path in ("", "archive"):
            text = shown(page(path))
            assert "設定に誤りがある" in text
            assert "HIMURO_RESTORE_DAYS" in text
            assert "HIMURO_TIMEZONE" in text
            assert "再起動" in text
    finally:
        services.replace(None)


def test_jobs_need_a_bucket(desk: Desk, operator: None) -> None:
    here = services.current()
    services.replace(Services(replace(here.settings, bucket=""), here.catalogue, here.jobs))
    text = shown(page("archive"))
    assert "HIMURO_BUCKET が設定されていません" in text
    assert "1. 一覧" not in text


@pytest.mark.parametrize("path", ["", "archive"])
@pytest.mark.parametrize(
    ("code", "hint"),
    [(Code.DATABASE_SCHEMA, "init-db"), (Code.DATABASE_UNAVAILABLE, "HIMURO_DATABASE_URL")],
)
def test_a_broken_database_is_one_message(
    desk: Desk, operator: None, monkeypatch: pytest.MonkeyPatch, path: str, code: Code, hint: str
) -> None:
    def broken(*_args: object, **_options: object) -> object:
        raise FatalError(code)

    monkeypatch.setattr(MemoryCatalogue, "check", broken)
    monkeypatch.setattr(MemoryCatalogue, "search", broken)
    assert hint in shown(page(path))


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (Code.DATABASE_SCHEMA, "データベースの準備ができていません"),
        (Code.DATABASE_UNAVAILABLE, "データベースに接続できません"),
        (Code.DATA_DIR_UNREADABLE, Code.DATA_DIR_UNREADABLE.what),
    ],
)
def test_strangers_are_not_told_how_the_console_is_set_up(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: Code,
    what: str,
) -> None:
    def broken(*_args: object, **_options: object) -> object:
        raise FatalError(code, "ファイルがありません: /srv/secret/catalogue.db")

    monkeypatch.setattr(MemoryCatalogue, "check", broken)
    monkeypatch.setattr(MemoryCatalogue, "search", broken)
    text = shown(page(""))
    assert what in text
    for hidden in ("/srv", "init-db", "HIMURO_"):
        assert hidden not in text
    assert "/srv/secret/catalogue.db" in caplog.text


def test_the_unforeseen_is_one_message(caplog: pytest.LogCaptureFixture) -> None:
    script = "from pages.widgets import view\nview.unexpected(ValueError('秘密'))"
    text = shown(AppTest.from_string(script).run())
    assert "予期しないエラー" in text
    assert "秘密" not in text
    assert "秘密" in caplog.text


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIMURO_RESTORE_DAYS", "many")
    services.replace(None)
    try:
        with pytest.raises(SettingsError):
            services.current()
        monkeypatch.setenv("HIMURO_RESTORE_DAYS", "7")
        with pytest.raises(SettingsError):
            services.current()
    finally:
        services.replace(None)


ODD = "*a* _b_ [c](d) :red[e] $f$ ~~g~~ `h` <i>j</i> --> :smile: \\k"


def checked(desk: Desk, *paths: str) -> str:
    """Check a list and return the draft's id once it is done."""
    jobs = services.current().open_jobs()
    source = ListSource(f"{ODD[:3]}一覧.csv", archive_list(*paths))
    return finished(jobs, jobs.check([source], RunRequest(ODD, ODD, ODD)))


def finished(jobs: Jobs, draft_id: str) -> str:
    """Wait until a check is done, and return its id."""
    deadline = time.monotonic() + 60
    while (draft := jobs.draft(draft_id)) and draft.state is DraftState.CHECKING:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    return draft_id


def test_a_good_list_can_be_run(desk: Desk, operator: None) -> None:
    app = page("archive", draft=checked(desk, rf"{UNC}\営業部\見積.xlsx"))
    text = shown(app)
    assert "誤りはありません" in text
    assert "2.0 KB" in text
    assert app.button(key="archive").label == "アーカイブを実行する"
    assert app.dataframe[0].value.iloc[0].to_list() == [
        "*a*一覧.csv",
        "UTF-8 (BOM)",
        "見出しあり（列）",
        1,
    ]


def test_what_is_archived_already_is_no_problem(desk: Desk, operator: None) -> None:
    desk.archive(rf"{UNC}\営業部\見積.xlsx")
    text = shown(page("archive", draft=checked(desk, rf"{UNC}\営業部\見積.xlsx")))
    assert "お知らせ（1 件）" in text
    assert "問題" not in text


def test_a_list_that_is_none_has_no_table_of_what_was_read(desk: Desk, operator: None) -> None:
    jobs = services.current().open_jobs()
    draft_id = jobs.check([ListSource("絵.csv", b"\x89PNG\r\n\x1a\n\x00")], RunRequest("A", "B"))
    app = page("archive", draft=finished(jobs, draft_id))
    assert [row["コード"] for row in app.dataframe[0].value.iloc] == ["LIST_ENCODING"]
    assert len(app.dataframe) == 1


def test_tall_rows_wrap() -> None:
    """Streamlit wraps text in rows above 4 rem; a cut remedy helps nobody."""
    config = tomllib.loads(
        Path(ROUTER).parent.parent.joinpath(".streamlit/config.toml").read_text("utf-8")
    )
    assert 4 * config["theme"]["baseFontSize"] < view.TALL


def test_a_list_with_mistakes_cannot_be_run(desk: Desk, operator: None) -> None:
    app = page("archive", draft=checked(desk, rf"{UNC}\営業部\ない.xlsx"))
    assert "このままでは実行できません" in shown(app)
    assert "archive" not in {button.key for button in app.button}
    row = app.dataframe[0].value.iloc[0]
    assert row["コード"] == "SOURCE_NOT_FOUND"
    assert row["区分"] == "誤り"


def test_what_was_typed_is_shown_as_typed(desk: Desk, operator: None) -> None:
    """Only ``st.text`` and tables show it: they know no Markdown."""
    app = page("archive", draft=checked(desk, rf"{UNC}\営業部\見積.xlsx"))
    assert [element.value for element in app.text].count(ODD) >= 3
    readers = (app.markdown, app.caption, app.title, app.subheader, app.success, app.error)
    assert not any(":red[e]" in str(e.value) for kind in readers for e in kind)


def test_start_over_keeps_what_was_typed(desk: Desk, operator: None) -> None:
    draft_id = checked(desk, rf"{UNC}\営業部\ない.xlsx")
    app = page("archive", draft=draft_id)
    app.button(key="redo").click().run()
    assert app.text_input(key="request-id").value == ODD
    assert services.current().jobs.draft(draft_id) is None


def test_a_broken_environment_is_explained(desk: Desk, operator: None) -> None:
    desk.store.before = _no_bucket
    text = shown(page("archive", draft=checked(desk, rf"{UNC}\営業部\見積.xlsx")))
    assert "確認できませんでした" in text
    assert "S3バケットが存在しません" in text


def _no_bucket(_call: str, _key: str) -> None:
    raise FatalError(Code.NO_SUCH_BUCKET)


def test_callbacks_and_fragments_check_again(desk: Desk) -> None:
    """Each of them may be run without the page around it."""
    entries = 0
    shared = Path(confirmation.__file__), Path(address.__file__)
    pages = Path(ROUTER).parent
    for module in (*(pages / "jobs").glob("*.py"), *(pages / "archive").glob("*.py"), *shared):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name in CALLED):
                body = [n for n in node.body if not _is_docstring(n)]
                assert ast.unparse(body[0]) == "guard.require_operator()", (module, node.name)
                entries += 1
    assert entries >= 10  # the two dialogs are one


CALLED = ("render", "_start_over", "_retry", "show_run", "show_draft", "start_over", "announce_end")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_nothing_is_written_as_html_or_kept_in_a_cache_of_streamlit() -> None:
    """A cache is emptied by a message that anybody can send, and jobs would go with it."""
    for module in Path(ROUTER).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            assert not (isinstance(node, ast.keyword) and node.arg == "unsafe_allow_html"), module
            used = node.attr if isinstance(node, ast.Attribute) else ""
            assert used not in ("cache_resource", "cache_data", "html", "iframe"), module
