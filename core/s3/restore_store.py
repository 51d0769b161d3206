"""Restores on S3: asking for readable copies, and fetching them.

Two clients share the work by the rule of ``S3Connection.ask``: the lean one asks for copies and
fetches objects where S3 simply does it; boto3 does all the rest and explains failures.

How long one call may take says ``archive_store.py``. A body that breaks is taken up where it broke;
five breaks without a further byte in between, or an endpoint that its own check finds gone after a
time-out, end it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from core.concurrency.rate_limiter import RateLimiter
from core.errors import Code, FatalError, ItemError
from core.restore.model import Answer, ObjectState, Thaw, Tier
from core.restore.ports import FetchLane
from core.s3.connection import S3Connection
from core.s3.denials import ACTIONS
from core.s3.failures import ERRORS, error_code
from core.s3.http.client import LeanClient, Reply
from core.s3.http.fast_put import LANE_BYTES, LANE_CONNECTIONS, wait_for_lane
from core.s3.http.get import BrokenStreamError, GetLane, Stream
from core.s3.http.proof import FOREIGN, checksum, is_s3s
from core.s3.http.stall_watch import Watch
from core.s3.object_states import S3States, is_missing

if TYPE_CHECKING:
    from core.config.settings import Settings

MAX_A_SECOND = 900
"""Requests for copies a second; S3 takes 1,000 for each account and Region (``docs/facts.md``,
"S3 and Deep Archive")."""
_SECONDS = 8.0
_BLOCK = 1024 * 1024
_MAX_BREAKS = 5
_REQUEST = (
    '<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Days>{days}</Days>'
    "<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
)
_ANSWERS: Mapping[int, Answer] = {
    HTTPStatus.ACCEPTED: Answer.ACCEPTED,
    HTTPStatus.OK: Answer.EXTENDED,
}
_REPLACED_CODES = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})

T = TypeVar("T")
Write = Callable[[memoryview], None]


class S3RestoreStore:
    """``RestoreStore`` on Amazon S3. Safe in any thread. Nothing is sent before ``check``."""

    def __init__(
        self,
        settings: Settings,
        limiter: RateLimiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
        watch: Callable[[], Watch] = Watch,
    ) -> None:
        """``watch`` makes one for each kind of call. Raises ``FatalError`` when there are no
        credentials or no Region."""
        self._s3 = S3Connection(settings)
        self._client = self._s3.client(read=20)
        self._lean = self._s3.lean(LeanClient, _SECONDS)
        self._looks, self._thaws, self._fetches = watch(), watch(), watch()
        self._states = S3States(self._s3, self._client, self._looks)
        self._limiter = limiter or RateLimiter(MAX_A_SECOND)
        self._sleep = sleep
        # Each attempt of boto3 counts as well.
        self._client.meta.events.register("before-send.s3.RestoreObject", self._pace)

    def _pace(self, **_: object) -> None:
        self._limiter.wait()

    def check(self) -> None:
        self._s3.check()

    def require_life(self) -> None:
        for watch in (self._looks, self._thaws, self._fetches):
            watch.require()

    def states(
        self, keys: Iterable[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[str, ObjectState | ItemError]]:
        def given_up() -> bool:
            self._looks.require()
            return cancelled()

        return self._states.of(keys, given_up)

    def thaw(self, key: str, tier: Tier, days: int) -> Answer:
        with self._thaws.call():
            answer = self._thawed(key, tier, days)
            self._thaws.answered()
        self._s3.denials.granted(ACTIONS["RestoreObject"])
        return answer

    def _thawed(self, key: str, tier: Tier, days: int) -> Answer:
        def proven(reply: Reply) -> Answer | None:
            said = _ANSWERS.get(reply.status)
            return said if said and (_is_plain(reply) or self._is_under_way(key)) else None

        lean = self._lean
        return self._s3.ask(
            (lambda: self._asked(lean, key, tier, days)) if lean else None,
            proven,
            lambda: self._restored(key, tier, days),
        )

    def _restored(self, key: str, tier: Tier, days: int) -> Answer:
        """Ask for a copy with boto3."""
        try:
            answer = self._client.restore_object(
                Bucket=self._s3.bucket,
                Key=key,
                RestoreRequest={"Days": days, "GlacierJobParameters": {"Tier": tier.value}},
            )
        except ERRORS as exc:
            code = error_code(exc)
            if code == "RestoreAlreadyInProgress":
                return Answer.IN_PROGRESS
            if code == "InvalidObjectState":
                return Answer.NOT_ARCHIVED
            if is_missing(exc):
                raise ItemError(Code.OBJECT_MISSING) from exc
            raise self._s3.cause(exc, Code.RESTORE_REFUSED) from exc
        told = _ANSWERS.get(answer["ResponseMetadata"]["HTTPStatusCode"])
        if told and (is_s3s(answer) or self._is_under_way(key)):
            return told
        raise ItemError(Code.RESTORE_REFUSED, FOREIGN)

    def _is_under_way(self, key: str) -> bool:
        """Return whether S3 says of an object that a copy is there or on its way."""
        ((_, state),) = self._states.of([key], lambda: False)
        return isinstance(state, ObjectState) and state.thaw in (Thaw.THAWING, Thaw.READABLE)

    def _asked(self, lean: LeanClient, key: str, tier: Tier, days: int) -> Reply:
        """Ask for a copy with the lean client; raises as ``LeanClient.exchange``."""
        body = _REQUEST.format(days=days, tier=tier.value).encode()
        digest = sha256(body)
        # boto3 sends a checksum as well, and older S3 documentation demands one.
        headers = {
            "x-amz-checksum-sha256": checksum(digest.digest()),
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }
        head = lean.signer.head(
            "POST", key, headers, size=len(body), sha256=digest.hexdigest(), query="restore="
        )
        self._limiter.wait()
        return lean.exchange(head, body)

    def fetch(self, key: str, size: int, write: Write) -> None:
        def moved(block: memoryview) -> None:
            self._fetches.answered()
            with self._fetches.elsewhere():
                write(block)

        with self._fetches.call():
            self._fetch(key, size, moved)
            self._fetched()

    def _fetch(self, key: str, size: int, write: Write) -> None:
        place, etag = self._streamed(key, size, write)
        breaks = 0
        while not place or place < size:
            answer = self._opened(key, size, place, etag)
            etag = answer.get("ETag", "")
            before = place
            place, broken = _poured(answer["Body"], place, size, write)
            if broken is None:
                return
            breaks = 1 if place > before else breaks + 1
            if place > before:
                self._fetches.answered()
            self._s3.after_try(broken)
            if breaks > _MAX_BREAKS:
                raise self._s3.cause(broken, Code.DOWNLOAD_FAILED) from broken
            self._sleep(0.1 * 2 ** (breaks - 1))

    def _streamed(self, key: str, size: int, write: Write) -> tuple[int, str]:
        """Hand over what the lean client can simply have; return how far it came, and the ETag.

        boto3 goes on from there, or explains why there is nothing.
        """
        if self._lean is None or not size:
            return 0, ""
        place, stream = 0, Stream(self._lean, key, size)
        with contextlib.closing(stream.blocks()) as blocks:
            try:
                for block in blocks:
                    write(block)
                    place += len(block)
            except BrokenStreamError as exc:
                self._s3.after_try(exc)
        if 0 < place < size and not stream.etag:
            raise ItemError(Code.CONTENT_MISMATCH)  # nobody could tell what the rest belongs to
        return place, stream.etag

    def _opened(self, key: str, size: int, place: int, etag: str) -> Any:
        """Return an answer whose body is the rest of the object from ``place`` on."""
        rest = {"Range": f"bytes={place}-", "IfMatch": etag} if place else {}
        try:
            answer = self._client.get_object(Bucket=self._s3.bucket, Key=key, **rest)
        except ERRORS as exc:
            code = error_code(exc)
            if code == "InvalidObjectState":
                raise ItemError(Code.NOT_READABLE) from exc
            if is_missing(exc):
                raise ItemError(Code.OBJECT_MISSING) from exc
            if code in _REPLACED_CODES:
                raise ItemError(Code.CONTENT_MISMATCH, code) from exc
            raise self._s3.cause(exc, Code.DOWNLOAD_FAILED) from exc
        length = answer.get("ContentLength")
        wanted = f"bytes {place}-{size - 1}/{size}" if place else None
        if length != size - place or answer.get("ContentRange") != wanted:
            answer["Body"].close()
            if not is_s3s(answer):
                raise ItemError(Code.DOWNLOAD_FAILED, FOREIGN)
            raise ItemError(Code.CONTENT_MISMATCH, f"{size - place} → {length}バイト")
        return answer

    def fetch_lane(self) -> FetchLane[T] | None:
        if not self._lean:
            return None
        return S3FetchLane(self._lean, self._s3.gone, self._fetches, self._fetched)

    def _fetched(self) -> None:
        self._fetches.answered()
        self._s3.denials.granted(ACTIONS["GetObject"])


def _is_plain(reply: Reply) -> bool:
    """Return whether an answer to a request for a copy can be S3's: it has no body."""
    signed = reply.header("x-amz-request-id") or reply.header("x-amzn-requestid")
    return bool(signed) and reply.header("content-length") in ("0", "")


def _poured(body: Any, place: int, size: int, write: Write) -> tuple[int, Exception | None]:
    """Hand a body over; return how far it came and what broke it, None when it is complete."""
    try:
        while True:
            try:
                # To read nothing would not let go of the connection.
                block = body.read(min(_BLOCK, size - place) or 1)
            except (BotoCoreError, HTTPError, OSError) as exc:
                return place, exc
            if block:
                write(memoryview(block))
                place += len(block)
            if place == size:
                return place, None
    finally:
        body.close()


class S3FetchLane(Generic[T]):
    """``FetchLane`` over the lean client."""

    most_bytes = LANE_BYTES

    def __init__(
        self,
        client: LeanClient,
        gone: Callable[[], FatalError | None],
        watch: Watch,
        fetched: Callable[[], None],
    ) -> None:
        """``gone`` tells what is wrong when S3 is out of reach; ``fetched`` hears of successes."""
        self._watch = watch
        self._fetched = fetched
        self._lane = GetLane[T](client, LANE_CONNECTIONS)
        self._gone = gone
        self.begin = self._lane.begin
        self.close = self._lane.close

    @property
    def busy(self) -> int:
        return self._lane.busy

    @property
    def is_full(self) -> bool:
        return self._lane.is_full

    def wait(self) -> list[tuple[T, bytes | None | FatalError]]:
        ended, gone = wait_for_lane(self._lane, self._watch, self._gone)
        if any(isinstance(data, bytes) for _, data in ended):
            self._fetched()
        return [(token, data if isinstance(data, bytes) else gone) for token, data in ended]
