"""What the commands show on a terminal. Results go to standard output, the rest to error."""

from __future__ import annotations

import getpass
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from core.errors import Code, ListError, os_reason
from core.model import EXIT_CODES, ArchiveStatus, Plan, Problem, Progress, RunKind, RunRecord
from core.paths.normalization import printable
from core.ports import ProgressSink, silent
from core.restore.model import RestorePlan
from core.units import human_size

_MAX_SHOWN = 50
_MAX_PASSWORD_BYTES = 4096


def use_utf8() -> None:
    """Write UTF-8 wherever the output goes; a name that cannot be shown is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


class _StandardError:
    """Standard error whose loss ends nothing: what it would say is in the run folder too."""

    def write(self, text: str) -> int:
        if sys.stderr is not None:  # None: it was closed before Python began
            try:
                sys.stderr.write(text)
            except (OSError, ValueError):
                _discard(sys.stderr)
        return len(text)

    def flush(self) -> None:
        _flush(sys.stderr)

    def __getattr__(self, name: str) -> Any:
        # tqdm asks for the encoding and for the width of the terminal.
        return getattr(sys.stderr, name)


_stderr = _StandardError()
_above_bar: Callable[[str], None] | None = None
"""How to write a line while a progress bar stands below it; None while there is none."""


def _discard(stream: TextIO) -> None:
    """Let what a broken stream still holds go nowhere, or Python complains at its own end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def finish() -> None:
    """Write out what is left; whoever read it may be gone, which is no failure."""
    _flush(sys.stdout)
    _flush(sys.stderr)


def put(text: str) -> None:
    """Print a result. Whoever read it may be gone: that changes nothing about the result."""
    try:
        print(text, flush=True)
    except OSError as exc:
        _discard(sys.stdout)
        if not isinstance(exc, BrokenPipeError):
            say(f"標準出力に書き込めません（{os_reason(exc)}）")


def say(text: str) -> None:
    """Write a line to standard error, above the progress bar when there is one."""
    if _above_bar is None:
        _stderr.write(text + "\n")
    else:
        _above_bar(text)


def show_plan(plan: Plan) -> None:
    """Show the check: how the lists were read, what will happen, what is wrong."""
    _show_lists(plan)
    say(
        f"対象 {len(plan.items):,}件 / {human_size(plan.total_bytes)}"
        f"（新規 {plan.count(ArchiveStatus.NEW):,}件、"
        f"アーカイブ済み {plan.count(ArchiveStatus.ARCHIVED):,}件、"
        f"変更あり {plan.count(ArchiveStatus.CHANGED):,}件）"
    )
    _show_errors(plan)


def show_restore_plan(plan: RestorePlan) -> None:
    """Show how restore lists were read, what they mean, and which rows are left out."""
    _show_lists(plan)
    say(
        f"対象 {len(plan.items):,}件 / {human_size(plan.total_bytes)}（対象外 {plan.left_out:,}行）"
    )
    _show_errors(plan)


def _show_lists(plan: Plan | RestorePlan) -> None:
    for detected in plan.detected:
        say(f"{printable(detected.source)}: {detected.encoding}、{detected.rows:,}行")


def _show_errors(plan: Plan | RestorePlan) -> None:
    errors = [p for p in plan.problems if p.is_error]
    for problem in errors[:_MAX_SHOWN]:
        say(_problem_line(problem))
    if len(errors) > _MAX_SHOWN:
        say(f"  ほか {len(errors) - _MAX_SHOWN:,}件（error_log.txt に全件あります）")
    if any(p.code is Code.ROWS_HIDDEN for p in errors):
        say(
            "隠れている行を含めるときは --hidden-rows include、"
            "除くときは --hidden-rows exclude を付けて、もう一度実行してください。"
        )


def _problem_line(problem: Problem) -> str:
    where = f"{problem.source} {problem.line}行目: " if problem.line else ""
    return (
        f"  {where}{printable(problem.path)} - {printable(problem.reason)} "
        f"({problem.code.name})\n      → {problem.remedy}"
    )


def show_end(record: RunRecord, folder: Path, *, as_json: bool, code: int | None = None) -> int:
    """Show how a run ended, its folder last on standard output.

    Returns the exit code: ``code``, or that of the run's state.
    """
    say(_numbers(record))
    if record.message:
        say(record.message)
    if as_json:
        show_json(run_summary(record, folder))
    else:
        put(str(folder))
    return EXIT_CODES[record.state] if code is None else code


def _numbers(record: RunRecord) -> str:
    if record.kind == RunKind.RESTORE:
        unrequested = record.unrequested_files
        return (
            f"配置済み {record.placed_files:,}件 / 準備中 {record.thawing_files:,}件 / "
            + (f"未要求 {unrequested:,}件 / " if unrequested else "")
            + f"失敗 {record.failed_files:,}件 / 対象外 {record.left_out_rows:,}行"
        )
    return (
        f"成功 {record.archived_files:,}件 / アーカイブ済み {record.unchanged_files:,}件 / "
        f"失敗 {record.failed_files:,}件"
    )


def run_summary(record: RunRecord, folder: Path) -> dict[str, Any]:
    """Return the one JSON object that a command with ``--json`` ends with."""
    return {
        "run_id": record.run_id,
        "folder": str(folder),
        "state": record.state.value,
        "kind": record.kind,
        "request_id": record.request.request_id,
        "requester": record.request.requester,
        "created_at": record.created_at.isoformat(),
        "message": record.message,
        "counts": _counts(record),
    }


def _counts(record: RunRecord) -> dict[str, int]:
    counts = {"total": record.total_files, "failed": record.failed_files}
    if record.kind == RunKind.RESTORE:
        return counts | {
            "bytes": record.total_bytes,
            "thawing": record.thawing_files,
            "unrequested": record.unrequested_files,
            "placed": record.placed_files,
            "placed_bytes": record.placed_bytes,
            "left_out": record.left_out_rows,
        }
    return counts | {
        "archived": record.archived_files,
        "unchanged": record.unchanged_files,
        "bytes": record.total_bytes,
        "archived_bytes": record.archived_bytes,
    }


def show_json(value: object) -> None:
    put(json.dumps(value, ensure_ascii=False))


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose columns line up although Japanese letters are two columns wide."""
    table = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[i]) for row in table) for i in range(len(header))]
    lines = (
        "  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    put("\n".join(lines))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def read_password() -> str:
    """Return a password: typed twice at a terminal, unseen, or one line of standard input.

    Raises ``ListError`` when the two differ, when there is none, or when it is no text.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return _piped_password()
    try:
        first = getpass.getpass("パスワード: ", sys.stderr)
        second = getpass.getpass("もう一度: ", sys.stderr)
    except EOFError as exc:
        raise ListError("パスワードが入力されませんでした。") from exc
    if first != second:
        raise ListError("2回の入力が一致しません。もう一度実行してください。")
    return first


def _piped_password() -> str:
    line = sys.stdin.buffer.readline(_MAX_PASSWORD_BYTES) if sys.stdin else b""
    if not line:
        raise ListError("標準入力にパスワードがありません。")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise ListError("標準入力のパスワードがUTF-8ではありません。") from exc


@contextmanager
def progress_bar() -> Iterator[ProgressSink]:
    """Yield a sink that draws a bar while standard error is a terminal, else a silent one."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield silent
        return
    from tqdm import tqdm  # noqa: PLC0415 - only a terminal needs it, and it takes its time

    global _above_bar
    with tqdm(unit="件", dynamic_ncols=True, leave=False, file=_stderr) as bar:

        def show(progress: Progress) -> None:
            if bar.desc != progress.phase:
                bar.reset()
                bar.set_description_str(progress.phase, refresh=False)
            bar.total = progress.total_files or None
            bar.n = progress.done_files
            if progress.total_bytes:
                done, total = human_size(progress.done_bytes), human_size(progress.total_bytes)
                bar.set_postfix_str(f"{done}/{total} 失敗{progress.failed_files}件", refresh=False)
            bar.refresh()

        _above_bar = partial(tqdm.write, file=_stderr)
        try:
            yield show
        finally:
            _above_bar = None
