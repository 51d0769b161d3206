"""The signed head of a request for an object (AWS Signature Version 4).

Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header": the path is
encoded once, and the payload's SHA-256 is part of what is signed. A test compares every
signature with botocore's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from core.paths.normalization import encode_key

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """What botocore calls frozen credentials."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a bucket is, and how its requests are signed."""

    url: str
    """Of the bucket itself, without a slash at its end: its name is in the host or the path."""
    region: str
    ca_bundle: str | None = None
    """File of trusted certificates; only for https."""

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or self._usual_port

    @property
    def host(self) -> str:
        """The ``Host`` header. The port that everybody expects is left out, as botocore does."""
        return urlsplit(self.url).netloc.removesuffix(f":{self._usual_port}")

    @property
    def _usual_port(self) -> int:
        return 443 if self.is_tls else 80


NOTHING = hashlib.sha256().hexdigest()
"""SHA-256 of a request without a body."""


class Signer:
    """Makes heads of requests for objects of one bucket. Safe in any thread."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Callable[[], Credentials],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._host = endpoint.host
        self._base = urlsplit(endpoint.url).path
        self._region = endpoint.region
        self._key: tuple[str, str, bytes] = ("", "", b"")

    def head(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        size: int | None = None,
        sha256: str = NOTHING,
        query: str = "",
    ) -> bytes:
        """Return request line and headers of a request, the blank line included.

        ``headers`` have lower-case names and values of visible ASCII. ``size`` is that of the
        body in bytes, None without one; ``sha256`` is the body's, hexadecimal. ``query`` as it
        is signed: ``restore=``. Raises what the credentials raise when they cannot be renewed.
        """
        credentials = self._credentials()
        stamp = self._now().strftime("%Y%m%dT%H%M%SZ")
        path = f"{self._base}/{encode_key(key)}"
        signed = {
            **headers,
            "host": self._host,
            "x-amz-content-sha256": sha256,
            "x-amz-date": stamp,
        }
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        listed = ";".join(names)
        canonical = "".join([f"{name}:{signed[name]}\n" for name in names])
        request = f"{method}\n{path}\n{query}\n{canonical}\n{listed}\n{sha256}"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        key_of_day = self._signing_key(credentials.secret_key, stamp[:8])
        signature = hmac.digest(key_of_day, text.encode(), "sha256").hex()
        lines = "".join([f"{name}: {signed[name]}\r\n" for name in names])
        if size is not None:
            lines += f"content-length: {size}\r\n"
        return (
            f"{method} {path}{'?' if query else ''}{query} HTTP/1.1\r\n{lines}"
            f"authorization: {_ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={listed}, Signature={signature}\r\n\r\n"
        ).encode()

    def _signing_key(self, secret: str, day: str) -> bytes:
        known = self._key
        if known[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, word.encode(), "sha256")
            self._key = known = (secret, day, key)
        return known[2]
