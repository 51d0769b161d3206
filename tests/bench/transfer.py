"""Contenders side by side: the same files, the same server, rounds that alternate."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.contenders import OURS, Task, available, send
from tests.bench.measure import Measured, Series
from tests.bench.report import Row, note
from tests.support.servers.processes import rclone_s3
from tests.support.share import MIB, Share, small_files

SMALL_COUNT, SMALL_MEAN = 5_000, 36_000
LARGE_COUNT, LARGE_SIZE = 16, 64 * MIB
MEMORY_COUNTS = (1_000, 20_000)
MEMORY_LIMIT_MB = 400
FLAT_MB = 64
"""By how much more memory twenty times as many files may take."""


def small(directory: Path, rounds: int) -> list[Row]:
    """Files per second for many small files."""
    series = _race(
        directory, rounds, lambda root: small_files(root, SMALL_COUNT, SMALL_MEAN), keep=True
    )
    rates = {s.name: SMALL_COUNT / s.seconds for s in series}
    rows = rows_of("small files", series, rates, "files/s", OURS)
    if OURS in rates:
        rows += [
            Row.ratio("small files", "at least s5cmd", rates[OURS] / rates["s5cmd cp"], 1.0),
            Row.ratio("small files", "at least 4 x aws", rates[OURS] / rates["aws s3 cp"], 4.0),
        ]
    return rows


def large(directory: Path, rounds: int) -> list[Row]:
    """Megabytes per second for a few large files."""
    series = _race(directory, rounds, large_files, keep=False)
    rates = {s.name: LARGE_COUNT * LARGE_SIZE / 1e6 / s.seconds for s in series}
    rows = rows_of("large files", series, rates, "MB/s", OURS)
    if OURS in rates:
        fastest = max(rate for name, rate in rates.items() if name != OURS)
        rows.append(
            Row.ratio("large files", "at least 0.9 x the fastest", rates[OURS] / fastest, 0.9)
        )
    return rows


def memory(directory: Path, _rounds: int) -> list[Row]:
    """Peak memory of our command for a short and a long run."""
    if OURS not in available():
        return []
    peaks: list[float] = []
    rows: list[Row] = []
    for count in MEMORY_COUNTS:
        share = small_files(directory / f"share{count}", count, SMALL_MEAN)
        buckets = directory / f"buckets{count}"
        bucket = buckets / f"bench-memory-{count}"
        bucket.mkdir(parents=True)
        with rclone_s3(buckets) as endpoint:
            done = send(OURS, Task(share, endpoint, bucket, directory / f"work{count}"))
        peaks.append(done.peak_bytes / 1e6)
        note(f"memory, {count:,} files: {peaks[-1]:.0f} MB, {done.seconds:.1f} s")
        rows.append(Row("memory", f"{OURS}, {count:,} files", f"{peaks[-1]:.0f} MB peak"))
        shutil.rmtree(share.root)
        shutil.rmtree(buckets)
    most, growth = max(peaks), peaks[-1] - peaks[0]
    return [
        *rows,
        Row("memory", f"below {MEMORY_LIMIT_MB} MB", f"{most:.0f} MB", most < MEMORY_LIMIT_MB),
        Row("memory", f"flat: at most {FLAT_MB} MB more", f"{growth:+.0f} MB", growth <= FLAT_MB),
    ]


def _race(
    directory: Path, rounds: int, make_share: Callable[[Path], Share], *, keep: bool
) -> list[Series]:
    """Let every contender send the share once a round, another one first each time.

    Ours gets a copy of the share for each round, because its markers stay. With ``keep``
    nothing is deleted until the end: for minutes after thousands of files were deleted, ext4
    makes new ones slowly (it looks for inodes that were not in use lately), and whoever comes
    next would pay for that.
    """
    names = available()
    share = make_share(directory / "share")
    ours = [make_share(directory / f"share-{round_}") for round_ in range(rounds)]
    buckets = directory / "buckets"
    places = {(n, r): buckets / f"bench-{names.index(n)}-{r}" for n in names for r in range(rounds)}
    for bucket in places.values():  # before the server starts: see rclone_s3
        bucket.mkdir(parents=True)
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    with rclone_s3(buckets) as endpoint:
        for round_ in range(rounds):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                bucket = places[name, round_]
                sent = ours[round_] if name == OURS else share
                done = send(name, Task(sent, endpoint, bucket, directory / "work" / bucket.name))
                measured[name].append(done)
                note(f"round {round_ + 1}, {name}: {done.seconds:.2f} s")
                if not keep:
                    shutil.rmtree(bucket)
    return [Series(name, tuple(values)) for name, values in measured.items()]


def rows_of(
    part: str, all_series: list[Series], rates: dict[str, float], unit: str, own: str
) -> list[Row]:
    """Return a line for each contender; ``own``: whose rate is divided by the others'."""
    rows = []
    for series in all_series:
        spread = " / ".join(f"{r.seconds:.2f}" for r in series.rounds)
        ours = f"{rates[own] / rates[series.name]:.2f}" if own in rates else ""
        rate, cpu = f"{rates[series.name]:,.0f} {unit}", f"{series.cpu_seconds:.1f} s"
        rows.append(Row(part, series.name, rate, rounds=f"{spread} s", ours=ours, cpu=cpu))
    return rows


def large_files(root: Path) -> Share:
    """Write files that do not resemble each other, nor one of their parts another."""
    random_ = random.Random(1)
    made = []
    for number in range(LARGE_COUNT):
        noise = random_.randbytes(4 * MIB)
        file = root / "動画" / f"記録～{number:02}（原本）.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            for piece in range(LARGE_SIZE // len(noise)):
                out.write(piece.to_bytes(8, "big") + noise[8:])
        made.append(file)
    return Share(root, tuple(made), LARGE_COUNT * LARGE_SIZE)
