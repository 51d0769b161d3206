"""Runs a command in a process that kills itself (SIGKILL) at the n-th step that leaves a trace."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache, wraps
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest.mock import patch

from core.__main__ import WIRING
from core.cli.main import main
from core.files.mounts import Mount
from core.restore import requester, target
from core.restore.folder import RestoreFolder
from core.restore.target import Directory
from core.runs.folder import RunFolder
from core.s3.archive_store import S3ObjectStore
from core.s3.http.fast_put import S3Lane
from core.s3.restore_store import S3RestoreStore
from core.share.shares import FileSystem
from db.catalogue import SqlCatalogue
from tests.support.environment import CHECKOUT

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
    requester.THREADS = 1
    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    return lambda: last[0]


def run(
    moment: str, *argv: str, environ: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours until ``moment``.

    ``moment``: the count of the step that kills the process, ``0`` to run to the end and say on
    standard error how many such moments there were, or ``STEP:N`` to count one step alone:
    ``thaw:2`` is when the first request for a copy is answered. ``environ``: added to this
    process's own; with ``CRASHING_MOUNT=cifs`` the target of a restore is taken for a directory
    of that file system.
    """
    with TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        arguments = (moment, argv, {**os.environ, **environ}, cwd, out, err)
        process = _processes().Process(target=_run, args=arguments)
        # It imports the main module once more; a test of a page may have left its script there.
        with patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, 120)
        texts = (file.read_text(encoding="utf-8") for file in (out, err))
        return subprocess.CompletedProcess(argv, process.exitcode, *texts)


@cache
def _processes() -> ForkServerContext:
    """Return where processes come from: one that has imported everything once, without a
    thread, and is copied."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = Path.cwd()
    os.chdir(CHECKOUT)  # from which it imports
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(before)
    return context


def _run(
    moment: str, argv: tuple[str, ...], environ: dict[str, str], cwd: Path, out: Path, err: Path
) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    for stream, file in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream.fileno())
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    step, _, number = moment.rpartition(":")
    moments = crash_at(int(number), step)
    if kind := os.environ.get("CRASHING_MOUNT"):
        mount = Mount("", "", kind)
        vars(target)["mount_at"] = lambda _descriptor: mount
    code = main(list(argv), WIRING)
    print(f"moments: {moments()}", file=sys.stderr)
    sys.exit(code)
