"""What S3's answers about a bucket mean for the archive. Pure: answers in, findings out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from core.health.findings import Finding, Status

_CLOCK_WARNING = timedelta(seconds=60)
_CLOCK_FAILED = timedelta(minutes=15)
"""S3 refuses requests beyond it (``RequestTimeTooSkewed``)."""


def clock(headers: Mapping[str, str], here: datetime) -> Finding:
    """Compare this machine's clock with the ``Date`` of an answer, which has whole seconds."""
    try:
        there = parsedate_to_datetime(headers.get("date", "")) + timedelta(seconds=0.5)
    except (TypeError, ValueError):
        what = "S3の応答に日時がないため、時計を確認できません"
        return Finding("clock", Status.WARNING, what, "NTPで時刻を合わせているか確認してください")
    if there.tzinfo is None:
        there = there.replace(tzinfo=UTC)
    off = here - there
    seconds = abs(off).total_seconds()
    if abs(off) <= _CLOCK_WARNING:
        return Finding("clock", Status.OK, f"S3との差は{seconds:.0f}秒です")
    direction = "進んで" if off > timedelta(0) else "遅れて"
    what = f"このマシンの時計がS3より{seconds:,.0f}秒{direction}います"
    if abs(off) > _CLOCK_FAILED:
        what += "。15分を超えると、S3は要求を拒否します"
        return Finding("clock", Status.FAILED, what, "NTPで時刻を合わせてください")
    return Finding("clock", Status.WARNING, what, "NTPで時刻を合わせてください")


def region(there: str, ours: str | None) -> Finding:
    if not there:
        remedy = "s3:GetBucketLocation を許可すると確認できます"
        return Finding("s3-region", Status.WARNING, "バケットのリージョンを確認できません", remedy)
    if there == ours:
        return Finding("s3-region", Status.OK, f"{there}（設定とバケットが一致しています）")
    what = f"バケットは {there} にありますが、設定は {ours or '未設定'} です"
    remedy = f"AWS_DEFAULT_REGION を {there} にし（AWS_REGION は使われません）、再起動してください"
    return Finding("s3-region", Status.FAILED, what, remedy)


def versioning(answer: Mapping[str, Any]) -> list[Finding]:
    words = {"Enabled": "有効です", "Suspended": "停止中です"}
    state = str(answer.get("Status", ""))
    what = words.get(state, "無効です")
    if state != "Enabled":
        what += "（氷室は上書きも削除もしないため、なくても構いません）"
    return [Finding("s3-versioning", Status.OK, what)]


def object_lock(answer: Mapping[str, Any]) -> list[Finding]:
    lock = answer.get("ObjectLockConfiguration") or {}
    if lock.get("ObjectLockEnabled") != "Enabled":
        return [Finding("s3-object-lock", Status.OK, "使われていません")]
    retention = (lock.get("Rule") or {}).get("DefaultRetention") or {}
    if not retention:
        return [Finding("s3-object-lock", Status.OK, "有効です（既定の保持期間なし）")]
    period = f"{retention['Days']}日" if "Days" in retention else f"{retention.get('Years')}年"
    what = f"有効です（既定の保持 {retention.get('Mode', '')} {period}）"
    return [Finding("s3-object-lock", Status.OK, what)]


def encryption(answer: Mapping[str, Any]) -> list[Finding]:
    rules = (answer.get("ServerSideEncryptionConfiguration") or {}).get("Rules") or []
    defaults = [rule.get("ApplyServerSideEncryptionByDefault") or {} for rule in rules]
    for default in defaults:
        if "kms" in str(default.get("SSEAlgorithm", "")):
            key = default.get("KMSMasterKeyID") or "AWS管理の鍵 aws/s3"
            return [
                Finding(
                    "s3-encryption",
                    Status.WARNING,
                    f"KMSの鍵で暗号化されます（{key}）",
                    "この鍵を失うとアーカイブは二度と読めません。"
                    "鍵を削除・無効化しない運用にするか、既定の暗号化をSSE-S3にしてください",
                )
            ]
    return [Finding("s3-encryption", Status.OK, "SSE-S3（Amazon S3管理の鍵）です")]
