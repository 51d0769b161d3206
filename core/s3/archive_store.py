"""The object store on S3; ``error_codes.py`` says what its error codes mean.

Two clients share the work, chosen by measurement (``docs/decisions/0003-two-s3-clients.md``):
``core/s3/http/fast_put.py`` creates objects of a single request with a fraction of boto3's work;
boto3 does all the rest, explains failures, and does again whatever the other one could not simply
do.

How long one call may take: what passes (503, 500, a reset, a lost answer) is tried once by the
lean client, then by five attempts of boto3, which pauses up to 1, 2, 4 and 8 s after a 503 and
for less than a second in all after the rest. So in a storm of 503 every file costs its thread
up to 20 s before it goes to the error file list, and after 45 s without a single success the run
stops (``core/s3/http/stall_watch.py``). An endpoint that takes connections and never answers is
told apart by the bucket's own check after the first time-out: within 15 s for a small object, 70 s
for the largest.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from core.archive.ports import STORAGE_CLASS, Lane, NewObject, Part, StoredObject
from core.errors import Code, HimuroError, ItemError
from core.paths.normalization import decode_metadata
from core.s3.connection import S3Connection
from core.s3.denials import ACTIONS
from core.s3.error_codes import EXISTS_CODES, MISSING_CODES
from core.s3.failures import ERRORS, error_code
from core.s3.http.client import Reply
from core.s3.http.fast_put import S3Lane, lean_put, user_metadata
from core.s3.http.proof import FOREIGN, checksum, checksum_of, is_s3s, proves_content, proves_parts
from core.s3.http.put import PutClient, is_proof
from core.s3.http.stall_watch import Pieces, Watch

if TYPE_CHECKING:
    from core.config.settings import Settings

MIB = 1024 * 1024
SMALL_BYTES = MIB // 2
"""Objects up to this size have the short time limit: sixteen threads send so much each over a line
of 10 Mbit/s within it."""
SMALL_SECONDS, LARGE_SECONDS = 8.0, 60.0
PART_BYTES = 64 * MIB
MAX_PARTS = 10_000
_ATTEMPTS = 3
"""Tries of a part whose answers do not prove that S3 has it."""

T = TypeVar("T")


class S3ObjectStore:
    """``ObjectStore`` on Amazon S3. Safe in any thread. Nothing is sent before ``check``."""

    def __init__(self, settings: Settings, watch: Callable[[], Watch] = Watch) -> None:
        """``watch`` makes one for each kind of call. Raises ``FatalError`` when there are no
        credentials or no Region."""
        self._bucket = settings.bucket
        self._s3 = S3Connection(settings)
        self._client = self._s3.client(read=20)
        # The limits count for each piece sent or received, but what the network still
        # holds of 64 MiB on a slow line delays the answer.
        self._large = self._s3.client(read=LARGE_SECONDS)
        self._lean = self._s3.lean(PutClient, SMALL_SECONDS)
        self._lean_large = self._s3.lean(PutClient, LARGE_SECONDS)
        self._watch, self._looks = watch(), watch()
        for lean in (self._lean, self._lean_large):
            if lean:
                lean.moved = self._watch.moved

    def check(self) -> None:
        self._s3.check()

    def require_life(self) -> None:
        self._watch.require()
        self._looks.require()

    def part_size(self, size: int) -> int | None:
        if size <= PART_BYTES:
            return None
        # Whole MiB, and never more than S3's 10,000 parts.
        return max(PART_BYTES, -(-size // (MAX_PARTS * MIB)) * MIB)

    def create(self, new: NewObject, data: bytes) -> bool:
        with self._watch.call():
            created = self._created(new, data)
            if created is not None:
                self._stored()
        return bool(created)

    def _created(self, new: NewObject, data: bytes) -> bool | None:
        """Return whether the object is stored; False: something has its key, None: S3 has not
        said anything that counts."""
        put = lean_put(new, data)
        lean = self._lean if len(data) <= SMALL_BYTES else self._lean_large

        def proven(reply: Reply) -> bool | None:
            if reply.status == HTTPStatus.PRECONDITION_FAILED:
                return False
            return is_proof(put, reply) or None

        return self._s3.ask(
            (lambda: lean.put(put)) if lean else None, proven, lambda: self._put(new, data)
        )

    def _put(self, new: NewObject, data: bytes) -> bool | None:
        """Create an object with boto3; returns as ``_created``."""
        small = len(data) <= SMALL_BYTES
        try:
            answer = (self._client if small else self._large).put_object(
                Bucket=self._bucket,
                Key=new.key,
                Body=data if small else Pieces(data, self._watch.moved),
                StorageClass=STORAGE_CLASS,
                Metadata=user_metadata(new),
                ChecksumSHA256=checksum_of(new.sha256),
                IfNoneMatch="*",
            )
        except ERRORS as exc:
            if error_code(exc) in EXISTS_CODES:
                return False
            return self._after(exc, new.key)
        found, etag = answer.get("ChecksumSHA256", ""), answer.get("ETag", "")
        return proves_content(found, etag, new.sha256, data) or None

    def _after(self, exc: Exception, key: str) -> bool:
        """Raise what a failure means; False where only its answer was lost, or was none."""
        cause = self._s3.cause(exc)
        if isinstance(cause, ItemError) and cause.code is Code.UPLOAD_FAILED:
            with contextlib.suppress(*ERRORS):
                if is_s3s(self._s3.quick.head_object(Bucket=self._bucket, Key=key)):
                    return False
        raise cause from exc

    def _stored(self) -> None:
        self._watch.answered()
        self._s3.denials.granted(ACTIONS["PutObject"])

    def lane(self) -> Lane[T] | None:
        if not self._lean:
            return None
        return S3Lane(self._lean, self._s3.gone, self._watch, self._stored)

    def create_in_parts(self, new: NewObject, parts: Iterable[Part]) -> bool:
        with self._watch.call():
            begun = self._begun(new)
        where = {"Bucket": self._bucket, "Key": new.key, "UploadId": begun.upload_id}
        stored: list[dict[str, Any]] = []
        try:
            for number, part in enumerate(parts, start=1):
                with self._watch.call():
                    stored.append(self._upload_part(where, number, part))
                    self._watch.progressed()
            with self._watch.call():
                return self._completed(where, stored)
        except HimuroError:
            self._abort(where)
            raise
        except ERRORS as exc:
            self._abort(where)
            # NoSuchUpload: the answer to an earlier try of the completion was lost, so the
            # object may well be there; the caller looks.
            if error_code(exc) in EXISTS_CODES | {"NoSuchUpload"}:
                return False
            if stored:
                self._watch.in_vain()
            return self._after(exc, new.key)
        except BaseException:
            self._abort(where)
            raise
        finally:
            if begun.others:
                self._abort_others(new.key)

    def _begun(self, new: NewObject) -> _Begun:
        """Begin an upload in parts. Tries whose answers were lost leave uploads of their own."""
        try:
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=new.key,
                StorageClass=STORAGE_CLASS,
                Metadata=user_metadata(new),
                ChecksumAlgorithm="SHA256",
            )
            tries = answer.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            begun = _Begun(str(answer["UploadId"]), others=tries > 0)
        except ERRORS as exc:
            cause = self._s3.cause(exc)
            if isinstance(cause, ItemError):
                self._abort_others(new.key)
            raise cause from exc
        return begun

    def _upload_part(self, where: dict[str, Any], number: int, part: Part) -> dict[str, Any]:
        digest = checksum(part.digest)
        for _ in range(_ATTEMPTS):
            answer = self._large.upload_part(
                **where,
                PartNumber=number,
                Body=Pieces(part.data, self._watch.moved),
                ChecksumSHA256=digest,
            )
            found, etag = answer.get("ChecksumSHA256", digest), answer.get("ETag")
            # An ETag of somebody else's does not harm: with it nothing can be completed.
            if etag and found == digest:
                return {"PartNumber": number, "ETag": etag, "ChecksumSHA256": digest}
            self._watch.try_failed()
        raise ItemError(Code.UPLOAD_FAILED, FOREIGN)

    def _completed(self, where: dict[str, Any], stored: list[dict[str, Any]]) -> bool:
        """Return whether the answer proves that S3 holds the whole; else the caller looks."""
        with self._watch.patience():
            answer = self._large.complete_multipart_upload(
                **where, MultipartUpload={"Parts": stored}, IfNoneMatch="*"
            )
        digests = [base64.b64decode(part["ChecksumSHA256"]) for part in stored]
        if proves_parts(answer, digests, [part["ETag"] for part in stored]):
            self._stored()
            return True
        # It may not have come to S3 at all. Of what is complete there is nothing to give up.
        self._abort(where)
        return False

    def _abort(self, where: dict[str, Any]) -> None:
        """Give up the parts; where even that fails, the next run of the list does it."""
        with contextlib.suppress(*ERRORS):
            self._s3.quick.abort_multipart_upload(**where)

    def _abort_others(self, key: str) -> None:
        """Give up what tries for this key have begun of which nobody heard. A run has its turn
        alone, so that no upload of this key is anybody else's."""
        with contextlib.suppress(HimuroError):
            self.abort_unfinished([key])

    def head(self, key: str) -> StoredObject | None:
        with self._looks.call():
            found = self._found(key)
            self._looks.answered()
        return found

    def _found(self, key: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
            if not is_s3s(answer):
                raise ItemError(Code.UPLOAD_FAILED, FOREIGN)
            metadata = answer.get("Metadata", {})
            return StoredObject(
                size=answer["ContentLength"],
                sha256=metadata.get("sha256", ""),
                source_path=decode_metadata(metadata.get("source-path", "")),
                storage_class=answer.get("StorageClass", "STANDARD"),
            )
        except ERRORS as exc:
            if error_code(exc) in MISSING_CODES:
                return None
            raise self._s3.cause(exc) from exc

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
        except ERRORS as exc:
            raise self._s3.cause(exc) from exc
        return aborted


class _Begun(NamedTuple):
    """An upload in parts."""

    upload_id: str
    others: bool
    """Whether there may be uploads of the same key that nobody heard of."""
