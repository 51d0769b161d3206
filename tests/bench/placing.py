"""Bringing files back: every contender fetches the same bucket into fresh directories."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.contenders import OURS as ARCHIVE
from tests.bench.contenders import (
    PEERS,
    Command,
    Task,
    aws_program,
    himuro_environment,
    rclone_copy,
    s5cmd_program,
    send,
    write_list,
)
from tests.bench.measure import BenchError, Measured, Series, run
from tests.bench.report import Row, note
from tests.bench.transfer import (
    FLAT_MB,
    LARGE_COUNT,
    LARGE_SIZE,
    MEMORY_COUNTS,
    MEMORY_LIMIT_MB,
    SMALL_COUNT,
    SMALL_MEAN,
    large_files,
    rows_of,
)
from tests.support.servers.processes import rclone_s3
from tests.support.share import Share, small_files

OURS = "python -m core restore-download"


@dataclass(frozen=True, slots=True)
class Archived:
    """A share that was archived, and from where it can be had."""

    task: Task
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **himuro_environment(self.task),
            "HIMURO_RESTORE_ROOTS": str(self.directory),
        }


def small(directory: Path, rounds: int) -> list[Row]:
    """Files per second for many small files."""
    series = _race(
        directory, rounds, lambda root: small_files(root, SMALL_COUNT, SMALL_MEAN), keep=True
    )
    rates = {s.name: SMALL_COUNT / s.seconds for s in series}
    fastest = max(rate for name, rate in rates.items() if name != OURS)
    return [
        *rows_of("place small", series, rates, "files/s", OURS),
        Row.ratio("place small", "at least the fastest", rates[OURS] / fastest, 1.0),
    ]


def large(directory: Path, rounds: int) -> list[Row]:
    """Megabytes per second for a few large files."""
    series = _race(directory, rounds, large_files, keep=False)
    rates = {s.name: LARGE_COUNT * LARGE_SIZE / 1e6 / s.seconds for s in series}
    fastest = max(rate for name, rate in rates.items() if name != OURS)
    return [
        *rows_of("place large", series, rates, "MB/s", OURS),
        Row.ratio("place large", "at least 0.9 x the fastest", rates[OURS] / fastest, 0.9),
    ]


def memory(directory: Path, _rounds: int) -> list[Row]:
    """Peak memory of our command for a short and a long run."""
    peaks: list[float] = []
    rows: list[Row] = []
    for count in MEMORY_COUNTS:
        here = directory / str(count)
        buckets = here / "buckets"
        share = small_files(here / "share", count, SMALL_MEAN)
        task = _archive(share, buckets, here)
        with rclone_s3(buckets) as endpoint:
            done = _fetch(OURS, Archived(replace(task, endpoint=endpoint), here), here / "placed")
        peaks.append(done.peak_bytes / 1e6)
        note(f"memory, {count:,} files: {peaks[-1]:.0f} MB, {done.seconds:.1f} s")
        rows.append(Row("place memory", f"{OURS}, {count:,} files", f"{peaks[-1]:.0f} MB peak"))
        shutil.rmtree(here)
    most, growth = max(peaks), peaks[-1] - peaks[0]
    part = "place memory"
    return [
        *rows,
        Row(part, f"below {MEMORY_LIMIT_MB} MB", f"{most:.0f} MB", most < MEMORY_LIMIT_MB),
        Row(part, f"flat: at most {FLAT_MB} MB more", f"{growth:+.0f} MB", growth <= FLAT_MB),
    ]


def _race(
    directory: Path, rounds: int, make_share: Callable[[Path], Share], *, keep: bool
) -> list[Series]:
    """Let every contender fetch the bucket once a round, another one first each time.

    ``keep``: nothing is deleted until the end (``transfer.py`` says why).
    """
    share = make_share(directory / "share")
    buckets = directory / "buckets"
    names = (*PEERS, OURS)
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    task = _archive(share, buckets, directory)
    with rclone_s3(buckets) as endpoint:
        archived = Archived(replace(task, endpoint=endpoint), directory)
        for round_ in range(rounds):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                place = directory / f"placed-{names.index(name)}-{round_}"
                done = _fetch(name, archived, place)
                _require_files(place, share)
                measured[name].append(done)
                note(f"round {round_ + 1}, {name}: {done.seconds:.2f} s")
                if not keep:
                    shutil.rmtree(place)
    return [Series(name, tuple(values)) for name, values in measured.items()]


def _archive(share: Share, buckets: Path, directory: Path) -> Task:
    """Archive a share. A server that is started anew has forgotten the storage class, and its
    objects can be fetched: it has no restores."""
    bucket = buckets / "bench-placing"
    bucket.mkdir(parents=True)
    with rclone_s3(buckets) as endpoint:
        task = Task(share, endpoint, bucket, directory / "work")
        send(ARCHIVE, task)
    return task


def _fetch(name: str, archived: Archived, place: Path) -> Measured:
    place.mkdir()
    if name == OURS:
        return _ours(archived, place)
    return run(_COMMANDS[name](archived.task, place), archived.environment, archived.task.work)


def _ours(archived: Archived, place: Path) -> Measured:
    """Ask for everything (this server has no archive class, so all is ready), then place."""
    task = archived.task
    listed = task.work / "restore.csv"
    write_list(listed, [task.share.unc_path(d) for d in sorted(task.share.root.iterdir())])
    python: Command = [sys.executable, "-m", "core"]
    asked = [*python, "restore-request", listed, "--request-id", "R", "--requester", "b", "--json"]
    answer = subprocess.run(
        asked, env=archived.environment, cwd=task.work, capture_output=True, text=True
    )
    if answer.returncode != 0:
        raise BenchError(f"restore-request ended with {answer.returncode}:\n{answer.stderr}")
    run_id = json.loads(answer.stdout)["run_id"]
    command = [*python, "restore-download", run_id, "--to", place]
    return run(command, archived.environment, task.work)


def _require_files(place: Path, share: Share) -> None:
    """Raise ``BenchError`` unless so many files and bytes of the share lie there."""
    sizes = [file.stat().st_size for file in place.rglob("*") if file.is_file()]
    if (len(sizes), sum(sizes)) != (len(share.files), share.total_bytes):
        raise BenchError(f"{place.name}: {len(sizes):,} files of {sum(sizes):,} bytes")


def _aws(task: Task, place: Path) -> Command:
    command: Command = [aws_program(), "s3", "cp", "--recursive", "--only-show-errors"]
    return [*command, f"s3://{task.bucket.name}", place]


def _s5cmd(task: Task, place: Path) -> Command:
    return [s5cmd_program(), "--log", "error", "cp", f"s3://{task.bucket.name}/*", f"{place}/"]


def _rclone(task: Task, place: Path) -> Command:
    return [*rclone_copy(task), f":s3:{task.bucket.name}", place]


_COMMANDS: dict[str, Callable[[Task, Path], Command]] = dict(
    zip(PEERS, (_aws, _s5cmd, _rclone), strict=True)
)
