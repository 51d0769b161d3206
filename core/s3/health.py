"""What a check-up asks S3: is the bucket there, may the jobs work, is the archive safe.

Every right is proven without leaving anything behind and without a right that the jobs do
not need (there is no ``s3:DeleteObject``; an object in Deep Archive is billed for 180 days):

- ``PutObject`` by ``CreateMultipartUpload``, which S3 authorises as ``s3:PutObject``, with the
  storage class of the jobs, and with the default encryption's key; ``AbortMultipartUpload``
  takes it back at once. No part is ever sent, so there is nothing to bill, not even when the
  process is killed between the two. (A PUT with a wrong checksum proves the same on S3, but
  other servers store it.)
- ``GetObject`` by HEAD of a key that nobody has. S3 says 404 only to those who have
  ``s3:ListBucket``, to others 403 (API reference, HeadObject, "Permissions").
- ``RestoreObject`` in the same way: 404 ``NoSuchKey`` comes after the authorisation.

Bodies tell more than HEAD: where the bucket's HEAD is refused, a listing is asked for, whose
answer says why.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from xml.etree.ElementTree import ParseError

from botocore.exceptions import BotoCoreError, ClientError

from core.archive.ports import STORAGE_CLASS
from core.clock import utc_now
from core.config.settings import Settings
from core.errors import Code, FatalError, sentence
from core.health.findings import Finding, Status
from core.paths.normalization import object_key
from core.s3.connection import client_config
from core.s3.error_codes import MISSING_CODES
from core.s3.failures import ERRORS, error_code, fatal, refusal
from core.s3.health_answers import clock, encryption, object_lock, region, versioning
from core.s3.http.proof import FOREIGN
from core.s3.lifecycle import judge
from core.s3.session import open_session

_DENIED = frozenset({"AccessDenied", "403"})
_UNKNOWN = frozenset({"NotImplemented", "MethodNotAllowed", "405", "501"})
"""Other servers than Amazon's do not know every request."""
_ODD = (*ERRORS, ParseError)
"""What a call raises that got an answer which is none of S3's, and what it raises otherwise."""
_READ_SECONDS = 3.0
_UNFINISHED_AGE = timedelta(days=1)
_MAX_PAGES = 10
"""Of a thousand unfinished uploads each; more of them say nothing new."""
_GRANT = "IAMポリシーとバケットポリシーで {action} を許可してください（READMEの「IAM actions」）"

Call = Callable[[], Any]


class S3Health:
    """``BucketHealth`` on Amazon S3."""

    def __init__(self, settings: Settings, now: Callable[[], datetime] = utc_now) -> None:
        self._settings = settings
        self._bucket = {"Bucket": settings.bucket}
        self._now = now

    @cached_property
    def _client(self) -> Any:
        session, _ = open_session()
        try:
            return session.create_client(
                "s3", config=client_config(2, connect=2, read=_READ_SECONDS)
            )
        except (BotoCoreError, ValueError) as exc:
            raise fatal(exc) from exc

    # Is it there

    def reach(self) -> Iterator[Finding]:
        client, begun = self._client, self._now()
        refused: ClientError | None = None
        try:
            answer = client.head_bucket(**self._bucket)
        except ClientError as exc:
            answer, refused = exc.response, exc
        except BotoCoreError as exc:
            raise fatal(exc) from exc
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        yield clock(headers, begun + (self._now() - begun) / 2)
        why = refusal(client, self._settings.bucket, refused) if refused else None
        if why is not None and why.code is not Code.REGION_WRONG:
            raise why from refused
        if why is None:
            yield Finding("s3", Status.OK, f"バケット {self._settings.bucket} を使えます")
        place = headers.get("x-amz-bucket-region") or self._location()
        yield region(place, client.meta.region_name)
        if why is not None:
            raise why from refused

    def _location(self) -> str:
        """Return the Region of a bucket whose HEAD did not name it; empty when not known."""
        try:
            answer = self._client.get_bucket_location(**self._bucket)
        except _ODD:
            return ""
        # S3's oldest two Regions have names of their own here.
        place = answer.get("LocationConstraint") or "us-east-1"
        return "eu-west-1" if place == "EU" else str(place)

    # May the jobs work

    def permissions(self) -> Iterator[Finding]:
        client, prefix = self._client, self._settings.key_prefix
        where = {**self._bucket, "Key": f"{prefix}.himuro-doctor/{secrets.token_hex(8)}"}
        yield from self._upload(where)
        yield self._asked(
            "s3-list",
            "s3:ListBucket",
            lambda: client.list_objects_v2(**self._bucket, Prefix=prefix, MaxKeys=1),
        )
        yield self._asked("s3-get", "s3:GetObject", lambda: client.head_object(**where))
        restore = {"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}}
        yield self._asked(
            "s3-restore",
            "s3:RestoreObject",
            lambda: client.restore_object(**where, RestoreRequest=restore),
            denied=Status.FAILED if self._settings.restore_roots else Status.WARNING,
        )
        # Last, so that it never counts the upload tried above.
        yield from self._unfinished()

    def _upload(self, where: Mapping[str, str]) -> Iterator[Finding]:
        begun: dict[str, Any] = {}
        client = self._client

        def create() -> None:
            begun.update(client.create_multipart_upload(**where, StorageClass=STORAGE_CLASS))

        found = self._asked("s3-put", "s3:PutObject", create)
        if found.status is Status.FAILED and self._uses_kms():
            yield Finding(
                found.name,
                found.status,
                found.what,
                f"{found.remedy}。KMSの鍵の kms:GenerateDataKey と kms:Decrypt も必要です",
            )
        else:
            yield found
        if not begun:
            return
        upload = {**where, "UploadId": begun["UploadId"]}
        aborted = self._asked(
            "s3-abort",
            "s3:AbortMultipartUpload",
            lambda: client.abort_multipart_upload(**upload),
        )
        if aborted.status is Status.OK:
            yield aborted
        else:
            what = f"{aborted.what}。試した空のアップロードが残りました: {where['Key']}"
            yield Finding(aborted.name, aborted.status, what, aborted.remedy)

    def _uses_kms(self) -> bool:
        try:
            return "KMS" in str(self._client.get_bucket_encryption(**self._bucket)).upper()
        except _ODD:
            return False

    def _unfinished(self) -> Iterator[Finding]:
        initiated: list[datetime] = []

        def read() -> None:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                **self._bucket, Prefix=self._settings.key_prefix
            )
            for number, page in enumerate(pages, start=1):
                initiated.extend(
                    upload["Initiated"] for upload in page.get("Uploads", []) if upload["Initiated"]
                )
                if number == _MAX_PAGES:
                    return

        asked = self._asked("s3-list-uploads", "s3:ListBucketMultipartUploads", read)
        yield asked
        if asked.status is not Status.OK:
            return
        old = [when for when in initiated if self._now() - when > _UNFINISHED_AGE]
        if not old:
            yield Finding("s3-unfinished", Status.OK, "1日以上残っているものはありません")
            return
        since = min(old).astimezone(self._settings.timezone)
        yield Finding(
            "s3-unfinished",
            Status.WARNING,
            f"1日以上前からのものが{len(old):,}件あります（最古 {since:%Y/%m/%d}）",
            "中断した実行があれば、エラーファイル一覧で再実行してください。"
            "残りは未完了アップロードを中止するライフサイクルルールで削除できます",
        )

    def _asked(
        self, name: str, action: str, call: Call, *, denied: Status = Status.FAILED
    ) -> Finding:
        """Return whether an action is allowed; that its key is missing comes afterwards."""
        try:
            call()
        except ClientError as exc:
            code = error_code(exc)
            if code in _DENIED and fatal(exc).code is not Code.KMS_DENIED:
                return Finding(
                    name, denied, f"{action} が許可されていません", _GRANT.format(action=action)
                )
            if code in _UNKNOWN:
                what = f"{action} を確認できません（{code}）"
                return Finding(
                    name, Status.WARNING, what, "S3互換サーバーの対応状況を確認してください"
                )
            if code not in MISSING_CODES:
                return _broken(name, exc)
        except _ODD as exc:
            return _broken(name, exc)
        return Finding(name, Status.OK, f"{action} が許可されています")

    # Is the archive safe

    def protection(self) -> Iterator[Finding]:
        client = self._client
        yield from self._read(
            "s3-versioning", "s3:GetBucketVersioning", client.get_bucket_versioning, versioning
        )
        yield from self._read(
            "s3-lifecycle",
            "s3:GetLifecycleConfiguration",
            client.get_bucket_lifecycle_configuration,
            lambda answer: judge(answer.get("Rules", []), self._prefixes()),
        )
        yield from self._read(
            "s3-object-lock",
            "s3:GetBucketObjectLockConfiguration",
            client.get_object_lock_configuration,
            object_lock,
        )
        yield from self._read(
            "s3-encryption",
            "s3:GetEncryptionConfiguration",
            client.get_bucket_encryption,
            encryption,
        )

    def _prefixes(self) -> list[str]:
        prefix = self._settings.key_prefix
        return [object_key(prefix, f"{s.unc}\\") for s in self._settings.shares] or [prefix]

    def _read(
        self,
        name: str,
        action: str,
        call: Callable[..., Any],
        meaning: Callable[[Mapping[str, Any]], list[Finding]],
    ) -> Iterator[Finding]:
        """Yield what a setting means; one that was never made is an empty answer."""
        try:
            answer = call(**self._bucket)
        except ClientError as exc:
            code = error_code(exc)
            if code in _DENIED or code in _UNKNOWN:
                remedy = f"{action} を許可すると確認できます。ジョブの実行には影響しません"
                yield Finding(name, Status.WARNING, f"確認できません（{code}）", remedy)
                return
            if not code.endswith(("NotFoundError", "NoSuchLifecycleConfiguration")):
                yield _broken(name, exc)
                return
            answer = {}
        except _ODD as exc:
            yield _broken(name, exc)
            return
        yield from meaning(answer)


def _broken(name: str, exc: Exception) -> Finding:
    if isinstance(exc, ClientError | BotoCoreError):
        cause = fatal(exc)
    else:
        cause = FatalError(Code.S3_UNREACHABLE, FOREIGN)
    return Finding(name, Status.FAILED, sentence(cause.code, cause.detail), cause.code.remedy)
