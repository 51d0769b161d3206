"""A run, fifty people who search, and somebody who floods the console: with him and without."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.archive_list.big import BigList
from tests.bench.archive_list.searches import WORDS
from tests.bench.console.busy_console import LIST
from tests.bench.console.crowd import Phase
from tests.bench.console.flood import READY
from tests.bench.contenders import write_list
from tests.bench.measure import BenchError, p95
from tests.bench.report import Row, note
from tests.support.environment import CHECKOUT, aws_environment, clean_environment, free_port
from tests.support.servers.processes import child, console, rclone_s3
from tests.support.share import small_files

PEOPLE, PAUSE = 50, (5, 10)
SECONDS = int(os.environ.get("HIMURO_BENCH_FLOOD_SECONDS", "30"))
FILES, MEAN = 20_000, 4_000
WARM = 300
"""Files that are archived before anything is measured."""
LEAST_PACE, MAX_SECONDS, MAX_MB = 0.9, 2.0, 150
_PATIENCE = 120


@dataclass(slots=True)
class Half:
    """What was seen with the floods, or without."""

    rate: float = 0
    """Files a second of the run."""
    phase: Phase = field(default_factory=lambda: Phase(PEOPLE, PAUSE, SECONDS))
    memory: int = 0
    """Most resident bytes of the console."""
    did: dict[str, int] = field(default_factory=dict)


class _Watch:
    """Looks at a run and at the memory of its console until it is told to end."""

    def __init__(self, outcomes: Path, pid: int) -> None:
        self._outcomes = outcomes
        self._process = psutil.Process(pid)
        self._end = threading.Event()
        self._seen: list[tuple[float, int]] = []
        self.memory = 0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while True:
            self._seen.append((time.monotonic(), files_done(self._outcomes)))
            self.memory = max(self.memory, self._process.memory_info().rss)
            if self._end.wait(0.25):
                return

    def rate(self) -> float:
        """Return files a second, up to the last of them."""
        self._end.set()
        self._thread.join()
        (begin, first), last = self._seen[0], self._seen[-1][1]
        end = next(when for when, count in self._seen if count == last)
        return (last - first) / max(end - begin, 0.001)


def files_done(outcomes: Path) -> int:
    return outcomes.read_bytes().count(b"\n") if outcomes.exists() else 0


def floods(big: BigList, directory: Path, rounds: int) -> list[Row]:
    """Return lines for the run, the searches and the memory, with the floods and without."""
    quiet: list[Half] = []
    loud: list[Half] = []
    for number in range(rounds):
        for halves, flooded in ((quiet, False), (loud, True)):
            place = directory / f"{number}-{flooded}"
            half = _half(big, place, flooded=flooded)
            halves.append(half)
            note(
                f"floods, {'with' if flooded else 'without'}: {half.rate:.0f} files/s,"
                f" p95 {p95(half.phase.taken):.2f} s, {len(half.phase.taken)} searches,"
                f" {len(half.phase.failed)} failed, {half.memory / 1e6:.0f} MB; {half.did}"
            )
    return _rows(quiet, loud)


def _rows(quiet: list[Half], loud: list[Half]) -> list[Row]:
    part = "floods"
    rows = []
    for what, halves in (("without floods", quiet), ("with floods", loud)):
        taken = [seconds for half in halves for seconds in half.phase.taken]
        failed = [why for half in halves for why in half.phase.failed]
        rates = ", ".join(f"{half.rate:.0f}" for half in halves)
        rows += [
            Row(part, f"run, {what}", f"{_mean(halves):.0f} files/s", rounds=rates),
            Row(part, f"{PEOPLE} people who search, {what}", f"p95 {p95(taken) * 1000:,.0f} ms"),
            Row(part, f"searches without a result, {what}", str(len(failed)), not failed),
            Row(part, f"console, {what}", f"{_memory(halves) / 1e6:.0f} MB at most"),
        ]
    slowest = max(p95(half.phase.taken) for half in loud)
    pace = _mean(loud) / _mean(quiet)
    growth = (_memory(loud) - _memory(quiet)) / 1e6
    return [
        *rows,
        Row.ratio(part, "pace of the run, with and without", pace, LEAST_PACE),
        Row(part, f"p95 within {MAX_SECONDS:.0f} s", f"{slowest:.2f} s", slowest <= MAX_SECONDS),
        Row(part, f"at most {MAX_MB} MB more", f"{growth:+.0f} MB", growth <= MAX_MB),
    ]


def _mean(halves: list[Half]) -> float:
    return sum(half.rate for half in halves) / len(halves)


def _memory(halves: list[Half]) -> float:
    return sum(half.memory for half in halves) / len(halves)


def _half(big: BigList, place: Path, *, flooded: bool) -> Half:
    """Run the console anew, with a share and a bucket of its own."""
    half = Half()
    share = small_files(place / "share", FILES, MEAN)
    data, buckets = place / "data", place / "buckets"
    data.mkdir()
    # Keys are unique in a bucket: each half has its own.
    bucket = buckets / f"himuro-flooded-{place.name.lower()}"
    bucket.mkdir(parents=True)
    with ExitStack() as stack:
        endpoint = stack.enter_context(rclone_s3(buckets))
        env = {
            **aws_environment(endpoint),
            "HIMURO_DATABASE_URL": big.url,
            "HIMURO_DATA_DIR": str(data),
            "HIMURO_BUCKET": bucket.name,
            "HIMURO_SHARES": share.setting,
        }
        log = place / "console.log"
        running = stack.enter_context(
            console(env, free_port(), log=log, cwd=place, module="tests.bench.console.busy_console")
        )
        listed = data / "list.csv"
        write_list(listed, [share.unc_path(d) for d in sorted(share.root.iterdir())])
        listed.rename(data / LIST)
        outcomes = _begun(data / "runs")
        flood = place / "flood.log"
        if flooded:
            process = stack.enter_context(
                child(_python("flood", running.url), env=_environment(), cwd=CHECKOUT, log=flood)
            )
            _until(lambda: READY in flood.read_text("utf-8"), "the floods did not begin", flood)
        watch = _Watch(outcomes, running.process.pid)
        half.phase = _searched(running.url, running.process.pid, big, place)
        half.rate = watch.rate()
        half.memory = watch.memory
        if flooded:
            process.terminate()
            process.wait(20)
            lines = flood.read_text("utf-8").splitlines()
            half.did = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    return half


def _begun(runs: Path) -> Path:
    """Return the outcomes of the run that begins, once the first of them are there."""

    def warm() -> bool:
        return any(files_done(path) >= WARM for path in runs.glob("*/outcomes.csv"))

    _until(warm, "the run did not begin", None)
    return next(runs.glob("*/outcomes.csv"))


def _until(holds: Callable[[], bool], why: str, log: Path | None) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(why + (":\n" + log.read_text("utf-8")[-2000:] if log else ""))
        time.sleep(0.1)


def _searched(url: str, pid: int, big: BigList, place: Path) -> Phase:
    log = place / "crowd.log"
    plan = json.dumps([[PEOPLE, SECONDS, *PAUSE]])
    command = _python("crowd", url, str(pid), str(big.server.pid), plan, json.dumps(WORDS))
    with child([*command, "--apart"], env=_environment(), cwd=CHECKOUT, log=log) as process:
        process.wait()
    lines = log.read_text("utf-8", "replace").splitlines()
    if process.returncode != 0:
        raise BenchError("the visitors did not come:\n" + "\n".join(lines[-15:]))
    return Phase(**json.loads(lines[-1])[0])


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"tests.bench.console.{module}", *words]


def _environment() -> dict[str, str]:
    return {**clean_environment(), "PYTHONPATH": str(CHECKOUT)}
