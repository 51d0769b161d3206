"""Runs a command and kills its own process (SIGKILL) at the n-th step that leaves a trace.

``python -m tests.crashing N archive LIST …``; with ``0`` it prints to standard error how many
such moments there were. ``STEP:N`` counts those of one step alone: ``thaw:2`` is when the first
request for a copy is answered. With ``CRASHING_MOUNT=cifs`` the target of a restore is taken
for a directory of that file system.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from core import requesting, target
from core.__main__ import WIRING
from core.commands import main
from core.mounts import Mount
from core.restore_folder import RestoreFolder
from core.runfolder import RunFolder
from core.s3 import S3ObjectStore
from core.s3_lean import S3Lane
from core.s3_restore import S3RestoreStore
from core.shares import FileSystem
from core.target import Directory
from db.catalogue import SqlCatalogue

STEPS: list[tuple[Any, str]] = [
    (os, "link"),
    (S3Lane, "begin"),
    (S3ObjectStore, "create"),
    (S3ObjectStore, "_upload_part"),
    (S3ObjectStore, "create_in_parts"),
    (SqlCatalogue, "add"),
    (FileSystem, "create_empty"),
    (RunFolder, "create"),
    (RunFolder, "write_record"),
    (RunFolder, "write_plan"),
    (RunFolder, "add_outcomes"),
    (RunFolder, "finish"),
    (S3RestoreStore, "thaw"),
    (Directory, "create"),
    (Directory, "publish"),
    (RestoreFolder, "add_events"),
    (RestoreFolder, "write_lists"),
]


def crash_at(moment: int, only: str = "") -> Callable[[], int]:
    """Make every step count before and after itself, and the count ``moment`` the last;
    ``only`` the step of this name, when there is one."""
    counter = itertools.count(1)
    last = [0]

    def tick(name: str) -> None:
        if only and name != only:
            return
        last[0] = next(counter)
        if last[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def step(*args: Any, **kwargs: Any) -> Any:
            tick(work.__name__)
            result = work(*args, **kwargs)
            tick(work.__name__)
            return result

        return step

    # One request for a copy at a time: all of several threads would begin before any ends.
    requesting.THREADS = 1
    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    return lambda: last[0]


if __name__ == "__main__":
    step, _, number = sys.argv[1].rpartition(":")
    moments = crash_at(int(number), step)
    if kind := os.environ.get("CRASHING_MOUNT"):
        mount = Mount("", "", kind)
        vars(target)["mount_at"] = lambda _descriptor: mount
    code = main(sys.argv[2:], WIRING)
    print(f"moments: {moments()}", file=sys.stderr)
    sys.exit(code)
