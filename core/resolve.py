"""From what a list says to what lies on the share: directories read once, in parallel."""

from __future__ import annotations

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from core.errors import Code, ItemError
from core.model import MARKER_SUFFIX, ListRow
from core.names import capitals, identity, near_key, split_unc
from core.settings import ShareSetting
from core.shares import Kind, Shares
from core.unc import EDGE

Located = tuple[ShareSetting, tuple[str, ...]]
"""A share and the names below it, as ``Shares.locate`` returns them."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that exists on a share."""

    path: str
    """UNC path in the spelling of the server."""
    local: str
    """Where it lies: no part of it below the share's directory is a link."""
    share: ShareSetting
    kind: Kind
    """What it is; of a ``LINK`` ``local`` is the place that it leads to."""


class Listing:
    """The entries of one directory, findable under any spelling."""

    def __init__(self, entries: list[tuple[str, Kind]]) -> None:
        self.kinds = dict(entries)
        self._by_identity: dict[str, list[str]] | None = None
        self._by_bare: dict[str, list[str]] | None = None
        self._by_near: dict[str, list[str]] | None = None
        self._has_markers: bool | None = None

    def match(self, name: str) -> str | None:
        """Return the entry that Windows would open for ``name``; None when there is none.

        Raises ``ItemError(SOURCE_AMBIGUOUS)`` when the spelling decides and fits none exactly.
        """
        if name in self.kinds:
            return name
        return _only(self._alike(name))

    def match_marker(self, name: str) -> str | None:
        """The same as ``match`` for the name of a marker: most directories have none at all."""
        if self._has_markers is None:
            length = len(MARKER_SUFFIX)
            self._has_markers = any(n[-length:].lower() == MARKER_SUFFIX for n in self.kinds)
        if not self._has_markers:
            return None
        try:
            found = self.match(name)
        except ItemError:
            return None  # spelling decides there, and they are the markers of twins
        # Composed and decomposed names are two even on Windows: that one is a twin's.
        return found if found is None or capitals(found) == capitals(name) else None

    def match_bare(self, name: str) -> str | None:
        """Return the one entry that differs from ``name`` by spaces around it, if there is one.

        Nobody sees them, so no list can be expected to hold them. Raises as ``match`` does.
        """
        if self._by_bare is None:
            self._by_bare = _grouped(self.kinds, _bare)
        return _only(self._by_bare.get(_bare(name), []))

    def has_file(self, name: str) -> bool:
        """Return whether ``name`` is a file or a link under any spelling Windows would open."""
        return any(self.kinds[n] in (Kind.FILE, Kind.LINK) for n in self._alike(name))

    def _alike(self, name: str) -> list[str]:
        if self._by_identity is None:
            self._by_identity = _grouped(self.kinds, identity)
        return self._by_identity.get(identity(name), [])

    def near(self, name: str) -> list[str]:
        """Return the entries that a person may have meant by ``name``."""
        if self._by_near is None:
            self._by_near = _grouped(self.kinds, near_key)
        return sorted(self._by_near.get(near_key(name), []))


def _bare(name: str) -> str:
    return identity(name.strip(EDGE))


def _only(candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        raise ItemError(Code.SOURCE_AMBIGUOUS, "、".join(sorted(candidates)[:5]))
    return candidates[0] if candidates else None


def _grouped(names: dict[str, Kind], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups


def _match_kindly(listing: Listing, name: str) -> str | None:
    return listing.match(name) or listing.match_bare(name)


def _hint(parent: Found, listing: Listing, name: str) -> str:
    """Return the near names that exist, or what may have happened to this one."""
    near = "、".join(f"{parent.path}\\{n}" for n in listing.near(name)[:3])
    if near:
        return f"もしかして: {near}"
    # Excel writes a question mark for every letter that CP932 does not have.
    return "「?」は、保存のときに失われた文字かもしれません" if "?" in name else ""


@dataclass
class _Cache:
    lock: threading.Lock = field(default_factory=threading.Lock)
    futures: dict[str, Future[Listing]] = field(default_factory=dict)


class Resolver:
    """Finds listed paths on the shares. Safe in any thread; each directory is read once."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._cache = _Cache()

    def listing(self, directory: str, share: ShareSetting) -> Listing:
        """Return the entries of a local directory; raises what ``Shares.explain`` says."""
        with self._cache.lock:
            future = self._cache.futures.get(directory)
            mine = future is None
            if future is None:
                future = self._cache.futures[directory] = Future()
        if mine:
            try:
                future.set_result(Listing(self.shares.fs.list(directory)))
            except BaseException as exc:  # noqa: BLE001 - every waiting thread must hear it
                future.set_exception(self._explained(exc, share))
        return future.result()

    def _explained(self, exc: BaseException, share: ShareSetting) -> BaseException:
        if not isinstance(exc, OSError):
            return exc
        try:
            return self.shares.explain(exc, share)
        except BaseException as fatal:  # noqa: BLE001 - returned to be raised in every thread
            return fatal

    def find(self, row: ListRow, located: Located | None) -> Found:
        """Return what a row names; ``located`` is where its path lies.

        The spelling with its spaces comes first: beside ``b.txt`` there may be a ``b.txt``
        with one at its end. Raises ``ItemError``: outside all shares, not found (the detail
        names the near name that exists), ambiguous, unreadable, behind a link, or a link that
        leads out of the share.
        """
        if located is None:
            raise ItemError(Code.PATH_OUTSIDE_SHARES)
        share, parts = located
        if row.exact:
            above = len(split_unc(row.path)) - len(parts)
            try:
                return self._descend(share, split_unc(row.exact)[above:], Listing.match)
            except ItemError as exc:
                if exc.code is not Code.SOURCE_NOT_FOUND:
                    raise
        found = self._descend(share, parts, _match_kindly)
        # Most rows are spelled as the server does: one text in memory instead of two.
        return replace(found, path=row.path) if found.path == row.path else found

    def _descend(
        self,
        share: ShareSetting,
        parts: Sequence[str],
        match: Callable[[Listing, str], str | None],
    ) -> Found:
        here = Found(share.unc, str(share.directory), share, Kind.DIRECTORY)
        for number, part in enumerate(parts):
            if here.kind is Kind.LINK:
                there = "\\".join([self.shares.written(share, here.local), *parts[number:]])
                raise ItemError(Code.LINK_NOT_FOLLOWED, f"{here.path} のリンク先: {there}")
            if here.kind is not Kind.DIRECTORY:
                raise ItemError(Code.SOURCE_NOT_FOUND, f"{here.path} はフォルダーではありません")
            listing = self.listing(here.local, share)
            name = match(listing, part)
            if name is None:
                raise ItemError(Code.SOURCE_NOT_FOUND, _hint(here, listing, part))
            here = self.enter(here, name, listing.kinds[name])
        return here

    def has_spelling(self, share: ShareSetting, parts: Sequence[str]) -> bool:
        """Return whether these very names exist below a share, letter by letter."""
        local = str(share.directory)
        for part in parts:
            try:
                if part not in self.listing(local, share).kinds:
                    return False
            except ItemError:
                return False
            local = os.path.join(local, part)  # noqa: PTH118
        return True

    def enter(self, parent: Found, name: str, kind: Kind) -> Found:
        """Return one entry of a directory, and for a link the place that it leads to.

        Raises ``ItemError`` for a link that leads out of the share, back to above itself, or
        nowhere.
        """
        local = os.path.join(parent.local, name)  # noqa: PTH118 - 20,000 times a list
        if kind is Kind.LINK:
            local = self._led_to(parent, local)
        return Found(f"{parent.path}\\{name}", local, parent.share, kind)

    def _led_to(self, parent: Found, link: str) -> str:
        there = self.shares.real_place(parent.share, link)
        if there is None:
            raise ItemError(Code.LINK_OUTSIDE)
        if (parent.local + os.sep).startswith(there + os.sep):
            raise ItemError(Code.LINK_LOOP)
        try:
            mode = self.shares.fs.stat(there).st_mode
        except OSError as exc:
            raise self.shares.explain(exc, parent.share) from exc
        if stat.S_ISLNK(mode):  # it leads to itself, or did not lead here a moment ago
            raise ItemError(Code.LINK_LOOP)
        return there
