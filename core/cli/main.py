"""Arguments in, exit code out. The work is the same that the pages call."""

from __future__ import annotations

import argparse
import getpass
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from core.archive.ports import ObjectStore
from core.cli import output
from core.cli.parser import Parser
from core.cli.runs import add_runs_arguments, runs
from core.cli.search import add_search_arguments, search
from core.cli.signals import announced, interruptible, stoppable
from core.concurrency.parallel import Cancelled, parallel
from core.config import logs
from core.config.settings import JOB_NEEDS, RESTORE_NEEDS, Settings, load_environment, load_settings
from core.errors import FatalError, ListError, SettingsError
from core.health.ports import Health
from core.jobs.recovery import recover
from core.model import HiddenRows, ListKind, ListSource, RunKind, RunRequest
from core.ports import Catalogue
from core.resources.shortage import patiently, unexpected
from core.restore.ports import RestoreStore
from core.runs.named import is_named_run

EXIT_DONE, EXIT_REFUSED, EXIT_ENVIRONMENT, EXIT_STOPPED = 0, 2, 3, 130

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wiring:
    """How the commands get at what ``core`` knows only as protocols."""

    open_catalogue: Callable[[Settings], Catalogue]
    open_store: Callable[[Settings], ObjectStore]
    open_restore_store: Callable[[Settings], RestoreStore]
    init_db: Callable[[Settings], None]
    open_health: Callable[[Settings], Health]


Command = Callable[[argparse.Namespace, Wiring], int]


class _Store(Protocol):
    def check(self) -> None: ...


S = TypeVar("S", bound=_Store)


def main(argv: Sequence[str], wiring: Wiring) -> int:
    """Run one command and return its exit code, whoever still reads what it prints.

    Every expected failure is one message on standard error; with ``--json`` every end is
    one object on standard output.
    """
    output.use_utf8()
    logs.set_up()
    as_json = "--json" in argv
    try:
        with interruptible():
            return _run(argv, wiring, as_json=as_json)
    finally:
        output.finish()


def _run(argv: Sequence[str], wiring: Wiring, *, as_json: bool) -> int:
    try:
        options = _parser().parse_args(argv)
        load_environment()
        command: Command = options.command
        return command(options, wiring)
    except ListError as exc:
        error, state, code = str(exc), "refused", EXIT_REFUSED
    except (SettingsError, FatalError) as exc:
        error, state, code = str(exc), "error", EXIT_ENVIRONMENT
    except (Cancelled, KeyboardInterrupt):
        error, state, code = "停止しました。何も処理していません。", "stopped", EXIT_STOPPED
    except Exception as exc:
        _logger.exception("unexpected error")
        error, state = str(unexpected(exc)), "error"
        code = EXIT_ENVIRONMENT
    # An end without a run folder.
    output.say(error if state == "stopped" else f"エラー: {error}")
    if as_json:
        output.show_json(
            {"run_id": None, "folder": None, "state": state, "message": error, "counts": {}}
        )
    return code


def _parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="結果をJSONで1行出力する")
    parser = Parser(
        prog="python -m core",
        description="氷室: ファイルサーバーのファイルを S3 Glacier Deep Archive へ移し、記録する",
        epilog="終了コード: 0 完了 / 1 一部失敗 / 2 一覧または指定の誤り / 3 環境の誤り"
        " / 4 取り出し準備中 / 130 停止",
    )
    commands = parser.add_subparsers(title="コマンド", required=True, metavar="コマンド")

    def add(name: str, text: str, command: Command, *more: Parser) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common, *more], help=text, description=text)
        added.set_defaults(command=command)
        return added

    hidden = Parser(add_help=False)
    hidden.add_argument(
        "--hidden-rows",
        choices=[HiddenRows.INCLUDE.value, HiddenRows.EXCLUDE.value],
        default=HiddenRows.ASK.value,
        help="Excelで隠れている行を、含める（include）か除く（exclude）か",
    )
    validate = add("validate", "一覧の確認だけを行う", _validate, hidden)
    validate.add_argument("list", metavar="LIST", nargs="+", type=Path)
    kinds = [kind.value for kind in ListKind]
    validate.add_argument("--kind", choices=kinds, default=ListKind.ARCHIVE.value)

    archive = add("archive", "一覧を確認し、アーカイブする", _archive, hidden)
    archive.add_argument("list", metavar="LIST", nargs="+", type=Path)
    _add_who(archive, required=True)
    requested = add(
        "restore-request",
        "一覧を照合し、復元を要求する。実行番号では、その復元の要求していないファイルを要求する",
        _restore_request,
        hidden,
    )
    requested.add_argument(
        "list", metavar="LIST|RUN", nargs="+", type=Path, help="一覧、または実行番号かフォルダー"
    )
    _add_who(requested, required=False)
    requested.add_argument("--tier", metavar="Bulk|Standard", help="取り出しの種類")
    requested.add_argument("--days", type=int, metavar="N", help="取り出した後の保持日数")
    status = add("restore-status", "復元の状況を示す", _restore_status)
    status.add_argument("run", metavar="RUN", nargs="?", help="実行番号かフォルダー")
    download = add("restore-download", "取り出せるファイルを配置する", _restore_download)
    download.add_argument("run", metavar="RUN", help="実行番号かフォルダー")
    download.add_argument("--to", required=True, metavar="DIR", help="配置先のフォルダー")
    download.add_argument(
        "--again", action="store_true", help="配置後に無くなったか変更されたものも配置する"
    )

    add_runs_arguments(add("runs", "過去の実行を新しい順に示す", _runs))
    add_search_arguments(add("search", "アーカイブ一覧を検索する", _search))
    add("init-db", "データベースを準備または更新する", _init_db)
    hashing = add("hash-password", "アカウントのファイルに書くパスワードの行を作る", _hash_password)
    hashing.add_argument(
        "--account", default="", metavar="NAME", help="だれのものか。名前を含むものを断る"
    )
    examined = add("doctor", "設定・データベース・S3・共有フォルダーなどを点検する", _doctor)
    examined.epilog = "終了コード: 0 すべてOK / 1 WARNINGがある / 3 FAILEDがある"
    return parser


def _add_who(command: argparse.ArgumentParser, *, required: bool) -> None:
    """``required``: whether a list is all that the command takes."""
    command.add_argument(
        "--request-id", required=required, default="", metavar="ID", help="FASTの依頼ID"
    )
    command.add_argument(
        "--requester", required=required, default="", metavar="NAME", help="依頼者"
    )
    command.add_argument("--comment", default="", metavar="TEXT", help="コメント")


def _sources(paths: Sequence[Path]) -> list[ListSource]:
    sources = []
    for path in paths:
        try:
            sources.append(ListSource(path.name, patiently(path.read_bytes)))
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


def _prepare(
    settings: Settings, wiring: Wiring, open_store: Callable[[Settings], S]
) -> tuple[Catalogue, S]:
    """Return catalogue and store, both known to answer.

    They are asked at the same time, and the first failure is raised at once: a database that
    is down is not kept back by an S3 that is slow to answer.
    """
    catalogues: list[Catalogue] = []
    stores: list[S] = []
    asked: list[Callable[[], None]] = [
        lambda: catalogues.append(_catalogue(settings, wiring)),
        lambda: stores.append(_answering(open_store(settings))),
    ]
    for _ in parallel(lambda ask: ask(), asked, threads=len(asked)):
        pass
    return catalogues[0], stores[0]


def _catalogue(settings: Settings, wiring: Wiring) -> Catalogue:
    opened = wiring.open_catalogue(settings)
    opened.check()
    return opened


def _answering(store: S) -> S:
    store.check()
    return store


def _archive(options: argparse.Namespace, wiring: Wiring) -> int:
    from core.archive.run import ArchiveRun  # noqa: PLC0415 - restores do not wait for it

    request = _request(options)
    sources = _sources(options.list)
    settings = load_settings(needed=JOB_NEEDS)
    catalogue, store = _prepare(settings, wiring, wiring.open_store)
    recover(settings, thorough=False)
    hidden_rows = HiddenRows(options.hidden_rows)
    run = ArchiveRun(settings, catalogue, sources, request, hidden_rows=hidden_rows)
    with stoppable(catalogue.hurry) as stop:
        with output.progress_bar() as bar:
            progress = announced(stop, bar, output.say)
            try:
                plan = run.check(progress, lambda: stop.requested)
            except FatalError as exc:
                output.say(f"エラー: {exc}")
                return output.show_end(run.fail(exc), run.folder.path, as_json=options.json)
            output.show_plan(plan)
            if run.refusal(plan):
                record = run.refuse(plan)
            else:
                run.begin(plan)
                record = run.execute(lambda: store, stop, progress)
        return output.show_end(record, run.folder.path, as_json=options.json)


def _validate(options: argparse.Namespace, wiring: Wiring) -> int:
    kind, hidden_rows = ListKind(options.kind), HiddenRows(options.hidden_rows)
    sources = _sources(options.list)
    settings = load_settings(needed=("HIMURO_SHARES",) if kind is ListKind.ARCHIVE else ())
    catalogue = _catalogue(settings, wiring)
    if kind is ListKind.RESTORE:
        return _validate_restore(
            sources, settings, catalogue, hidden_rows=hidden_rows, as_json=options.json
        )
    from core.archive.run import ArchiveRun  # noqa: PLC0415

    run = ArchiveRun(
        settings,
        catalogue,
        sources,
        RunRequest("", "", "", _user()),
        hidden_rows=hidden_rows,
        kind=RunKind.VALIDATE,
    )
    with stoppable(catalogue.hurry) as stop, output.progress_bar() as bar:
        try:
            plan = run.check(announced(stop, bar, output.say), lambda: stop.requested)
        except FatalError as exc:
            output.say(f"エラー: {exc}")
            return output.show_end(run.fail(exc), run.folder.path, as_json=options.json)
    output.show_plan(plan)
    record = run.refuse(plan) if run.refusal(plan) else run.pass_check(plan)
    return output.show_end(record, run.folder.path, as_json=options.json)


def _validate_restore(
    sources: Sequence[ListSource],
    settings: Settings,
    catalogue: Catalogue,
    *,
    hidden_rows: HiddenRows,
    as_json: bool,
) -> int:
    from core.restore.run import RestoreRun  # noqa: PLC0415 - no other command waits for it

    run = RestoreRun(
        settings,
        catalogue,
        sources,
        RunRequest("", "", "", _user()),
        hidden_rows=hidden_rows,
        kind=RunKind.VALIDATE,
    )
    with stoppable(catalogue.hurry) as stop, output.progress_bar() as bar:
        plan = run.check(announced(stop, bar, output.say), lambda: stop.requested)
    output.show_restore_plan(plan)
    record = run.refuse(plan) if plan.refused else run.pass_check(plan)
    return output.show_end(record, run.folder.path, as_json=as_json)


def _restore_request(options: argparse.Namespace, wiring: Wiring) -> int:
    from core.cli import restore as restore_command  # noqa: PLC0415

    if any(map(is_named_run, options.list)):
        return _request_rest(options, wiring)
    request, sources = _request(options), _sources(options.list)
    settings = load_settings(needed=RESTORE_NEEDS)
    # What is wrong with an option is said before anything is asked of anybody.
    choice = restore_command.chosen(options.tier, options.days, settings)
    catalogue, store = _prepare(settings, wiring, wiring.open_restore_store)
    recover(settings, thorough=False)
    return restore_command.request(
        settings,
        catalogue,
        store,
        sources,
        request,
        choice,
        hidden_rows=HiddenRows(options.hidden_rows),
        as_json=options.json,
    )


def _request_rest(options: argparse.Namespace, wiring: Wiring) -> int:
    from core.cli import restore as restore_command  # noqa: PLC0415

    if len(options.list) > 1:
        raise ListError("実行番号は1つだけ指定できます。ほかの実行や一覧と一緒に指定できません。")
    settings = load_settings(needed=RESTORE_NEEDS)
    recover(settings, thorough=False)
    restore = restore_command.opened(settings, str(options.list[0]))
    asked = RunRequest(options.request_id, options.requester, options.comment)
    restore_command.require_same(restore.record, asked, options.tier, options.days)
    store = _answering(wiring.open_restore_store(settings))
    return restore_command.request_rest(
        settings, restore, store, user=_user(), as_json=options.json
    )


def _restore_status(options: argparse.Namespace, wiring: Wiring) -> int:
    from core.cli import restore as restore_command  # noqa: PLC0415

    settings = load_settings(needed=RESTORE_NEEDS)
    recover(settings, thorough=False)
    named = options.run is not None
    restores = restore_command.restores(settings, options.run)
    store = _answering(wiring.open_restore_store(settings))
    return restore_command.status(settings, restores, store, named=named, as_json=options.json)


def _restore_download(options: argparse.Namespace, wiring: Wiring) -> int:
    from core.cli import restore as restore_command  # noqa: PLC0415

    settings = load_settings(needed=RESTORE_NEEDS)
    recover(settings, thorough=False)
    placing = restore_command.placing(settings, options.run, options.to)
    store = _answering(wiring.open_restore_store(settings))
    return restore_command.download(
        settings, placing, store, again=options.again, user=_user(), as_json=options.json
    )


def _runs(options: argparse.Namespace, _wiring: Wiring) -> int:
    settings = load_settings()
    recover(settings, thorough=False)
    return runs(options, settings)


def _search(options: argparse.Namespace, wiring: Wiring) -> int:
    settings = load_settings()
    catalogue = _catalogue(settings, wiring)
    return search(options, settings, catalogue)


def _hash_password(options: argparse.Namespace, _wiring: Wiring) -> int:
    from core.auth.passwords import hash_password  # noqa: PLC0415 - no other command loads argon2

    hashed = hash_password(output.read_password(), options.account)
    if options.json:
        output.show_json({"state": "done", "password": hashed})
    else:
        output.put(f'password = "{hashed}"')
    return EXIT_DONE


def _init_db(options: argparse.Namespace, wiring: Wiring) -> int:
    settings = load_settings()
    wiring.init_db(settings)
    shown = settings.without_secrets()["HIMURO_DATABASE_URL"]
    output.say("データベースの準備ができました。")
    if options.json:
        output.show_json({"state": "done", "database": shown})
    else:
        output.put(shown)
    return EXIT_DONE


def _doctor(options: argparse.Namespace, wiring: Wiring) -> int:
    from core.cli.doctor import doctor  # noqa: PLC0415 - no other command waits for it

    return doctor(load_settings, wiring.open_health, as_json=options.json)
