"""Everything below the listed directories; links are told, not followed.

What a link leads to may be what the person who asked may not read: Himuro's account reads all,
and the path in the list would not say where its content is from. And a file has one key: that
of the place where it lies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from core.errors import Code, ItemError
from core.model import ListRow, Problem
from core.names import storable
from core.resolve import Found, Resolver
from core.shares import Kind, Shares, is_leftover, is_probe


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file or a directory found for a row, before it was looked at."""

    found: Found
    row: ListRow
    listed: bool
    """True when the row names it, False when it lies below a listed directory."""


Children = list[ListedFile | Problem]
Parallel = Callable[
    [str, Callable[[ListedFile], Children], Sequence[ListedFile]],
    Iterator[tuple[ListedFile, Children]],
]
"""Does work on every directory under the name of a phase; pairs come in no particular order."""


class Walk:
    """One walk below the directories of one check. ``files`` is called once."""

    def __init__(self, resolver: Resolver, parallel: Parallel) -> None:
        self._resolver = resolver
        self._parallel = parallel
        self.problems: list[Problem] = []
        """What cannot be taken, and directories without files."""

    def files(self, directories: Sequence[ListedFile]) -> Iterator[ListedFile]:
        """Yield every file and every link below ``directories``; none of them may lie below
        another."""
        filled: set[int] = set()
        here = list(directories)
        while here:
            deeper: list[ListedFile] = []
            for directory, children in self._parallel(
                "フォルダーの中を調べています", self._children, here
            ):
                for child in children:
                    if isinstance(child, ListedFile) and child.found.kind is Kind.DIRECTORY:
                        deeper.append(child)
                        continue
                    filled.add(id(directory.row))
                    if isinstance(child, Problem):
                        self.problems.append(child)
                    else:
                        yield child
            here = sorted(deeper, key=lambda d: d.found.path)
        for row in (d.row for d in directories):
            if id(row) not in filled:
                self.problems.append(Problem(Code.EMPTY_DIRECTORY, row.text, row.source, row.line))

    def _children(self, directory: ListedFile) -> Children:
        row, here = directory.row, directory.found
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
            children.append(ListedFile(found, row, False))
        return children


def link_problem(link: ListedFile, places: Collection[str], shares: Shares) -> Problem:
    """Return what is said of a link: a warning where the place that it leads to is among the
    listed ``places`` or below one, and archived there; else an error."""
    found, row = link.found, link.row
    there = shares.written(found.share, found.local)
    path = row.text if link.listed else found.path
    if found.local in places or any(place in places for place in above(found.local)):
        return Problem(Code.LINK_TWICE, path, row.source, row.line, f"{there} として処理します")
    return Problem(Code.LINK_NOT_FOLLOWED, path, row.source, row.line, f"リンク先: {there}")


def above(local: str) -> Iterator[str]:
    """Yield the directories above a local path, the nearest first."""
    while (parent := os.path.dirname(local)) != local:  # noqa: PTH120 - many times a list
        yield parent
        local = parent
