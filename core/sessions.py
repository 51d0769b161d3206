"""Who is signed in: a list on the server, not a promise in a cookie.

A cookie names a session, the list says whether it still goes on: signing out ends it at once,
for a copy of the cookie and in open tabs too. The list is kept in the data directory, because
a restart must neither sign everybody out nor bring an ended session back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path

from core.errors import FatalError
from core.private import replace_private

IDLE_SECONDS = 60 * 60
"""Without a request, a click or a self-refreshing page."""
LONGEST_SECONDS = 12 * 60 * 60
_MOST_OF_ONE = 20
"""Sessions of one account; the one unused for longest ends when there are more."""
_SAVE_EVERY = 60
"""Seconds. A crash forgets at most so much of what was seen."""

_logger = logging.getLogger(__name__)


class Refusal(Enum):
    """Why a session does not count, as the audit log says it."""

    UNKNOWN = "unknown session"
    ENDED = "session has ended"
    IDLE = "idle limit"
    TOO_OLD = "absolute limit"
    CHANGED = "account has changed"


@dataclass(frozen=True, slots=True)
class _Session:
    account: str
    """Key of the account, or subject of the identity provider."""
    fingerprint: str
    """Of what the session was opened with: another password, no session."""
    issued: float
    """Seconds since 1970, as ``seen``."""
    seen: float
    ended: bool = False
    """Kept until it would be too old anyway, so that it cannot come back."""


class Sessions:
    """The list in ``path``; ``clock`` returns seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._list: dict[str, _Session] | None = None
        self._saved = 0.0

    def begin(self, account: str, fingerprint: str) -> str:
        """Open a session and return its id, 256 random bits.

        Raises ``FatalError`` when the list cannot be written.
        """
        session_id = secrets.token_urlsafe(32)
        self.adopt(session_id, account, fingerprint, self._clock())
        return session_id

    def adopt(self, session_id: str, account: str, fingerprint: str, issued: float) -> bool:
        """Enter a session that somebody else opened at ``issued`` (an identity provider).

        Returns False for one that is known already, also as ended: it stays as it is.
        """
        with self._lock:
            known = self._known()
            key = _digest(session_id)
            if key in known:
                return False
            known[key] = _Session(account, fingerprint, issued, self._clock())
            mine = [k for k, s in known.items() if s.account == account and not s.ended]
            for old in sorted(mine, key=lambda k: known[k].seen)[:-_MOST_OF_ONE]:
                known[old] = replace(known[old], ended=True)
            self._save()
            return True

    def check(self, session_id: str, fingerprint: str) -> Refusal | None:
        """Return why a session does not count; None when it does, which keeps it alive."""
        with self._lock:
            known, now, key = self._known(), self._clock(), _digest(session_id)
            session = known.get(key)
            refusal = _refusal(session, fingerprint, now)
            if session is None or refusal is Refusal.ENDED:
                return refusal
            known[key] = replace(session, seen=now, ended=refusal is not None)
            if refusal or now - self._saved > _SAVE_EVERY:
                self._save_or_log()
            return refusal

    def end(self, session_id: str) -> None:
        """End a session for good. A second call, or an unknown one, does nothing."""
        with self._lock:
            known, key = self._known(), _digest(session_id)
            if key in known and not known[key].ended:
                known[key] = replace(known[key], ended=True)
                self._save_or_log()

    def _known(self) -> dict[str, _Session]:
        if self._list is None:
            self._list = _loaded(self._path)
        return self._list

    def _save_or_log(self) -> None:
        """What happened holds in memory all the same."""
        try:
            self._save()
        except FatalError as exc:
            _logger.error("sessions cannot be kept: %s", exc)  # noqa: TRY400

    def _save(self) -> None:
        now = self._clock()
        live = {k: s for k, s in self._known().items() if now - s.issued <= LONGEST_SECONDS}
        self._list = live
        self._saved = now
        text = json.dumps({key: asdict(session) for key, session in live.items()}, indent=0)
        replace_private(self._path, text.encode())


def _refusal(session: _Session | None, fingerprint: str, now: float) -> Refusal | None:
    if session is None:
        return Refusal.UNKNOWN
    if session.ended:
        return Refusal.ENDED
    if now - session.issued > LONGEST_SECONDS:
        return Refusal.TOO_OLD
    if now - session.seen > IDLE_SECONDS:
        return Refusal.IDLE
    return None if session.fingerprint == fingerprint else Refusal.CHANGED


def _digest(session_id: str) -> str:
    """The list holds digests: who reads it cannot make a cookie of it."""
    return hashlib.sha256(session_id.encode("utf-8", "replace")).hexdigest()


def _loaded(path: Path) -> dict[str, _Session]:
    """Return the list of an earlier process; empty when there is none or it is damaged."""
    try:
        data = json.loads(path.read_bytes())
        return {str(key): _session(value) for key, value in data.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        _logger.warning(
            "%s cannot be read (%s): everybody signs in again", path, type(exc).__name__
        )
        return {}


def _session(value: dict[str, object]) -> _Session:
    session = _Session(**value)  # type: ignore[arg-type]
    if not isinstance(session.ended, bool):
        raise TypeError("ended")
    return replace(session, issued=float(session.issued), seen=float(session.seen))
