"""``python -m tests.bench``: measure, print the table, end with 1 when a target is missed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import list_memory, lists, placing, requests, transfer
from tests.bench.archive_list import search, takeaway
from tests.bench.archive_list.big import BigList, big_list
from tests.bench.console import floods, page, visitors
from tests.bench.measure import BenchError
from tests.bench.report import Row, machine, note, table, write
from tests.support.servers.processes import ServerError, raise_on_sigterm

PARTS: dict[str, Callable[[Path, int], list[Row]]] = {
    "small": transfer.small,
    "large": transfer.large,
    "memory": transfer.memory,
    "place-small": placing.small,
    "place-large": placing.large,
    "place-memory": placing.memory,
    "request": requests.request,
    # After the memory: what these leave behind in this process would count there.
    "check": lists.check,
    "list": lists.parse_list,
    "list-memory": list_memory.memory,
}
BIG_PARTS: dict[str, Callable[[BigList, Path, int], list[Row]]] = {
    "page": page.page,
    "visitors": visitors.visitors,
    "floods": floods.floods,
    "take-away": lambda big, directory, _rounds: takeaway.takeaway(big.url, directory),
    # After the others: it adds rows, and an index for ILIKE.
    "search": search.search,
}
"""They share one list of millions of rows, which is built when the first of them needs it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", choices=[*PARTS, *BIG_PARTS], action="append", help="this part; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender")
    parser.add_argument("--write", action="store_true", help="also into docs/performance.md")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    raise_on_sigterm()
    try:
        rows = _measure(options.only or [*PARTS, *BIG_PARTS], options.rounds)
    except KeyboardInterrupt:
        print("stopped; everything is removed", file=sys.stderr)
        return 130
    except (BenchError, ServerError) as exc:
        print(exc, file=sys.stderr)
        return 2
    print(f"\n{machine()}\n\n{table(rows)}")
    if options.write:
        write(rows)
    return 1 if any(row.holds is False for row in rows) else 0


def _measure(parts: list[str], rounds: int) -> list[Row]:
    rows: list[Row] = []
    for name, measure in PARTS.items():
        if name in parts:
            with _directory(name) as directory:
                rows += measure(directory, rounds)
    if not BIG_PARTS.keys().isdisjoint(parts):
        with big_list() as big:
            for name, measure_big in BIG_PARTS.items():
                if name in parts:
                    with _directory(name) as directory:
                        rows += measure_big(big, directory, rounds)
    return rows


@contextmanager
def _directory(part: str) -> Iterator[Path]:
    """Say which part begins, and give it a directory of its own."""
    note(f"{part} …")
    with tempfile.TemporaryDirectory(prefix="himuro-bench-") as directory:
        yield Path(directory)


if __name__ == "__main__":
    sys.exit(main())
