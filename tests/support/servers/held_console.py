"""A console for tests: ``streamlit`` itself, whose files of hits wait while somebody wants that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from streamlit.web.cli import main

from core.export import queue, writer
from core.export.writer import Form, Written
from core.model import Entry
from core.ports import Hits

HOLD = "hold-exports"
"""While the data directory has a file of this name, files of hits stay at their first rows."""
ROWS = 80
AT_ONCE = "HELD_CONSOLE_LEAVES_AT_ONCE"
"""Environment variable: when it is set, whoever closes a page has left in that moment."""

_write = writer.write


def _held(batches: Iterator[Sequence[Entry]]) -> Iterator[Sequence[Entry]]:
    hold = Path(os.environ["HIMURO_DATA_DIR"]) / HOLD
    for batch in batches:
        for start in range(0, len(batch), ROWS):
            yield batch[start : start + ROWS]
            while hold.exists():
                time.sleep(0.01)


def _held_write(
    file: BinaryIO,
    form: Form,
    hits: Hits,
    timezone: ZoneInfo,
    progress: Callable[[Written], None] = lambda _written: None,
) -> Written:
    return _write(file, form, Hits(hits.total, _held(hits.batches)), timezone, progress)


if __name__ == "__main__":
    writer.write = _held_write
    if AT_ONCE in os.environ:
        queue.AWAY = timedelta(0)
    main(prog_name="streamlit")
