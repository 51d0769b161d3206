"""What lifecycle rules of a bucket would do to archived objects. Pure: rules in, findings out.

The rules are as ``GetBucketLifecycleConfiguration`` returns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.health.findings import Finding, Status

Rule = Mapping[str, Any]

_DELETES = "アーカイブしたオブジェクトを削除するルールがあります"
_EXCLUDE = "ルールを無効にするか、対象からアーカイブのプレフィックスを外してください"
_ABORT_REMEDY = (
    "「未完了のマルチパートアップロードを削除」を7日後に行うライフサイクルルールを"
    "バケットに追加してください"
)


def judge(rules: Iterable[Rule], prefixes: Sequence[str]) -> list[Finding]:
    """Return the findings ``s3-lifecycle`` and ``s3-abort-rule``.

    ``prefixes`` are those that our keys begin with.
    """
    ours = [rule for rule in rules if _concerns(rule, prefixes)]
    return [_moving(ours), _aborting(ours, prefixes)]


def _moving(rules: Sequence[Rule]) -> Finding:
    """Expiry ends the archive. Old versions are what brings back an object deleted by
    mistake. A transition cannot move what is in Deep Archive, but it was meant to."""
    deleting = [_id(rule) for rule in rules if _expires(rule)]
    if deleting:
        what = f"{_DELETES}: {'、'.join(deleting)}"
        return Finding("s3-lifecycle", Status.FAILED, what, f"すぐに{_EXCLUDE}")
    others = [
        f"{_id(rule)}（{words}）"
        for key, words in (
            ("NoncurrentVersionExpiration", "以前のバージョンを削除"),
            ("Transitions", "別のストレージクラスへ移行"),
            ("NoncurrentVersionTransitions", "以前のバージョンを移行"),
        )
        for rule in rules
        if rule.get(key)
    ]
    if others:
        what = f"アーカイブしたオブジェクトに及ぶルールがあります: {'、'.join(others)}"
        return Finding("s3-lifecycle", Status.WARNING, what, _EXCLUDE)
    what = "アーカイブしたオブジェクトを削除・移行するルールはありません"
    return Finding("s3-lifecycle", Status.OK, what)


def _aborting(rules: Sequence[Rule], prefixes: Sequence[str]) -> Finding:
    days = [
        int(rule["AbortIncompleteMultipartUpload"].get("DaysAfterInitiation", 0))
        for rule in rules
        if rule.get("AbortIncompleteMultipartUpload")
        and all(prefix.startswith(_prefix(rule)) for prefix in prefixes)
    ]
    if days:
        what = f"未完了のアップロードは{min(days)}日後に自動で中止されます"
        return Finding("s3-abort-rule", Status.OK, what)
    what = "未完了のアップロードを自動で中止するルールがないため、料金がかかり続けることがあります"
    return Finding("s3-abort-rule", Status.WARNING, what, _ABORT_REMEDY)


def _expires(rule: Rule) -> bool:
    expiration = rule.get("Expiration") or {}
    return "Days" in expiration or "Date" in expiration


def _concerns(rule: Rule, prefixes: Sequence[str]) -> bool:
    """Return whether a rule may reach an object of ours. Ours carry no tags."""
    condition = rule.get("Filter") or {}
    also = condition.get("And") or {}
    if rule.get("Status") != "Enabled" or "Tag" in condition or also.get("Tags"):
        return False
    reached = _prefix(rule)
    return any(one.startswith(reached) or reached.startswith(one) for one in prefixes)


def _prefix(rule: Rule) -> str:
    """Return a rule's prefix; old rules have it outside their filter."""
    condition = rule.get("Filter") or {}
    also = condition.get("And") or {}
    return str(condition.get("Prefix") or also.get("Prefix") or rule.get("Prefix") or "")


def _id(rule: Rule) -> str:
    return str(rule.get("ID") or "名前のないルール")
