"""All rows of an archive list as a file: seconds and memory of a process that does just that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from core.export.writer import Form, write
from core.model import SearchQuery
from db import open_catalogue
from tests.bench.measure import BenchError
from tests.bench.report import Row, note
from tests.support.environment import CHECKOUT, clean_environment

MAX_SECONDS = 60
MAX_GROWTH = 150 * 10**6
"""Both of the CSV of 2.4 million rows; Excel has no target."""
_URL = "HIMURO_DATABASE_URL"


def takeaway(url: str, directory: Path) -> list[Row]:
    """Write every row of the archive list at ``url`` as CSV and as Excel.

    Raises ``BenchError`` when a file does not come about.
    """
    rows = []
    for form in (Form.CSV, Form.XLSX):
        file = directory / f"takeaway{form.suffix}"
        env = {**clean_environment(), _URL: url}
        command = [sys.executable, "-m", __name__, form, str(file)]
        done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"take away as {form}:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        file.unlink()
        seconds, count = found["seconds"], found["rows"]
        note(f"take away as {form}: {count:,} rows in {seconds:.1f} s")
        what = f"{count:,} rows as {form.upper()} ({found['size'] / 10**6:,.0f} MB)"
        good = None if form is Form.XLSX else seconds < MAX_SECONDS
        light = None if form is Form.XLSX else found["growth"] < MAX_GROWTH
        rate = f"{seconds:.1f} s, {count / seconds:,.0f} rows/s"
        growth = f"{found['growth'] / 10**6:.0f} MB"
        rows += [
            Row("take away", what, rate, good, cpu=f"{found['cpu']:.1f} s"),
            Row("take away", f"{what}: growth of memory", growth, light),
        ]
    return rows


def _memory(field: str) -> int:
    """Return a line of Linux's ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise BenchError(f"{field} is not in /proc/self/status")


def _main(form: Form, path: Path) -> None:
    """Write the file and print what it cost, the start of the interpreter left out."""
    catalogue = open_catalogue(os.environ[_URL])
    catalogue.check()
    before = _memory("VmRSS")
    begin, used = time.perf_counter(), time.process_time()
    with path.open("wb") as file:
        written = write(file, form, catalogue.hits(SearchQuery()), ZoneInfo("Asia/Tokyo"))
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - begin,
                "cpu": time.process_time() - used,
                "rows": written.rows,
                "size": path.stat().st_size,
                "growth": _memory("VmHWM") - before,
            }
        )
    )


if __name__ == "__main__":
    _main(Form(sys.argv[1]), Path(sys.argv[2]))
