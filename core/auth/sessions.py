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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path

from core.errors import FatalError
from core.files.private_file import replace_private
from core.resources.shortage import patiently

LONGEST_SECONDS = 12 * 60 * 60
_MAX_OF_ONE = 20
"""Sessions of one account; the one unused for longest ends when there are more. As many that
have ended are kept."""
_MOST = 5000
"""Sessions of all accounts; beyond, whoever has most loses the one unused for longest."""
_MAX_BYTES = 8 * 1024 * 1024
"""Of the file: more than ``_MOST`` sessions take."""
_MAX_LETTERS = 128
_BEFORE = "before "
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
class Client:
    """Where a request comes from."""

    address: str
    browser: str = ""
    """In words, made of ours alone (``core/auth/user_agents.py``); empty when it is not known."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session, as the person it belongs to sees it. Times are seconds since 1970."""

    handle: str
    """What to end it by. It is no secret: nobody can make a cookie of it."""
    issued: float
    seen: float
    first: Client
    """Where it was opened."""
    address: str
    """Where it was used last."""
    this: bool
    """Whether it is the one of whoever looks."""


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
    """Kept for a while, so that the log can tell it from one that never was."""
    address: str = ""
    browser: str = ""
    last: str = ""
    """The address it was used from last."""


class Sessions:
    """The list in ``path``; ``clock`` returns seconds since 1970.

    ``idle``: seconds without a request, a click or a self-refreshing page that end a session.
    ``displaced`` is told the account of each one that ends because there are too many.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        idle: float = 30 * 60,
        displaced: Callable[[str], None] = lambda _account: None,
    ) -> None:
        self._path = path
        self._displaced = displaced
        self._clock = clock
        self._idle = idle
        self._lock = threading.Lock()
        self._list: dict[str, _Session] | None = None
        self._saved = 0.0

    def begin(self, account: str, fingerprint: str, client: Client | None = None) -> str:
        """Open a session and return its id, 256 random bits.

        Raises ``FatalError`` when the list cannot be written.
        """
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._enter(session_id, account, fingerprint, self._clock(), client)
        return session_id

    def adopt(
        self,
        session_id: str,
        account: str,
        fingerprint: str,
        issued: float,
        client: Client | None = None,
    ) -> bool:
        """Enter a session that somebody else opened at ``issued`` (an identity provider).

        Returns False for one that is known already, also as ended, and for one that may have
        been and is forgotten: it stays as it is.
        """
        with self._lock:
            known = self._known()
            forgotten = known.get(_mark(_bounded(account)))
            if handle_of(session_id) in known or (forgotten and issued <= forgotten.issued):
                return False
            self._enter(session_id, account, fingerprint, issued, client)
            return True

    def _enter(
        self,
        session_id: str,
        account: str,
        fingerprint: str,
        issued: float,
        client: Client | None,
    ) -> None:
        where = client or Client("")
        address, account = _bounded(where.address), _bounded(account)
        self._known()[handle_of(session_id)] = _Session(
            account,
            fingerprint,
            issued,
            seen=self._clock(),
            address=address,
            browser=_bounded(where.browser),
            last=address,
        )
        self._bound(account)
        self._save()

    def check(self, session_id: str, fingerprint: str, address: str = "") -> Refusal | None:
        """Return why a session does not count; None when it does, which keeps it alive."""
        with self._lock:
            known, now, key = self._known(), self._clock(), handle_of(session_id)
            session = known.get(key)
            refusal = self._refusal(session, fingerprint, now)
            if session is None or refusal is Refusal.ENDED:
                return refusal
            last = _bounded(address) or session.last
            known[key] = replace(session, seen=now, ended=refusal is not None, last=last)
            if refusal or now - self._saved > _SAVE_EVERY:
                self._save_or_log()
            return refusal

    def end(self, session_id: str) -> bool:
        """End a session for good. A second call, or an unknown one, does nothing: False."""
        with self._lock:
            return self._end([handle_of(session_id)])

    def of(self, account: str, session_id: str) -> list[SessionView]:
        """Return the sessions of an account that go on as ``session_id`` does: that one first,
        then the one used last."""
        this = handle_of(session_id)
        with self._lock:
            found = [
                SessionView(
                    key, s.issued, s.seen, Client(s.address, s.browser), s.last, key == this
                )
                for key, s in self._alive(account, this)
            ]
        return sorted(found, key=lambda session: (not session.this, -session.seen))

    def end_some(self, account: str, session_id: str, chosen: Callable[[str], bool]) -> int:
        """End those that ``of`` returns and whose handle is ``chosen``; returns how many."""
        with self._lock:
            keys = [key for key, _s in self._alive(account, handle_of(session_id)) if chosen(key)]
            self._end(keys)
            return len(keys)

    def _alive(self, account: str, this: str) -> list[tuple[str, _Session]]:
        """Return those that would count if they were used now. One that was opened with another
        password than ``this`` would not."""
        mine, now = self._known().get(this), self._clock()
        return [
            (key, s)
            for key, s in self._of(_bounded(account))
            if mine and self._refusal(s, mine.fingerprint, now) is None
        ]

    def _end(self, keys: list[str]) -> bool:
        known = self._known()
        going_on = [key for key in keys if key in known and not known[key].ended]
        for key in going_on:
            known[key] = replace(known[key], ended=True)
        if going_on:
            self._save_or_log()
        return bool(going_on)

    def _refusal(self, session: _Session | None, fingerprint: str, now: float) -> Refusal | None:
        if session is None:
            return Refusal.UNKNOWN
        if session.ended:
            return Refusal.ENDED
        if now - session.issued > LONGEST_SECONDS:
            return Refusal.TOO_OLD
        if now - session.seen > self._idle:
            return Refusal.IDLE
        return None if session.fingerprint == fingerprint else Refusal.CHANGED

    def _known(self) -> dict[str, _Session]:
        if self._list is None:
            self._list = _loaded(self._path)
        return self._list

    def _of(self, account: str) -> Iterator[tuple[str, _Session]]:
        mark = _mark(account)
        return ((k, s) for k, s in self._known().items() if s.account == account and k != mark)

    def _bound(self, account: str) -> None:
        """Keep 20 of each account, and as many ended ones; and so many in all."""
        known = self._known()
        mine = sorted(self._of(account), key=lambda item: item[1].seen)
        for key, session in [item for item in mine if not item[1].ended][:-_MAX_OF_ONE]:
            known[key] = replace(session, ended=True)
            self._displaced(account)
        for key, _session in [item for item in mine if known[item[0]].ended][:-_MAX_OF_ONE]:
            self._forget(key)
        counts = Counter(s.account for key, s in known.items() if not key.startswith(_BEFORE))
        if counts.total() > _MOST:
            most = counts.most_common(1)[0][0]
            key, session = min(self._of(most), key=lambda item: item[1].seen)
            self._forget(key)
            if not session.ended:
                self._displaced(most)

    def _forget(self, key: str) -> None:
        """Let go of a session, and of all that its account began before: what an identity
        provider opened could be entered again."""
        session = self._known().pop(key)
        mark = _mark(session.account)
        before = self._known().get(mark)
        issued = max(session.issued, before.issued if before else 0.0)
        self._known()[mark] = _Session(session.account, "", issued, self._clock(), ended=True)

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


def handle_of(session_id: str) -> str:
    """Return what the list knows a session by: who reads it cannot make a cookie of it."""
    return hashlib.sha256(session_id.encode("utf-8", "replace")).hexdigest()


def _mark(account: str) -> str:
    """Key of the entry that says until when sessions of an account are forgotten."""
    return _BEFORE + handle_of(account)


def _bounded(text: str) -> str:
    """Whoever has a longer name is told from others by its digest."""
    return text if len(text) <= _MAX_LETTERS else handle_of(text)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES + 1)


def _loaded(path: Path) -> dict[str, _Session]:
    """Return the list of an earlier process; empty when there is none or it is damaged."""
    try:
        content = patiently(_read, path)
        if len(content) > _MAX_BYTES:
            raise ValueError("too large")
        data = json.loads(content)
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
