"""Rows that Excel does not show: counted, named, and for the operator to decide about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from streamlit.testing.v1 import AppTest

from core.errors import Code, ListError, Severity
from core.jobs.queue import DraftState, Jobs
from core.lists.parser import parse
from core.model import HiddenRows, ListKind, ListSource, ParsedList
from pages import services
from pages.auth import guard
from pages.services import Services
from tests.cli.test_main import WHO, Console, console  # noqa: F401 - a fixture
from tests.cli.test_restore import Desk as RestoreDesk
from tests.cli.test_restore import desk as restore_desk  # noqa: F401 - a fixture
from tests.pages.test_every_page import finished, page, shown
from tests.pages.test_restore import Office, office  # noqa: F401 - a fixture
from tests.pages.test_restore import page as restore_page
from tests.support.arrange import REQUEST, UNC, Desk, no_restores
from tests.support.books import HEADINGS, book, row, sheet

TOKYO = ZoneInfo("Asia/Tokyo")
HIDDEN = ' hidden="1"'


def listed(*names: str, hidden: int = 2, headings: tuple[str, ...] = HEADINGS) -> bytes:
    """Return a book of files in ``UNC``; the last ones are hidden."""
    seen = len(names) - hidden
    rows = [row(UNC, name, more=HIDDEN * (n >= seen)) for n, name in enumerate(names)]
    return book(sheet([row(*headings), *rows]))


LIST = listed("見える.txt", "隠れ1.txt", "隠れ2.txt")


def read(content: bytes, choice: HiddenRows, kind: ListKind = ListKind.ARCHIVE) -> ParsedList:
    return parse([ListSource("一覧.xlsx", content)], kind, TOKYO, choice)


def lines(parsed: ParsedList) -> list[int]:
    return [row.line for row in parsed.rows]


@pytest.mark.parametrize("kind", ListKind)
def test_until_somebody_decides_hidden_rows_are_an_error(kind: ListKind) -> None:
    parsed = read(LIST, HiddenRows.ASK, kind)
    (problem,) = parsed.problems
    assert (problem.code, problem.is_error, problem.line) == (Code.ROWS_HIDDEN, True, 3)
    assert problem.detail == "2行: 3～4行目"
    assert lines(parsed) == [2]
    # Nobody who forgets to ask gets anything else.
    assert parse([ListSource("一覧.xlsx", LIST)], kind, TOKYO) == parsed


@pytest.mark.parametrize(
    ("choice", "found", "words"),
    [
        (HiddenRows.INCLUDE, [2, 3, 4], "対象に含めました"),
        (HiddenRows.EXCLUDE, [2], "対象から除きました"),
    ],
)
def test_what_was_decided_is_done_and_said(
    choice: HiddenRows, found: list[int], words: str
) -> None:
    parsed = read(LIST, choice)
    assert lines(parsed) == found
    (problem,) = parsed.problems
    assert (problem.code, problem.severity) == (Code.ROWS_HIDDEN_DECIDED, Severity.WARNING)
    assert words in problem.detail
    assert "2行: 3～4行目" in problem.detail
    assert parsed.detected[0].rows == len(found)


@pytest.mark.parametrize(
    ("more", "counts"),
    [(' hidden="true"', True), (' ht="0" customHeight="1"', True), (' ht="15"', False),
     (' hidden="0"', False), (' collapsed="1"', False)],
)  # fmt: skip
def test_ways_to_hide_a_row(more: str, counts: bool) -> None:
    content = book(sheet([row(*HEADINGS), row(UNC, "a.txt", more=more)]))
    assert [p.code for p in read(content, HiddenRows.ASK).problems] == (
        [Code.ROWS_HIDDEN] if counts else []
    )


def test_hidden_rows_without_an_entry_do_not_matter() -> None:
    rows = [row(*HEADINGS, "備考", more=HIDDEN), row(UNC, "a.txt"), row(more=HIDDEN)]
    rows += ["<row><c/><c/><c><v>1</v></c></row>".replace("<row", f"<row{HIDDEN}")]
    assert read(book(sheet(rows)), HiddenRows.ASK).problems == ()


def test_mistakes_in_rows_that_are_left_out_do_not_matter() -> None:
    content = listed("a.txt", "..\\b", hidden=1)
    assert [p.code for p in read(content, HiddenRows.EXCLUDE).problems] == [
        Code.ROWS_HIDDEN_DECIDED
    ]
    assert [p.code for p in read(content, HiddenRows.INCLUDE).problems] == [
        Code.ROWS_HIDDEN_DECIDED,
        Code.PATH_PARENT,
    ]


def test_many_hidden_rows_are_named_within_bounds() -> None:
    rows = [row(UNC, f"{n}.txt", more=HIDDEN * (n % 2)) for n in range(1000)]
    (problem,) = read(book(sheet([row(*HEADINGS), *rows])), HiddenRows.ASK).problems
    assert problem.detail.startswith("500行: 3行目、5行目、")
    assert problem.detail.endswith("41行目ほか")


# The commands


def test_the_archive_command_asks(console: Console) -> None:  # noqa: F811
    for name in ("見える.txt", "隠れ1.txt", "隠れ2.txt"):
        console.write(name)
    path = console.root / "一覧.xlsx"
    path.write_bytes(LIST)
    for command in (("validate", str(path)), ("archive", str(path), *WHO)):
        code, out, err = console.run(*command)
        assert (code, "--hidden-rows include" in err) == (2, True)
        log = (Path(out.splitlines()[-1]) / "error_log.txt").read_text("utf-8-sig")
        assert "(ROWS_HIDDEN)" in log
    code, out, err = console.run("archive", str(path), *WHO, "--hidden-rows", "exclude")
    assert (code, "成功 1件" in err) == (0, True)
    log = (Path(out.splitlines()[-1]) / "error_log.txt").read_text("utf-8-sig")
    assert "対象から除きました" in log
    code, result = console.json("validate", str(path), "--hidden-rows", "include")
    assert (code, result["counts"]["total"]) == (0, 3)
    code, _, err = console.run("validate", str(path), "--hidden-rows", "maybe")
    assert (code, "include" in err) == (2, True)


def test_the_restore_command_asks(restore_desk: RestoreDesk) -> None:  # noqa: F811
    restore_desk.archive(**{"a.txt": b"a", "b.txt": b"b"})
    path = restore_desk.root / "復元.xlsx"
    path.write_bytes(
        listed("a.txt", "b.txt", hidden=1, headings=("ディレクトリパス", "復元対象ファイル名"))
    )
    code, _, err = restore_desk.run("restore-request", str(path), *WHO)
    assert (code, "--hidden-rows include" in err) == (2, True)
    assert restore_desk.run("validate", str(path), "--kind", "restore")[0] == 2
    exclude = ("--hidden-rows", "exclude")
    code, asked = restore_desk.json("restore-request", str(path), *WHO, *exclude)
    assert (code, asked["counts"]["total"]) == (0, 1)
    include = ("--kind", "restore", "--hidden-rows", "include")
    code, checked = restore_desk.json("validate", str(path), *include)
    assert (code, checked["counts"]["total"]) == (0, 2)


# The pages


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(guard, "is_operator", lambda: True)
    desk = Desk(tmp_path)
    for name in ("見える.txt", "隠れ1.txt", "隠れ2.txt"):
        desk.write(name, "x")
    jobs = Jobs(desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(desk.settings, desk.catalogue, jobs))
    yield services.current().open_jobs()
    jobs.close()
    services.replace(None)


def checked(jobs: Jobs) -> str:
    return finished(jobs, jobs.check([ListSource("一覧.xlsx", LIST)], REQUEST))


def address(app: AppTest) -> str:
    """Return the draft that a page shows after a click."""
    draft = app.query_params["draft"]
    return draft if isinstance(draft, str) else draft[0]


@pytest.mark.parametrize(
    ("choice", "files"), [(HiddenRows.INCLUDE, "3 件"), (HiddenRows.EXCLUDE, "1 件")]
)
def test_the_archive_page_asks_and_keeps_the_list(
    jobs: Jobs, choice: HiddenRows, files: str
) -> None:
    draft_id = checked(jobs)
    app = page("archive", draft=draft_id)
    assert "含めるか、除くかを選んでください" in shown(app)
    assert "archive" not in {button.key for button in app.button}
    app.button(key=f"hidden-{choice}").click().run()
    again = address(app)
    assert (again != draft_id, jobs.draft(draft_id)) == (True, None)
    app = page("archive", draft=finished(jobs, again))
    assert app.button(key="archive").label == "アーカイブを実行する"
    assert {m.label: m.value for m in app.metric}["対象ファイル"] == files
    assert not [button for button in app.button if str(button.key).startswith("hidden-")]
    draft = jobs.draft(again)
    assert draft is not None
    assert draft.request.request_id == REQUEST.request_id
    assert draft.sources == ("一覧.xlsx",)


def test_a_list_that_is_not_there_any_more_is_asked_for(jobs: Jobs, tmp_path: Path) -> None:
    draft_id = checked(jobs)
    draft = jobs.draft(draft_id)
    assert draft is not None
    (tmp_path / "data" / "runs" / draft.run_id / "input.xlsx").unlink()
    with pytest.raises(ListError, match="もう一度アップロード"):
        jobs.check_again(draft_id, HiddenRows.INCLUDE, "tester")
    app = page("archive", draft=draft_id)
    app.button(key="hidden-include").click().run()
    assert "一覧が残っていません" in shown(app)


def test_the_restore_page_asks(office: Office) -> None:  # noqa: F811
    content = book(
        sheet(
            [
                row("ディレクトリパス", "復元対象ファイル名"),
                row(rf"{UNC}\営業部", "見積.xlsx"),
                row(rf"{UNC}\開発部", "計画.docx", more=HIDDEN),
            ]
        )
    )
    draft_id = office.jobs.check_restore([ListSource("復元.xlsx", content)], REQUEST)
    app = restore_page(draft=finished(office.jobs, draft_id))
    assert office.state(draft_id) is DraftState.REFUSED
    assert "含めるか、除くかを選んでください" in shown(app)
    app.button(key="hidden-include").click().run()
    again = address(app)
    app = restore_page(draft=finished(office.jobs, again))
    assert {m.label: m.value for m in app.metric}["対象ファイル"] == "2 件"
    run_id = office.jobs.records(10)[0].run_id
    assert json.loads((office.desk.root / "data" / "runs" / run_id / "run.json").read_text())
