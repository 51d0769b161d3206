"""Two hundred people at once: what a search costs then, and where it ends."""

from __future__ import annotations

import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from core.errors import HimuroError
from core.model import SearchQuery
from db import open_catalogue
from tests.bench.archive_list.big import ROWS, BigList, console_before
from tests.bench.archive_list.searches import WORDS
from tests.bench.console.crowd import Phase
from tests.bench.measure import BenchError, p95
from tests.bench.report import Row, note
from tests.support.environment import CHECKOUT, clean_environment
from tests.support.servers.processes import Console, child

PEOPLE = 200
PAUSE = (5, 10)
"""Least and most seconds between a result and the next search."""
SECONDS = 60
AT_ONCE = (1, 5, 10, 20, 50, 100, 200)
"""How many search without any pause, to see where it ends."""
AT_ONCE_SECONDS = 12
MAX_SECONDS = 1


def visitors(big: BigList, directory: Path, rounds: int) -> list[Row]:
    """Return lines for people with pauses, for people without, and for the database alone."""
    part = f"visitors {ROWS:,}"
    with console_before(big.url, directory) as console:
        _crowd(console, big, directory, [Phase(1, (0, 0), 1)])  # it loads its pages
        at_start = psutil.Process(console.process.pid).memory_info().rss
        pausing, *at_once = _crowd(
            console,
            big,
            directory,
            [Phase(PEOPLE, PAUSE, SECONDS), *(Phase(n, (0, 0), AT_ONCE_SECONDS) for n in AT_ONCE)],
        )
    return [
        *_pausing(part, pausing, at_start),
        *(_without_pause(part, phase) for phase in at_once),
        _end(part, at_once),
        *_database(part, big.url),
    ]


def _crowd(console: Console, big: BigList, directory: Path, phases: Sequence[Phase]) -> list[Phase]:
    """Let people come to the console, in a process of their own; the phases are filled in."""
    log = directory / "crowd.log"
    plan = [[phase.people, phase.seconds, *phase.pause] for phase in phases]
    command = [sys.executable, "-m", "tests.bench.console.crowd", console.url]
    command += [str(console.process.pid), str(big.server.pid), json.dumps(plan), json.dumps(WORDS)]
    command.append("--apart")  # from one address they would wait for each other as they come
    with child(command, env=clean_environment(), cwd=CHECKOUT, log=log) as process:
        process.wait()
    lines = log.read_text("utf-8", "replace").splitlines()
    if process.returncode != 0:
        raise BenchError("the visitors did not come:\n" + "\n".join(lines[-15:]))
    return [Phase(**filled) for filled in json.loads(lines[-1])]


def _pausing(part: str, phase: Phase, at_start: int) -> list[Row]:
    each = (phase.memory - at_start) / phase.people
    who = f"{phase.people} people, {PAUSE[0]} to {PAUSE[1]} s between two searches"
    return [
        Row(part, "console after its first page, memory", f"{at_start / 1e6:.0f} MB"),
        Row(
            part,
            f"console with {phase.people} pages open, memory",
            f"{phase.memory / 1e6:.0f} MB",
            rounds=f"{each / 1e3:.0f} kB each",
        ),
        _line(part, who, phase),
        Row(part, f"{who}: nobody without a result", _failed(phase.failed), not phase.failed),
    ]


def _without_pause(part: str, phase: Phase) -> Row:
    return _line(part, f"{phase.people} who search without a pause", phase)


def _line(part: str, what: str, phase: Phase) -> Row:
    """Return what the searches of a phase took, and what each cost."""
    count = len(phase.taken)
    if not count:
        return Row(part, what, _failed(phase.failed), holds=False)
    spread = (
        f"median {_ms(statistics.median(phase.taken))}, most {_ms(max(phase.taken))};"
        f" {count / phase.seconds:.0f} searches/s"
    )
    if phase.failed:
        spread += f"; {_failed(phase.failed)}"
    cpu = f"{_ms(phase.console_cpu / count)} + {_ms(phase.database_cpu / count)} database"
    note(f"{part}, {what}: {spread}; {cpu}")
    return Row(part, what, f"p95 {_ms(p95(phase.taken))}", rounds=spread, cpu=cpu)


def _end(part: str, phases: Sequence[Phase]) -> Row:
    """Return how many may search without a pause, and what is used up then."""
    within = [p for p in phases if p.taken and p95(p.taken) <= MAX_SECONDS]
    most = max((p for p in phases if p.taken), key=lambda p: len(p.taken) / p.seconds)
    cores = f"{most.console_cpu / most.seconds:.1f} + {most.database_cpu / most.seconds:.1f}"
    people = max((p.people for p in within), default=0)
    return Row(
        part,
        f"p95 within {MAX_SECONDS} s without a pause: up to",
        f"{people} people",
        rounds=f"at most {len(most.taken) / most.seconds:.0f} searches/s",
        cpu=f"{cores} cores",
    )


def _database(part: str, url: str) -> list[Row]:
    """Return what as many threads get that search without a pause and without a console."""
    catalogue = open_catalogue(url)
    catalogue.search(SearchQuery(words="準備"))
    taken: list[float] = []
    failed: list[str] = []
    begin = time.perf_counter()

    def work(dice: random.Random) -> None:
        while (start := time.perf_counter()) < begin + AT_ONCE_SECONDS:
            try:
                catalogue.search(SearchQuery(words=dice.choice(WORDS)))
            except HimuroError as exc:
                failed.append(str(exc))
            else:
                taken.append(time.perf_counter() - start)

    threads = [
        threading.Thread(target=work, args=(random.Random(n),), daemon=True) for n in range(PEOPLE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    catalogue.close()
    rate = len(taken) / (time.perf_counter() - begin)
    spread = (
        f"median {_ms(statistics.median(taken))}, most {_ms(max(taken))}; {rate:.0f} searches/s"
    )
    what = f"database alone, {PEOPLE} threads without a pause"
    note(f"{part}, {what}: {spread}; {_failed(failed)}")
    return [
        Row(part, what, f"p95 {_ms(p95(taken))}", rounds=spread),
        Row(part, f"{what}: none without a result", _failed(failed), not failed),
    ]


def _failed(failed: Sequence[str]) -> str:
    """Return how many failed, and why the first did."""
    return f"{len(failed)} failed" + (f" ({failed[0]})" if failed else "")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
