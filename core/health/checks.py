"""The check-up: everything a job needs, looked at in parallel, each with a deadline.

It changes nothing, or takes back what it tried; it takes no lock and no turn, so that it may
run beside a job. A share or an endpoint that hangs costs its own answer only.
"""

from __future__ import annotations

import logging
import platform
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from core.clock import utc_now
from core.concurrency.threads import start_thread
from core.config.settings import Settings
from core.errors import Code, FatalError, HimuroError, SettingsError, sentence
from core.health import local_checks
from core.health.findings import CHECKS, Finding, Status
from core.health.ports import Health
from core.resources.shortage import descriptors_missing, unexpected

DEADLINE_SECONDS = 9.0
"""For each check. One check follows another at most, so the whole takes twice that at worst."""
_DESCRIPTORS = 1024
"""Of which a run to S3 uses up to 300: connections, files, the database."""
_PACKAGES = ("streamlit", "boto3", "SQLAlchemy", "psycopg2-binary")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at, in a thread of its own."""

    name: str
    """The finding that fails when it does not end in time, or cannot be made at all."""
    look: Callable[[], Iterable[Finding]]
    subject: str = ""
    """Which share or directory, when there are several."""
    remedy: str = "しばらく待って、もう一度点検してください"
    """What to do when it does not answer."""
    then: tuple[Check, ...] = ()
    """What is worth looking at only when this one has not failed."""


def examine(
    load: Callable[[], Settings],
    open_health: Callable[[Settings], Health],
    seconds: float | None = None,
) -> Iterator[Finding]:
    """Yield every finding as soon as it is known, in no particular order.

    Ends after twice ``seconds`` (None: ``DEADLINE_SECONDS``) at the latest. Wrong settings
    are one finding, and the last.
    """
    yield _versions()
    yield _process()
    try:
        settings = load()
        health = open_health(settings)
    except SettingsError as exc:
        what = f"{len(exc.problems)}件の誤りがあります（{'、'.join(exc.problems)}）"
        remedy = "設定を直してください。ほかの項目は、直した後に点検します"
        yield Finding("settings", Status.FAILED, what, remedy)
        return
    yield Finding("settings", Status.OK, "すべて読み取れました")
    now = utc_now().astimezone(settings.timezone)
    what = f"{settings.timezone.key}（現在 {now:%Y/%m/%d %H:%M}）"
    yield Finding("timezone", Status.OK, what)
    yield from run(checks(settings, health), seconds or DEADLINE_SECONDS)


def checks(settings: Settings, health: Health) -> list[Check]:
    """Return what there is to look at with these settings."""
    database = Check("database", health.database.examine, remedy=Code.DATABASE_UNAVAILABLE.remedy)
    return [
        database,
        _bucket(settings, health),
        *_shares(settings),
        *_restore_roots(settings),
        Check("data-dir", partial(local_checks.data_directory, settings)),
        Check("runs", partial(local_checks.runs, settings)),
    ]


def _bucket(settings: Settings, health: Health) -> Check:
    if not settings.bucket:
        return _unset("s3", "HIMURO_BUCKET", Status.FAILED, "アーカイブと復元に必要です")
    bucket, remedy = health.bucket, Code.S3_UNREACHABLE.remedy
    return Check(
        "s3",
        bucket.reach,
        remedy=remedy,
        then=(
            Check("s3-permissions", bucket.permissions, remedy=remedy),
            Check("s3-protection", bucket.protection, remedy=remedy),
        ),
    )


def _shares(settings: Settings) -> list[Check]:
    if not settings.shares:
        return [_unset("share", "HIMURO_SHARES", Status.FAILED, "アーカイブに必要です")]
    return [
        Check(
            "share",
            partial(local_checks.share, setting),
            f"{setting.unc} → {setting.directory}",
            Code.SHARE_NOT_MOUNTED.remedy,
        )
        for setting in settings.shares
    ]


def _restore_roots(settings: Settings) -> list[Check]:
    if not settings.restore_roots:
        return [_unset("restore-root", "HIMURO_RESTORE_ROOTS", Status.WARNING, "復元に必要です")]
    remedy = "フォルダーのあるディスクまたは共有を確認してください"
    return [
        Check("restore-root", partial(local_checks.restore_root, settings, root), root, remedy)
        for root in settings.restore_roots
    ]


def _unset(name: str, setting: str, status: Status, why: str) -> Check:
    found = Finding(name, status, f"{setting} が設定されていません", f"設定してください。{why}")
    return Check(name, lambda: [found])


def run(wanted: Sequence[Check], seconds: float) -> Iterator[Finding]:
    """Yield the findings of some checks as they come; one too late fails and is given up.

    Its thread is a daemon: a hanging mount cannot keep the process from ending.
    """
    heard: queue.SimpleQueue[tuple[Check, Finding | None]] = queue.SimpleQueue()
    running: dict[int, tuple[Check, float]] = {}
    failed: set[int] = set()

    def start(check: Check) -> None:
        running[id(check)] = (check, time.monotonic() + seconds)
        name = f"himuro-doctor-{check.name}"
        try:
            start_thread(_look, check, heard.put, name=name)
        except FatalError as exc:
            heard.put((check, _failed(check, exc)))
            heard.put((check, None))

    for check in wanted:
        start(check)
    while running:
        first, deadline = min(running.values(), key=lambda pair: pair[1])
        try:
            check, finding = heard.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            del running[id(first)]
            yield _late(first, seconds)
            yield from _unasked(first)
            continue
        if id(check) not in running:
            continue
        if finding is not None:
            if finding.name == check.name and finding.status is Status.FAILED:
                failed.add(id(check))
            yield finding
            continue
        del running[id(check)]
        if id(check) in failed:
            yield from _unasked(check)
        else:
            for following in check.then:
                start(following)


def _look(check: Check, put: Callable[[tuple[Check, Finding | None]], None]) -> None:
    """Make one check and put its findings, then None. Whatever happens is a finding."""
    try:
        if short := descriptors_missing():
            raise unexpected(short)  # what cannot be looked at would seem to be missing
        for finding in check.look():
            put((check, finding))
    except FatalError as exc:
        put((check, _failed(check, exc)))
    except HimuroError as exc:
        what = str(exc).replace("\n  - ", " ")
        put((check, Finding(check.name, Status.FAILED, what, check.remedy)))
    except Exception as exc:
        _logger.exception("the check %s failed", check.name)
        put((check, _failed(check, unexpected(exc))))
    put((check, None))


def _failed(check: Check, exc: FatalError) -> Finding:
    return Finding(check.name, Status.FAILED, sentence(exc.code, exc.detail), exc.code.remedy)


def _late(check: Check, seconds: float) -> Finding:
    about = f"{check.subject}: " if check.subject else ""
    what = f"{about}{seconds:.0f}秒以内に応答がありません"
    return Finding(check.name, Status.FAILED, what, check.remedy)


def _unasked(check: Check) -> Iterator[Finding]:
    for following in check.then:
        what = f"「{CHECKS[check.name][1]}」が失敗したため、確認していません"
        remedy = "先にそちらを直し、もう一度点検してください"
        yield Finding(following.name, Status.WARNING, what, remedy)


def _process() -> Finding:
    """How many files and connections this process may have open at once."""
    try:
        import resource  # noqa: PLC0415 - not on Windows, which has no such limit
    except ImportError:
        return Finding("process", Status.OK, "開けるファイルの数に上限はありません")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most == resource.RLIM_INFINITY or most >= _DESCRIPTORS:
        return Finding("process", Status.OK, f"同時に開けるファイル {most:,}")
    what = f"同時に開けるファイルが {most:,} しかありません"
    remedy = f"上限（ulimit -n、LimitNOFILE）を {_DESCRIPTORS:,} 以上にしてください"
    return Finding("process", Status.WARNING, what, remedy)


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} なし")
    return Finding("versions", Status.OK, "、".join(found))
