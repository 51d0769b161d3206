"""An S3 server for tests and demo that thaws as S3 does: moto, less kind.

``python -m tests.support.servers.strict_s3 --port N --thaw-seconds N``, on 127.0.0.1. What moto is
too kind about (``docs/facts.md``, "moto is kinder than S3"):

- a copy takes ``--thaw-seconds`` to become readable and expires at the next midnight of UTC
  after the time of the request and its days; ``GET`` is refused before and after;
- a second request is 409 ``RestoreAlreadyInProgress`` while the first one goes on, and 200
  afterwards; Deep Archive has no Expedited;
- listings have ``RestoreStatus`` for those who ask;
- content that is not what its SHA-256 says is refused.

``POST /_strict/<bucket>/thaw`` finishes all that is under way at once, ``…/expire`` takes every
copy away, after ``…/plain`` the bucket's listings have no ``RestoreStatus``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import xmltodict
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import FakeKey, s3_backends
from moto.s3.responses import S3Response
from werkzeug.serving import run_simple

from core.restore.model import copy_expires
from tests.support.environment import HOST

Answer = tuple[int, dict[str, str], str]
ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
ADMIN = "/_strict/"
PLAIN: set[str] = set()
"""Buckets whose listings are as moto makes them."""


class Copy:
    """A readable copy of an archived object, asked for now."""

    def __init__(self, days: int, thaw: timedelta) -> None:
        now = datetime.now(UTC)
        self.ready_at = now + thaw
        self.expires_at = copy_expires(now, days)

    @property
    def ongoing(self) -> bool:
        return datetime.now(UTC) < self.ready_at

    @property
    def expired(self) -> bool:
        return datetime.now(UTC) >= self.expires_at

    def extend(self, days: int) -> None:
        self.expires_at = copy_expires(datetime.now(UTC), days)

    @property
    def header(self) -> str:
        if self.ongoing:
            return 'ongoing-request="true"'
        return f'ongoing-request="false", expiry-date="{self.expires_at:%a, %d %b %Y %H:%M:%S GMT}"'

    @property
    def status(self) -> dict[str, Any]:
        if self.ongoing:
            return {"IsRestoreInProgress": True}
        return {"IsRestoreInProgress": False, "RestoreExpiryDate": self.expires_at}


def copy_of(key: FakeKey) -> Copy | None:
    copy: Copy | None = getattr(key, "strict_copy", None)
    return copy if copy and not copy.expired else None


def error(status: int, code: str, message: str = "") -> Answer:
    xml = f"<Error><Code>{code}</Code><Message>{escape(message or code)}</Message></Error>"
    return status, {"Content-Type": "application/xml"}, xml


def restore(key: FakeKey | None, body: bytes, thaw: timedelta) -> Answer:
    """Answer RestoreObject."""
    if key is None:
        return error(404, "NoSuchKey")
    if key.storage_class not in ARCHIVED:
        return error(403, "InvalidObjectState", "Restore is not allowed for the storage class")
    asked = xmltodict.parse(body)["RestoreRequest"]
    tier = (asked.get("GlacierJobParameters") or {}).get("Tier", "Standard")
    days = int(asked.get("Days", 0))
    if tier not in ("Standard", "Bulk", "Expedited") or days < 1:
        return error(400, "MalformedXML")
    if tier == "Expedited" and key.storage_class == "DEEP_ARCHIVE":
        return error(400, "InvalidArgument", "Retrieval option is not supported")
    copy = copy_of(key)
    if copy is None:
        key.strict_copy = Copy(days, thaw)
        return 202, {}, ""
    if copy.ongoing:
        return error(409, "RestoreAlreadyInProgress", "Object restore is already in progress")
    copy.extend(days)
    return 200, {}, ""


def damage(headers: Any, body: bytes) -> str:
    """Return S3's word for content that is not what the request says; empty when it is."""
    digest = hashlib.sha256(body)
    signed = headers.get("x-amz-content-sha256", "")
    if len(signed) == 64 and signed != digest.hexdigest():
        return "XAmzContentSHA256Mismatch"
    checksum = headers.get("x-amz-checksum-sha256")
    if checksum and checksum != base64.b64encode(digest.digest()).decode():
        return "BadDigest"
    return ""


def make_strict(thaw: timedelta) -> None:
    """Take moto's kindness from this process."""
    before = {name: getattr(S3Response, name) for name in ("_key_response_post", "serialized")}
    before_put, of_key = S3Response._key_response_put, FakeKey.response_dict.fget

    def response_dict(key: FakeKey) -> dict[str, Any]:
        headers: dict[str, Any] = of_key(key)
        copy = copy_of(key)
        return {**headers, "x-amz-restore": copy.header} if copy else headers

    def post(self: Any, request: Any, body: bytes, bucket: str, query: Any, name: str) -> Any:
        if "restore" in query:
            return restore(self.backend.get_object(bucket, name), body, thaw)
        return before["_key_response_post"](self, request, body, bucket, query, name)

    def put(self: Any, query: Any, name: str) -> Any:
        chunked = "aws-chunked" in self.headers.get("content-encoding", "")
        wrong = "" if chunked else damage(self.headers, self.body)
        return error(400, wrong) if wrong else before_put(self, query, name)

    def serialized(self: Any, result: ActionResult) -> Any:
        asked = self.headers.get("x-amz-optional-object-attributes") == "RestoreStatus"
        page: Any = result.result
        if asked and isinstance(page, dict) and self.bucket_name not in PLAIN:
            keys = self.backend.get_bucket(self.bucket_name).keys
            for item in page.get("Contents", []):
                name = unquote(item["Key"]) if "EncodingType" in page else item["Key"]
                if copy := copy_of(keys[name]):
                    item["RestoreStatus"] = copy.status
        return before["serialized"](self, result)

    FakeKey.response_dict = property(response_dict)
    S3Response._key_response_post = post
    S3Response._key_response_put = put
    S3Response.serialized = serialized


def administer(path: str) -> bool:
    """Do what ``<bucket>/<action>`` says; False: there is no such thing."""
    bucket, _, action = path.partition("/")
    buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets
    if bucket not in buckets or action not in ("thaw", "expire", "plain"):
        return False
    if action == "plain":
        PLAIN.add(bucket)
        return True
    for key in buckets[bucket].keys.values():
        if copy := copy_of(key):
            if action == "expire":
                key.strict_copy = None
            else:
                copy.ready_at = datetime.now(UTC)
    return True


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path.startswith(ADMIN):
        done = administer(path.removeprefix(ADMIN))
        start("200 OK" if done else "404 Not Found", [("Content-Length", "0")])
        return [b""]
    answer: Iterable[bytes] = _MOTO(environ, start)
    return answer


_MOTO = DomainDispatcherApplication(create_backend_app)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--thaw-seconds", type=float, default=20.0)
    given = parser.parse_args()
    make_strict(timedelta(seconds=given.thaw_seconds))
    run_simple(HOST, given.port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
