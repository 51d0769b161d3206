"""Everything below the listed directories; links are told, not followed.

What a link leads to may be what the person who asked may not read: Himuro's account reads all,
and the path in the list would not say where its content is from. And a file has one key: that
of the place where it lies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.errors import Code, ItemError
from core.model import Problem
from core.paths.normalization import storable
from core.share.resolver import Found, Resolver
from core.share.shares import Kind, Shares, is_leftover, is_probe


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A file or a directory that a row of a list names, before it was looked at."""

    found: Found
    source: str
    """Of the row, as is the next."""
    line: int
    text: str
    """What stands there; empty when it is the very path that was found."""

    @property
    def row(self) -> Listed:
        return self

    @property
    def named(self) -> str:
        return self.text or self.found.path


@dataclass(frozen=True, slots=True, eq=False)
class Below:
    """A file or a directory in or below a listed directory, before it was looked at."""

    found: Found
    row: Listed
    """The listed directory."""

    @property
    def named(self) -> str:
        return self.found.path


Candidate = Listed | Below
Children = list[Below | Problem]
Parallel = Callable[
    [str, Callable[[Candidate], Children], Sequence[Candidate]],
    Iterator[tuple[Candidate, Children]],
]
"""Does work on every directory under the name of a phase; pairs come in no particular order."""


class Walk:
    """One walk below the directories of one check. ``files`` is called once."""

    def __init__(self, resolver: Resolver, parallel: Parallel) -> None:
        self._resolver = resolver
        self._parallel = parallel
        self.problems: list[Problem] = []
        """What cannot be taken, and directories without files."""

    def files(self, directories: Sequence[Listed]) -> Iterator[Below]:
        """Yield every file and every link below ``directories``; none of them may lie below
        another."""
        filled: set[int] = set()
        here: list[Candidate] = list(directories)
        while here:
            deeper: list[Candidate] = []
            for directory, children in self._parallel(
                "フォルダーの中を調べています", self._children, here
            ):
                for child in children:
                    if isinstance(child, Below) and child.found.kind is Kind.DIRECTORY:
                        deeper.append(child)
                        continue
                    filled.add(id(directory.row))
                    if isinstance(child, Problem):
                        self.problems.append(child)
                    else:
                        yield child
            here = sorted(deeper, key=lambda d: d.found.path)
        for row in directories:
            if id(row) not in filled:
                self.problems.append(Problem(Code.EMPTY_DIRECTORY, row.named, row.source, row.line))

    def _children(self, directory: Candidate) -> Children:
        row, here = directory.row, directory.found
        try:
            listing = self._resolver.listing(here.inside, here.share)
        except ItemError as exc:
            return [Problem(exc.code, here.path, row.source, row.line, exc.detail)]
        children: Children = []
        for name in listing.names:
            if is_probe(name):
                continue  # a check-up is at work: the file is gone by the time it is read
            try:
                if not storable(name):
                    raise ItemError(Code.NAME_NOT_STORABLE)
                found = self._resolver.enter(listing, name, here.share)
                if found.kind is Kind.OTHER:
                    raise ItemError(Code.NOT_A_FILE)
                if found.kind is Kind.FILE and is_leftover(name):
                    raise ItemError(Code.LEFTOVER_SKIPPED)
            except ItemError as exc:
                path = f"{here.path}\\{name}"
                children.append(Problem(exc.code, path, row.source, row.line, exc.detail))
                continue
            children.append(Below(found, row))
        return children


def link_problems(
    links: Sequence[Candidate], taken: Iterable[Candidate], shares: Shares
) -> Iterator[Problem]:
    """Yield what is said of each link: a warning where the place that it leads to is ``taken``,
    or below a directory that is, and archived there; else an error."""
    led_to = {place for link in links for place in (link.found.local, *above(link.found))}
    places = {place for file in taken if (place := file.found.local) in led_to} if links else {}
    for link in links:
        found, row = link.found, link.row
        there = shares.written(found.share, found.local)
        code, detail = Code.LINK_NOT_FOLLOWED, f"リンク先: {there}"
        if any(place in places for place in (found.local, *above(found))):
            code, detail = Code.LINK_TWICE, f"{there} として処理します"
        yield Problem(code, link.named, row.source, row.line, detail)


def above(found: Found) -> Iterator[str]:
    """Yield the local directories above what was found, of a link above the place that it leads
    to; the nearest first."""
    if not found.leads_to and found.name:
        yield found.parent.local
        local = found.parent.local
    else:
        local = found.local
    while (parent := os.path.dirname(local)) != local:  # noqa: PTH120 - many times a list
        yield parent
        local = parent
