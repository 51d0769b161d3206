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

import logging
import os
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.configprovider import ConstantProvider
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.loaders import create_loader

from core.errors import Code, FatalError, HimuroError, ItemError
from core.names import decode_metadata
from core.ports import STORAGE_CLASS, Lane, NewObject, Part, StoredObject
from core.s3_codes import EXISTS_CODES, meaning
from core.s3_lean import S3Lane, checksum, lean_client, lean_put, put_endpoint, user_metadata
from core.s3_put import AnswerError, Put, PutClient
from core.s3_sign import Credentials

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

_logger = logging.getLogger(__name__)


def explain(error: Exception) -> HimuroError:
    """Return what an error of a client means for the run: this file only, or everything."""
    if isinstance(error, ClientError):
        return meaning(_code(error))
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return FatalError(Code.NO_CREDENTIALS)
    if isinstance(error, CredentialRetrievalError | TokenRetrievalError | ProfileNotFound):
        return FatalError(Code.NO_CREDENTIALS, type(error).__name__)
    if isinstance(error, NoRegionError):
        return FatalError(Code.S3_UNREACHABLE, "AWS_DEFAULT_REGION が設定されていません")
    return ItemError(Code.UPLOAD_FAILED, type(error).__name__)


class S3ObjectStore:
    """``ObjectStore`` on Amazon S3. Safe in any thread. Nothing is sent before ``check``."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``FatalError`` when there are no credentials or no Region."""
        self._bucket = settings.bucket
        try:
            session = _session()
            # Looked up once, before any client does it again for each.
            self._credentials: Any = session.get_credentials()
            if self._credentials is None:
                raise NoCredentialsError
            self._quick: Any = session.client("s3", config=_config(2, connect=2, read=3))
            self._client: Any = session.client("s3", config=_config(5, connect=10, read=20))
            # The limits count for each piece sent or received, but what the network still
            # holds of 64 MiB on a slow line delays the answer.
            self._large: Any = session.client(
                "s3", config=_config(5, connect=10, read=LARGE_SECONDS)
            )
            for client in (self._client, self._large):
                client.meta.events.register("needs-retry.s3", self._look_before_retry)
            trusted = session._session.get_config_variable("ca_bundle")
            endpoint = put_endpoint(settings.bucket, self._client, trusted)
            self._lean, self._lean_large = (
                lean_client(endpoint, self._frozen, seconds) if endpoint else None
                for seconds in (SMALL_SECONDS, LARGE_SECONDS)
            )
        # OSError: a bundle of certificates that cannot be read.
        except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError) as exc:
            raise _fatal(exc) from exc

    def _frozen(self) -> Credentials:
        """Return credentials as they are now; raises ``FatalError`` when they cannot be renewed.

        botocore raises whatever its source of credentials does: a refused role is a
        ``ClientError``, new credentials that are old already a ``RuntimeError``.
        """
        try:
            frozen: Credentials = self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError) as exc:
            cause = explain(exc)
            if isinstance(cause, FatalError):
                raise cause from exc
            raise FatalError(Code.NO_CREDENTIALS, type(exc).__name__) from exc
        return frozen

    def check(self) -> None:
        try:
            self._quick.head_bucket(Bucket=self._bucket)
        except ClientError as exc:
            if _code(exc) in ("404", "NoSuchBucket"):
                raise FatalError(Code.NO_SUCH_BUCKET, self._bucket) from exc
            raise _fatal(exc) from exc
        except BotoCoreError as exc:
            raise _fatal(exc) from exc

    def _check_again(self) -> None:
        """Raise ``FatalError`` when S3 is out of reach; one that is only busy is there."""
        try:
            self.check()
        except FatalError as exc:
            if not _code(exc.__cause__).startswith("5"):
                raise

    def _look_before_retry(self, caught_exception: Exception | None, **_: object) -> None:
        """Called by botocore after each attempt: retries of a dead endpoint take minutes.

        Only a time-out is looked into. A reset or a refused connection costs nothing, so the
        retries may bridge it.
        """
        if _timed_out(caught_exception):
            self._check_again()

    def part_size(self, size: int) -> int | None:
        if size <= PART_BYTES:
            return None
        # Whole MiB, and never more than S3's 10,000 parts.
        return max(PART_BYTES, -(-size // (MAX_PARTS * MIB)) * MIB)

    def create(self, new: NewObject, data: bytes) -> bool:
        put = lean_put(new, data)
        small = len(data) <= SMALL_BYTES
        lean = self._lean if small else self._lean_large
        status = self._send(lean, put) if lean else None
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
            if _code(exc) in EXISTS_CODES:
                return False
            raise self._cause(exc) from exc
        return True

    def _send(self, lean: PutClient, put: Put) -> int | None:
        """Return what S3 said to the lean client; None when that cannot be known."""
        try:
            return lean.put(put)
        except TimeoutError:
            self._check_again()
        except (OSError, AnswerError) as exc:
            _logger.debug("asking again for %s: %s", put.key, type(exc).__name__)
        return None

    def lane(self) -> Lane[T] | None:
        return S3Lane(self._lean, self._check_again) if self._lean else None

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
            raise self._cause(exc) from exc
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
            if _code(exc) in EXISTS_CODES | {"NoSuchUpload"}:
                return False
            raise self._cause(exc) from exc
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
            pages = self._quick.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    if upload["Key"] in wanted:
                        self._quick.abort_multipart_upload(
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
                self._check_again()
            except FatalError as fatal:
                return fatal
        return cause


def _loader(session: Any) -> Any:
    """Return botocore's loader of service descriptions for a session that knows S3 only.

    To say which services there are it reads some 800 folders, a tenth of a second at each start.
    """
    loader = create_loader(session.get_config_variable("data_path"))
    loader.list_available_services = lambda *_args, **_options: ["s3"]
    return loader


def _session() -> Any:
    """Return a session that hears soon that there is no instance metadata.

    An instance answers within milliseconds; elsewhere the address may swallow all that is
    sent to it, twice for each lookup. What the user set for it counts.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session))
    given = session.get_scoped_config().get("metadata_service_timeout")
    if not given and "AWS_METADATA_SERVICE_TIMEOUT" not in os.environ:
        # set_config_variable would make it a whole number.
        variables = session.get_component("config_store")
        variables.set_config_provider("metadata_service_timeout", ConstantProvider(0.5))
    return boto3.Session(botocore_session=session)


def _config(attempts: int, *, connect: float, read: float) -> Config:
    """Return a configuration; limits in seconds, ``attempts`` with the first one."""
    return Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=32,
        # Every request that carries data has its SHA-256 in a signed header.
        s3={"payload_signing_enabled": False},
    )


def _timed_out(exc: BaseException | None) -> bool:
    """Return whether nobody answered; what could not even be sent botocore calls "closed"."""
    while exc is not None:
        if isinstance(exc, TimeoutError | ConnectTimeoutError | ReadTimeoutError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _code(exc: BaseException | None) -> str:
    if isinstance(exc, ClientError):
        return str(exc.response.get("Error", {}).get("Code", ""))
    return ""


def _fatal(exc: Exception) -> FatalError:
    """Return an error met before anything was sent: there it always concerns everything."""
    cause = explain(exc)
    if isinstance(cause, FatalError):
        return cause
    return FatalError(Code.S3_UNREACHABLE, cause.detail if isinstance(cause, ItemError) else "")
