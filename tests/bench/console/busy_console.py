"""A console for the benchmark: ``streamlit`` itself, and a run that begins when it is told to."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from streamlit.web.cli import main

from core.jobs.pending_checks import DraftState
from core.model import ListSource, RunRequest
from pages import services

LIST = "begin.csv"
"""When the data directory has a file of this name, the list in it is archived."""


def _work() -> None:
    file = Path(os.environ["HIMURO_DATA_DIR"]) / LIST
    while not file.exists():
        time.sleep(0.1)
    jobs = services.current().open_jobs()
    source = ListSource(LIST, file.read_bytes())
    draft = jobs.check([source], RunRequest("FAST-1", "鈴木", started_by="tanaka"))
    while (found := jobs.draft(draft)) and found.state is DraftState.CHECKING:
        time.sleep(0.1)
    if found is None or found.state is not DraftState.READY:
        sys.exit(f"the list was refused: {found}")
    jobs.start(draft)


if __name__ == "__main__":
    threading.Thread(target=_work, daemon=True).start()
    main(prog_name="streamlit")
