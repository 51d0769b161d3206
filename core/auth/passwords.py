"""Passwords: how they are hashed and compared, and how many at once."""

from __future__ import annotations

import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.auth.weak_passwords import weakness
from core.errors import HimuroError, ListError

FEWEST, MOST = 12, 256
"""Letters of a password. Argon2 takes any length, but reading a megabyte costs as well."""
_AT_ONCE = 2
"""Each takes 64 MiB and a core for some 0.1 s."""
_WAITING = 16
"""Those beyond are refused, so that a flood leaves threads for everything else."""
_KEPT = 4
"""Places for browsers that have signed in before: a flood of strangers leaves them theirs."""

_MAX_OF_ONE = 8
"""Places of one neighbourhood at a time: a whole /24 or /48 leaves some to everybody else."""

_hasher = PasswordHasher()
"""RFC 9106, second recommendation: t=3, 64 MiB, 4 lanes."""
_slots = threading.BoundedSemaphore(_AT_ONCE)
_places = threading.BoundedSemaphore(_AT_ONCE + _WAITING)
_kept_places = threading.BoundedSemaphore(_KEPT)
_held: Counter[str] = Counter()
"""Places by neighbourhood; as many entries as there are places at most."""
_lock = threading.Lock()


_BUSY = "いま混み合っています。しばらく待ってから、もう一度お試しください。"


class BusyError(HimuroError):
    """Too many passwords are being compared at the moment."""


def hash_password(password: str, account: str = "") -> str:
    """Return the argon2id hash for the accounts file. ``account``: whose it will be.

    Raises ``ListError`` when the password is too short, too long, or among the first that are
    guessed. Never twice the same. Hashes of before, whatever is behind them, stay good.
    """
    composed = _composed(password)
    if not FEWEST <= len(composed) <= MOST:
        raise ListError(f"パスワードは{FEWEST}文字以上{MOST}文字以内にしてください。")
    if reason := weakness(composed, [account]):
        raise ListError(
            f"{reason}、すぐに推測されるパスワードです。"
            "関係のない言葉をいくつか並べるなど、別のものにしてください。"
        )
    return _hasher.hash(composed)


def matches(
    password_hash: str, password: str, *, known: bool = False, neighbourhood: str = ""
) -> bool:
    """Return whether ``password`` is the one that was hashed. ``known``: by a browser that has
    signed in before. ``neighbourhood``: where it comes from.

    Blocks while two others are being compared; raises ``BusyError`` when many wait already.
    """
    if len(password) > MOST:
        return False
    with _turn(known=known, neighbourhood=neighbourhood):
        try:
            return _hasher.verify(password_hash, _composed(password))
        except (VerificationError, InvalidHashError):
            return False


@contextmanager
def _turn(*, known: bool, neighbourhood: str) -> Iterator[None]:
    with _place(known=known), _share(neighbourhood, known=known), _slots:
        yield


@contextmanager
def _place(*, known: bool) -> Iterator[None]:
    places = _places
    if not places.acquire(blocking=False):
        places = _kept_places
        if not known or not places.acquire(blocking=False):
            raise BusyError(_BUSY)
    try:
        yield
    finally:
        places.release()


@contextmanager
def _share(neighbourhood: str, *, known: bool) -> Iterator[None]:
    with _lock:
        if _held[neighbourhood] >= _MAX_OF_ONE and not known:
            raise BusyError(_BUSY)
        _held[neighbourhood] += 1
    try:
        yield
    finally:
        with _lock:
            _held[neighbourhood] -= 1
            if not _held[neighbourhood]:
                del _held[neighbourhood]


def _composed(password: str) -> str:
    """NFC: a Mac may send the same letters decomposed. Half a surrogate pair becomes a sign."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "replace").decode()
