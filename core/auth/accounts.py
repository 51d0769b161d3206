"""Who may do what: roles, and the accounts file that an administrator edits by hand.

The file is TOML::

    [accounts.tanaka]
    role = "operator"                  # or "administrator"
    password = "$argon2id$v=19$..."    # printed by: python -m core hash-password

    [[oidc]]                           # only with HIMURO_SIGNIN=oidc
    email = "sato@example.co.jp"       # or: group = "himuro-operators"
    role = "administrator"

It is read at every question (some kilobytes, 20 µs), so that what is removed has no right a
moment later. Whatever is wrong with it closes everything that needs a role.
"""

from __future__ import annotations

import logging
import re
import threading
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from core.errors import HimuroError, os_reason
from core.files.private_file import readable_by_others
from core.resources.shortage import patiently

_MAX_BYTES = 1024 * 1024
_NAME = re.compile(r"[\w.@+-]{1,64}")
"""Letters of any script, digits and signs that no page and no log reads as its own."""
_HASH = re.compile(r"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_TOP = {"accounts", "oidc", "oidc_group_claim", "oidc_trust_unverified_email"}

_logger = logging.getLogger(__name__)


class Role(IntEnum):
    """Each role includes those below it."""

    ANYONE = 0
    OPERATOR = 1
    ADMINISTRATOR = 2


_ROLES = {"operator": Role.OPERATOR, "administrator": Role.ADMINISTRATOR}


class AccountsError(HimuroError):
    """The accounts file cannot be used; ``problems`` names everything that is wrong in it."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{path} に誤りがあります:\n" + "\n".join(f"  - {p}" for p in problems))


@dataclass(frozen=True, slots=True)
class Account:
    """One person of the accounts file."""

    name: str
    """In the letters of the accounts file."""
    role: Role
    password_hash: str
    """argon2id, in the usual ``$``-separated form."""


@dataclass(frozen=True, slots=True)
class OidcRule:
    """Which role an identity of the provider has. One of ``email`` and ``group`` is empty."""

    email: str
    """Compared without regard to letter case."""
    group: str
    """Compared exactly: providers use identifiers here."""
    role: Role


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts file, read and found in order. Without any entry when there is no file."""

    by_key: Mapping[str, Account] = field(default_factory=dict)
    rules: tuple[OidcRule, ...] = ()
    group_claim: str = "groups"
    """The claim of the ID token that lists groups."""
    trust_unverified_email: bool = False
    """Whether ``email`` counts although the provider does not say ``email_verified``."""

    def find(self, name: str) -> Account | None:
        """Return the account that somebody means who types ``name``."""
        return self.by_key.get(account_key(name))

    def email_of(self, claims: Mapping[str, Any]) -> str:
        """Return the e-mail address of an ID token; empty when it proves nothing.

        Where people choose their address themselves, an unverified one could be anybody's.
        """
        email = claims.get("email")
        trusted = self.trust_unverified_email or claims.get("email_verified") is True
        return email if isinstance(email, str) and trusted else ""

    def role_of(self, claims: Mapping[str, Any]) -> Role:
        """Return the highest role that any rule gives to the claims of an ID token."""
        email = self.email_of(claims).casefold()
        listed = claims.get(self.group_claim)
        groups = {listed} if isinstance(listed, str) else set(_texts(listed))
        given = (
            rule.role
            for rule in self.rules
            if (rule.email and rule.email == email) or (rule.group and rule.group in groups)
        )
        return max(given, default=Role.ANYONE)


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def account_key(name: str) -> str:
    """Return what two spellings of one account name have in common: NFKC, case folded.

    Full-width letters and capitals are what a Japanese keyboard makes of the same name.
    """
    return unicodedata.normalize("NFKC", name.strip()).casefold()


def parse_accounts(path: Path, content: bytes) -> Accounts:
    """Return the accounts in ``content``; raises ``AccountsError`` that names every mistake.

    No mistake is skipped: half of a file might lack the line that takes a right away.
    """
    try:
        data = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise AccountsError(path, ["文字コードがUTF-8ではありません"]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise AccountsError(path, [f"TOMLとして読み取れません（{_place(exc)}）"]) from exc
    except RecursionError as exc:
        raise AccountsError(path, ["入れ子が深すぎます"]) from exc
    problems = [f"知らない項目です: {key!r}" for key in data.keys() - _TOP]
    by_key = _accounts(data.get("accounts", {}), problems)
    rules = _rules(data.get("oidc", []), problems)
    claim = data.get("oidc_group_claim", "groups")
    trust = data.get("oidc_trust_unverified_email", False)
    if not isinstance(claim, str) or not claim:
        problems.append("oidc_group_claim は文字列にしてください")
    if not isinstance(trust, bool):
        problems.append("oidc_trust_unverified_email は true か false にしてください")
    if problems:
        raise AccountsError(path, problems)
    return Accounts(by_key, rules, claim, trust)


def _place(exc: tomllib.TOMLDecodeError) -> str:
    """Return where a file stops being TOML, without quoting it: a hash might stand there."""
    found = re.search(r"at line (\d+), column (\d+)", str(exc))
    return f"{found[1]}行目の{found[2]}文字目" if found else "ファイルの末尾"


def _accounts(table: object, problems: list[str]) -> dict[str, Account]:
    if not isinstance(table, dict):
        problems.append("accounts は [accounts.名前] の形で書いてください")
        return {}
    found: dict[str, Account] = {}
    for name, entry in table.items():
        where = f"accounts.{name}"
        if not _NAME.fullmatch(name):
            problems.append(f"{where!r}: 名前に使えるのは文字、数字、. _ @ + - で、64文字までです")
            continue
        if not isinstance(entry, dict):
            problems.append(f"{where}: [accounts.名前] の形で書いてください")
            continue
        problems += [f"{where}: 知らない項目です: {k!r}" for k in entry.keys() - _ACCOUNT_KEYS]
        role = _role(entry.get("role"), where, problems)
        password = entry.get("password")
        if not isinstance(password, str) or not _HASH.fullmatch(password):
            problems.append(
                f"{where}: password には python -m core hash-password が出力した行を書いてください"
            )
            continue
        if found.setdefault(account_key(name), Account(name, role, password)).name != name:
            problems.append(f"{where}: 同じ名前とみなされるものが既にあります")
    return found


_ACCOUNT_KEYS = {"role", "password"}
_RULE_KEYS = {"role", "email", "group"}


def _rules(tables: object, problems: list[str]) -> tuple[OidcRule, ...]:
    if not isinstance(tables, list):
        problems.append("oidc は [[oidc]] の形で書いてください")
        return ()
    rules = []
    for number, entry in enumerate(tables, start=1):
        where = f"oidc の{number}番目"
        if not isinstance(entry, dict):
            problems.append(f"{where}: [[oidc]] の形で書いてください")
            continue
        problems += [f"{where}: 知らない項目です: {k!r}" for k in entry.keys() - _RULE_KEYS]
        email, group = entry.get("email", ""), entry.get("group", "")
        role = _role(entry.get("role"), where, problems)
        if not isinstance(email, str) or not isinstance(group, str) or bool(email) == bool(group):
            problems.append(f"{where}: email と group のどちらか一方を書いてください")
            continue
        rules.append(OidcRule(email.strip().casefold(), group, role))
    return tuple(rules)


def _role(value: object, where: str, problems: list[str]) -> Role:
    role = _ROLES.get(value) if isinstance(value, str) else None
    if role is None:
        problems.append(f'{where}: role は "operator" か "administrator" にしてください')
        return Role.ANYONE
    return role


Content = bytes | tuple[str, ...]
"""What is in a file, or why it cannot be read."""


class AccountsFile:
    """The accounts file as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._content: Content = b""
        self._found: Accounts | AccountsError = Accounts()

    def current(self) -> Accounts:
        """Return the accounts; without any when there is no file.

        Raises ``AccountsError`` when the file is there and is not in order. Each change of
        the file, good or bad, is logged once.
        """
        content: Content
        try:
            content = self._read()
        except AccountsError as exc:
            content = exc.problems
        with self._lock:
            if content != self._content:
                self._content, self._found = content, self._judged(content)
            found = self._found
        if isinstance(found, AccountsError):
            raise AccountsError(self.path, found.problems)
        return found

    def _read(self) -> bytes:
        try:
            with patiently(self.path.open, "rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return b""
        except OSError as exc:
            raise AccountsError(self.path, [f"読み取れません（{os_reason(exc)}）"]) from exc
        if len(content) > _MAX_BYTES:
            raise AccountsError(self.path, ["ファイルが大きすぎます（1 MBまで）"])
        return content

    def _judged(self, content: Content) -> Accounts | AccountsError:
        if readable_by_others(self.path):
            _logger.warning("%s can be read by other users (chmod 600)", self.path)
        try:
            if isinstance(content, tuple):
                raise AccountsError(self.path, content)
            accounts = parse_accounts(self.path, content)
        except AccountsError as exc:
            _logger.error("%s", exc)  # noqa: TRY400
            return exc
        _logger.info("%d accounts, %d rules", len(accounts.by_key), len(accounts.rules))
        return accounts
