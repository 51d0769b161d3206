"""The check-up of a console: one at a time, in the background, its last result kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from core.clock import utc_now
from core.concurrency.threads import start_thread
from core.errors import FatalError, sentence
from core.health.findings import Finding, Status

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CheckupView:
    """The newest check-up, as far as it has come."""

    findings: tuple[Finding, ...] = ()
    """In the order in which they came."""
    started_at: datetime | None = None
    """With time zone, as is the next. None: there was none since the console started."""
    finished_at: datetime | None = None
    """None while it goes on."""

    @property
    def running(self) -> bool:
        return self.started_at is not None and self.finished_at is None


class Checkup:
    """Runs ``examine`` in a thread. All methods may be called from any thread."""

    def __init__(
        self, examine: Callable[[], Iterator[Finding]], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._examine = examine
        self._now = now
        self._lock = threading.Lock()
        self._view = CheckupView()

    def view(self) -> CheckupView:
        return self._view

    def start(self) -> bool:
        """Begin a new check-up; False, and nothing happens, while one is going on.

        One for which this machine has no thread ends at once, and that is its finding.
        """
        with self._lock:
            if self._view.running:
                return False
            self._view = CheckupView(started_at=self._now())
        try:
            start_thread(self._run, name="himuro-checkup")
        except FatalError as exc:
            what = sentence(exc.code, exc.detail)
            refused = Finding("process", Status.FAILED, what, exc.code.remedy)
            self._view = replace(self._view, findings=(refused,), finished_at=self._now())
        return True

    def _run(self) -> None:
        try:
            for finding in self._examine():
                self._view = replace(self._view, findings=(*self._view.findings, finding))
        except Exception:
            # Every expected failure is a finding; the page shows what came until here.
            _logger.exception("the check-up broke off")
        finally:
            self._view = replace(self._view, finished_at=self._now())
