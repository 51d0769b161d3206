"""Which archived objects are readable: from listings, or by HEAD, whatever costs less.

A listing tells up to a thousand objects at once (``RestoreStatus``) and costs as much money as
about 13 HEADs. So a page has to settle that many of the wanted keys; after one that does not,
the next keys are left to HEAD, twice as many each time, before another page is tried.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from core.concurrency.parallel import Cancelled, parallel
from core.errors import Code, FatalError, ItemError
from core.restore.model import ObjectState, Thaw
from core.s3.connection import S3Connection
from core.s3.denials import ACTIONS
from core.s3.error_codes import MISSING_CODES
from core.s3.failures import ERRORS, error_code
from core.s3.http.proof import FOREIGN, is_s3s
from core.s3.http.stall_watch import Watch

PAGE_WORTH = 13
"""How many HEADs one page costs: 0.0047 against 0.00037 USD for 1,000 (S3 pricing, Tokyo)."""
_SEGMENT = 1000
"""Keys that one thread looks for in the listing: as many as one page holds."""
_SAMPLE = 8
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_MAY_BE_ARCHIVED = "INTELLIGENT_TIERING"
"""Only HEAD tells whether such an object is."""
_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s,;"']+))""")

State = ObjectState | ItemError
States = dict[str, State]


class S3States:
    """Asks one bucket. Safe in any thread."""

    def __init__(self, connection: S3Connection, client: Any, watch: Watch | None = None) -> None:
        self._s3 = connection
        self._watch = watch or Watch()
        self._client = client
        self._listings_tell: bool | None = None
        """Whether this server's listings have ``RestoreStatus``; None: not known yet."""

    def of(self, keys: Iterable[str], cancelled: Callable[[], bool]) -> Iterator[tuple[str, State]]:
        """Yield each key with the state of its object, or with its own error; in any order, until
        ``cancelled``."""
        wanted = sorted(set(keys))
        segments = [wanted[n : n + _SEGMENT] for n in range(0, len(wanted), _SEGMENT)]

        def walk(segment: Sequence[str]) -> tuple[States, list[str]]:
            return self._walk(segment, cancelled)

        left: list[str] = []
        try:
            for _, (settled, unsettled) in parallel(walk, segments, cancelled=cancelled):
                yield from settled.items()
                left += unsettled
            yield from parallel(self._head, left, cancelled=cancelled)
        except Cancelled:
            return

    def _walk(
        self, wanted: Sequence[str], cancelled: Callable[[], bool]
    ) -> tuple[States, list[str]]:
        """Return what listings settle of these sorted keys, and the keys left to HEAD."""
        settled: States = {}
        left: list[str] = []
        at, interval = 0, PAGE_WORTH
        while len(wanted) - at > PAGE_WORTH and not cancelled():
            # A page begins after its StartAfter: that key itself is left to HEAD.
            left.append(wanted[at])
            listed, last = self._page(wanted[at])
            end = len(wanted) if last is None else bisect_right(wanted, last, at + 1)
            found = self._settle(wanted[at + 1 : end], listed)
            settled |= found
            left += [key for key in wanted[at + 1 : end] if key not in found]
            at = end
            if len(found) < PAGE_WORTH:
                left += wanted[at : at + interval]
                at += interval
                interval *= 2
            else:
                interval = PAGE_WORTH
        return settled, left + list(wanted[at:])

    def _page(self, after: str) -> tuple[Mapping[str, Mapping[str, Any]], str | None]:
        """Return a page by key, and the last key that it tells about; None: all that follow.

        A page that does not come settles nothing: HEAD has the last word.
        """
        try:
            with self._watch.call():
                answer = self._client.list_objects_v2(
                    Bucket=self._s3.bucket,
                    StartAfter=after,
                    OptionalObjectAttributes=["RestoreStatus"],
                )
                self._watch.answered()
        except ERRORS as exc:
            cause = self._s3.cause(exc, Code.DOWNLOAD_FAILED)
            if isinstance(cause, ItemError):
                return {}, after
            raise cause from exc
        listed = {item["Key"]: item for item in answer.get("Contents", []) if "Key" in item}
        if any(item.get("RestoreStatus") for item in listed.values()):
            self._listings_tell = True
        return listed, max(listed, default=after) if answer.get("IsTruncated") else None

    def _settle(self, wanted: Iterable[str], listed: Mapping[str, Mapping[str, Any]]) -> States:
        """Return the states that a page tells. A key that it should show and does not is one
        for HEAD: that an archived object is missing is not said lightly."""
        settled: States = {}
        silent: dict[str, ObjectState] = {}
        for key in wanted:
            item = listed.get(key, {})
            storage_class = item.get("StorageClass") or _MAY_BE_ARCHIVED
            if "Size" not in item or storage_class == _MAY_BE_ARCHIVED:
                continue
            if storage_class not in _ARCHIVED:
                settled[key] = ObjectState(Thaw.READABLE, item["Size"])
            elif "RestoreStatus" in item:
                if state := _listed_state(item["Size"], item["RestoreStatus"] or {}):
                    settled[key] = state
            else:
                silent[key] = ObjectState(Thaw.FROZEN, item["Size"])
        return settled | self._believed(silent)

    def _believed(self, silent: Mapping[str, ObjectState]) -> States:
        """Return what can be said of archived objects that a page shows without a status.

        They are frozen, or the server's listings have no ``RestoreStatus`` at all, as those of
        moto: a HEAD that knows more than the listing proves it.
        """
        if self._listings_tell is not None or not silent:
            return dict(silent) if self._listings_tell else {}
        keys = list(silent)
        sample = {key: self._head(key) for key in keys[:: -(-len(keys) // _SAMPLE)]}
        told = (state.thaw for state in sample.values() if isinstance(state, ObjectState))
        if any(thaw in (Thaw.THAWING, Thaw.READABLE) for thaw in told):
            self._listings_tell = False
            return sample
        return {**silent, **sample}

    def _head(self, key: str) -> State:
        """Return what S3 says of one object; whatever that is, it concerns no other one.

        Raises ``FatalError``, which was met ``at`` this one.
        """
        try:
            with self._watch.call():
                answer = self._client.head_object(Bucket=self._s3.bucket, Key=key)
                if not is_s3s(answer):
                    return ItemError(Code.DOWNLOAD_FAILED, FOREIGN)
                state = head_state(answer)
                self._watch.answered()
        except ERRORS as exc:
            if is_missing(exc):
                self._watch.answered()
                return ObjectState(Thaw.MISSING)
            cause = self._s3.cause(exc, Code.DOWNLOAD_FAILED)
            if isinstance(cause, ItemError):
                return cause
            if isinstance(cause, FatalError):
                cause.at = key
            raise cause from exc
        self._s3.denials.granted(ACTIONS["HeadObject"])
        return state


def is_missing(exc: Exception) -> bool:
    """Return whether S3 says that there is no such object. The status alone may be a gateway's,
    and that an archived object is missing is not said lightly."""
    if not isinstance(exc, ClientError):
        return False
    code = error_code(exc)
    return code in MISSING_CODES and (code != "404" or is_s3s(exc.response))


def head_state(answer: Mapping[str, Any]) -> ObjectState:
    """Return what an answer to a HEAD says. What is not understood is not readable."""
    size = answer["ContentLength"]
    if answer.get("StorageClass") not in _ARCHIVED and not answer.get("ArchiveStatus"):
        return ObjectState(Thaw.READABLE, size)
    found = restore_attributes(answer.get("Restore", ""))
    ongoing = found.get("ongoing-request", "").lower()
    if ongoing == "true":
        return ObjectState(Thaw.THAWING, size)
    until = moment(found.get("expiry-date", ""))
    if ongoing == "false" and until:
        return ObjectState(Thaw.READABLE, size, until)
    return ObjectState(Thaw.FROZEN, size)


def restore_attributes(header: str) -> dict[str, str]:
    """Return what ``x-amz-restore`` says, names in lower case, in whatever order it does."""
    return {
        name.lower(): (double or single or bare).strip()
        for name, double, single, bare in _ATTRIBUTE.findall(header)
    }


def moment(text: str) -> datetime | None:
    """Return a time as HTTP or ISO 8601 write it, UTC where it does not say; None: neither."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _listed_state(size: int, status: Mapping[str, Any]) -> ObjectState | None:
    """Return what a listing says of a copy; None: nothing that can be understood."""
    if status.get("IsRestoreInProgress"):
        return ObjectState(Thaw.THAWING, size)
    until: datetime | None = status.get("RestoreExpiryDate")
    return ObjectState(Thaw.READABLE, size, until) if until else None
