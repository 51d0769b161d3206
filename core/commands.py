"""Arguments in, exit code out. The work is the same that the pages call."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from core import history, terminal
from core.check import refusal
from core.errors import FatalError, HimuroError, ListError, SettingsError
from core.model import ListKind, ListSource, RunRequest
from core.ports import Catalogue, ObjectStore
from core.run import ArchiveRun, recover
from core.runner import StopSignal
from core.search_command import add_search_arguments, search
from core.settings import JOB_NEEDS, Settings, load_environment, load_settings
from core.workers import Cancelled

EXIT_DONE, EXIT_REFUSED, EXIT_ENVIRONMENT, EXIT_STOPPED = 0, 2, 3, 130
DRAIN_SECONDS = 20.0
"""How long files under way may go on after SIGTERM."""


@dataclass(frozen=True)
class Wiring:
    """How the commands get at what ``core`` knows only as protocols."""

    open_catalogue: Callable[[Settings], Catalogue]
    open_store: Callable[[Settings], ObjectStore]
    init_db: Callable[[Settings], None]


Command = Callable[[argparse.Namespace, Wiring], int]


def main(argv: Sequence[str], wiring: Wiring) -> int:
    """Run one command; every expected failure is one message on standard error."""
    terminal.use_utf8()
    options = _parser().parse_args(argv)
    command: Command = options.command
    try:
        load_environment()
        return command(options, wiring)
    except (SettingsError, FatalError) as exc:
        return _failed(options, exc, "error", EXIT_ENVIRONMENT)
    except ListError as exc:
        return _failed(options, exc, "refused", EXIT_REFUSED)
    except BrokenPipeError:
        # Whoever read the output has had enough; Python must not complain at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (Cancelled, KeyboardInterrupt):
        terminal.say("停止しました。何も処理していません。")
        return EXIT_STOPPED


def _failed(options: argparse.Namespace, error: HimuroError, state: str, code: int) -> int:
    terminal.say(f"エラー: {error}")
    if options.json:
        terminal.show_json(
            {"run_id": None, "folder": None, "state": state, "message": str(error), "counts": {}}
        )
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="結果をJSONで1行出力する")
    parser = argparse.ArgumentParser(
        prog="python -m core",
        description="氷室: ファイルサーバーのファイルを S3 Glacier Deep Archive へ移し、記録する",
        epilog="終了コード: 0 完了 / 1 一部失敗 / 2 一覧または指定の誤り / 3 環境の誤り / 130 停止",
    )
    commands = parser.add_subparsers(title="コマンド", required=True, metavar="コマンド")

    def add(name: str, text: str, command: Command) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=text, description=text)
        added.set_defaults(command=command)
        return added

    validate = add("validate", "一覧の確認だけを行う", _validate)
    validate.add_argument("list", metavar="LIST", nargs="+", type=Path)
    kinds = [kind.value for kind in ListKind]
    validate.add_argument("--kind", choices=kinds, default=ListKind.ARCHIVE.value)

    archive = add("archive", "一覧を確認し、アーカイブする", _archive)
    archive.add_argument("list", metavar="LIST", nargs="+", type=Path)
    archive.add_argument("--request-id", required=True, metavar="ID", help="FASTの依頼ID")
    archive.add_argument("--requester", required=True, metavar="NAME", help="依頼者")
    archive.add_argument("--comment", default="", metavar="TEXT", help="コメント")

    runs = add("runs", "過去の実行を新しい順に示す", _runs)
    runs.add_argument("--limit", type=int, default=50, metavar="N", help="件数（既定は50）")
    add_search_arguments(add("search", "アーカイブ一覧を検索する", _search))
    add("init-db", "データベースを準備または更新する", _init_db)
    return parser


def _sources(paths: Sequence[Path]) -> list[ListSource]:
    sources = []
    for path in paths:
        try:
            sources.append(ListSource(path.name, path.read_bytes()))
        except OSError as exc:
            raise ListError(f"一覧を読み取れません: {path}。パスを確認してください。") from exc
    return sources


def _request(options: argparse.Namespace) -> RunRequest:
    """Return what was typed in; raises ``ListError`` when something is missing."""
    for name, value in {"依頼ID": options.request_id, "依頼者": options.requester}.items():
        if not value.strip():
            raise ListError(f"{name}を指定してください。")
    return RunRequest(options.request_id, options.requester, options.comment, _user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@contextmanager
def _stoppable() -> Iterator[StopSignal]:
    """Yield a stop signal that Ctrl-C and SIGTERM raise: once to stop, Ctrl-C twice to hurry."""
    stop = StopSignal()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        stop.request(0 if stop.requested else None)
        terminal.say("\n停止しています。処理中のファイルが終わるまでお待ちください。")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        stop.request(DRAIN_SECONDS)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = (signal.signal(signal.SIGINT, interrupt), signal.signal(signal.SIGTERM, terminate))
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def _prepare(
    settings: Settings, wiring: Wiring, *, with_store: bool
) -> tuple[Catalogue, ObjectStore | None]:
    """Return catalogue and store, both known to answer; asked at the same time."""
    with ThreadPoolExecutor(max_workers=2) as pool:

        def opened_store() -> ObjectStore:
            store = wiring.open_store(settings)
            store.check()
            return store

        store = pool.submit(opened_store) if with_store else None
        catalogue = wiring.open_catalogue(settings)
        catalogue.check()
        return catalogue, store.result() if store else None


def _archive(options: argparse.Namespace, wiring: Wiring) -> int:
    request = _request(options)
    sources = _sources(options.list)
    settings = load_settings(needed=JOB_NEEDS)
    catalogue, store = _prepare(settings, wiring, with_store=True)
    recover(settings)
    run = ArchiveRun(settings, catalogue, sources, request)
    with _stoppable() as stop, terminal.progress_bar() as progress:
        try:
            plan = run.check(progress, lambda: stop.requested)
        except FatalError as exc:
            terminal.say(f"エラー: {exc}")
            return terminal.show_end(run.fail(exc), run.folder.path, as_json=options.json)
        terminal.show_plan(plan)
        if refusal(plan):
            record = run.refuse(plan)
        else:
            run.begin(plan)
            record = run.execute(lambda: _checked(store), stop, progress)
    return terminal.show_end(record, run.folder.path, as_json=options.json)


def _checked(store: ObjectStore | None) -> ObjectStore:
    assert store is not None  # noqa: S101 - _prepare was asked for one
    return store


def _validate(options: argparse.Namespace, wiring: Wiring) -> int:
    kind = ListKind(options.kind)
    sources = _sources(options.list)
    settings = load_settings(needed=("HIMURO_SHARES",) if kind is ListKind.ARCHIVE else ())
    catalogue, _ = _prepare(settings, wiring, with_store=False)
    run = ArchiveRun(settings, catalogue, sources, RunRequest("", "", "", _user()), kind="validate")
    if kind is ListKind.RESTORE:
        record = run.check_restore()
        terminal.show_restore_check(run.plan)
        return terminal.show_end(record, run.folder.path, as_json=options.json)
    with _stoppable() as stop, terminal.progress_bar() as progress:
        try:
            plan = run.check(progress, lambda: stop.requested)
        except FatalError as exc:
            terminal.say(f"エラー: {exc}")
            return terminal.show_end(run.fail(exc), run.folder.path, as_json=options.json)
    terminal.show_plan(plan)
    record = run.refuse(plan) if refusal(plan) else run.pass_check(plan)
    return terminal.show_end(record, run.folder.path, as_json=options.json)


def _runs(options: argparse.Namespace, _wiring: Wiring) -> int:
    settings = load_settings()
    recover(settings)
    found = history.records(settings, max(1, options.limit))
    if options.json:
        folders = [terminal.run_summary(r, settings.runs_dir / r.run_id) for r in found]
        terminal.show_json({"total": len(found), "runs": folders})
        return EXIT_DONE
    header = ("実行ID", "状態", "依頼ID", "依頼者", "成功", "済", "失敗")
    rows = [
        (
            r.run_id,
            r.state.value,
            r.request.request_id,
            r.request.requester,
            f"{r.archived_files:,}",
            f"{r.unchanged_files:,}",
            f"{r.failed_files:,}",
        )
        for r in found
    ]
    terminal.show_table(header, rows)
    return EXIT_DONE


def _search(options: argparse.Namespace, wiring: Wiring) -> int:
    settings = load_settings()
    catalogue, _ = _prepare(settings, wiring, with_store=False)
    return search(options, settings, catalogue)


def _init_db(options: argparse.Namespace, wiring: Wiring) -> int:
    settings = load_settings()
    wiring.init_db(settings)
    shown = settings.without_secrets()["HIMURO_DATABASE_URL"]
    terminal.say("データベースの準備ができました。")
    if options.json:
        terminal.show_json({"state": "done", "database": shown})
    else:
        print(shown)
    return EXIT_DONE
