"""A command of Himuro in a process that really has no file descriptors left, now and then.

``python -m tests.support.short_machine moments 1 archive …``: before every ``1``st thing that the
process opens, it has none, until somebody waits for one. ``for-good NAME archive …``: none from the
moment on at which something of this name is opened.
"""

from __future__ import annotations

import importlib
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

from core.__main__ import WIRING
from core.cli.main import main as command
from core.files import nofollow
from core.resources import shortage

LIMIT = 128
OPENS = ("open", "os.listdir", "os.scandir", "socket.__new__", "sqlite3.connect")
_ELSEWHERE = tuple(
    found
    for path in (sys.prefix, sys.base_prefix, os.__file__.removesuffix("os.py"))
    for found in {str(path), os.path.realpath(path)}
)
"""Where the interpreter looks for modules: imports are not what is tried here."""


_LATE = (
    "core.archive.run",
    "core.cli.restore",
    "core.restore.run",
    "core.lists.parser",
    "core.restore.check",
    "core.s3.archive_store",
    "core.s3.restore_store",
    "db",
    "db.search.indexed",
)
"""What commands import when they need it."""


class Descriptors:
    """All that this process may have. Safe in any thread."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._lock = threading.RLock()
        self._inside = False
        self.taken = 0

    def take_all(self) -> None:
        with self._lock:
            self._inside, self.taken = True, self.taken + 1
            try:
                while True:
                    self._held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                self._inside = False

    def free(self) -> None:
        with self._lock:
            while self._held:
                os.close(self._held.pop())

    def watch(self, opens: Callable[[str], None]) -> None:
        """Hear of all that is opened from now on."""

        def hear(event: str, args: tuple[Any, ...]) -> None:
            if event in OPENS and not self._inside:
                path = args[0] if isinstance(args[0], str | bytes | os.PathLike) else ""
                name = os.fsdecode(path)
                if not name.startswith(_ELSEWHERE) and not name.endswith((".py", ".pyc")):
                    opens(name)

        sys.addaudithook(hear)


class Waits(logging.Filter):
    """Counts how often something waits for a descriptor; lets every line pass."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self.times += "tried again" in record.getMessage()
        return True


def _tries_again() -> bool:
    """Return whether the current thread has waited and tries again."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code is shortage._repeated.__code__:
            return True
    return False


def _listen_to_shares() -> None:
    """Have files of shares heard of, too: no event of Python's tells of ``openat2``."""
    real = nofollow._openat2

    def heard(path: str, flags: int, mode: int) -> int | None:
        sys.audit("open", path, None, flags)
        return real(path, flags, mode)

    nofollow._openat2 = heard


def moments(every: int) -> Callable[[], str]:
    descriptors, waits, numbers = Descriptors(), Waits(), count(1)
    logging.getLogger("core.resources.shortage").addFilter(waits)

    def opens(_name: str) -> None:
        if next(numbers) % every == 0 and not _tries_again():
            descriptors.take_all()

    def sleep(seconds: float) -> None:
        descriptors.free()
        time.sleep(seconds / 10)

    patched = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    _listen_to_shares()
    setattr(shortage, "time", patched)  # noqa: B010 - mypy knows what it was
    descriptors.watch(opens)

    def end() -> str:
        descriptors.free()
        return f"taken={descriptors.taken} waited={waits.times}"

    return end


def for_good(name: str) -> Callable[[], str]:
    descriptors = Descriptors()

    def opens(opened: str) -> None:
        if opened.endswith(name) and not descriptors.taken:
            descriptors.take_all()

    _listen_to_shares()
    descriptors.watch(opens)
    return lambda: f"taken={descriptors.taken}"


def main() -> int:

    for name in _LATE:
        importlib.import_module(name)
    how, what, *argv = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    shortage.WAIT_SECONDS = 60 if how == "moments" else 0.3
    end = moments(int(what)) if how == "moments" else for_good(what)
    code = command(argv, WIRING)
    print(end(), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
