"""What S3's error codes mean for a run. Clients and their exceptions stay in ``s3_client.py``."""

from __future__ import annotations

from core.errors import Code, FatalError, HimuroError, ItemError

FATAL_CODES = {
    "NoSuchBucket": Code.NO_SUCH_BUCKET,
    "AccessDenied": Code.ACCESS_DENIED,
    "AllAccessDisabled": Code.ACCESS_DENIED,
    "AccountProblem": Code.ACCESS_DENIED,
    "InvalidAccessKeyId": Code.CREDENTIALS_REJECTED,
    "SignatureDoesNotMatch": Code.CREDENTIALS_REJECTED,
    "ExpiredToken": Code.CREDENTIALS_REJECTED,
    "ExpiredTokenException": Code.CREDENTIALS_REJECTED,
    "InvalidToken": Code.CREDENTIALS_REJECTED,
    "TokenRefreshRequired": Code.CREDENTIALS_REJECTED,
    "UnrecognizedClientException": Code.CREDENTIALS_REJECTED,
    "RequestTimeTooSkewed": Code.CREDENTIALS_REJECTED,
    "AuthorizationHeaderMalformed": Code.S3_UNREACHABLE,
    "PermanentRedirect": Code.S3_UNREACHABLE,
    "403": Code.ACCESS_DENIED,
    "301": Code.S3_UNREACHABLE,
    "400": Code.CREDENTIALS_REJECTED,
}
"""S3 error codes that the next object would meet as well. A HEAD has no body: its code is the
HTTP status, and S3 answers 400 to a HEAD with an expired token."""
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
"""``If-None-Match: *`` found an object, or another writer was at it (FACTS)."""


def meaning(name: str, otherwise: Code = Code.UPLOAD_FAILED) -> HimuroError:
    """Return what an error code means: everything, or this file only (``otherwise``)."""
    if name in FATAL_CODES:
        return FatalError(FATAL_CODES[name], name)
    if name in DAMAGED_CODES:
        return ItemError(Code.CHANGED_WHILE_READING)
    return ItemError(otherwise, name)
