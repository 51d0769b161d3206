"""Settings from the environment, read once and frozen (``docs/contract.md``, "Settings")."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values

from core.config.database_url import UrlFormError, hide_password, read_url
from core.config.limits import Limits, read_limits
from core.errors import SettingsError, os_reason
from core.paths.normalization import identity, split_unc
from core.resources.shortage import patiently

JOB_NEEDS = ("HIMURO_BUCKET", "HIMURO_SHARES")
"""Settings that archive jobs cannot do without."""
RESTORE_NEEDS = ("HIMURO_BUCKET", "HIMURO_RESTORE_ROOTS")
"""Settings that restores cannot do without."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3's rule for names of general purpose buckets."""
MAX_RESTORE_DAYS = 365
"""That a restored copy may be asked to stay readable."""
_LEAST_MEMORY, _DEFAULT_MEMORY = 512, 1024
"""MiB. One check and one upload fit into the least."""


class SignInKind(StrEnum):
    """How people sign in."""

    ACCOUNTS = "accounts"
    """With a name and a password of the accounts file."""
    OIDC = "oidc"
    """At an identity provider; the accounts file says who has which role."""


@dataclass(frozen=True, slots=True)
class ShareSetting:
    """Where a share of the file server is mounted on this machine."""

    unc: str
    r"""``\\server\share`` or a folder below it."""
    directory: Path
    """Absolute."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Nothing else reads the environment, except boto3 for ``AWS_*``."""

    database_url: str = field(repr=False)
    """With its password."""
    data_dir: Path
    """Absolute."""
    bucket: str
    """Empty when not set."""
    key_prefix: str
    shares: tuple[ShareSetting, ...]
    restore_roots: tuple[str, ...]
    restore_days: int
    """Days, 1 or more."""
    timezone: ZoneInfo
    signin: SignInKind = SignInKind.ACCOUNTS
    accounts: Path | None = None
    """Absolute; None stands for ``accounts.toml`` in the data directory."""
    limits: Limits = Limits()
    memory_bytes: int = _DEFAULT_MEMORY * 1024 * 1024
    """That the console may hold for all who ask for things."""
    idle_minutes: int = 30
    """Minutes without use after which a session ends, 5 to 720."""

    @property
    def accounts_file(self) -> Path:
        return self.accounts or self.data_dir / "accounts.toml"

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    def require(self, needed: tuple[str, ...]) -> None:
        """Raise ``SettingsError`` that names each of ``needed`` that is not set."""
        given = {
            "HIMURO_BUCKET": self.bucket,
            "HIMURO_SHARES": self.shares,
            "HIMURO_RESTORE_ROOTS": self.restore_roots,
        }
        missing = [name for name in needed if not given.get(name)]
        if missing:
            raise SettingsError([f"{name} が設定されていません" for name in missing])

    def without_secrets(self) -> dict[str, str]:
        """Return the settings for ``run.json`` and for the screen: no password in them."""
        return {
            "HIMURO_DATABASE_URL": hide_password(self.database_url),
            "HIMURO_DATA_DIR": str(self.data_dir),
            "HIMURO_BUCKET": self.bucket,
            "HIMURO_KEY_PREFIX": self.key_prefix,
            "HIMURO_SHARES": ";".join(f"{s.unc}={s.directory}" for s in self.shares),
            "HIMURO_RESTORE_ROOTS": ";".join(self.restore_roots),
            "HIMURO_RESTORE_DAYS": str(self.restore_days),
            "HIMURO_TIMEZONE": self.timezone.key,
            "HIMURO_SIGNIN": self.signin.value,
            "HIMURO_ACCOUNTS": str(self.accounts_file),
            **self.limits.shown(),
            "HIMURO_MEMORY_BUDGET": str(self.memory_bytes // 1024**2),
            "HIMURO_IDLE_MINUTES": str(self.idle_minutes),
        }


def load_environment(directory: Path | None = None) -> None:
    """Read ``.env`` of the working directory; what is set already wins.

    It reaches ``os.environ`` because boto3 looks for ``AWS_*`` there. Raises
    ``SettingsError`` when there is such a file and it cannot be read.
    """
    path = (directory or Path.cwd()) / ".env"
    try:
        if path.is_dir():  # some keep their virtual environment under this name
            return
        text = _decoded(patiently(path.read_bytes))
    except FileNotFoundError:
        return
    except OSError as exc:
        raise SettingsError([f"{path} を読み取れません（{os_reason(exc)}）"]) from exc
    except UnicodeError as exc:
        problem = f"{path} の文字コードを判別できません。UTF-8で保存し直してください"
        raise SettingsError([problem]) from exc
    for name, value in dotenv_values(stream=io.StringIO(text)).items():
        if value is not None:
            os.environ.setdefault(name, value)


def _decoded(data: bytes) -> str:
    """Return text in UTF-8, or else in CP932, which Japanese Windows writes."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp932")
    if "\0" in text:
        raise UnicodeError("UTF-16 without a byte order mark")
    return text


def load_settings(
    environ: Mapping[str, str] | None = None, needed: tuple[str, ...] = ()
) -> Settings:
    """Return the settings; raises ``SettingsError`` that names every wrong or missing one.

    ``needed`` names those that the caller cannot do without (``JOB_NEEDS`` for jobs).
    """
    env = os.environ if environ is None else environ
    problems = [f"{name} が設定されていません" for name in needed if not env.get(name, "").strip()]
    data_dir = Path(env.get("HIMURO_DATA_DIR") or "./data").absolute()
    shares = _shares(env.get("HIMURO_SHARES", ""), problems)
    settings = Settings(
        database_url=_database_url(env.get("HIMURO_DATABASE_URL", ""), data_dir, problems),
        data_dir=data_dir,
        bucket=_bucket(env.get("HIMURO_BUCKET", "").strip(), problems),
        key_prefix=_key_prefix(env.get("HIMURO_KEY_PREFIX", ""), problems),
        shares=shares,
        restore_roots=tuple(
            root.strip() for root in env.get("HIMURO_RESTORE_ROOTS", "").split(";") if root.strip()
        ),
        restore_days=_restore_days(env.get("HIMURO_RESTORE_DAYS") or "7", problems),
        timezone=_timezone(env.get("HIMURO_TIMEZONE") or "Asia/Tokyo", problems),
        signin=_signin(env.get("HIMURO_SIGNIN") or "accounts", problems),
        accounts=_accounts(env.get("HIMURO_ACCOUNTS", "").strip()),
        limits=read_limits(env, problems),
        memory_bytes=_memory(env.get("HIMURO_MEMORY_BUDGET") or str(_DEFAULT_MEMORY), problems),
        idle_minutes=_idle_minutes(env.get("HIMURO_IDLE_MINUTES") or "30", problems),
    )
    if problems:
        raise SettingsError(problems)
    return settings


def _database_url(text: str, data_dir: Path, problems: list[str]) -> str:
    url = text.strip() or f"sqlite:///{data_dir / 'catalogue.db'}"
    try:
        return str(read_url(url))
    except UrlFormError:
        # Whoever connects says it: a check-up can still look at all the rest.
        return url
    except ValueError as exc:
        problems.append(str(exc))
        return url


def _bucket(name: str, problems: list[str]) -> str:
    if name and (not _BUCKET.fullmatch(name) or ".." in name):
        problems.append(
            "HIMURO_BUCKET はS3のバケット名（半角の英小文字・数字・「.」「-」で3～63文字）に"
            f"してください（現在: {name}）"
        )
    return name


def _key_prefix(prefix: str, problems: list[str]) -> str:
    if prefix.startswith("/") or "\\" in prefix or not prefix.isprintable() or ".." in prefix:
        problems.append(f"HIMURO_KEY_PREFIX に使えない文字があります（現在: {prefix!r}）")
    if prefix.startswith(("=", "+", "-", "@")):
        # In CSV files such cells get an apostrophe in front, and no key would match them.
        problems.append(f"HIMURO_KEY_PREFIX は = + - @ で始められません（現在: {prefix!r}）")
    if len(prefix.encode()) > 512:
        problems.append("HIMURO_KEY_PREFIX が長すぎます（512バイトまで）")
    return prefix


def _shares(text: str, problems: list[str]) -> tuple[ShareSetting, ...]:
    shares: list[ShareSetting] = []
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        unc, equals, directory = pair.partition("=")
        unc = "\\\\" + "\\".join(split_unc(unc.strip().replace("/", "\\")))
        if not equals and os.name == "nt":
            directory = unc
        elif not directory.strip():
            problems.append(
                "HIMURO_SHARES は \\\\サーバー\\共有=ディレクトリ の形で書いてください"
                f"（現在: {pair}）"
            )
            continue
        if len(split_unc(unc)) < 2:
            problems.append(f"HIMURO_SHARES の共有名がありません（現在: {pair}）")
            continue
        shares.append(ShareSetting(unc, Path(directory.strip()).absolute()))
    known = [identity(share.unc) + "\\" for share in shares]
    for i, one in enumerate(known):
        if any(one.startswith(other) for other in known[:i] + known[i + 1 :]):
            problems.append(f"HIMURO_SHARES の共有が重なっています（{shares[i].unc}）")
    return tuple(shares)


def _restore_days(text: str, problems: list[str]) -> int:
    if text.isdecimal() and 1 <= int(text) <= MAX_RESTORE_DAYS:
        return int(text)
    problems.append(
        f"HIMURO_RESTORE_DAYS は1から{MAX_RESTORE_DAYS}の整数にしてください（現在: {text}）"
    )
    return 7


def _timezone(name: str, problems: list[str]) -> ZoneInfo:
    try:
        return patiently(ZoneInfo, name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append(f"HIMURO_TIMEZONE が見つかりません（現在: {name}）")
        return ZoneInfo("UTC")


def _signin(text: str, problems: list[str]) -> SignInKind:
    try:
        return SignInKind(text.strip())
    except ValueError:
        kinds = "、".join(SignInKind)
        problems.append(f"HIMURO_SIGNIN は {kinds} のどれかにしてください（現在: {text}）")
        return SignInKind.ACCOUNTS


def _memory(text: str, problems: list[str]) -> int:
    """Return bytes."""
    if not (text.isdecimal() and _LEAST_MEMORY <= int(text) <= 1024**2):
        problems.append(
            f"HIMURO_MEMORY_BUDGET は{_LEAST_MEMORY}以上の整数（MiB）にしてください（現在: {text}）"
        )
        text = str(_DEFAULT_MEMORY)
    return int(text) * 1024**2


def _idle_minutes(text: str, problems: list[str]) -> int:
    """Below five minutes nobody could fill in a form; a session lasts twelve hours anyway."""
    if re.fullmatch(r"[0-9]{1,4}", text.strip()) and 5 <= int(text) <= 720:
        return int(text)
    problems.append(
        f"HIMURO_IDLE_MINUTES は操作がないときにサインアウトするまでの分を、5から720の整数で"
        f"書いてください（現在: {text}）"
    )
    return 30


def _accounts(text: str) -> Path | None:
    return Path(text).absolute() if text else None
