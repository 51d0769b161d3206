"""From what a list says to what lies on the share: directories read once, in parallel."""

from __future__ import annotations

import os
import stat
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from core.config.settings import ShareSetting
from core.errors import Code, ItemError
from core.model import MARKER_SUFFIX, ListRow, ShareDirectory
from core.paths.normalization import capitals, identity, near_key, split_unc
from core.paths.unc import EDGE
from core.share.shares import Kind, Shares

_PLACE_BITS = 26
"""67 million names in one directory; the rest of 64 bits is for hashes."""
_PLACES = (1 << _PLACE_BITS) - 1
_HASHES = (1 << (63 - _PLACE_BITS)) - 1

Located = tuple[ShareSetting, tuple[str, ...]]
"""A share and the names below it, as ``Shares.locate`` returns them."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Something that exists on a share; equal to whatever lies in the same place."""

    parent: ShareDirectory
    """What it lies in, in the spelling of the server; no part of it below the share's directory
    is a link. Of the share itself: the share."""
    name: str
    """Empty for the share itself."""
    share: ShareSetting
    kind: Kind
    leads_to: str = ""
    """Of a ``LINK`` the local place that it leads to."""

    @property
    def path(self) -> str:
        """UNC path in the spelling of the server."""
        return self.parent.path_of(self.name) if self.name else self.parent.path

    @property
    def local(self) -> str:
        """Where it lies on this machine; of a ``LINK`` the place that it leads to."""
        if self.leads_to or not self.name:
            return self.leads_to or self.parent.local
        return self.parent.local_of(self.name)

    @property
    def inside(self) -> ShareDirectory:
        """What it is to that which lies in it."""
        return ShareDirectory(self.path, self.local) if self.name else self.parent

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Found) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def _place(self) -> tuple[str, str]:
        return self.leads_to or self.parent.local, "" if self.leads_to else self.name


class Listing:
    """The entries of one directory, findable under any spelling."""

    def __init__(self, directory: ShareDirectory, entries: Sequence[tuple[str, Kind]]) -> None:
        self.directory = directory
        self.names = tuple(name for name, _ in entries)
        self._special = {name: kind for name, kind in entries if kind is not Kind.FILE}
        self._by_name = _Index(self.names, str)
        self._indexes: dict[Callable[[str], str], _Index] = {}
        """Those by other keys, made when the first name needs them."""
        self._making = threading.Lock()
        self._has_markers: bool | None = None

    def kind(self, name: str) -> Kind:
        """Return what one of ``names`` is."""
        return self._special.get(name, Kind.FILE)

    def match(self, name: str) -> str | None:
        """Return the entry that Windows would open for ``name``; None when there is none.

        Raises ``ItemError(SOURCE_AMBIGUOUS)`` when the spelling decides and fits none exactly.
        """
        return _only(self._by_name.get(name)) or _only(self._alike(name))

    def match_marker(self, name: str) -> str | None:
        """Return the entry that Windows would open for a marker's name, quickly where a directory
        has no marker at all, which is usual; None also where ``match`` finds it ambiguous."""
        if self._has_markers is None:
            length = len(MARKER_SUFFIX)
            self._has_markers = any(n[-length:].lower() == MARKER_SUFFIX for n in self.names)
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
        return _only(self._by(_bare).get(name))

    def has(self, name: str) -> bool:
        """Return whether there is an entry of this very name."""
        return bool(self._by_name.get(name))

    def has_file(self, name: str) -> bool:
        """Return whether ``name`` is a file or a link under any spelling Windows would open."""
        return any(self.kind(n) in (Kind.FILE, Kind.LINK) for n in self._alike(name))

    def _alike(self, name: str) -> list[str]:
        return self._by(identity).get(name)

    def near(self, name: str) -> list[str]:
        """Return the entries that a person may have meant by ``name``."""
        return sorted(self._by(near_key).get(name))

    def _by(self, key: Callable[[str], str]) -> _Index:
        # All threads of a check come to a large directory at once: one of them does the work.
        with self._making:
            if key not in self._indexes:
                self._indexes[key] = _Index(self.names, key)
            return self._indexes[key]


class _Index:
    """Names by what some of them have in common, in 8 bytes a name: a directory may hold
    hundreds of thousands, and a dictionary takes 200 for each."""

    def __init__(self, names: Sequence[str], key: Callable[[str], str]) -> None:
        self._names = names
        self._key = key
        # A hash, and below it the place in ``names``.
        packed = (_hashed(key(name)) | place for place, name in enumerate(names))
        self._packed = array("Q", sorted(packed))

    def get(self, name: str) -> list[str]:
        """Return the names that have their key in common with ``name``, in their order."""
        key = self._key(name)
        first = _hashed(key)
        begin = bisect_left(self._packed, first)
        end = bisect_left(self._packed, first + (1 << _PLACE_BITS), begin)
        candidates = (self._names[packed & _PLACES] for packed in self._packed[begin:end])
        return [candidate for candidate in candidates if self._key(candidate) == key]


def _hashed(key: str) -> int:
    return (hash(key) & _HASHES) << _PLACE_BITS


def _bare(name: str) -> str:
    return identity(name.strip(EDGE))


def _only(candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        raise ItemError(Code.SOURCE_AMBIGUOUS, "、".join(sorted(candidates)[:5]))
    return candidates[0] if candidates else None


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
    futures: dict[ShareDirectory, Future[Listing]] = field(default_factory=dict)


class Resolver:
    """Finds listed paths on the shares. Safe in any thread; each directory is read once."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._cache = _Cache()

    def listing(self, directory: ShareDirectory, share: ShareSetting) -> Listing:
        """Return the entries of a directory; raises what ``Shares.explain`` says."""
        with self._cache.lock:
            future = self._cache.futures.get(directory)
            mine = future is None
            if future is None:
                future = self._cache.futures[directory] = Future()
        if mine:
            try:
                future.set_result(Listing(directory, self.shares.fs.list(directory.local)))
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
        return self._descend(share, parts, _match_kindly)

    def _descend(
        self,
        share: ShareSetting,
        parts: Sequence[str],
        match: Callable[[Listing, str], str | None],
    ) -> Found:
        here = Found(ShareDirectory(share.unc, str(share.directory)), "", share, Kind.DIRECTORY)
        for number, part in enumerate(parts):
            if here.kind is Kind.LINK:
                there = "\\".join([self.shares.written(share, here.local), *parts[number:]])
                raise ItemError(Code.LINK_NOT_FOLLOWED, f"{here.path} のリンク先: {there}")
            if here.kind is not Kind.DIRECTORY:
                raise ItemError(Code.SOURCE_NOT_FOUND, f"{here.path} はフォルダーではありません")
            listing = self.listing(here.inside, share)
            name = match(listing, part)
            if name is None:
                raise ItemError(Code.SOURCE_NOT_FOUND, _hint(here, listing, part))
            here = self.enter(listing, name, share)
        return here

    def has_spelling(self, share: ShareSetting, parts: Sequence[str]) -> bool:
        """Return whether these very names exist below a share, letter by letter."""
        here = ShareDirectory(share.unc, str(share.directory))
        for part in parts:
            try:
                if not self.listing(here, share).has(part):
                    return False
            except ItemError:
                return False
            here = ShareDirectory(here.path_of(part), here.local_of(part))
        return True

    def enter(self, listing: Listing, name: str, share: ShareSetting) -> Found:
        """Return one entry of a directory, and for a link the place that it leads to.

        Raises ``ItemError`` for a link that leads out of the share, back to above itself, or
        nowhere.
        """
        kind = listing.kind(name)
        leads_to = self._led_to(listing.directory, name, share) if kind is Kind.LINK else ""
        return Found(listing.directory, name, share, kind, leads_to)

    def _led_to(self, parent: ShareDirectory, name: str, share: ShareSetting) -> str:
        there = self.shares.real_place(share, parent.local_of(name))
        if there is None:
            raise ItemError(Code.LINK_OUTSIDE)
        if (parent.local + os.sep).startswith(there + os.sep):
            raise ItemError(Code.LINK_LOOP)
        try:
            mode = self.shares.fs.stat(there).st_mode
        except OSError as exc:
            raise self.shares.explain(exc, share) from exc
        if stat.S_ISLNK(mode):  # it leads to itself, or did not lead here a moment ago
            raise ItemError(Code.LINK_LOOP)
        return there
