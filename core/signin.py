"""Signing in and out, and who a request comes from. Knows neither pages nor routes."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from core import passwords
from core.accounts import Account, Accounts, AccountsError, AccountsFile, Role, account_key
from core.audit import Event, SignInLog
from core.names import printable
from core.seals import Seals
from core.sessions import LONGEST_SECONDS, Refusal, Sessions
from core.settings import Settings, SignInKind
from core.throttle import Throttle

MOST_NAME = 200
"""Letters of a name somebody types; an account has 64 at most."""
_REMEMBERED = 1000
"""Refused cookies that are not logged a second time."""
_CLOCK_SKEW = 300
"""Seconds that the clock of an identity provider may be ahead."""


class Access(Enum):
    """Whether there is anybody who could sign in."""

    OPEN = "open"
    NO_ACCOUNTS = "no accounts"
    BROKEN = "broken"
    """The accounts file is not in order; nobody has a role until it is."""


@dataclass(frozen=True, slots=True)
class User:
    """Who is signed in."""

    name: str
    """For ``RunRequest.started_by`` and the screen."""
    role: Role
    """As the accounts file says now."""
    session_id: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a name and a password."""

    token: str = ""
    """For the session cookie; empty when refused."""
    device: str = ""
    """For the device cookie, as ``token``."""
    wait: float = 0.0
    """Seconds until another attempt is looked at; 0 when the next one is."""


class SignIn:
    """One for the process. ``clock`` returns seconds since 1970, ``steady`` never goes back."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        data = settings.data_dir
        self.kind = settings.signin
        self.seals = Seals(data / "session.key")
        self._file = AccountsFile(settings.accounts_file)
        self._sessions = Sessions(data / "sessions.json", clock)
        self._throttle = Throttle(steady)
        self._log = SignInLog(data / "signin.log", settings.timezone, clock)
        self._clock = clock
        self._told: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def access(self) -> Access:
        try:
            accounts = self._file.current()
        except AccountsError:
            return Access.BROKEN
        found = accounts.by_key if self.kind is SignInKind.ACCOUNTS else accounts.rules
        return Access.OPEN if found else Access.NO_ACCOUNTS

    # Accounts file

    def sign_in(self, name: str, password: str, address: str, device: str = "") -> Attempt:
        """Open a session when name and password belong together.

        ``device`` is the device cookie, if there is one. Takes the same time for a name that
        does not exist. Raises ``AccountsError`` when the accounts file is not in order,
        ``BusyError`` when too many try at once, ``FatalError`` when the data directory
        refuses a session.
        """
        accounts = self._usable()
        key = account_key(name[:MOST_NAME])
        account = accounts.by_key.get(key)
        # What an unknown name looks like is not written down: it is a password, now and then.
        who = account.name if account else "(unknown)"
        device_id = self._device(device, key)
        wait = self._throttle.attempt(key, address, device_id)
        if wait > 0:
            self._log.write(Event.LOCKED, who, address, f"{wait:.0f} s")
            return Attempt(wait=wait)
        try:
            proven = _proven(accounts, account, password)
        except passwords.BusyError:
            self._throttle.withdrawn(key, address, device_id)
            raise
        if not proven or account is None:
            self._log.write(Event.FAILED, who, address)
            return Attempt()
        self._throttle.succeeded(key, address, device_id)
        session_id = self._sessions.begin(key, _fingerprint(account))
        self._log.write(Event.SIGNED_IN, who, address)
        token = self.seals.seal("session.1", {"id": session_id, "account": key})
        fresh = {"id": device_id or secrets.token_urlsafe(16), "account": key}
        return Attempt(token, self.seals.seal("device.1", fresh))

    def _usable(self) -> Accounts:
        accounts = self._file.current()
        return accounts if self.kind is SignInKind.ACCOUNTS else Accounts()

    def _device(self, cookie: str, key: str) -> str:
        opened = self.seals.open("device.1", cookie) if cookie else None
        return str(opened["id"]) if opened and opened["account"] == key else ""

    def user(self, token: str, address: str) -> User | None:
        """Return who holds a session cookie; None for anybody without a session that counts.

        Raises ``FatalError`` when the key cannot be read.
        """
        opened = self.seals.open("session.1", token)
        if opened is None:
            return self._refused(token, "(unknown)", address, "not our cookie")
        try:
            accounts = self._usable()
        except AccountsError:
            return None
        key, session_id = opened["account"], opened["id"]
        account = accounts.by_key.get(key)
        if account is None:
            if accounts.by_key:  # an empty file may be one that is just being written
                self._sessions.end(session_id)
            return self._refused(token, key, address, "no such account")
        refusal = self._sessions.check(session_id, _fingerprint(account))
        if refusal:
            return self._refused(token, account.name, address, refusal.value)
        return User(account.name, account.role, session_id)

    # Identity provider

    def user_of_claims(self, claims: Mapping[str, Any], address: str) -> User | None:
        """Return who the claims of a verified ID token stand for; None without a role.

        A session begins with the token's ``iat`` and has the same limits as any other;
        signing in once more makes a new token. Raises ``FatalError`` when the data directory
        refuses the session.
        """
        if self.kind is not SignInKind.OIDC:
            return None
        try:
            accounts = self._file.current()
        except AccountsError:
            return None
        subject, issued = str(claims.get("sub") or ""), claims.get("iat")
        if not subject or isinstance(issued, bool) or not isinstance(issued, int | float):
            return None
        if not 0 < issued <= self._clock() + _CLOCK_SKEW:
            return None
        role = accounts.role_of(claims)
        name = printable(accounts.email_of(claims) or subject)[:MOST_NAME]
        session_id = oidc_session_id(claims)
        if role is Role.ANYONE:
            return self._refused(session_id, name, address, "no role")
        if self._clock() - issued > LONGEST_SECONDS:
            return self._refused(session_id, name, address, Refusal.TOO_OLD.value)
        if self._sessions.adopt(session_id, f"oidc {subject}", "oidc", float(issued)):
            self._log.write(Event.SIGNED_IN, name, address, "OIDC")
        refusal = self._sessions.check(session_id, "oidc")
        if refusal:
            return self._refused(session_id, name, address, refusal.value)
        return User(name, role, session_id)

    def role_of_claims(self, claims: Mapping[str, Any]) -> Role:
        """Return the role of an identity, whether its session still counts or not."""
        try:
            return self._file.current().role_of(claims)
        except AccountsError:
            return Role.ANYONE

    def sign_out(self, user: User, address: str) -> None:
        """End a session, in every tab and for every copy of its cookie."""
        self._sessions.end(user.session_id)
        self._log.write(Event.SIGNED_OUT, user.name, address)

    def _refused(self, token: str, who: str, address: str, why: str) -> User | None:
        """Return None, and log a cookie that does not count.

        Once: an open page brings it every second.
        """
        digest = hashlib.sha256(f"{token}\n{why}".encode("utf-8", "replace")).digest()
        with self._lock:
            known = digest in self._told
            self._told[digest] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
        if not known:
            self._log.write(Event.REFUSED, who, address, why)
        return None


def _proven(accounts: Accounts, account: Account | None, password: str) -> bool:
    """Return whether the password is the account's.

    For a name that does not exist somebody else's hash is compared and the answer ignored:
    the same work, whatever the parameters of the file's hashes are.
    """
    if account is not None:
        return passwords.matches(account.password_hash, password)
    for other in accounts.by_key.values():
        passwords.matches(other.password_hash, password)
        break
    return False


def _fingerprint(account: Account) -> str:
    return hashlib.sha256(account.password_hash.encode()).hexdigest()


def oidc_session_id(claims: Mapping[str, Any]) -> str:
    """Return what one ID token has of its own: another sign-in, another id."""
    parts = [str(claims.get(name, "")) for name in ("iss", "sub", "iat", "nonce", "jti")]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
