"""Browsers that have signed in before, by a cookie that this console has sealed.

It is worth something for one account only, for ``DEVICE_DAYS`` days after the last sign-in, and
with the password of that day: whoever changes his password is rid of all of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal

from core.auth.account_changes import fingerprint
from core.auth.accounts import Account
from core.auth.signed_tokens import SignedTokens

DEVICE_DAYS = 90
"""Days without signing in after which a browser is no longer one that is known."""

Forged = Literal[False]


class Devices:
    """Makes and reads the cookies; ``clock`` returns seconds since 1970."""

    def __init__(self, tokens: SignedTokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock

    def cookie(self, device_id: str, key: str, account: Account) -> str:
        """Return the cookie of a browser that has just signed in; an empty ``device_id`` makes
        a new one. ``key`` is the account's. Raises ``FatalError`` without a key to seal with."""
        fresh = {
            "id": device_id or secrets.token_urlsafe(16),
            "account": key,
            "since": int(self._clock()),
            "password": fingerprint(account)[:32],
        }
        return self._tokens.seal("device.2", fresh)

    def id_of(self, cookie: str, key: str, account: Account | None) -> str | Forged:
        """Return the id of a browser that is known; empty for any other, and False for a cookie
        that is not ours. ``account`` is None for a name that does not exist."""
        if not cookie:
            return ""
        opened = self._tokens.open("device.2", cookie)
        if opened is None:
            return False
        age = self._clock() - opened["since"]
        if account is None or opened["account"] != key or age > DEVICE_DAYS * 86400:
            return ""
        same = opened["password"] == fingerprint(account)[:32]
        return str(opened["id"]) if same else ""
