r"""The directory tree of the archive list, with the number of files and bytes below each folder.

Made from sums by directory. Directories that Windows takes for the same (letter case, composed
or not) are one folder, which is called what the newest of its files calls it. Empty parts of a
path are passed over, and what is no UNC path stands beside the servers.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from core.paths.normalization import fold, identity, split_unc
from core.ports import Total

_ROOT = 0
_NONE = -1
_SPELLINGS = 16384
"""Names whose other forms are kept at hand. Most of them occur in many places."""
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the tree; a server and a share are folders, too."""

    path: str
    r"""``\\server\share\…``; empty for the one above the servers."""
    name: str
    """Last part of the path."""
    files: int
    """Directly in it and below."""
    size: int
    """Bytes of these."""
    own_files: int
    """Directly in it."""
    node: int
    """Its place in the tree that it comes from."""


class Folders:
    """A tree that never changes; any thread may ask. Some 130 bytes a folder."""

    def __init__(self) -> None:
        self._names = [""]
        # A list of children is a chain: the last one that came, then the one before it.
        self._child = array("i", [_NONE])
        self._sibling = array("i", [_NONE])
        self._files = array("q", [0])
        self._sizes = array("q", [0])
        self._own_files = array("q", [0])
        self._newest = array("q", [0])
        self._occupied = 0

    def __len__(self) -> int:
        """Return how many folders hold files directly."""
        return self._occupied

    @property
    def root(self) -> Folder:
        """The folder above all servers."""
        return self._folder(_ROOT, "")

    def plus(self, totals: Iterable[Total]) -> Folders:
        """Return a tree with further files in it.

        Quick when they come sorted by directory; in any other order right all the same.
        """
        grown = Folders()
        for name, column in vars(self).items():
            setattr(grown, name, column if name == "_occupied" else column[:])
        grown._grow(totals)
        return grown

    def find(self, path: str) -> Folder | None:
        """Return the folder that Windows would find; None when nothing was archived there."""
        way = self.way(path)
        return way[-1] if way else None

    def way(self, path: str) -> list[Folder]:
        """Return the folders on the way from the root to one, both included; empty when nothing
        was archived there."""
        found = [self.root]
        for name in split_unc(path):
            node = self._child_called(found[-1].node, name)
            if node == _NONE:
                return []
            found.append(self._folder(node, _below(found[-1].path, self._names[node])))
        return found

    def children(self, folder: Folder) -> list[Folder]:
        """Return the folders directly in one, in no order."""
        return [
            self._folder(node, _below(folder.path, self._names[node]))
            for node in self._chain(folder.node)
        ]

    def searched_as(self, folder: Folder) -> list[Folder]:
        """Return the folders that a search for this one's path takes for it, itself among them.

        A search knows no difference of width or kana (``core.paths.normalization.fold``), Windows
        does. What it takes for a backslash (yen signs, wide backslashes) may make it find still
        more.
        """
        found = [self.root]
        for name in map(_folded, split_unc(folder.path)):
            found = [
                self._folder(node, _below(each.path, self._names[node]))
                for each in found
                for node in self._chain(each.node)
                if _folded(self._names[node]) == name
            ]
        return found

    def _folder(self, node: int, path: str) -> Folder:
        return Folder(
            path,
            self._names[node],
            self._files[node],
            self._sizes[node],
            self._own_files[node],
            node,
        )

    def _chain(self, node: int) -> Iterator[int]:
        node = self._child[node]
        while node != _NONE:
            yield node
            node = self._sibling[node]

    def _child_called(self, node: int, name: str) -> int:
        """Return a child; as it is spelt, or else in another spelling of the same name."""
        for child in self._chain(node):
            if self._names[child] == name:
                return child
        wanted = identity(name)
        return next((c for c in self._chain(node) if identity(self._names[c]) == wanted), _NONE)

    def _grow(self, totals: Iterable[Total]) -> None:
        spelling = lru_cache(maxsize=_SPELLINGS)(_spelling)
        steps = [_Step("", _ROOT)]
        for total in totals:
            names = split_unc(total.directory)
            same = 0
            while same < min(len(names), len(steps) - 1) and names[same] == steps[same + 1].name:
                same += 1
            del steps[same + 1 :]
            for name in names[same:]:
                shared, key = spelling(name)
                steps.append(_Step(shared, self._enter(steps[-1], shared, key)))
            self._count(steps, total)

    def _enter(self, step: _Step, name: str, key: str) -> int:
        """Return the child with this name, which is made when it is not there."""
        if step.children is None:
            step.children = {identity(self._names[c]): c for c in self._chain(step.node)}
        node = step.children.get(key)
        if node is None:
            node = step.children[key] = len(self._names)
            self._names.append(name)
            self._child.append(_NONE)
            self._sibling.append(self._child[step.node])
            self._child[step.node] = node
            for numbers in self._numbers:
                numbers.append(0)
        return node

    @property
    def _numbers(self) -> tuple[array[int], ...]:
        return self._files, self._sizes, self._own_files, self._newest

    def _count(self, steps: list[_Step], total: Total) -> None:
        for step in steps:
            node = step.node
            self._files[node] += total.files
            self._sizes[node] += total.size
            if total.newest > self._newest[node]:
                self._newest[node] = total.newest
                self._names[node] = step.name
        if total.files and not self._own_files[node]:
            self._occupied += 1
        self._own_files[node] += total.files


@dataclass(slots=True)
class _Step:
    """A folder on the way to where a tree grows."""

    name: str
    """In the spelling of the path that was followed last."""
    node: int
    children: dict[str, int] | None = None
    """By what their spellings have in common; None until one of them is asked for."""


def _spelling(name: str) -> tuple[str, str]:
    """Return a name and what all its spellings have in common."""
    return name, identity(name)


def _below(path: str, name: str) -> str:
    return f"{path}\\{name}" if path else f"\\\\{name}"


_folded = lru_cache(maxsize=_SPELLINGS)(fold)


@lru_cache(maxsize=_SPELLINGS)
def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key by which ``第2回`` comes before ``第10回``; as searches fold them."""
    parts = _DIGITS.split(fold(name))
    numbers = (part.lstrip("0") for part in parts)
    return tuple(
        (len(number), number) if place % 2 else (0, part)
        for place, (part, number) in enumerate(zip(parts, numbers, strict=True))
    )
