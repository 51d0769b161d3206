"""Everything below the listed directories, each real directory once.

Links could otherwise lead to the same files on ever more paths: where every directory of a
few links to all others, those paths are beyond counting. A directory's own place comes before
any link to it, and of several links the first one, so that every check finds the same paths.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.errors import Code, ItemError
from core.model import ListRow, Problem
from core.names import storable
from core.resolve import Found, Resolver
from core.shares import Kind, is_leftover, is_probe


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file or a directory found for a row, before it was looked at."""

    found: Found
    row: ListRow
    listed: bool
    """True when the row names it, False when it lies below a listed directory."""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory to walk."""

    directory: ListedFile
    real: str
    """Where it lies, all links followed."""
    linked: bool
    """True when its path leads through a link that nothing above it has counted."""


Children = list[ListedFile | Place | Problem]
Parallel = Callable[
    [str, Callable[[Place], Children], Sequence[Place]], Iterator[tuple[Place, Children]]
]
"""Does work on every place under the name of a phase; pairs come in no particular order."""


class Walk:
    """One walk below the directories of one check. ``files`` is called once."""

    def __init__(self, resolver: Resolver, parallel: Parallel) -> None:
        self._resolver = resolver
        self._parallel = parallel
        self._walked: dict[str, str] = {}
        """Real directory → the UNC path under which it is walked."""
        self._links: list[Place] = []
        self._filled: set[int] = set()
        self.problems: list[Problem] = []
        """Links that lead out or to a place already walked, and directories without files."""

    def files(self, directories: Sequence[ListedFile]) -> Iterator[ListedFile]:
        """Yield every file below ``directories``; none of them may lie below another."""
        places = self._listed(directories)
        self._links = [p for p in places if p.linked]
        yield from self._below([p for p in places if not p.linked and self._is_first(p)])
        order = {id(d.row): number for number, d in enumerate(directories)}
        while self._links:
            yield from self._below(self._choose(order))
        for directory in directories:
            if id(directory.row) not in self._filled:
                self._problem(directory, Code.EMPTY_DIRECTORY, directory.row.text)

    def _listed(self, directories: Sequence[ListedFile]) -> list[Place]:
        resolve = self._resolver.shares.fs.resolve
        shares = {d.found.share for d in directories}
        roots = {share.unc: resolve(str(share.directory)) for share in shares}
        places = []
        for directory in directories:
            found = directory.found
            linked = bool(found.ancestors)
            below = found.local[len(str(found.share.directory)) :]
            real = resolve(found.local) if linked else roots[found.share.unc] + below
            places.append(Place(directory, real, linked))
        return places

    def _choose(self, order: dict[int, int]) -> list[Place]:
        """Return links to follow together: to places not walked yet, none inside another."""
        waiting, chosen, self._links = self._links, [], []
        reals: set[str] = set()
        for place in sorted(
            waiting,
            key=lambda p: (len(p.real), order[id(p.directory.row)], p.directory.found.path),
        ):
            if any(real in reals for real in above(place.real)):
                self._links.append(place)
            elif self._is_first(place):
                reals.add(place.real)
                chosen.append(place)
        return chosen

    def _is_first(self, place: Place) -> bool:
        """Return whether a place is walked for the first time; report it when not."""
        there = self._walked.get(place.real)
        if there is None:
            self._walked[place.real] = place.directory.found.path
            return True
        self._problem(
            place.directory,
            Code.LINK_TWICE,
            place.directory.found.path,
            f"{there} として処理します",
        )
        return False

    def _problem(self, directory: ListedFile, code: Code, path: str, detail: str = "") -> None:
        row = directory.row
        self._filled.add(id(row))
        self.problems.append(Problem(code, path, row.source, row.line, detail))

    def _below(self, places: list[Place]) -> Iterator[ListedFile]:
        """Yield every file below some places, and set the links to directories aside."""
        while places:
            deeper: list[Place] = []
            for place, children in self._parallel(
                "フォルダーの中を調べています", self._children, places
            ):
                for child in children:
                    if isinstance(child, Place):
                        (self._links if child.linked else deeper).append(child)
                        continue
                    self._filled.add(id(place.directory.row))
                    if isinstance(child, Problem):
                        self.problems.append(child)
                    else:
                        yield child
            deeper.sort(key=lambda p: p.directory.found.path)
            places = [place for place in deeper if self._is_first(place)]

    def _children(self, place: Place) -> Children:
        row, here = place.directory.row, place.directory.found
        try:
            listing = self._resolver.listing(here.local, here.share)
        except ItemError as exc:
            return [Problem(exc.code, here.path, row.source, row.line, exc.detail)]
        children: Children = []
        for name, kind in listing.kinds.items():
            if is_probe(name):
                continue  # a check-up is at work: the file is gone by the time it is read
            try:
                if not storable(name):
                    raise ItemError(Code.NAME_NOT_STORABLE)
                found = self._resolver.enter(here, name, kind)
                if found.kind is Kind.OTHER:
                    raise ItemError(Code.NOT_A_FILE)
                if found.kind is Kind.FILE and is_leftover(name):
                    raise ItemError(Code.LEFTOVER_SKIPPED)
            except ItemError as exc:
                path = f"{here.path}\\{name}"
                children.append(Problem(exc.code, path, row.source, row.line, exc.detail))
                continue
            child = ListedFile(found, row, False)
            if found.kind is Kind.DIRECTORY:
                children.append(self._place(child, place.real, name, kind is Kind.LINK))
            else:
                children.append(child)
        return children

    def _place(self, directory: ListedFile, parent: str, name: str, linked: bool) -> Place:
        if linked:
            return Place(directory, self._resolver.shares.fs.resolve(directory.found.local), True)
        return Place(directory, os.path.join(parent, name), False)  # noqa: PTH118


def above(local: str) -> Iterator[str]:
    """Yield the directories above a local path, the nearest first."""
    while (parent := os.path.dirname(local)) != local:  # noqa: PTH120 - many times a list
        yield parent
        local = parent
