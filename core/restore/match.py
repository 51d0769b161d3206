"""What a row of a restore list means among the rows of the archive list; never a guess.

The exact path decides. Only where no row has it, names are compared as Windows does; what then
is several files is the sender's to tell apart (``docs/contract.md``, "Restores").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import chain, islice

from core.model import MARKER_SUFFIX, Entry, ListRow
from core.paths.normalization import identity
from core.units import local

_ZERO = timedelta()
MAX_NAMED = 20
"""Candidates that one message names."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several things that a row may mean."""

    candidates: tuple[str, ...]
    """In Japanese, for whoever has to choose."""

    def __str__(self) -> str:
        return named(self.candidates)


def named(candidates: Sequence[str]) -> str:
    """Return the first of some candidates and how many there are besides."""
    shown = "、".join(candidates[:MAX_NAMED])
    rest = len(candidates) - MAX_NAMED
    return f"{shown}、ほか{rest:,}件" if rest > 0 else shown


def spelled(path: str) -> str:
    """Return a path by which files are told apart letter by letter.

    Server and share have no case: they are compared as Windows does.
    """
    names = path.split("\\", 4)
    return "\\".join((_place("\\".join(names[:4])), *names[4:]))


@lru_cache(maxsize=4096)
def _place(server_and_share: str) -> str:
    return identity(server_and_share)


def readings(row: ListRow) -> tuple[str, ...]:
    """Return all paths that a row may mean, the most exact first."""
    return tuple(path for group in _groups(row) for path in group)


def _groups(row: ListRow) -> Iterator[tuple[str, ...]]:
    """Yield what a row may mean as written, then what it may mean when it was tidied.

    With the spaces of its names, without them, and without the apostrophe that our CSV puts
    before a formula. In a CSV of ours nothing tells that from an apostrophe of the name.
    """
    written = row.exact or row.path
    together = (written, *row.unmarked) if row.marker else (written,)
    yield together
    for other in (row.path, *row.unmarked):
        if other not in together:
            yield (other,)


def original_of(path: str) -> str | None:
    """Return the path whose marker this may be; None: it is no marker's."""
    original = path.removesuffix(MARKER_SUFFIX)
    return original if original not in (path, "") and original[-1] != "\\" else None


def file_of(row: ListRow, known: Sequence[Entry]) -> Entry | Ambiguous | None:
    """Return the generation of a file that a row means; None when there is no such."""
    found = (_one(row, choice) for choice in _choices(row, known))
    return next((one for one in found if one), None)


def is_exact(row: ListRow, known: Sequence[Entry]) -> bool:
    """Return whether any file is spelled as a row may be read."""
    written = set()
    for path in readings(row):
        written |= {spelled(path), spelled(original_of(path) or path)}
    return any(spelled(entry.path) in written for entry in known)


def candidates(row: ListRow, known: Sequence[Entry]) -> Sequence[Entry]:
    """Return all generations of the files that a row names, whatever time it says."""
    return [entry for choice in _choices(row, known) for entry in choice]


def _choices(row: ListRow, known: Sequence[Entry]) -> Sequence[Sequence[Entry]]:
    """Return what a row may mean, the first of which decides unless its time is another's."""
    if not known:
        return ()
    exact, near = _by_path(known, spelled), _by_path(known, identity)
    written, *tidied = _groups(row)
    if found := _named_so(row, written, exact, spelled):
        return found
    in_another_case = _named_so(row, written, near, identity)
    tidy = _first(_named_so(row, group, exact, spelled) for group in tidied)
    if in_another_case and tidy:
        # A slip of the case and one of a space are equally likely: not ours to decide.
        return (list({entry.id: entry for entry in chain(*in_another_case, *tidy)}.values()),)
    return (
        in_another_case or tidy or _first(_named_so(row, group, near, identity) for group in tidied)
    )


def _by_path(known: Iterable[Entry], compared: Callable[[str], str]) -> dict[str, list[Entry]]:
    by_path: dict[str, list[Entry]] = {}
    for entry in known:
        by_path.setdefault(compared(entry.path), []).append(entry)
    return by_path


def _first(choices: Iterable[Sequence[Sequence[Entry]]]) -> Sequence[Sequence[Entry]]:
    return next(filter(None, choices), ())


def _named_so(
    row: ListRow,
    group: Iterable[str],
    by_path: dict[str, list[Entry]],
    compared: Callable[[str], str],
) -> Sequence[Sequence[Entry]]:
    as_original: dict[str, None] = {}
    as_marker: dict[str, None] = {}
    for path in group:
        as_original[compared(path)] = None
        if original := original_of(path):
            as_marker[compared(original)] = None
    marked = [entry for path in as_marker for entry in by_path.get(path, ())]
    if marked and row.marker:
        return (marked,)
    named = [
        entry for path in as_original if path not in as_marker for entry in by_path.get(path, ())
    ]
    # Written letter by letter, a name is a file's before it is the name of another's marker.
    found = (named, marked) if compared is spelled else (named + marked,)
    return tuple(filter(None, found))


def _one(row: ListRow, found: Sequence[Entry]) -> Entry | Ambiguous | None:
    if row.archived_at is None:
        newest: dict[str, Entry] = {}
        for entry in sorted(found, key=lambda e: e.id):
            newest[spelled(entry.path)] = entry
        found = list(newest.values())
    else:
        found = [e for e in found if _ZERO <= e.archived_at - row.archived_at < row.precision]
    if len(found) > 1 and row.key:
        found = [entry for entry in found if entry.key == row.key] or found
    if len(found) < 2:
        return next(iter(found), None)
    return Ambiguous(tuple(_told(row, found)))


def _told(row: ListRow, found: Sequence[Entry]) -> Iterator[str]:
    several = len({spelled(entry.path) for entry in found}) > 1
    for entry in sorted(found, key=lambda e: (e.path, e.id)):
        if row.archived_at is None:
            yield entry.path
            continue
        when = local(entry.archived_at, row.archived_at.tzinfo)
        moment = f"アーカイブ日時 {when:%Y/%m/%d %H:%M:%S.%f}"
        yield f"{entry.path}（{moment}）" if several else moment


@dataclass(frozen=True, slots=True)
class Folder:
    """What was archived below a folder."""

    path: str
    newest: tuple[Entry, ...]
    """The newest generation of each file, in order of their paths."""
    others: tuple[tuple[str, int], ...] = ()
    """Folders that differ in letter case and the like only, and how many files are below."""


def folder_of(row: ListRow, below: Callable[[str], Iterable[Entry]]) -> Folder | Ambiguous | None:
    """Return what a row means as a folder; None when nothing was archived below it.

    ``below``: yields what lies below a path, compared as Windows does.
    """
    written, tidied = row.exact or row.path, row.path
    found = _spellings(written, below(written))
    if exact := found.pop(spelled(written), None):
        return Folder(written, exact.sorted(), _others(found))
    if tidied != written:
        others = _spellings(tidied, below(tidied))
        if exact := others.pop(spelled(tidied), None):
            if not found:
                return Folder(tidied, exact.sorted(), _others(others))
            others = {spelled(tidied): exact}
        if exact or not found:
            found |= others
    if len(found) < 2:
        return next((Folder(s.path, s.sorted()) for s in found.values()), None)
    return Ambiguous(tuple(sorted(s.path for s in found.values())))


def is_exact_folder(row: ListRow, folder: Folder | Ambiguous) -> bool:
    """Return whether what ``folder_of`` returned for a row is, or holds, the very folder that the
    row names."""
    paths = folder.candidates if isinstance(folder, Ambiguous) else (folder.path,)
    exact = {spelled(row.exact or row.path), spelled(row.path)}
    return any(spelled(path) in exact for path in paths)


def _others(found: Mapping[str, _Spelling]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((s.path, len(s.newest)) for s in found.values()))


@dataclass(slots=True)
class _Spelling:
    path: str
    newest: dict[str, Entry]

    def sorted(self) -> tuple[Entry, ...]:
        return tuple(self.newest[path] for path in sorted(self.newest))


def _spellings(folder: str, entries: Iterable[Entry]) -> dict[str, _Spelling]:
    """Return what lies below a folder, told apart by how the folder is spelled."""
    found: dict[str, _Spelling] = {}
    names = len(folder.split("\\"))
    for entry in entries:
        path = entry.path
        above = "\\".join(islice(path.split("\\"), names))
        mine = found.setdefault(spelled(above), _Spelling(above, {}))
        file = spelled(path)
        there = mine.newest.get(file)
        if there is None or there.id < entry.id:
            mine.newest[file] = entry
    return found
