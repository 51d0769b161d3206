"""Signing in and out, and who a request comes from. Knows neither pages nor routes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeGuard

from core.auth import passwords
from core.auth.account_changes import AccountChanges, fingerprint
from core.auth.accounts import Account, Accounts, AccountsError, AccountsFile, Role, account_key
from core.auth.audit_log import Event, Failure, FailureLog, SignInLog
from core.auth.devices import Devices
from core.auth.sessions import LONGEST_SECONDS, Client, Refusal, Sessions, SessionView, handle_of
from core.auth.signed_tokens import SignedTokens
from core.auth.throttle import Throttle
from core.auth.waiting_line import networks
from core.config.settings import Settings, SignInKind
from core.paths.normalization import printable

MAX_NAME = 200
"""Letters of a name somebody types; an account has 64 at most."""
_REMEMBERED = 1000
"""Cookies of sessions that have ended, and are not counted a second time."""
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
    """What the accounts file says now, not what it said at the sign-in."""
    session_id: str
    account: str = ""
    """What the list of sessions knows him by."""


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
        self.tokens = SignedTokens(data / "session.key")
        self._devices = Devices(self.tokens, clock)
        self._file = AccountsFile(settings.accounts_file)
        self._changes = AccountChanges(data / "accounts.seen.json")
        self._throttle = Throttle(steady)
        self._log = SignInLog(data / "signin.log", settings.timezone, clock)
        self._sessions = Sessions(
            data / "sessions.json",
            clock,
            settings.idle_minutes * 60,
            lambda account: self._log.write(Event.ENDED, account, detail="too many sessions"),
        )
        self._failures = FailureLog(data / "signin-failures.log", settings.timezone, clock)
        self._clock = clock
        self._told: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def access(self) -> Access:
        try:
            accounts = self._accounts()
        except AccountsError:
            return Access.BROKEN
        found = accounts.by_key if self.kind is SignInKind.ACCOUNTS else accounts.rules
        return Access.OPEN if found else Access.NO_ACCOUNTS

    def keep_up(self) -> None:
        """Write down what the last minute held, and what was changed in the accounts file.

        To be called every few seconds; it does nothing most of the time.
        """
        self._failures.write()
        self.access()

    def close(self) -> None:
        """Write down what has been counted so far."""
        self._failures.write(all_of_it=True)

    def failed(self, failure: Failure, address: str) -> None:
        """Count something that was refused before it came to a name."""
        self._failures.count(failure, address)

    def _accounts(self) -> Accounts:
        accounts = self._file.current()
        with self._lock:
            for event, name, detail in self._changes.since(accounts):
                self._log.write(event, name, detail=detail)
        return accounts

    # Accounts file

    def sign_in(
        self, name: str, password: str, address: str, device: str = "", *, browser: str = ""
    ) -> Attempt:
        """Open a session when name and password belong together.

        ``device`` is the device cookie, if there is one; ``browser`` is for the list of
        sessions. Takes the same time for a name that does not exist. Raises ``AccountsError``
        when the accounts file is not in order, ``BusyError`` when too many try at once,
        ``FatalError`` when the data directory refuses a session.
        """
        accounts = self._usable()
        key = account_key(name[:MAX_NAME])
        account = accounts.by_key.get(key)
        # What an unknown name looks like is not written down: it is a password, now and then.
        who = account.name if account else ""
        device_id = self._devices.id_of(device, key, account)
        if device_id is False:
            self._failures.count(Failure.DEVICE, address)
            device_id = ""
        wait = self._throttle.attempt(key, address, device_id)
        if wait > 0:
            self._failures.count(Failure.LOCKED, address, who)
            return Attempt(wait=wait)
        try:
            compare = partial(
                passwords.matches, known=bool(device_id), neighbourhood=networks(address).wide
            )
            proven = _proven(accounts, account, password, compare)
        except passwords.BusyError:
            self._throttle.withdrawn(key, address, device_id)
            self._failures.count(Failure.BUSY, address, who)
            raise
        if not proven or account is None:
            wrong = Failure.PASSWORD if account else Failure.NAME
            self._failures.count(wrong, address, who)
            return Attempt()
        self._throttle.succeeded(key, address, device_id)
        session_id = self._sessions.begin(key, fingerprint(account), Client(address, browser))
        self._log.write(Event.SIGNED_IN, who, address)
        token = self.tokens.seal("session.1", {"id": session_id, "account": key})
        return Attempt(token, self._devices.cookie(device_id, key, account))

    def _usable(self) -> Accounts:
        accounts = self._accounts()
        return accounts if self.kind is SignInKind.ACCOUNTS else Accounts()

    def user(self, token: str, address: str) -> User | None:
        """Return who holds a session cookie; None for anybody without a session that counts.

        Raises ``FatalError`` when the key cannot be read.
        """
        opened = self.tokens.open("session.1", token)
        if opened is None:
            self._failures.count(Failure.COOKIE, address)
            return None
        try:
            accounts = self._usable()
        except AccountsError:
            return None
        key, session_id = opened["account"], opened["id"]
        account = accounts.by_key.get(key)
        if account is None:
            # An empty file may be one that is just being written.
            if accounts.by_key and self._sessions.end(session_id):
                self._log.write(Event.ENDED, key, address, "no such account")
            self._refused(token, Failure.ENDED, address)
            return None
        refusal = self._sessions.check(session_id, fingerprint(account), address)
        if refusal:
            self._over(token, refusal, account.name, address)
            return None
        return User(account.name, account.role, session_id, key)

    # Identity provider

    def user_of_claims(
        self, claims: Mapping[str, Any], address: str, browser: str = ""
    ) -> User | None:
        """Return who the claims of a verified ID token stand for; None without a role.

        A session begins with the token's ``iat`` and has the same limits as any other;
        signing in once more makes a new token. Raises ``FatalError`` when the data directory
        refuses the session.
        """
        if self.kind is not SignInKind.OIDC:
            return None
        try:
            accounts = self._accounts()
        except AccountsError:
            return None
        subject, issued = str(claims.get("sub") or ""), claims.get("iat")
        session_id = oidc_session_id(claims)
        if not subject or not self._is_moment(issued):
            self._refused(session_id, Failure.OIDC, address)
            return None
        role = accounts.role_of(claims)
        name = printable(accounts.email_of(claims) or subject)[:MAX_NAME]
        if role is Role.ANYONE:
            self._refused(session_id, Failure.OIDC, address, name)
            return None
        if self._clock() - issued > LONGEST_SECONDS:
            self._refused(session_id, Failure.OIDC, address, name)
            return None
        listed, client = f"oidc {subject}", Client(address, browser)
        if self._sessions.adopt(session_id, listed, "oidc", float(issued), client):
            self._log.write(Event.SIGNED_IN, name, address, "OIDC")
        refusal = self._sessions.check(session_id, "oidc", address)
        if refusal:
            self._over(session_id, refusal, name, address)
            return None
        return User(name, role, session_id, listed)

    def _is_moment(self, issued: object) -> TypeGuard[float]:
        if isinstance(issued, bool) or not isinstance(issued, int | float):
            return False
        return 0 < issued <= self._clock() + _CLOCK_SKEW

    def role_of_claims(self, claims: Mapping[str, Any]) -> Role:
        """Return the role of an identity, whether its session still counts or not."""
        try:
            return self._accounts().role_of(claims)
        except AccountsError:
            return Role.ANYONE

    # Sessions

    def sign_out(self, user: User, address: str) -> None:
        """End a session, in every tab and for every copy of its cookie."""
        self._sessions.end(user.session_id)
        self._log.write(Event.SIGNED_OUT, user.name, address)

    def sessions_of(self, user: User) -> list[SessionView]:
        """Return the sessions of whoever is signed in: this one first, then the last used."""
        return self._sessions.of(user.account, user.session_id)

    def end_session(self, user: User, handle: str, address: str) -> bool:
        """End one of somebody's own sessions; False when it is not his, or has ended."""
        ended = self._end(user, lambda each: each == handle) > 0
        if ended:
            self._log.write(Event.ENDED, user.name, address, "by its owner")
        return ended

    def end_others(self, user: User, address: str) -> int:
        """End all sessions of somebody but this one; returns how many."""
        this = handle_of(user.session_id)
        ended = self._end(user, lambda each: each != this)
        if ended:
            self._log.write(Event.ENDED, user.name, address, f"by its owner, others: {ended}")
        return ended

    def _end(self, user: User, chosen: Callable[[str], bool]) -> int:
        return self._sessions.end_some(user.account, user.session_id, chosen)

    def _over(self, token: str, refusal: Refusal, who: str, address: str) -> None:
        """Write down that a session has just ended, or count a cookie of one that had."""
        if refusal in (Refusal.ENDED, Refusal.UNKNOWN):
            self._refused(token, Failure.ENDED, address, who)
        else:
            self._log.write(Event.ENDED, who, address, refusal.value)

    def _refused(self, token: str, failure: Failure, address: str, who: str = "") -> None:
        """Count a cookie that was ours and counts no longer; once, because an open page brings
        it every second."""
        what = "\n".join((token, address, failure.value))
        digest = hashlib.sha256(what.encode("utf-8", "replace")).digest()
        with self._lock:
            known = digest in self._told
            self._told[digest] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
        if not known:
            self._failures.count(failure, address, who)


def _proven(
    accounts: Accounts,
    account: Account | None,
    password: str,
    compare: Callable[[str, str], bool],
) -> bool:
    """Return whether the password is the account's.

    For a name that does not exist somebody else's hash is compared and the answer ignored:
    the same work, whatever the parameters of the file's hashes are.
    """
    if account is not None:
        return compare(account.password_hash, password)
    for other in accounts.by_key.values():
        compare(other.password_hash, password)
        break
    return False


def oidc_session_id(claims: Mapping[str, Any]) -> str:
    """Return what one ID token has of its own: another sign-in, another id."""
    parts = [str(claims.get(name, "")) for name in ("iss", "sub", "iat", "nonce", "jti")]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
