"""What a check-up finds: values only, shown alike by the command, the page and the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.paths.normalization import printable


class Status(StrEnum):
    """How one thing stands, in the words that monitoring reads."""

    OK = "OK"
    WARNING = "WARNING"
    """Works today; somebody should look at it."""
    FAILED = "FAILED"
    """Jobs would fail, or what is archived is in danger."""


class Area(StrEnum):
    """Groups of findings, in the order of the page."""

    SETTINGS = "設定と実行環境"
    DATABASE = "データベース"
    BUCKET = "S3への接続と権限"
    PROTECTION = "S3バケットの設定"
    SHARES = "共有フォルダーと復元先"
    DATA = "データディレクトリ"


CHECKS: dict[str, tuple[Area, str]] = {
    "settings": (Area.SETTINGS, "設定"),
    "process": (Area.SETTINGS, "このプログラムの資源"),
    "versions": (Area.SETTINGS, "バージョン"),
    "timezone": (Area.SETTINGS, "タイムゾーン"),
    "clock": (Area.SETTINGS, "時計"),
    "database": (Area.DATABASE, "データベースへの接続"),
    "database-schema": (Area.DATABASE, "データベースの版"),
    "database-encoding": (Area.DATABASE, "データベースの文字コード"),
    "database-rights": (Area.DATABASE, "データベースの権限"),
    "database-storage": (Area.DATABASE, "データベースの保存場所"),
    "database-rows": (Area.DATABASE, "アーカイブ一覧の行数"),
    "s3": (Area.BUCKET, "S3への接続"),
    "s3-region": (Area.BUCKET, "リージョン"),
    "s3-permissions": (Area.BUCKET, "S3の権限"),
    "s3-put": (Area.BUCKET, "アップロードの権限"),
    "s3-abort": (Area.BUCKET, "アップロード中止の権限"),
    "s3-list": (Area.BUCKET, "一覧の権限"),
    "s3-get": (Area.BUCKET, "読み取りの権限"),
    "s3-restore": (Area.BUCKET, "復元の権限"),
    "s3-list-uploads": (Area.BUCKET, "未完了アップロード一覧の権限"),
    "s3-unfinished": (Area.BUCKET, "未完了のアップロード"),
    "s3-protection": (Area.PROTECTION, "バケットの設定"),
    "s3-versioning": (Area.PROTECTION, "バージョニング"),
    "s3-lifecycle": (Area.PROTECTION, "ライフサイクルルール"),
    "s3-abort-rule": (Area.PROTECTION, "未完了アップロードの自動中止"),
    "s3-object-lock": (Area.PROTECTION, "オブジェクトロック"),
    "s3-encryption": (Area.PROTECTION, "既定の暗号化"),
    "share": (Area.SHARES, "共有フォルダー"),
    "restore-root": (Area.SHARES, "復元先"),
    "data-dir": (Area.DATA, "データディレクトリへの書き込み"),
    "data-space": (Area.DATA, "データディレクトリの空き容量"),
    "data-location": (Area.DATA, "データディレクトリの場所"),
    "runs": (Area.DATA, "過去の実行"),
}
"""Every check by the name that monitoring may rely on: its group and its title."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check."""

    name: str
    """One of ``CHECKS``. ``share`` and ``restore-root`` come once for each of them."""
    status: Status
    what: str
    """Japanese, one line, without a full stop; no secret in it."""
    remedy: str = ""
    """What to do next; empty when nothing is."""

    @property
    def area(self) -> Area:
        return CHECKS[self.name][0]

    @property
    def title(self) -> str:
        return CHECKS[self.name][1]


def worst(findings: Iterable[Finding]) -> Status:
    """Return the state of a whole check-up; ``OK`` when there is nothing to say."""
    found = {finding.status for finding in findings}
    for status in (Status.FAILED, Status.WARNING):
        if status in found:
            return status
    return Status.OK


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of ``CHECKS``, whatever finished first."""
    order = {name: number for number, name in enumerate(CHECKS)}
    return sorted(findings, key=lambda finding: (order[finding.name], finding.what))


def lines(finding: Finding) -> str:
    """Return a finding for a terminal or a text file, its remedy on a line below."""
    text = f"{finding.status.value:<8} {finding.title}: {printable(finding.what)}"
    return f"{text}\n{'':9}→ {printable(finding.remedy)}" if finding.remedy else text


def summary(findings: Sequence[Finding]) -> str:
    """Return how many of each there are."""
    counts = {s: sum(finding.status is s for finding in findings) for s in Status}
    return "点検の結果: " + " / ".join(f"{s.value} {number}件" for s, number in counts.items())
