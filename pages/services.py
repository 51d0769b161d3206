"""The one place that wires the pages to ``core`` and ``db``.

The registry is a module global: ``st.cache_resource`` is emptied by a message that any
anonymous client can send, and would take the running jobs with it (``docs/facts.md``,
"Streamlit").
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from importlib.util import find_spec
from zoneinfo import ZoneInfo

from core.auth.sign_in import SignIn
from core.config.settings import Settings, SignInKind, load_environment, load_settings
from core.errors import Code, FatalError, HimuroError, SettingsError
from core.export.background import Exports
from core.health.background import Checkup
from core.health.checks import examine
from core.health.ports import Health
from core.jobs import single_instance
from core.jobs.queue import Jobs
from core.ports import Catalogue
from core.resources.memory_budget import ConsoleMemory
from core.restore.queries import Restores
from core.s3.archive_store import S3ObjectStore
from core.s3.health import S3Health
from core.s3.restore_store import S3RestoreStore
from core.search.statistics import Summary
from db import open_catalogue
from db.health import SqlHealth
from pages import uploads

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Services:
    """What the pages work with. One for the process."""

    settings: Settings
    catalogue: Catalogue
    jobs: Jobs
    restores: Restores = field(init=False)
    signin: SignIn = field(init=False)
    summary: Summary = field(init=False)
    exports: Exports = field(init=False)
    memory: ConsoleMemory = field(init=False)
    _opened: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.restores = Restores(self.settings, self.jobs.open_restore_store)
        self.signin = SignIn(self.settings)
        self.summary = Summary(self.catalogue, self.settings.timezone)
        self.memory = self.jobs.memory
        self.memory.uploads.count(uploads.held_bytes)
        self.exports = Exports(self.settings, self.catalogue, memory=self.memory)

    def open_jobs(self) -> Jobs:
        """Return the queue, which works from the first call on.

        Raises ``FatalError`` when the data directory cannot be used; the next call tries
        again.
        """
        with self._lock:
            if not self._opened:
                self.jobs.open()
                self._opened = True
        return self.jobs


_lock = threading.Lock()
_services: Services | None = None
_broken: HimuroError | None = None


def current() -> Services:
    """Return the services, built at the first call.

    Raises ``SettingsError`` when settings are wrong, and again at every later call: they are
    read once, when the console starts.
    """
    global _services, _broken
    with _lock:
        if _broken is not None:
            raise _broken
        if _services is None:
            try:
                _services = _build()
            except HimuroError as exc:
                _broken = exc
                raise
        return _services


def _build() -> Services:
    load_environment()
    settings = load_settings()
    _require_libraries(settings)
    catalogue = open_catalogue(settings.database_url)
    jobs = Jobs(settings, catalogue, S3ObjectStore, S3RestoreStore)
    return Services(settings, catalogue, jobs)


def _require_libraries(settings: Settings) -> None:
    """Raise ``SettingsError`` when people shall sign in at a provider and what that needs is not
    installed: it is in a file of its own."""
    if settings.signin is not SignInKind.OIDC:
        return
    missing = [name for name in ("authlib", "httpx", "joserfc") if find_spec(name) is None]
    if missing:
        names = "、".join(missing)
        raise SettingsError(
            [
                f"HIMURO_SIGNIN=oidc に必要なライブラリーがインストールされていません（{names}）。"
                "requirements.txt の代わりに requirements-oidc.txt をインストールしてください"
            ]
        )


def hold_directory() -> None:
    """Hold the data directory for this process. Raises ``FatalError`` when another console has
    it, or nobody could tell."""
    try:
        settings = current().settings
        single_instance.hold(settings.data_dir, settings.timezone)
    except HimuroError as exc:
        if isinstance(exc, FatalError) and exc.code in (Code.DATA_DIR_IN_USE, Code.MACHINE_SHORT):
            raise
        _logger.error("%s", exc)  # noqa: TRY400 - the pages say what to do


def _examiner() -> Checkup:
    return Checkup(lambda: examine(lambda: current().settings, _open_health))


def _open_health(settings: Settings) -> Health:
    return Health(SqlHealth(settings.database_url), S3Health(settings))


_checkup = _examiner()


def checkup() -> Checkup:
    """Return the check-up, which can be asked for although the settings are wrong."""
    return _checkup


def timezone() -> ZoneInfo:
    """Return the time zone for display, the default one when the settings are wrong."""
    try:
        return current().settings.timezone
    except HimuroError:
        return load_settings({}).timezone


def replace(services: Services | None) -> None:
    """Use these services from now on; None builds new ones from the settings. For tests."""
    global _services, _broken, _checkup
    with _lock:
        _services, _broken, _checkup = services, None, _examiner()


def keep_up() -> None:
    """Do what has to be done every few seconds, also when nobody asks for a page."""
    if _services is not None:
        _services.signin.keep_up()


def close() -> None:
    """Stop the queue and exports; blocks until running files are done or their deadline is over."""
    if _services is not None:
        _services.signin.close()
        _services.jobs.close()
        _services.exports.close()
