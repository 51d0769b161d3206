"""Numbers, times and states as people read them. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from core.errors import Severity
from core.model import MAX_TYPED, Problem, Progress, RunKind, RunRecord, RunState
from core.restore.model import Stage, Tier
from core.units import human_size, local

UNKNOWN = "—"
rehearsal = ""
"""What a demo has to say about its S3 on the page of restores; empty everywhere else."""

STATE_WORDS = {
    RunState.RUNNING: "実行中",
    RunState.WAITING: "待機中",
    RunState.DONE: "完了",
    RunState.FAILED_FILES: "一部失敗",
    RunState.REFUSED: "中止（確認でエラー）",
    RunState.STOPPED: "停止",
    RunState.INTERRUPTED: "中断",
    RunState.ERROR: "環境エラー",
}
NEXT_STEPS = {
    RunState.RUNNING: "ほかの画面またはコマンドで実行しています。終わってから開き直してください。",
    RunState.WAITING: "次の操作を待っています。",
    RunState.DONE: "すべて完了しました。依頼者に連絡してください。",
    RunState.FAILED_FILES: (
        "成功したファイルはアーカイブ一覧に登録されています。"
        "エラーログで理由を確認し、原因を取り除いてから再実行してください。"
    ),
    RunState.REFUSED: (
        "何も処理していません。エラーログの内容に沿って一覧を直し、"
        "もう一度アップロードしてください。"
    ),
    RunState.STOPPED: "残りのファイルは、エラーファイル一覧で再実行できます。",
    RunState.INTERRUPTED: (
        "実行の途中でコンソールが終了しました。"
        "エラーファイル一覧で再実行すると、残りが処理されます。"
    ),
    RunState.ERROR: (
        "原因を取り除いてから再実行してください。分からないときは管理者に連絡してください。"
    ),
}
RESTORE_NEXT_STEPS = {
    RunState.RUNNING: NEXT_STEPS[RunState.RUNNING],
    RunState.WAITING: "取り出せるようになったファイルから配置できます。",
    RunState.DONE: "すべて配置しました。依頼者に連絡してください。",
    RunState.FAILED_FILES: (
        "配置できたファイルはそのまま使えます。残りの理由を確認してください。"
        "期限切れのものは、もう一度要求できます。"
    ),
    RunState.REFUSED: (
        "何も要求していません。エラーログの内容に沿って一覧を直し、"
        "もう一度アップロードしてください。"
    ),
    RunState.STOPPED: (
        "終わったものはそのまま残っています。残りはこの復元の続きとして処理できます。"
    ),
    RunState.INTERRUPTED: (
        "実行の途中でコンソールが終了しました。残りはこの復元の続きとして処理できます。"
    ),
    RunState.ERROR: (
        "原因を取り除いてから、続きを実行してください。分からないときは管理者に連絡してください。"
    ),
}
ALL_BUT_LEFT_OUT = (
    "対象のファイルはすべて配置しました。対象外の行とその理由を、依頼者に伝えてください。"
)
DAMAGED = "破損"
KIND_WORDS: dict[str, str] = {
    RunKind.ARCHIVE: "アーカイブ",
    RunKind.VALIDATE: "確認のみ",
    RunKind.RESTORE: "復元",
}
FILE_WORDS = {
    "run.json": "実行の記録",
    "plan.csv": "対象の一覧",
    "outcomes.csv": "経過",
    "error_log.txt": "エラーログ",
    "failed_uploads.txt": "エラーファイル一覧",
    "restore_requests.txt": "復元待ちの一覧",
    "restore_errors.txt": "復元のエラーログ",
    "report.csv": "結果の一覧",
}
TIER_WORDS = {
    Tier.BULK: "Bulk（48時間以内）",
    Tier.STANDARD: "Standard（12時間以内）",
}
STAGE_COLORS: dict[Stage, Literal["green", "blue", "orange", "violet", "gray", "red"]] = {
    Stage.PLACED: "green",
    Stage.READY: "blue",
    Stage.EXPIRING: "orange",
    Stage.THAWING: "violet",
    Stage.REQUESTED: "violet",
    Stage.UNREQUESTED: "gray",
    Stage.EXPIRED: "red",
    Stage.FAILED: "red",
}
"""In the order of a bar: what is done comes first."""
SEVERITY_WORDS = {Severity.ERROR: "誤り", Severity.WARNING: "注意", Severity.NOTE: "参考"}
FORM_WORDS = {"columns": "見出しあり（列）", "paths": "パスのみ（1行に1つ）"}

PROBLEM_HEADER = ("一覧名", "行", "パス", "区分", "内容", "対処", "コード")


size = human_size
"""Bytes, as Windows shows them."""


def count(number: int) -> str:
    return f"{number:,} 件"


def shortened(text: str) -> str:
    """Return the beginning of a text that is longer than a request ID may be."""
    return text if len(text) <= MAX_TYPED else f"{text[:MAX_TYPED]}…（全{len(text):,}文字）"


def duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}秒"
    if whole < 3600:
        return f"{whole // 60}分{whole % 60}秒"
    return f"{whole // 3600:,}時間{whole % 3600 // 60}分"


def moment(when: datetime, timezone: ZoneInfo) -> str:
    return f"{local(when, timezone):%Y/%m/%d %H:%M}"


def time_of_day(when: datetime, timezone: ZoneInfo) -> str:
    return f"{local(when, timezone):%H:%M}"


def exact_moment(when: datetime, timezone: ZoneInfo) -> str:
    return f"{local(when, timezone):%Y/%m/%d %H:%M:%S}"


def kind(name: str) -> str:
    """Return the kind of a run; one of a later version is called what it calls itself."""
    return KIND_WORDS.get(name, name)


def file_label(name: str) -> str:
    """Return what a file of a run folder is, with its name."""
    return f"{FILE_WORDS.get(name, 'アップロードした一覧')}（{name}）"


def is_check(record: RunRecord) -> bool:
    """Return whether a run touched nothing: a check, or one that was refused by it."""
    return record.kind == RunKind.VALIDATE or record.state is RunState.REFUSED


def seconds(record: RunRecord) -> float | None:
    """Return how long a run took, without the time in the queue; None while it is not over."""
    begun = record.created_at if is_check(record) else record.started_at
    if begun is None or record.finished_at is None:
        return None
    return (record.finished_at - begun).total_seconds()


def elapsed(record: RunRecord) -> str:
    taken = seconds(record)
    return UNKNOWN if taken is None else duration(taken)


def next_step(record: RunRecord) -> str:
    """Return what to do after a run that is over, one or two sentences; empty for kinds that
    are not known here."""
    if record.kind == RunKind.VALIDATE and record.state is not RunState.ERROR:
        return "確認だけを行いました。何も変更していません。"
    if record.kind == RunKind.RESTORE and record.placed_files == record.total_files > 0:
        left_out = record.state is RunState.FAILED_FILES
        return ALL_BUT_LEFT_OUT if left_out else RESTORE_NEXT_STEPS[RunState.DONE]
    steps: dict[str, dict[RunState, str]] = {
        RunKind.ARCHIVE: NEXT_STEPS,
        RunKind.RESTORE: RESTORE_NEXT_STEPS,
    }
    return steps[record.kind][record.state] if record.kind in steps else ""


def succeeded(record: RunRecord) -> tuple[int, int]:
    """Return how many files a run brought where they belong, and their bytes."""
    if record.kind == RunKind.RESTORE:
        return record.placed_files, record.placed_bytes
    return record.archived_files + record.unchanged_files, record.archived_bytes


def numbers(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return the numbers of a run with their labels."""
    first = ("対象ファイル", count(record.total_files))
    last = (("失敗", count(record.failed_files)), ("所要時間", elapsed(record)))
    if record.kind == RunKind.ARCHIVE:
        return (
            first,
            ("アーカイブした", count(record.archived_files)),
            ("サイズ", size(record.archived_bytes)),
            ("変更なし", count(record.unchanged_files)),
            *last,
        )
    if record.kind == RunKind.VALIDATE:
        return (first, ("対象サイズ", size(record.total_bytes)), *last)
    done, done_bytes = succeeded(record)
    if record.kind == RunKind.RESTORE:
        number = record.unrequested_files
        unrequested = (("未要求", count(number)),) if number else ()
        return (
            first,
            ("配置済み", count(done)),
            ("サイズ", size(done_bytes)),
            ("準備中", count(record.thawing_files)),
            *unrequested,
            ("失敗・期限切れ", count(record.failed_files)),
            ("対象外の行", count(record.left_out_rows)),
        )
    return (first, ("成功", count(done)), ("サイズ", size(done_bytes)), *last)


def portions(counts: Sequence[int], cells: int) -> list[int]:
    """Return how many of ``cells`` each count gets in a bar: at least one unless it is 0.

    There must not be more counts than cells.
    """
    total = sum(counts)
    given = [max(1, number * cells // total) if number else 0 for number in counts]
    while total and sum(given) != cells:
        step = 1 if sum(given) < cells else -1
        # Whoever is furthest from what it should have; nobody loses its last cell.
        error = [
            (number * cells / total - cell) * step if number and (step > 0 or cell > 1) else -cells
            for number, cell in zip(counts, given, strict=True)
        ]
        given[error.index(max(error))] += step
    return given


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run has been so far, on average, the same on every screen."""

    fraction: float
    """0 to 1; by bytes, or by files when there are no bytes."""
    bytes_a_second: float | None
    """None until something is done, as are the next two."""
    files_a_second: float | None
    seconds_left: float | None

    @property
    def rate(self) -> str:
        if self.bytes_a_second is None or self.files_a_second is None:
            return UNKNOWN
        return f"{size(round(self.bytes_a_second))}/秒"

    @property
    def file_rate(self) -> str:
        return UNKNOWN if self.files_a_second is None else f"{self.files_a_second:,.1f} 件/秒"

    @property
    def left(self) -> str:
        return UNKNOWN if self.seconds_left is None else f"約{duration(self.seconds_left)}"


def pace(progress: Progress, started_at: datetime | None, now: datetime) -> Pace:
    """Return the pace since ``started_at``; a clock that was set back counts as no time."""
    files, total_files = progress.done_files, progress.total_files
    sent, total_bytes = progress.done_bytes, progress.total_bytes
    fraction = sent / total_bytes if total_bytes else files / total_files if total_files else 0.0
    fraction = min(1.0, max(0.0, fraction))
    seconds = (now - started_at).total_seconds() if started_at else 0.0
    if seconds <= 0 or not (files or sent):
        return Pace(fraction, None, None, None)
    byte_rate, file_rate = sent / seconds, files / seconds
    # Many small files are bound by their number, few large ones by their bytes.
    estimates = [
        max(0, left) / rate
        for left, rate in ((total_bytes - sent, byte_rate), (total_files - files, file_rate))
        if rate > 0
    ]
    return Pace(fraction, byte_rate, file_rate, max(estimates))


def problem_row(problem: Problem) -> tuple[str, str, str, str, str, str, str]:
    """Return one problem in the order of ``PROBLEM_HEADER``."""
    return (
        problem.source,
        "" if problem.line is None else str(problem.line),
        problem.path,
        SEVERITY_WORDS[problem.severity],
        problem.reason,
        problem.remedy,
        problem.code.name,
    )
