"""What counts as proof that S3 did what was asked: never a status alone.

A gateway between here and S3 may answer anything with 200, an HTML page or nothing at all. So
an object counts as stored when the answer carries the checksum, or else the ETag, that belongs
to what was sent (``docs/contract.md``, "What counts as stored"). Whatever is not proven is asked
again by HEAD.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

FOREIGN = "S3のものではない応答です"
"""Japanese: what an error says of an answer that proves nothing."""


def checksum(digest: bytes) -> str:
    """Return a digest in base64, the form of S3's checksum headers."""
    return base64.b64encode(digest).decode()


def checksum_of(sha256: str) -> str:
    """Return a hexadecimal SHA-256 in the form of S3's checksum headers."""
    return checksum(bytes.fromhex(sha256))


def proves_content(found: str, etag: str, sha256: str, data: bytes) -> bool:
    """Return whether an answer belongs to an object of a single request.

    ``found``: the checksum that it carries, ``etag``: its ETag, both empty when there is none;
    ``sha256``: hexadecimal, of ``data``. S3 returns each checksum that it was given. Only for
    servers that do not the MD5 is computed, which takes as long as sending.
    """
    if found:
        return found == checksum_of(sha256)
    return bool(etag) and etag.strip('"') == _md5(data).hexdigest()


def proves_parts(answer: Mapping[str, Any], digests: Sequence[bytes], etags: Sequence[str]) -> bool:
    """Return whether an answer to CompleteMultipartUpload belongs to these parts.

    ``digests``: SHA-256 of each; ``etags``: what S3 called each.
    """
    if found := answer.get("ChecksumSHA256"):
        whole = checksum(hashlib.sha256(b"".join(digests)).digest())
        # Some servers leave out how many parts it is made of.
        return found in (whole, f"{whole}-{len(digests)}")
    try:
        parts = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:  # encrypted by a key of KMS: no MD5
        return False
    return str(answer.get("ETag", "")).strip('"') == f"{_md5(parts).hexdigest()}-{len(etags)}"


def is_s3s(answer: Mapping[str, Any]) -> bool:
    """Return whether a parsed answer can be S3's: it signs each with a header of its own."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "StorageClass" in answer or any(name.lower().startswith("x-amz") for name in headers)


def _md5(data: bytes) -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)
