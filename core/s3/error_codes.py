"""What error codes of S3 and STS mean for a run. Clients and exceptions are in
``connection.py``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from core.errors import Code, FatalError, ItemError

FATAL_CODES = {
    "NoSuchBucket": (Code.NO_SUCH_BUCKET, ""),
    "AccessDenied": (Code.ACCESS_DENIED, ""),
    "AllAccessDisabled": (Code.ACCOUNT_UNUSABLE, ""),
    "AccountProblem": (Code.ACCOUNT_UNUSABLE, ""),
    "NotSignedUp": (Code.ACCOUNT_UNUSABLE, ""),
    "InvalidAccessKeyId": (Code.ACCESS_KEY_UNKNOWN, ""),
    "InvalidClientTokenId": (Code.ACCESS_KEY_UNKNOWN, ""),
    "UnrecognizedClientException": (Code.ACCESS_KEY_UNKNOWN, ""),
    "SignatureDoesNotMatch": (Code.SECRET_KEY_WRONG, ""),
    "ExpiredToken": (Code.CREDENTIALS_REJECTED, "一時的な認証情報の期限切れ"),
    "ExpiredTokenException": (Code.CREDENTIALS_REJECTED, "一時的な認証情報の期限切れ"),
    "TokenRefreshRequired": (Code.CREDENTIALS_REJECTED, "一時的な認証情報の期限切れ"),
    "InvalidToken": (Code.CREDENTIALS_REJECTED, "セッショントークンの誤り"),
    "RequestTimeTooSkewed": (Code.CLOCK_WRONG, ""),
    "RequestExpired": (Code.CLOCK_WRONG, ""),
    "AuthorizationHeaderMalformed": (Code.REGION_WRONG, ""),
    "IllegalLocationConstraintException": (Code.REGION_WRONG, ""),
    "PermanentRedirect": (Code.REGION_WRONG, ""),
    "301": (Code.REGION_WRONG, ""),
    "400": (Code.CREDENTIALS_REJECTED, ""),
    "403": (Code.ACCESS_DENIED, ""),
    "407": (Code.PROXY_FAILED, "プロキシの認証が必要です"),
}
"""Error codes that the next object would meet as well, each with the words beside it. A HEAD has
no body: its code is the HTTP status."""
HIDDEN_CODES = frozenset({"400", "403", "301"})
"""Codes of a HEAD behind which there are several reasons; an answer with a body tells which."""
DAMAGED_CODES = frozenset(
    {
        "BadDigest",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
"""S3 received other bytes than were hashed: the file changed between the two readings."""
EXISTS_CODES = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
"""``If-None-Match: *`` found an object, or another writer was at it (``docs/facts.md``, "S3 and
Deep Archive")."""
MISSING_CODES = frozenset({"NoSuchKey", "404"})
"""There is no object with this key. A HEAD has no body: its code is the HTTP status, which may
also be a gateway's between here and S3."""

_KMS_STATES = {
    "Disabled": "鍵が無効にされています",
    "NotFound": "鍵が存在しません",
    "InvalidState": "鍵が削除待ちなどで使えない状態です",
}
_ACTION = re.compile(r"not authorized to perform: ([\w:-]+)")
_OLD_KMS_WORDS = ("kms:", "customer master key", "KMS key")
_STS_SKEW = re.compile(r"^Signature (?:expired|not yet current)")
_NOTHING: Mapping[str, Any] = {}


def meaning(
    name: str,
    otherwise: Code = Code.UPLOAD_FAILED,
    *,
    error: Mapping[str, Any] = _NOTHING,
    headers: Mapping[str, str] = _NOTHING,
) -> FatalError | ItemError:
    """Return what an error code means: everything, or this file only (``otherwise``).

    ``error``: the fields of the answer's body, ``headers``: in lower case; both may be empty.
    """
    said = str(error.get("Message", ""))
    if name.startswith("KMS") and "Throttling" not in name:
        why = next((w for state, w in _KMS_STATES.items() if state in name), "")
        return _of_key(Code.KMS_KEY_UNUSABLE, _detail(name, why), otherwise)
    if name == "AccessDenied" and any(words in said for words in _OLD_KMS_WORDS):
        return _of_key(Code.KMS_DENIED, _detail(name, _action(said)), otherwise)
    if name == "SignatureDoesNotMatch" and _STS_SKEW.match(said):
        name = "RequestTimeTooSkewed"
    if name in FATAL_CODES:
        code, words = FATAL_CODES[name]
        if code is Code.CLOCK_WRONG:
            words = _skew(error, headers)
        elif code is Code.REGION_WRONG:
            place = bucket_region(error, headers)
            words = f"バケットは {place} にあります" if place else ""
            if name == "AuthorizationHeaderMalformed" and not place:
                code = Code.CREDENTIALS_REJECTED
        elif code is Code.ACCESS_DENIED:
            words = _action(said)
        return FatalError(code, _detail(name, words))
    if name in DAMAGED_CODES:
        return ItemError(Code.CHANGED_WHILE_READING)
    return ItemError(otherwise, name)


def bucket_region(error: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Return the Region of a bucket that an answer names; empty when it names none."""
    return str(headers.get("x-amz-bucket-region") or error.get("Region") or "")


def _of_key(code: Code, detail: str, otherwise: Code) -> FatalError | ItemError:
    """Return what a key that cannot be used means: new objects all have the bucket's key, the
    ones that are there may have others."""
    if otherwise is Code.UPLOAD_FAILED:
        return FatalError(code, detail)
    return ItemError(code, detail)


def _detail(name: str, words: str) -> str:
    return f"{words}、{name}" if words else name


def _action(said: str) -> str:
    """Return the action that is not allowed, where the answer names it."""
    found = _ACTION.search(said)
    return found[1] if found else ""


def _skew(error: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Return by how much this machine's clock differs from the server's, in words."""
    try:
        there = _moment(error.get("ServerTime")) or parsedate_to_datetime(headers["date"])
        here = _moment(error.get("RequestTime")) or datetime.now(UTC)
        seconds = (here - there).total_seconds()
    except (KeyError, TypeError, ValueError):
        return ""
    direction = "進んで" if seconds > 0 else "遅れて"
    return f"このマシンの時計が約{abs(seconds) / 60:,.0f}分{direction}います"


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(str(value)) if value else None
