"""The only module that talks to S3, and the one table that says what its errors mean.

Two clients share the work, chosen by measurement (docs/architecture.md): obstore creates
small objects several times faster than boto3, which is bound by the interpreter lock; boto3
sends large ones, which obstore cannot create conditionally in parts, and explains failures.
Whatever obstore does not simply accept is done again by boto3.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import obstore
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import S3Store

from core.errors import Code, FatalError, HimuroError, ItemError
from core.names import decode_metadata, encode_metadata
from core.ports import STORAGE_CLASS, NewObject, Part, StoredObject

if TYPE_CHECKING:
    from core.settings import Settings

MIB = 1024 * 1024
FAST_BYTES = 8 * MIB
"""Up to here obstore is the faster client; beyond it the network decides, not the client."""
PART_BYTES = 64 * MIB
MAX_PARTS = 10_000
METADATA_BYTES = 2048
"""S3's limit for all user metadata, names and values together (FACTS)."""

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
DAMAGED_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"})
"""S3 received other bytes than were hashed: the file changed between the two readings."""
EXISTS_CODES = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
"""``If-None-Match: *`` found an object, or another writer was at it (FACTS)."""


def explain(error: Exception) -> HimuroError:
    """Return what an error of a client means for the run: this file only, or everything."""
    if isinstance(error, ClientError):
        name = str(error.response.get("Error", {}).get("Code", ""))
        if name in FATAL_CODES:
            return FatalError(FATAL_CODES[name], name)
        if name in DAMAGED_CODES:
            return ItemError(Code.CHANGED_WHILE_READING)
        return ItemError(Code.UPLOAD_FAILED, name)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return FatalError(Code.NO_CREDENTIALS)
    if isinstance(error, CredentialRetrievalError | TokenRetrievalError | ProfileNotFound):
        return FatalError(Code.NO_CREDENTIALS, type(error).__name__)
    if isinstance(error, NoRegionError):
        return FatalError(Code.S3_UNREACHABLE, "AWS_REGION が設定されていません")
    return ItemError(Code.UPLOAD_FAILED, type(error).__name__)


class S3ObjectStore:
    """``ObjectStore`` on Amazon S3. Safe in any thread. Nothing is sent before ``check``."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``FatalError`` when there are no credentials or no Region."""
        self._bucket = settings.bucket
        try:
            session = boto3.Session()
            self._client: Any = session.client("s3", config=_config(retries=5))
            self._quick: Any = session.client("s3", config=_config(retries=1, connect=3, read=5))
            if session.get_credentials() is None:
                raise NoCredentialsError
            self._fast = _fast_store(settings.bucket, session, self._client)
        except (BotoCoreError, ValueError) as exc:
            raise _fatal(exc) from exc

    def check(self) -> None:
        try:
            self._quick.head_bucket(Bucket=self._bucket)
        except ClientError as exc:
            status = str(exc.response.get("Error", {}).get("Code", ""))
            if status in ("404", "NoSuchBucket"):
                raise FatalError(Code.NO_SUCH_BUCKET, self._bucket) from exc
            raise _fatal(exc) from exc
        except BotoCoreError as exc:
            raise _fatal(exc) from exc

    def part_size(self, size: int) -> int | None:
        if size <= PART_BYTES:
            return None
        # Whole MiB, and never more than S3's 10,000 parts.
        return max(PART_BYTES, -(-size // (MAX_PARTS * MIB)) * MIB)

    def create(self, new: NewObject, data: bytes) -> bool:
        metadata = _metadata(new)
        if len(data) <= FAST_BYTES and self._create_fast(new, data, metadata):
            return True
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=new.key,
                Body=data,
                StorageClass=STORAGE_CLASS,
                Metadata=metadata,
                ChecksumSHA256=_base64(bytes.fromhex(new.sha256)),
                IfNoneMatch="*",
            )
        except (ClientError, BotoCoreError) as exc:
            if _code(exc) in EXISTS_CODES:
                return False
            raise self._cause(exc) from exc
        return True

    def _create_fast(self, new: NewObject, data: bytes, metadata: dict[str, str]) -> bool:
        """Return whether obstore created the object; where it did not, boto3 asks again and
        finds the words (an object that is there answers it with 412)."""
        attributes = {"Storage-Class": STORAGE_CLASS, **metadata}
        try:
            obstore.put(
                self._fast,
                new.key,
                data,
                attributes=attributes,
                mode="create",
                use_multipart=False,
            )
        except (ObstoreError, OSError, ValueError):
            return False
        return True

    def create_in_parts(self, new: NewObject, parts: Iterable[Part]) -> bool:
        where = {"Bucket": self._bucket, "Key": new.key}
        try:
            begun = self._client.create_multipart_upload(
                **where,
                StorageClass=STORAGE_CLASS,
                Metadata=_metadata(new),
                ChecksumAlgorithm="SHA256",
            )
        except (ClientError, BotoCoreError) as exc:
            raise self._cause(exc) from exc
        where["UploadId"] = begun["UploadId"]
        try:
            stored = [self._upload_part(where, n, part) for n, part in enumerate(parts, start=1)]
            self._client.complete_multipart_upload(
                **where, MultipartUpload={"Parts": stored}, IfNoneMatch="*"
            )
        except (ClientError, BotoCoreError) as exc:
            self._abort(where)
            # NoSuchUpload: the answer to an earlier try of the completion was lost, so the
            # object may well be there; the caller looks.
            if _code(exc) in EXISTS_CODES | {"NoSuchUpload"}:
                return False
            raise self._cause(exc) from exc
        except BaseException:
            self._abort(where)
            raise
        return True

    def _upload_part(self, where: dict[str, Any], number: int, part: Part) -> dict[str, Any]:
        checksum = _base64(part.digest)
        answer = self._client.upload_part(
            **where, PartNumber=number, Body=part.data, ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _abort(self, where: dict[str, Any]) -> None:
        """Give up the parts; where even that fails, the next run of the list does it."""
        try:
            self._quick.abort_multipart_upload(**where)
        except (ClientError, BotoCoreError):
            return

    def head(self, key: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except (ClientError, BotoCoreError) as exc:
            if _code(exc) in ("404", "NoSuchKey"):
                return None
            raise self._cause(exc) from exc
        metadata = answer.get("Metadata", {})
        return StoredObject(
            size=answer["ContentLength"],
            sha256=metadata.get("sha256", ""),
            source_path=decode_metadata(metadata.get("source-path", "")),
            storage_class=answer.get("StorageClass", "STANDARD"),
        )

    def abort_unfinished(self, keys: Iterable[str]) -> int:
        wanted = set(keys)
        prefix = os.path.commonprefix(sorted(wanted)) if wanted else ""
        aborted = 0
        try:
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    if upload["Key"] in wanted:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        aborted += 1
        except (ClientError, BotoCoreError) as exc:
            raise self._cause(exc) from exc
        return aborted

    def _cause(self, exc: ClientError | BotoCoreError) -> HimuroError:
        """Return what a failure means; a failure that may be everybody's is looked into."""
        cause = explain(exc)
        if isinstance(cause, ItemError) and not isinstance(exc, ClientError):
            try:
                self.check()
            except FatalError as fatal:
                return fatal
        return cause


def _config(*, retries: int, connect: float = 10, read: float = 60) -> Config:
    return Config(
        retries={"mode": "standard", "max_attempts": retries},
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=32,
        # Every request that carries data has its SHA-256 in a signed header.
        s3={"payload_signing_enabled": False},
    )


def _fast_store(bucket: str, session: Any, client: Any) -> S3Store:
    return S3Store(
        bucket,
        endpoint=client.meta.endpoint_url,
        region=client.meta.region_name or "us-east-1",
        credential_provider=Boto3CredentialProvider(session, ttl=timedelta(minutes=5)),
        checksum_algorithm="sha256",
        client_options={"allow_http": True, "timeout": "60s"},
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
    )


def _metadata(new: NewObject) -> dict[str, str]:
    metadata = {"sha256": new.sha256, "source-path": encode_metadata(new.source_path)}
    if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_BYTES:
        del metadata["source-path"]
    return metadata


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _code(exc: BaseException) -> str:
    if isinstance(exc, ClientError):
        return str(exc.response.get("Error", {}).get("Code", ""))
    return ""


def _fatal(exc: Exception) -> FatalError:
    """Return an error met before anything was sent: there it always concerns everything."""
    cause = explain(exc)
    if isinstance(cause, FatalError):
        return cause
    return FatalError(Code.S3_UNREACHABLE, cause.detail if isinstance(cause, ItemError) else "")
