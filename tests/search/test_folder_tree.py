"""The tree of folders, compared with sums that are made the slow way."""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.paths.normalization import identity, split_unc
from core.ports import Total
from core.search.folder_tree import Folder, Folders, natural

MONTH = date(2026, 11, 1)


def total(directory: str, files: int = 1, size: int = 0, newest: int = 1) -> Total:
    return Total(directory, MONTH, files, size, newest)


TREE = Folders().plus(
    [
        total(r"\\fsx01\share", 1, 10),
        total(r"\\fsx01\share\営業部", 2, 200),
        total(r"\\fsx01\share\営業部\2026年\見積", 3, 3000),
        total(r"\\fsx01\share\営業部 旧", 4, 40000),
        total(r"\\fsx02\dept\A", 5, 500000),
    ]
)


def test_a_folder_counts_what_is_below_it() -> None:
    assert TREE.root == Folder("", "", 15, 543210, 0, TREE.root.node)
    share = TREE.find(r"\\fsx01\share")
    assert share is not None
    assert (share.files, share.size, share.own_files) == (10, 43210, 1)
    assert {(f.name, f.path, f.files) for f in TREE.children(share)} == {
        ("営業部", r"\\fsx01\share\営業部", 5),
        ("営業部 旧", r"\\fsx01\share\営業部 旧", 4),
    }
    assert {f.path for f in TREE.children(TREE.root)} == {r"\\fsx01", r"\\fsx02"}
    assert len(TREE) == 5
    assert [f.path for f in TREE.way(r"\\fsx01\share\営業部")] == [
        "", r"\\fsx01", r"\\fsx01\share", r"\\fsx01\share\営業部",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", [r"\\fsx02\DEPT\a", r"\\fsx02\dept\A" + "\\", r"fsx02\dept\A", r"\\\\fsx02\\dept\A"]
)
def test_a_folder_is_found_in_any_spelling(path: str) -> None:
    found = TREE.find(path)
    assert found is not None
    assert found.path == r"\\fsx02\dept\A"


@pytest.mark.parametrize(
    "path", [r"\\fsx03", r"\\fsx01\share\営業", r"\\fsx01\share\営業部\x", "Ａ"]
)
def test_an_unknown_folder_is_not_found(path: str) -> None:
    assert TREE.find(path) is None
    assert TREE.way(path) == []


def test_spellings_are_one_folder_called_as_the_newest_file_calls_it() -> None:
    decomposed, composed = "\\\\S\\か\u3099", "\\\\s\\が"
    tree = Folders().plus([total(composed, newest=7), total(decomposed, newest=9)])
    (server,) = tree.children(tree.root)
    (folder,) = tree.children(server)
    assert (server.name, folder.path, folder.files) == ("S", decomposed, 2)
    tree = tree.plus([total(composed, newest=10)])
    (server,) = tree.children(tree.root)
    assert [f.path for f in tree.children(server)] == [composed]


def test_growing_leaves_the_old_tree_as_it_was() -> None:
    grown = TREE.plus([total(r"\\fsx01\share\新", 1, 1, 2)])
    assert (TREE.root.files, grown.root.files) == (15, 16)
    assert (TREE.find(r"\\fsx01\share\新"), len(TREE), len(grown)) == (None, 5, 6)


def test_a_path_of_hundreds_of_folders() -> None:
    path = "\\\\" + "\\".join(f"d{n}" for n in range(900))
    tree = Folders().plus([total(path, 3, 30)])
    assert [f.files for f in tree.way(path)] == [3] * 901


def test_what_a_search_does_not_tell_apart() -> None:
    paths = (r"\\s\ガ\1", r"\\s\が\①", r"\\s\が\2", r"\\s\か\1", "\\\\s\\がx\\1")
    tree = Folders().plus(map(total, paths))
    asked = tree.find(paths[0])
    assert asked is not None
    assert {folder.path for folder in tree.searched_as(asked)} == set(paths[:2])


PARTS = st.sampled_from(
    ["share", "Share", "営業部", "が", "か\u3099", "ガ", "ß", "SS", "İ", "a", "a b", "a]", "", " "]
) | st.text("aB%_～　\u3099", max_size=3)
PATHS = (
    st.lists(PARTS, max_size=6)
    .map("\\".join)
    .flatmap(lambda path: st.sampled_from([f"\\\\{path}", path, f"{path}\\", f"\\\\{path}\\"]))
)
TOTALS = st.lists(
    st.tuples(PATHS, st.integers(1, 9), st.integers(0, 2**40)), min_size=1, max_size=30
)


@example([("", 1, 1), ("\\", 2, 2), ("\\\\", 3, 3)], 1)
@example([("a", 1, 1), (r"a b", 2, 2), (r"a\c", 3, 3), (r"A\c\d", 4, 4)], 2)
@given(TOTALS, st.integers(0, 30))
def test_every_folder_has_the_sum_of_what_is_below(
    rows: list[tuple[str, int, int]], cut: int
) -> None:
    totals = [total(path, files, size, n + 1) for n, (path, files, size) in enumerate(rows)]
    expected: dict[tuple[str, ...], list[int]] = {}
    for path, files, size in rows:
        names = tuple(map(identity, split_unc(path)))
        for depth in range(len(names) + 1):
            sums = expected.setdefault(names[:depth], [0, 0, 0])
            own = depth == len(names)
            for place, number in enumerate((files, size, files * own)):
                sums[place] += number
    shuffled = random.Random(cut).sample(totals, len(totals))
    trees = [
        Folders().plus(sorted(totals)),
        Folders().plus(shuffled),
        Folders().plus(sorted(totals[:cut])).plus(sorted(totals[cut:])),
    ]
    found = [_all(tree) for tree in trees]
    assert {key: list(numbers) for key, (_path, *numbers) in found[0].items()} == expected
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert {len(tree) for tree in trees} == {sum(own > 0 for _, _, own in expected.values())}


def _all(tree: Folders) -> dict[tuple[str, ...], tuple[str, int, int, int]]:
    """Return every folder that can be walked to, each of which its path finds as well."""
    found = {}
    left = [tree.root]
    while left:
        folder = left.pop()
        assert tree.find(folder.path) == folder
        key = tuple(map(identity, split_unc(folder.path)))
        assert key not in found
        numbers = (folder.files, folder.size, folder.own_files)
        found[key] = (folder.path, *numbers)
        left += tree.children(folder)
    return found


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = ["第10回", "第2回", "第１回", "第02回b", "2026年", "b", "B1", "ア", "い"]
    assert sorted(names, key=natural) == [
        "2026年", "b", "B1", "ア", "い", "第１回", "第2回", "第02回b", "第10回",
    ]  # fmt: skip


@given(st.text("09１a第²①٣ "), st.text("09１a第²①٣ "))
def test_any_two_names_can_be_compared(one: str, other: str) -> None:
    assert (natural(one) < natural(other)) is not (natural(one) >= natural(other))
