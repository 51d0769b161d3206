"""Step 1 of a restore against a server that answers as slowly as S3 does."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from core.concurrency.cancellation import StopSignal
from core.config.settings import load_settings
from core.restore.folder import RestoreFolder
from core.restore.model import ObjectState, RestoreItem, RestorePlan, Thaw, Tier
from core.restore.requester import Requests
from core.s3.restore_store import S3RestoreStore
from tests.bench.measure import BenchError
from tests.bench.report import Row, note
from tests.support.environment import CHECKOUT, HOST, aws_environment, clean_environment, free_port
from tests.support.servers.processes import child

COUNT, LATENCY = 20_000, 0.03
LIMIT_SECONDS = 90


def request(directory: Path, _rounds: int) -> list[Row]:
    """How long the requests for many copies take at 30 ms each."""
    with _slow_s3(directory) as endpoint:
        environ = {**aws_environment(endpoint), "HIMURO_BUCKET": "bench"}
        with _environment(environ):
            seconds = _ask(directory, _Frozen(load_settings(environ)))
    note(f"{COUNT:,} requests: {seconds:.1f} s")
    what = f"{COUNT:,} at {LATENCY * 1000:.0f} ms each: below {LIMIT_SECONDS} s"
    return [Row("request", what, f"{seconds:.1f} s", seconds < LIMIT_SECONDS)]


class _Frozen(S3RestoreStore):
    """The real client, for which nothing is readable yet: the server has no objects."""

    def states(
        self, keys: Iterable[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[str, ObjectState]]:
        return ((key, ObjectState(Thaw.FROZEN)) for key in keys)


def _ask(directory: Path, store: S3RestoreStore) -> float:
    when = datetime.now(UTC)
    items = tuple(
        RestoreItem.made(rf"\\fsx01\share\{n}", f"fsx01/share/{n}", 1, "0" * 64, when, when)
        for n in range(COUNT)
    )
    folder = RestoreFolder(directory / "20261125-120000-restore-abcdef", ZoneInfo("Asia/Tokyo"))
    folder.path.mkdir()
    folder.freeze(RestorePlan(items, ()), when)
    begin = time.perf_counter()
    asked = Requests(
        folder.standings(), store, folder, tier=Tier.BULK, days=7, stop=StopSignal()
    ).execute()
    seconds = time.perf_counter() - begin
    folder.close()
    if asked.fatal or len(asked.thawing) != COUNT:
        raise BenchError(f"{len(asked.thawing):,} of {COUNT:,} were asked for: {asked.fatal}")
    return seconds


@contextmanager
def _environment(environ: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _slow_s3(directory: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.requests", str(port)]
    env = {**clean_environment(), "PYTHONPATH": str(CHECKOUT)}
    with child(command, env=env, cwd=directory, log=directory / "slow.log"):
        for _ in range(100):
            time.sleep(0.1)
            if (directory / "slow.log").read_text().startswith("ready"):
                break
        yield f"http://{HOST}:{port}"


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_answer, HOST, port)
    print("ready", flush=True)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept whatever is asked, each request after the time that S3 takes."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            await asyncio.sleep(LATENCY)
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
