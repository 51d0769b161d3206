"""From what a list says to what lies on the share: directories read once, in parallel."""

from __future__ import annotations

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from core.errors import Code, ItemError
from core.names import identity, near_key
from core.settings import ShareSetting
from core.shares import Kind, Shares


@dataclass(frozen=True, slots=True)
class Found:
    """Something that exists on a share."""

    path: str
    """UNC path in the spelling of the server."""
    local: str
    share: ShareSetting
    kind: Kind
    """``FILE``, ``DIRECTORY`` or ``OTHER``; links have been followed."""
    ancestors: frozenset[str] = frozenset()
    """Real paths of the linked directories above; they are the loops to look for."""


class Listing:
    """The entries of one directory, findable under any spelling."""

    def __init__(self, entries: list[tuple[str, Kind]]) -> None:
        self.kinds = dict(entries)
        self._by_identity: dict[str, list[str]] | None = None
        self._by_near: dict[str, list[str]] | None = None

    def match(self, name: str) -> str | None:
        """Return the entry that Windows would open for ``name``; None when there is none.

        Raises ``ItemError(SOURCE_AMBIGUOUS)`` when the spelling decides and fits none exactly.
        """
        if name in self.kinds:
            return name
        if self._by_identity is None:
            self._by_identity = _grouped(self.kinds, identity)
        candidates = self._by_identity.get(identity(name), [])
        if len(candidates) > 1:
            raise ItemError(Code.SOURCE_AMBIGUOUS, "、".join(sorted(candidates)[:5]))
        return candidates[0] if candidates else None

    def __contains__(self, name: str) -> bool:
        """Return whether ``name`` exists under any spelling that Windows takes for the same."""
        try:
            return self.match(name) is not None
        except ItemError:
            return True

    def near(self, name: str) -> list[str]:
        """Return the entries that a person may have meant by ``name``."""
        if self._by_near is None:
            self._by_near = _grouped(self.kinds, near_key)
        return sorted(self._by_near.get(near_key(name), []))


def _grouped(names: dict[str, Kind], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups


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
            except OSError as exc:
                try:
                    future.set_exception(self.shares.explain(exc, share))
                except Exception as fatal:  # noqa: BLE001 - every waiting thread must hear it
                    future.set_exception(fatal)
        return future.result()

    def find(self, path: str) -> Found:
        """Return what ``path`` names.

        Raises ``ItemError``: outside all shares, not found (the detail names the near name
        that exists), ambiguous, unreadable, or a link that leads out of the share.
        """
        located = self.shares.locate(path)
        if located is None:
            raise ItemError(Code.PATH_OUTSIDE_SHARES)
        share, parts = located
        here = Found(share.unc, str(share.directory), share, Kind.DIRECTORY)
        for part in parts:
            if here.kind is not Kind.DIRECTORY:
                raise ItemError(Code.SOURCE_NOT_FOUND, f"{here.path} はフォルダーではありません")
            listing = self.listing(here.local, share)
            name = listing.match(part)
            if name is None:
                near = "、".join(f"{here.path}\\{n}" for n in listing.near(part)[:3])
                raise ItemError(Code.SOURCE_NOT_FOUND, f"もしかして: {near}" if near else "")
            here = self.enter(here, name, listing.kinds[name])
        return here

    def enter(self, parent: Found, name: str, kind: Kind) -> Found:
        """Return one entry of a directory with a link followed to what it stands for.

        Raises ``ItemError`` for a link that leads out of the share or back to above itself.
        """
        local = os.path.join(parent.local, name)  # noqa: PTH118 - 20,000 times a list
        ancestors = parent.ancestors
        if kind is Kind.LINK:
            if not self.shares.contains(parent.share, local):
                raise ItemError(Code.LINK_OUTSIDE)
            real = self.shares.fs.resolve(local)
            kind = self._kind_of(local, parent.share)
            above = self.shares.fs.resolve(parent.local) + os.sep
            if kind is Kind.DIRECTORY and (above.startswith(real + os.sep) or real in ancestors):
                raise ItemError(Code.LINK_LOOP)
            ancestors = ancestors | {real}
        return Found(f"{parent.path}\\{name}", local, parent.share, kind, ancestors)

    def _kind_of(self, local: str, share: ShareSetting) -> Kind:
        try:
            mode = self.shares.fs.stat(local).st_mode
        except OSError as exc:
            raise self.shares.explain(exc, share) from exc
        if stat.S_ISDIR(mode):
            return Kind.DIRECTORY
        return Kind.FILE if stat.S_ISREG(mode) else Kind.OTHER
