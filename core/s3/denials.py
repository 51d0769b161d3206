"""Whether S3 denies one object, or everything that a run wants.

The answer is the same, 403. So the bucket is asked: where it denies as well, the run stops.
Where it answers, the object fails alone. A policy may also deny an action for every object while
the bucket itself answers; so after many denials in a row the action is tried on a key that
nobody has, in ways that leave nothing behind (``health.py`` says why they prove it).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from core.archive.ports import STORAGE_CLASS
from core.errors import Code, FatalError, HimuroError, ItemError

ACTIONS = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "RestoreObject": "s3:RestoreObject",
}
"""Calls that concern one object, and the action that S3 authorises them as."""
OBJECT_CODES = frozenset({"AccessDenied", "403", "400"})
"""Errors that may be one object's or everybody's. 400 is all that a HEAD says of an expired
token, and of a key that it cannot take."""
DENIALS_IN_A_ROW = 50
"""Denials of one action in a row after which it is tried on a key that nobody has."""
_REMEMBERED_SECONDS = 5.0
"""How long the bucket's word counts: ten thousand denied objects are no ten thousand questions."""


class Denials:
    """What has been denied in one bucket. Safe in any thread."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``check`` raises ``FatalError`` when the bucket itself denies. ``prefix``: of keys."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._check = check
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row: Counter[str] = Counter()
        self._asked_at: float | None = None
        self._said: FatalError | None = None

    def granted(self, action: str) -> None:
        """An action succeeded."""
        if self._in_a_row[action]:
            self._in_a_row[action] = 0

    def meaning(self, operation: str, code: str, otherwise: Code) -> HimuroError:
        """Return what one refusal means: ``OBJECT_DENIED``, or what stops the run.

        ``otherwise``: the code when the bucket answers and it was no denial.
        """
        with self._lock:
            gone = self._bucket_says()
            if gone is not None:
                return gone
            if code == "400":
                return ItemError(otherwise, code)
            action = ACTIONS[operation]
            self._in_a_row[action] += 1
            if self._in_a_row[action] >= DENIALS_IN_A_ROW:
                if self._is_denied(action):
                    return FatalError(Code.ACCESS_DENIED, action)
                self._in_a_row[action] = 0
        return ItemError(Code.OBJECT_DENIED, code)

    def _bucket_says(self) -> FatalError | None:
        now = self._clock()
        if self._asked_at is None or now - self._asked_at >= _REMEMBERED_SECONDS:
            self._said = None
            try:
                self._check()
            except FatalError as exc:
                self._said = exc
            self._asked_at = self._clock()
        return self._said

    def _is_denied(self, action: str) -> bool:
        where = {
            "Bucket": self._bucket,
            "Key": f"{self._prefix}.himuro-doctor/{secrets.token_hex(8)}",
        }
        try:
            if action == "s3:PutObject":
                begun = self._client.create_multipart_upload(**where, StorageClass=STORAGE_CLASS)
                self._client.abort_multipart_upload(**where, UploadId=begun["UploadId"])
            elif action == "s3:GetObject":
                self._client.head_object(**where)
            else:
                restore = {"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}}
                self._client.restore_object(**where, RestoreRequest=restore)
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            return code in OBJECT_CODES and exc.operation_name != "AbortMultipartUpload"
        except (BotoCoreError, KeyError):
            return False  # nothing is known; the next denials ask again
        return False
