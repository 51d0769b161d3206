"""``runs``: the past runs as a table."""

from __future__ import annotations

import argparse

from core.cli import output
from core.config.settings import Settings
from core.errors import ListError
from core.model import RunKind, RunRecord, RunState
from core.runs.filters import RunFilter
from core.runs.history import past_runs
from core.search.typed_query import day

_HEADER = ("実行ID", "状態", "依頼ID", "依頼者", "成功", "済", "失敗")


def add_runs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="件数（既定は50）")
    parser.add_argument("--kind", default="", metavar="KIND", help="種類（archive、validate など）")
    states = [state.value for state in RunState]
    parser.add_argument("--state", default="", choices=states, metavar="STATE", help="状態")
    parser.add_argument("--person", default="", metavar="NAME", help="依頼者または実行者の一部")
    parser.add_argument("--from", dest="since", default="", metavar="DATE", help="この日から")
    parser.add_argument("--to", dest="until", default="", metavar="DATE", help="この日まで")
    parser.add_argument(
        "--text", default="", metavar="WORDS", help="依頼ID・依頼者・コメント・一覧名の言葉"
    )


def runs(options: argparse.Namespace, settings: Settings) -> int:
    """Print the newest runs that match; exit code 0 also when there are none.

    Damaged folders are named on standard error as far as they were met.
    """
    found, damaged = _found(options, settings)
    if damaged:
        output.say(f"記録が破損している実行フォルダー: {'、'.join(damaged)}")
    if options.json:
        folders = [output.run_summary(r, settings.runs_dir / r.run_id) for r in found]
        output.show_json({"total": len(found), "runs": folders})
    else:
        output.show_table(_HEADER, [_row(record) for record in found])
    return 0


def _found(options: argparse.Namespace, settings: Settings) -> tuple[list[RunRecord], list[str]]:
    if options.limit < 1:
        raise ListError("--limit は1以上で指定してください。")
    wanted = RunFilter(
        kind=options.kind,
        state=options.state,
        person=options.person,
        since=day(options.since, settings.timezone, 0),
        until=day(options.until, settings.timezone, 1),
        text=options.text,
    ).matcher()
    found: list[RunRecord] = []
    damaged = []
    for run in filter(wanted, past_runs(settings)):
        if run.record is None:
            damaged.append(run.run_id)
            continue
        found.append(run.record)
        if len(found) == options.limit:
            break
    return found, damaged


def _row(record: RunRecord) -> tuple[str, ...]:
    # Of a restore what is placed has succeeded; nothing of it can have been archived before.
    done = record.placed_files if record.kind == RunKind.RESTORE else record.archived_files
    return (
        record.run_id,
        record.state.value,
        record.request.request_id,
        record.request.requester,
        f"{done:,}",
        f"{record.unchanged_files:,}",
        f"{record.failed_files:,}",
    )
