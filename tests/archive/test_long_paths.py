"""Paths that the metadata of an object cannot hold: whose object it is, its key alone says.

And the key says it only half: ``a_20261123-183000.txt`` is a generation of ``a.txt`` as well as
somebody's file of that name.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import Code, FatalError
from core.model import Entry, RunState
from tests.support.arrange import UNC, Desk

LONG = "/".join(letter * 80 for letter in "営業部")
"""Percent-encoded more than 2 KB, as a key 726 bytes."""
MOMENT = 1_795_426_200 * 10**9  # 2026-11-23 18:30:00 in Tokyo


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def write(desk: Desk, name: str, content: str, moment: int = MOMENT) -> Path:
    path = desk.write(name, content)
    os.utime(path, ns=(0, moment))
    return path


def require_sound(desk: Desk) -> None:
    """Each row has an object of its content, and each file a newest row of its content."""
    for row in desk.catalogue.rows:
        stored = desk.store.objects[row.key]
        assert (stored.sha256, len(stored.data)) == (row.sha256, row.size)
    newest = {row.path: row.sha256 for row in desk.catalogue.rows}
    for path in desk.share.rglob("*"):
        if path.is_file() and not path.name.endswith("_archived.txt"):
            name = str(path.relative_to(desk.share)).replace("/", "\\")
            assert newest[rf"{UNC}\{name}"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.with_name(f"{path.name}_archived.txt").exists()
    keys = [row.key for row in desk.catalogue.rows]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("folder", ["short", LONG])
@pytest.mark.parametrize("together", [True, False])
def test_a_file_that_is_named_like_a_generation_of_another(
    desk: Desk, folder: str, together: bool
) -> None:
    write(desk, f"{folder}/a.txt", "old", 0)
    desk.archive(UNC)
    write(desk, f"{folder}/a.txt", "new")
    if not together:
        desk.archive(UNC)
    write(desk, f"{folder}/a_20261123-183000.txt", "new", 0)
    done = desk.archive(UNC)
    assert (done.record.state, done.failed) == (RunState.DONE, [])
    assert (done.record.archived_files, done.record.failed_files) == (1 + together, 0)
    require_sound(desk)
    keys = sorted(row.key.rpartition("/")[2] for row in desk.catalogue.rows)
    assert len(keys) == 3
    assert keys[1:] in (
        ["a_20261123-183000.txt", "a_20261123-183000_19700101-090000.txt"],
        ["a_20261123-183000.txt", "a_20261123-183000_2.txt"],
    )
    again = desk.archive(UNC)
    assert (again.record.unchanged_files, len(desk.catalogue.rows)) == (2, 3)


def test_what_an_interrupted_run_left_is_adopted_or_told(desk: Desk) -> None:
    """The same end as below a short path (``test_run.py``)."""
    write(desk, f"{LONG}/same.txt", "same")
    path = write(desk, f"{LONG}/changed.txt", "before")

    def database_is_gone(_entries: Sequence[Entry]) -> None:
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    desk.catalogue.before_add = database_is_gone
    desk.archive(UNC)
    desk.catalogue.before_add = lambda _entries: None
    path.write_text("after")
    os.utime(path, ns=(0, 0))
    done = desk.archive(UNC)
    assert done.record.state is RunState.DONE
    require_sound(desk)
    names = [name.rpartition("/")[2] for name in desk.store.writes]
    assert sorted(names) == ["changed.txt", "changed_19700101-090000.txt", "same.txt"]
    [line] = [x for x in done.read("error_log.txt").splitlines() if "OBJECT_UNLISTED" in x]
    assert "changed.txt - " in line


def test_an_object_that_has_another_files_row_is_not_called_unlisted(desk: Desk) -> None:
    """Whoever is told so may think that nobody needs it."""
    write(desk, f"{LONG}/a.txt", "old", 0)
    desk.archive(UNC)
    write(desk, f"{LONG}/a.txt", "new")
    desk.archive(UNC)
    write(desk, f"{LONG}/a_20261123-183000.txt", "other", 0)
    done = desk.archive(UNC)
    assert done.record.state is RunState.DONE
    assert "OBJECT_UNLISTED" not in done.read("error_log.txt")
    require_sound(desk)


def test_a_generation_whose_name_does_not_fit_into_a_key(desk: Desk) -> None:
    """A stem is cut: a file that could be archived once can be archived again."""
    folder = "/".join("あ" * 80 for _ in range(3)) + "/" + "い" * 60
    used = len(f"fsx01/share/{folder}/".encode())
    stem = "う" * ((1024 - used - len(".txt")) // 3)
    name = f"{folder}/{stem}.txt"
    assert 1020 < len(f"fsx01/share/{name}".encode()) <= 1024
    write(desk, name, "one", 0)
    assert desk.archive(UNC).record.state is RunState.DONE
    for content in ("two", "three"):
        write(desk, name, content)
        done = desk.archive(UNC)
        assert (done.record.state, done.failed) == (RunState.DONE, [])
        require_sound(desk)
    keys = [row.key for row in desk.catalogue.rows]
    assert keys[1].endswith("う_20261123-183000.txt")
    assert keys[2].endswith("う_20261123-183000_2.txt")
    assert all(len(key.encode()) <= 1024 for key in keys)


def test_our_own_marker_may_be_too_long_for_a_key(desk: Desk) -> None:
    """It is never archived; a file of somebody else's that looks like one is refused as ever."""
    folder = "/".join("あ" * 80 for _ in range(4))
    name = f"{folder}/{'う' * 13}.txt"
    assert len(f"fsx01/share/{name}_archived.txt".encode()) > 1024
    write(desk, name, "one")
    assert desk.archive(UNC).record.state is RunState.DONE
    done = desk.archive(UNC)
    assert (done.record.state, done.record.unchanged_files) == (RunState.DONE, 1)
    desk.write(f"{folder}/{'え' * 13}.txt_archived.txt")
    [problem] = [p for p in desk.check(UNC).problems if p.is_error]
    assert problem.code is Code.KEY_TOO_LONG
    assert problem.path.endswith("え.txt_archived.txt")


NAMES = st.sampled_from(
    ["a.txt", "a_20261123-183000.txt", "a_20261123-183000_2.txt",
     "a_20261123-183000_20261123-183000.txt", "A.txt"]
)  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, st.sampled_from(["x", "y"]), min_size=1),
        st.sampled_from([0, MOMENT]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None)
@example(
    [({"a.txt": "y"}, 0, False), ({"a.txt": "x", "a_20261123-183000.txt": "x"}, MOMENT, False)],
    LONG,
)
@given(STEPS, st.sampled_from(["short", LONG]))
def test_any_names_interrupted_anywhere_end_in_rows_of_their_own(
    steps: list[tuple[dict[str, str], int, bool]], folder: str
) -> None:
    with tempfile.TemporaryDirectory() as root:
        desk = Desk(Path(root))

        def interrupted(_entries: Sequence[Entry]) -> None:
            raise FatalError(Code.DATABASE_UNAVAILABLE)

        for files, moment, whole in steps:
            for name, content in files.items():
                write(desk, f"{folder}/{name}", content, moment)
            desk.catalogue.before_add = (lambda _entries: None) if whole else interrupted
            desk.archive(UNC)
        desk.catalogue.before_add = lambda _entries: None
        done = desk.archive(UNC)
        assert (done.record.state, done.failed) == (RunState.DONE, [])
        require_sound(desk)
        there = len(desk.catalogue.rows)
        assert desk.archive(UNC).record.archived_files == 0
        assert len(desk.catalogue.rows) == there
