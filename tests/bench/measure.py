"""How long something took: a command, with the memory it wanted, or a call."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.processes import child

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""What one of ``ru_maxrss`` is, in bytes."""


class BenchError(Exception):
    """A contender did not do what it is measured for; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One finished command."""

    seconds: float
    """From the start of the process to its end, the start of the interpreter included."""
    cpu_seconds: float
    """Of the command alone, all its threads together, in user and kernel."""
    peak_bytes: int
    """Peak resident memory. Never below that of this process: a child begins as its copy."""


@dataclass(frozen=True, slots=True)
class Series:
    """The rounds of one contender."""

    name: str
    rounds: tuple[Measured, ...]

    @property
    def seconds(self) -> float:
        """The median of all rounds."""
        return statistics.median(r.seconds for r in self.rounds)

    @property
    def cpu_seconds(self) -> float:
        """The median of all rounds."""
        return statistics.median(r.cpu_seconds for r in self.rounds)


def run(command: Sequence[str | Path], env: Mapping[str, str], directory: Path) -> Measured:
    """Run a command to its end; raises ``BenchError`` with its last lines when it fails.

    The disk is brought up to date first, so that nobody pays for what another wrote.
    """
    log = directory / "output.log"
    os.sync()
    begin = time.perf_counter()
    with child(command, env=env, cwd=directory, log=log) as process:
        usage = _wait(process)
    seconds = time.perf_counter() - begin
    if process.returncode != 0:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise BenchError(f"{command[0]} ended with {process.returncode}:\n{tail}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT)


def _wait(process: subprocess.Popen[bytes]) -> resource.struct_rusage:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def require_objects(bucket: Path, count: int, total_bytes: int) -> None:
    """Raise ``BenchError`` unless the bucket's directory holds so many objects and bytes."""
    sizes = [file.stat().st_size for file in bucket.rglob("*") if file.is_file()]
    if (len(sizes), sum(sizes)) != (count, total_bytes):
        raise BenchError(
            f"{bucket.name}: {len(sizes):,} objects of {sum(sizes):,} bytes in the bucket,"
            f" expected {count:,} of {total_bytes:,}"
        )


def milliseconds(calls: Iterable[Callable[[], object]], rounds: int) -> list[float]:
    """Return how long every call took, each made once a round."""
    every = list(calls)
    found = []
    for _ in range(rounds):
        for call in every:
            begin = time.perf_counter()
            call()
            found.append((time.perf_counter() - begin) * 1000)
    return found


def p95(taken: Sequence[float]) -> float:
    """Return what 95 of 100 are below."""
    return statistics.quantiles(taken, n=20, method="inclusive")[-1] if taken[1:] else taken[0]
