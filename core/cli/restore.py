"""``restore-request``, ``restore-status`` and ``restore-download``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from core.cli import output
from core.cli.signals import announced, stoppable
from core.config.settings import Settings
from core.errors import FatalError, ListError
from core.model import EXIT_CODES, HiddenRows, ListSource, RunRecord, RunRequest, RunState
from core.paths.normalization import typed
from core.ports import Catalogue
from core.restore.model import STAGE_WORDS, Stage, Tier, copy_expires, least_days
from core.restore.ports import RestoreStore
from core.restore.preview import PlacePreview, preview
from core.restore.run import OpenRestore, RestoreRun, chosen_tier, require_days, statuses
from core.restore.status import OPEN_STAGES, STUCK_STAGES, RestoreStatus, is_open, never_requested
from core.restore.target import Target, find_target
from core.runs.history import past_runs
from core.units import human_size

_MAX_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """How fast, and for how long."""

    tier: Tier
    days: int


def chosen(tier: str | None, days: int | None, settings: Settings) -> Choice:
    """Return what the options say, None: nothing; raises ``ListError`` for what cannot be."""
    wanted = Tier.BULK if tier is None else chosen_tier(tier)
    if days is None:
        # As on the page: what the settings say, and as many as the tier needs.
        days = max(settings.restore_days, least_days(wanted))
    require_days(wanted, days)
    return Choice(wanted, days)


def request(
    settings: Settings,
    catalogue: Catalogue,
    store: RestoreStore,
    sources: Sequence[ListSource],
    asked: RunRequest,
    choice: Choice,
    *,
    hidden_rows: HiddenRows,
    as_json: bool,
) -> int:
    """Check a list and send its requests; returns the exit code.

    That it takes hours until the files can be fetched is no reason for another code than 0.
    """
    run = RestoreRun(
        settings,
        catalogue,
        sources,
        asked,
        tier=choice.tier,
        days=choice.days,
        hidden_rows=hidden_rows,
    )
    with stoppable(catalogue.hurry) as stop, output.progress_bar() as bar:
        progress = announced(stop, bar, output.say)
        try:
            plan = run.check(progress, lambda: stop.requested)
        except FatalError as exc:
            output.say(f"エラー: {exc}")
            return output.show_end(run.fail(exc), run.folder.path, as_json=as_json)
        output.show_restore_plan(plan)
        if plan.refused:
            return output.show_end(run.refuse(plan), run.folder.path, as_json=as_json)
        run.begin(plan)
        record = run.execute(lambda: store, stop, progress)
    if record.ready_by:
        expires = copy_expires(record.created_at, choice.days)
        output.say(
            f"遅くとも {_time(record.ready_by, settings)} に取り出せます"
            f"（{choice.tier.value}）。{_time(expires, settings)} まで保持されます。"
        )
    return _end_of_requests(record, run.folder.path, as_json=as_json)


def _end_of_requests(record: RunRecord, folder: Path, *, as_json: bool) -> int:
    code = None
    if record.state is RunState.WAITING:
        undone = record.left_out_rows or record.failed_files or record.unrequested_files
        code = 1 if undone else 0
    _say_never_requested(record.run_id, record.unrequested_files)
    return output.show_end(record, folder, as_json=as_json, code=code)


def _say_never_requested(run_id: str, number: int) -> None:
    if number:
        output.say(
            f"{never_requested(number)}。要求するには: python -m core restore-request {run_id}"
        )


def opened(settings: Settings, run: str) -> OpenRestore:
    """Return a restore by its number or its folder's path. Raises ``ListError``."""
    return OpenRestore(settings, run)


def require_same(record: RunRecord, asked: RunRequest, tier: str | None, days: int | None) -> None:
    """Raise ``ListError`` where what is said now is not what was said with the list.

    Each may be left out: empty, or None.
    """
    first = record.request
    said = {
        "依頼ID": (asked.request_id, first.request_id),
        "依頼者": (asked.requester, first.requester),
        "コメント": (asked.comment, first.comment),
        "取り出しの種類": ("" if tier is None else chosen_tier(tier).value, record.tier),
        "保持日数": ("" if days is None else str(days), str(record.days)),
    }
    for name, (now, before) in said.items():
        if now and typed(now) != before:
            raise ListError(
                f"{name}が最初の要求と違います（現在: {now}、最初の要求: {before}）。"
                "実行番号を指定したときは、最初の要求と同じ内容で要求します。"
            )


def request_rest(
    settings: Settings, restore: OpenRestore, store: RestoreStore, *, user: str, as_json: bool
) -> int:
    """Ask for what an earlier step did not ask for, or has expired; returns the exit code."""
    with stoppable() as stop, output.progress_bar() as bar:
        progress = announced(stop, bar, output.say)
        restore.begin(user)
        record = restore.request(lambda: store, stop, progress)
    if record.thawing_files and record.ready_by:
        output.say(f"遅くとも {_time(record.ready_by, settings)} に取り出せます（{record.tier}）。")
    return _end_of_requests(record, restore.folder.path, as_json=as_json)


def restores(settings: Settings, run: str | None) -> Iterable[OpenRestore]:
    """Return one restore, or all that are open, newest first. Raises ``ListError``.

    Of all, each is read when it is asked for; one that is damaged is said and passed over.
    """
    return _all_open(settings) if run is None else [OpenRestore(settings, run)]


def _all_open(settings: Settings) -> Iterator[OpenRestore]:
    for past in past_runs(settings):
        if past.record and is_open(past.record):
            try:
                yield OpenRestore(settings, past.run_id)
            except ListError as exc:
                output.say(f"エラー: {exc}")


def status(
    settings: Settings,
    found: Iterable[OpenRestore],
    store: RestoreStore,
    *,
    named: bool,
    as_json: bool,
) -> int:
    """Show where the files of restores stand; 4 while some are thawing, 1 when some failed,
    expired or were never requested, else 0.

    ``named``: somebody asked for this one; else for all, however many there are.
    """
    counts: Counter[Stage] = Counter()
    objects: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    last: tuple[OpenRestore, RestoreStatus] | None = None
    for last in statuses(found, store):
        restore, one = last
        counts.update(one.counts)
        _say_never_requested(restore.record.run_id, one.count(Stage.UNREQUESTED))
        if as_json:
            objects.append(_status_json(restore, one))
        else:
            rows.append(_status_row(settings, restore, one))
    if as_json:
        output.show_json(objects[0] if named else {"restores": objects})
    elif rows:
        header = ("実行番号", "依頼ID", "依頼者", *STAGE_WORDS.values(), "期限")
        output.show_table(header, rows)
    else:
        output.say("取り出し中の復元はありません。")
    if last and len(rows) == 1:
        _say_files(*last)
    if any(counts[stage] for stage in OPEN_STAGES):
        return EXIT_CODES[RunState.WAITING]
    return 1 if any(counts[stage] for stage in STUCK_STAGES) else 0


def _status_row(settings: Settings, restore: OpenRestore, status: RestoreStatus) -> tuple[str, ...]:
    return (
        restore.record.run_id,
        restore.record.request.request_id,
        restore.record.request.requester,
        *(f"{status.count(stage):,}" for stage in STAGE_WORDS),
        _time(status.first_expiry, settings) if status.first_expiry else "",
    )


def _say_files(restore: OpenRestore, status: RestoreStatus) -> None:
    told = [file for file in status.files if file.reason or file.stage in STUCK_STAGES]
    for file in told[:_MAX_SHOWN]:
        output.say(f"  {file.item.path} - {STAGE_WORDS[file.stage]} {file.reason}".rstrip())
    if len(told) > _MAX_SHOWN:
        output.say(f"  ほか {len(told) - _MAX_SHOWN:,}件")
    output.put(str(restore.folder.path))


def _status_json(restore: OpenRestore, status: RestoreStatus) -> dict[str, Any]:
    shown = output.run_summary(restore.record, restore.folder.path)
    shown["counts"] |= {stage.value: status.count(stage) for stage in Stage}
    expiry = status.first_expiry
    shown["first_expiry"] = expiry.isoformat() if expiry else None
    return shown


def placing(settings: Settings, run_id: str, directory: str) -> tuple[OpenRestore, Target]:
    """Return a restore and where its files are to go. Raises ``ListError``."""
    return OpenRestore(settings, run_id), find_target(settings, directory)


def download(
    settings: Settings,
    chosen: tuple[OpenRestore, Target],
    store: RestoreStore,
    *,
    again: bool,
    user: str,
    as_json: bool,
) -> int:
    """Place what is readable; 4 while some files are thawing, 1 when some failed, were left
    out or never requested, 0 when all of them lie there."""
    restore, target = chosen
    with stoppable() as stop, output.progress_bar() as bar:
        progress = announced(stop, bar, output.say)
        seen = preview(settings, restore, target, store, lambda: stop.requested)
        _show_preview(seen, again=again)
        restore.begin(user)
        keys = [s.item.key for s in seen.lost] if again else []
        record = restore.place(lambda: store, target, stop, progress, again=keys)
    code = None
    if record.state is RunState.WAITING and not record.thawing_files:
        code = 0 if record.placed_files == record.total_files and not record.left_out_rows else 1
    _say_never_requested(record.run_id, record.unrequested_files)
    return output.show_end(record, restore.folder.path, as_json=as_json, code=code)


def _show_preview(seen: PlacePreview, *, again: bool) -> None:
    output.say(
        f"配置 {seen.ready:,}件 / {human_size(seen.ready_bytes)} → {seen.target.typed}"
        f"（空き {human_size(seen.free_bytes)}）"
    )
    for path, name in seen.renamed[:_MAX_SHOWN]:
        output.say(f"  {path} → {name}（同じ名前があるため）")
    if len(seen.renamed) > _MAX_SHOWN:
        output.say(f"  ほか {len(seen.renamed) - _MAX_SHOWN:,}件も名前が変わります")
    if seen.unseen:
        first = seen.unseen[0].placed
        output.say(
            f"配置済みの {len(seen.unseen):,}件は、いま確認できません"
            f"（配置した場所に接続していません: {first.place if first else ''}）"
        )
    if seen.lost:
        what = "もう一度配置します" if again else "配置しません（配置するには --again）"
        output.say(f"配置後に無くなったか変更されたファイル {len(seen.lost):,}件: {what}")


def _time(moment: datetime, settings: Settings) -> str:
    return f"{moment.astimezone(settings.timezone):%Y/%m/%d %H:%M}"
