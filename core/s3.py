"""The object store on S3; ``s3_codes.py`` says what its error codes mean.

Two clients share the work, chosen by measurement (docs/architecture.md): ``s3_lean.py`` creates
objects of a single request with a fraction of boto3's work; boto3 does all the rest, explains
failures, and does again whatever the other one could not simply do.

How long one call may take: what passes (503, 500, a reset, a lost answer) is tried once by the
lean client, then by five attempts of boto3, which pauses up to 1, 2, 4 and 8 s after a 503 and
for less than a second in all after the rest. So in a storm of 503 every file costs its thread
up to 20 s before it goes to the error file list. An endpoint that takes connections and never
answers is told apart by the bucket's own check after the first time-out: within 15 s for a
small object, 70 s for the largest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from core.names import decode_metadata
from core.ports import STORAGE_CLASS, Lane, NewObject, Part, StoredObject
from core.s3_client import S3Connection, error_code
from core.s3_codes import EXISTS_CODES
from core.s3_lean import S3Lane, checksum, lean_put, user_metadata
from core.s3_put import PutClient

if TYPE_CHECKING:
    from core.settings import Settings

MIB = 1024 * 1024
SMALL_BYTES = MIB // 2
"""Up to here a request may be impatient: so much is sent by sixteen threads over a line of
10 Mbit/s before the first of them gives up."""
SMALL_SECONDS, LARGE_SECONDS = 8.0, 60.0
PART_BYTES = 64 * MIB
MAX_PARTS = 10_000

T = TypeVar("T")


class S3ObjectStore:
    """``ObjectStore`` on Amazon S3. Safe in any thread. Nothing is sent before ``check``."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``FatalError`` when there are no credentials or no Region."""
        self._bucket = settings.bucket
        self._s3 = S3Connection(settings)
        self._client = self._s3.client(read=20)
        # The limits count for each piece sent or received, but what the network still
        # holds of 64 MiB on a slow line delays the answer.
        self._large = self._s3.client(read=LARGE_SECONDS)
        self._lean = self._s3.lean(PutClient, SMALL_SECONDS)
        self._lean_large = self._s3.lean(PutClient, LARGE_SECONDS)

    def check(self) -> None:
        self._s3.check()

    def part_size(self, size: int) -> int | None:
        if size <= PART_BYTES:
            return None
        # Whole MiB, and never more than S3's 10,000 parts.
        return max(PART_BYTES, -(-size // (MAX_PARTS * MIB)) * MIB)

    def create(self, new: NewObject, data: bytes) -> bool:
        put = lean_put(new, data)
        small = len(data) <= SMALL_BYTES
        lean = self._lean if small else self._lean_large
        status = self._s3.attempt(lambda: lean.put(put)) if lean else None
        if status in (HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED):
            return status == HTTPStatus.OK
        try:
            (self._client if small else self._large).put_object(
                Bucket=self._bucket,
                Key=new.key,
                Body=data,
                StorageClass=STORAGE_CLASS,
                Metadata=user_metadata(new),
                ChecksumSHA256=checksum(bytes.fromhex(new.sha256)),
                IfNoneMatch="*",
            )
        except (ClientError, BotoCoreError) as exc:
            if error_code(exc) in EXISTS_CODES:
                return False
            raise self._s3.cause(exc) from exc
        return True

    def lane(self) -> Lane[T] | None:
        return S3Lane(self._lean, self._s3.check_again) if self._lean else None

    def create_in_parts(self, new: NewObject, parts: Iterable[Part]) -> bool:
        where = {"Bucket": self._bucket, "Key": new.key}
        try:
            begun = self._client.create_multipart_upload(
                **where,
                StorageClass=STORAGE_CLASS,
                Metadata=user_metadata(new),
                ChecksumAlgorithm="SHA256",
            )
        except (ClientError, BotoCoreError) as exc:
            raise self._s3.cause(exc) from exc
        where["UploadId"] = begun["UploadId"]
        try:
            stored = [self._upload_part(where, n, part) for n, part in enumerate(parts, start=1)]
            self._large.complete_multipart_upload(
                **where, MultipartUpload={"Parts": stored}, IfNoneMatch="*"
            )
        except (ClientError, BotoCoreError) as exc:
            self._abort(where)
            # NoSuchUpload: the answer to an earlier try of the completion was lost, so the
            # object may well be there; the caller looks.
            if error_code(exc) in EXISTS_CODES | {"NoSuchUpload"}:
                return False
            raise self._s3.cause(exc) from exc
        except BaseException:
            self._abort(where)
            raise
        return True

    def _upload_part(self, where: dict[str, Any], number: int, part: Part) -> dict[str, Any]:
        digest = checksum(part.digest)
        answer = self._large.upload_part(
            **where, PartNumber=number, Body=part.data, ChecksumSHA256=digest
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}

    def _abort(self, where: dict[str, Any]) -> None:
        """Give up the parts; where even that fails, the next run of the list does it."""
        try:
            self._s3.quick.abort_multipart_upload(**where)
        except (ClientError, BotoCoreError):
            return

    def head(self, key: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except (ClientError, BotoCoreError) as exc:
            if error_code(exc) in ("404", "NoSuchKey"):
                return None
            raise self._s3.cause(exc) from exc
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
            pages = self._s3.quick.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    if upload["Key"] in wanted:
                        self._s3.quick.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        aborted += 1
        except (ClientError, BotoCoreError) as exc:
            raise self._s3.cause(exc) from exc
        return aborted
