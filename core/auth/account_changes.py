"""What has changed in the accounts file since it was last looked at, for ``signin.log``.

The file is edited by hand, also while the console does not run. So what was seen last is kept in
the data directory: names, roles, and digests of the hashes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.auth.accounts import Account, Accounts, OidcRule
from core.auth.audit_log import Event
from core.errors import FatalError
from core.files.private_file import replace_private
from core.resources.shortage import patiently

_MAX_BYTES = 4 * 1024 * 1024

_logger = logging.getLogger(__name__)

Change = tuple[Event, str, str]
"""What happened, to which account (or rule), and the rest of the line."""


def fingerprint(account: Account) -> str:
    """Return what another password, or the same one hashed anew, changes."""
    return hashlib.sha256(account.password_hash.encode()).hexdigest()


class AccountChanges:
    """Compares with what is kept in ``path``. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[str, dict[str, str]] | None = None
        self._last: Accounts | None = None

    def since(self, accounts: Accounts) -> list[Change]:
        """Return what has changed since the last call, or since an earlier process's last one.

        Where nothing is kept yet, everything is new to us and nothing is a change.
        """
        if accounts is self._last:
            return []
        self._last = accounts
        now = {
            "accounts": {
                account.name: f"{account.role.name} {fingerprint(account)}"
                for account in accounts.by_key.values()
            },
            "rules": {_shown(rule): rule.role.name for rule in accounts.rules},
        }
        before = self._seen if self._seen is not None else _loaded(self._path)
        self._seen = now
        if before == now:
            return []
        self._keep(now)
        return [] if before is None else list(_changes(before, now))

    def _keep(self, now: Mapping[str, Mapping[str, str]]) -> None:
        try:
            replace_private(self._path, json.dumps(now, ensure_ascii=False, indent=0).encode())
        except FatalError as exc:
            _logger.error("changes of accounts cannot be kept: %s", exc)  # noqa: TRY400


def _shown(rule: OidcRule) -> str:
    return f"email:{rule.email}" if rule.email else f"group:{rule.group}"


def _changes(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> Iterator[Change]:
    old, new = before["accounts"], now["accounts"]
    for name in sorted(old.keys() - new.keys()):
        yield Event.ACCOUNT_REMOVED, name, _role(old[name])
    for name in sorted(new.keys() - old.keys()):
        yield Event.ACCOUNT_ADDED, name, _role(new[name])
    for name in sorted(old.keys() & new.keys()):
        (was, _, hash_before), (is_now, _, hash_now) = (
            each[name].partition(" ") for each in (old, new)
        )
        if was != is_now:
            yield Event.ROLE_CHANGED, name, f"{_role(was)} -> {_role(is_now)}"
        if hash_before != hash_now:
            yield Event.PASSWORD_CHANGED, name, ""
    for rule, role in sorted(before["rules"].items() - now["rules"].items()):
        yield Event.RULE_REMOVED, rule, _role(role)
    for rule, role in sorted(now["rules"].items() - before["rules"].items()):
        yield Event.RULE_ADDED, rule, _role(role)


def _role(text: str) -> str:
    return text.partition(" ")[0].lower()


def _loaded(path: Path) -> dict[str, dict[str, str]] | None:
    """Return what an earlier process saw; None when there is nothing, or it is damaged."""
    try:
        with patiently(path.open, "rb") as file:
            data = json.loads(file.read(_MAX_BYTES))
        return {
            kind: {str(name): str(value) for name, value in data[kind].items()}
            for kind in ("accounts", "rules")
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        _logger.warning("%s cannot be read (%s)", path, type(exc).__name__)
        return None
