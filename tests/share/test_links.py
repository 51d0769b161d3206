# Arguments have the names of the fixtures that are imported.
# ruff: noqa: F811
"""A directory that is swapped for a link leads nobody outside, nor to anybody else's files.

Whoever may write into a folder of a share may do that at any moment. Here it is done at the
moments that count, by what the run itself calls, and never by the clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import Code, FatalError, ListError
from core.health.findings import Status
from core.health.local_checks import restore_root as look_at_root
from core.health.local_checks import share as look_at_share
from core.model import RunRecord, RunState
from core.restore.target import Directory, check_writable, find_target
from core.share.shares import FileSystem, Kind
from tests.restore.test_run import Counter, counter
from tests.support.arrange import UNC, Desk

__all__ = ["counter"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that is not in the share."""
    path = tmp_path / "outside"
    path.mkdir()
    return path


def swap(directory: Path, there: Path) -> None:
    """Put a link in the place of a directory, which goes on beside it under another name."""
    directory.rename(directory.with_name(f"{directory.name} (alt)"))
    directory.symlink_to(there)


def once(work: Callable[[], None]) -> Callable[..., None]:
    """Return a hook that does its work the first time it is called."""
    left = [work]

    def hook(*_args: object) -> None:
        while left:
            left.pop()()

    return hook


def archived(desk: Desk, *paths: str, then: Callable[[], None]) -> tuple[RunRecord, str]:
    """Check a list, do something, and run it; returns how it ended and its log."""
    run = desk.new_run("\n".join(paths).encode())
    run.begin(run.check())
    then()
    record = run.execute(lambda: desk.store, desk.stop)
    return record, (run.folder.path / "error_log.txt").read_text("utf-8")


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# Markers


@pytest.mark.parametrize("deep", ["d", "d/e"])
@pytest.mark.parametrize("moved", [False, True])
def test_no_marker_goes_through_a_directory_that_became_a_link(
    desk: Desk, outside: Path, deep: str, moved: bool
) -> None:
    """Between its upload and its marker, also where the link leads to the same directory."""
    desk.write(f"{deep}/a.txt", "a")
    desk.write("z.txt", "z")
    (outside / "e").mkdir()

    def strike() -> None:
        if moved:
            (desk.share / "d").rename(outside / "d")
            (desk.share / "d").symlink_to(outside / "d")
        else:
            swap(desk.share / "d", outside)

    desk.catalogue.before_add = once(strike)
    done = desk.archive(UNC)
    assert not [name for name in names(outside) if name.endswith("_archived.txt")]
    assert (done.record.state, done.record.failed_files) == (RunState.FAILED_FILES, 1)
    assert "MARKER_FAILED" in done.read("error_log.txt")
    assert "リンク" in done.read("error_log.txt")
    assert desk.markers() == {"z.txt_archived.txt"}
    assert done.failed == [UNC + "\\" + deep.replace("/", "\\") + r"\a.txt"]


# Reading


@pytest.mark.parametrize("elsewhere", ["人事", "outside"])
def test_what_is_archived_is_the_file_at_its_path(
    desk: Desk, outside: Path, elsewhere: str
) -> None:
    """A folder of one's own, swapped for a link to files that one may not read."""
    desk.write("d/a.txt", "mine")
    desk.write("人事/a.txt", "secret")
    desk.write("z.txt", "z")
    (outside / "a.txt").write_text("secret")
    there = desk.share / "人事" if elsewhere == "人事" else outside
    record, log = archived(
        desk, rf"{UNC}\d\a.txt", rf"{UNC}\z.txt", then=lambda: swap(desk.share / "d", there)
    )
    assert (record.archived_files, record.failed_files) == (1, 1)
    assert [stored.data for stored in desk.store.objects.values()] == [b"z"]
    assert rf"{UNC}\d\a.txt" in log
    assert "LINK_NOT_FOLLOWED" in log


@pytest.mark.parametrize("size", [10, 5000])
def test_a_file_that_is_swapped_for_a_link_while_it_is_read(desk: Desk, size: int) -> None:
    """To itself, even: what lies at the path then is no file any more."""

    class Swapping(FileSystem):
        def stat(self, path: str) -> os.stat_result:
            if path.endswith("/a.txt"):
                strike()
            return super().stat(path)

    file = desk.write("d/a.txt", b"x" * size)
    desk.write("b/a.txt", b"x" * size)
    os.utime(desk.share / "b/a.txt", ns=(0, file.stat().st_mtime_ns))
    strike = once(lambda: swap(desk.share / "d", desk.share / "d (alt)"))
    desk.fs = Swapping()
    done = desk.archive(rf"{UNC}\d\a.txt", rf"{UNC}\b")
    assert done.failed == [rf"{UNC}\d\a.txt"]
    assert "CHANGED_WHILE_READING" in done.read("error_log.txt")


def test_a_folder_that_is_swapped_while_the_list_is_checked(desk: Desk, outside: Path) -> None:
    desk.write("d/e/a.txt", "mine")
    desk.write("z.txt", "z")
    (outside / "secret.txt").write_text("secret")

    class Swapping(FileSystem):
        def list(self, directory: str) -> list[tuple[str, Kind]]:
            found = super().list(directory)
            if directory.endswith("/d"):
                strike()
            return found

    strike = once(lambda: swap(desk.share / "d/e", outside))
    desk.fs = Swapping()
    plan = desk.check(UNC)
    assert [item.name for item in plan.items] == ["z.txt"]
    assert [(p.code, p.path) for p in plan.problems] == [(Code.LINK_NOT_FOLLOWED, rf"{UNC}\d\e")]
    assert plan.refused


def test_a_link_is_no_marker(desk: Desk, outside: Path) -> None:
    """An empty file that it leads to was taken for one, and so was one that leads nowhere."""
    desk.write("a.txt", "a")
    desk.write("b.txt", "b")
    (outside / "empty").touch()
    (desk.share / "a.txt_archived.txt").symlink_to(outside / "empty")
    (desk.share / "b.txt_archived.txt").symlink_to(outside / "nothing")
    plan = desk.check(rf"{UNC}\a.txt", rf"{UNC}\b.txt")
    assert [p.code for p in plan.problems] == [Code.MARKER_NAME_TAKEN] * 2


# Links that were there before


def test_what_a_link_leads_to_is_archived_where_it_lies(desk: Desk) -> None:
    """And only when somebody has listed that place: one file, one key."""
    desk.write("人事/給与.xlsx", "secret")
    desk.write("営業/a.txt", "a")
    (desk.share / "営業/資料").symlink_to(desk.share / "人事")
    (desk.share / "営業/b.xlsx").symlink_to("../人事/給与.xlsx")
    done = desk.archive(rf"{UNC}\営業")
    assert (done.record.state, desk.store.objects) == (RunState.REFUSED, {})
    log = done.read("error_log.txt")
    assert rf"{UNC}\営業\b.xlsx - " in log
    assert rf"（リンク先: {UNC}\人事\給与.xlsx）" in log
    assert rf"（リンク先: {UNC}\人事）" in log
    done = desk.archive(rf"{UNC}\営業", rf"{UNC}\人事")
    assert done.record.state is RunState.DONE
    assert sorted(desk.store.objects) == [
        "fsx01/share/人事/給与.xlsx",
        "fsx01/share/営業/a.txt",
    ]
    assert names(desk.share / "人事") == ["給与.xlsx", "給与.xlsx_archived.txt"]


@pytest.mark.parametrize("listed", [True, False])
def test_a_path_through_a_link_is_refused_with_the_place_that_is_meant(
    desk: Desk, listed: bool
) -> None:
    desk.write("z/real/a.txt", "1")
    (desk.share / "link").symlink_to(desk.share / "z")
    rows = [rf"{UNC}\link\real\a.txt", *([rf"{UNC}\z"] if listed else [])]
    plan = desk.check(*rows)
    assert [(p.code, p.line) for p in plan.problems] == [(Code.LINK_NOT_FOLLOWED, 2)]
    assert rf"リンク先: {UNC}\z\real\a.txt" in plan.problems[0].reason
    assert plan.refused


def test_a_link_to_nothing_to_itself_and_to_the_share(desk: Desk) -> None:
    desk.write("a.txt", "1")
    (desk.share / "gone").symlink_to(desk.share / "missing.txt")
    (desk.share / "self").symlink_to("self")
    (desk.share / "top").symlink_to(".")
    assert [(p.code, p.path) for p in desk.check(UNC).problems] == [
        (Code.SOURCE_NOT_FOUND, rf"{UNC}\gone"),
        (Code.LINK_LOOP, rf"{UNC}\self"),
        (Code.LINK_LOOP, rf"{UNC}\top"),
    ]


def test_the_administrators_own_links_to_a_share_are_followed(tmp_path: Path) -> None:
    """``HIMURO_SHARES`` names a link; what is below it is what counts."""
    real = tmp_path / "mnt"
    real.mkdir()
    (tmp_path / "share").symlink_to(real)
    desk = Desk(tmp_path)
    desk.write("d/a.txt", "a")
    assert desk.archive(UNC).record.state is RunState.DONE
    assert names(real) == ["d", "d/a.txt", "d/a.txt_archived.txt"]


# Restores


def test_a_restore_root_that_was_swapped_for_a_link_is_none(
    counter: Counter, outside: Path
) -> None:
    (outside / "中").mkdir()
    swap(counter.target, outside)
    for place in (counter.to, rf"{counter.to}\中"):
        with pytest.raises(ListError, match="復元先に指定できないフォルダーです"):
            find_target(counter.settings, place)
    (finding,) = look_at_root(counter.settings, counter.to)
    assert (finding.status, names(outside)) == (Status.FAILED, ["中"])
    assert "リンク" in finding.what


@pytest.mark.parametrize("descriptors", [True, False])
def test_no_restore_directory_is_made_behind_a_link(
    counter: Counter, outside: Path, monkeypatch: pytest.MonkeyPatch, descriptors: bool
) -> None:
    if not descriptors:  # as on Windows
        monkeypatch.setattr("core.files.nofollow.BY_DESCRIPTOR", False)
        monkeypatch.setattr("core.restore.target.BY_DESCRIPTOR", False)
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},a.txt,")
    (counter.target / "部").mkdir()
    counter.store.before = once(lambda: swap(counter.target / "部", outside))
    record = counter.place(run_id, rf"{UNC}\復元先\部\中")
    assert names(outside) == []
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    assert "リンク" in record.message
    (counter.target / "部").unlink()
    assert counter.place(run_id).state is RunState.DONE
    assert (counter.target / "a.txt").read_bytes() == b"1"


def test_nothing_is_looked_at_or_placed_in_a_target_behind_a_link(
    counter: Counter, outside: Path
) -> None:
    target = counter.target / "部/中"
    target.mkdir(parents=True)
    found = find_target(counter.settings, rf"{UNC}\復元先\部\中")
    (outside / "中").mkdir()
    (outside / "中/secret.txt").touch()
    swap(counter.target / "部", outside)
    with pytest.raises(FatalError, match="リンク"):
        Directory(found)
    with pytest.raises(ListError, match="リンク"):
        check_writable(found)
    assert names(outside) == ["中", "中/secret.txt"]


def test_the_names_of_a_target_are_those_of_the_directory_that_was_opened(
    counter: Counter, outside: Path
) -> None:
    (counter.target / "mine.txt").touch()
    (outside / "theirs.txt").touch()
    directory = Directory(find_target(counter.settings, counter.to))
    try:
        swap(counter.target, outside)
        assert directory.names() == ["mine.txt"]
    finally:
        directory.close()


# The check-up


def test_a_check_up_tries_nothing_behind_a_link(
    desk: Desk, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the share itself takes no file, it tries some folders of it."""
    desk.write("d/a.txt")
    made: list[str] = []
    real = FileSystem.create_empty

    def create_empty(self: FileSystem, path: str) -> None:
        if Path(path).parent == desk.share:
            strike()
            raise PermissionError(13, "no")
        real(self, path)
        made.append(os.path.realpath(path))

    def listing(self: FileSystem, directory: str) -> list[tuple[str, Kind]]:
        found = listed(self, directory)
        return [(name, Kind.DIRECTORY) for name, _ in found if name == "d"] or found

    listed = FileSystem.list
    strike = once(lambda: swap(desk.share / "d", outside))
    monkeypatch.setattr(FileSystem, "create_empty", create_empty)
    monkeypatch.setattr(FileSystem, "list", listing)
    (finding,) = look_at_share(desk.settings.shares[0])
    assert (finding.status, made) == (Status.FAILED, [])
