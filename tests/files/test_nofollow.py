"""Paths of which no part may be a link, in each of the ways in which a system can do it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import Code
from core.files import nofollow
from core.files.nofollow import (
    DIRECTORY,
    PLACE,
    make_directory,
    open_unlinked,
    remove_unlinked,
    scan_unlinked,
    stat_unlinked,
)
from core.model import RunState
from tests.support.arrange import UNC, Desk


@pytest.fixture(params=["one call", "part by part", "Windows"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """``openat2``; an older kernel or another system; one that knows no such descriptors."""
    if request.param != "one call":
        monkeypatch.setattr(nofollow, "_SYSCALL", None)
    if request.param == "Windows":
        monkeypatch.setattr(nofollow, "BY_DESCRIPTOR", False)
    return str(request.param)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a file, and links to it, to the file and to nothing."""
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("content")
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "d/to f").symlink_to("e/f")
    (tmp_path / "d/nothing").symlink_to("nowhere")
    return tmp_path


BEHIND = ("link/e/f", "link/new", "d/to f/x", "link/e/new")


def failure(call: Callable[..., object], *args: object) -> str:
    """Return how a call fails."""
    try:
        call(*args)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


@pytest.mark.usefixtures("way")
def test_what_lies_there_is_opened(tree: Path) -> None:
    descriptor = open_unlinked(str(tree / "d/e/f"), os.O_RDONLY)
    assert os.read(descriptor, 100) == b"content"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    with scan_unlinked(str(tree / "d")) as entries:
        assert {(e.name, e.is_symlink()) for e in entries} == {
            ("e", False),
            ("to f", True),
            ("nothing", True),
        }
    assert stat_unlinked(str(tree / "d/e/f")).st_size == 7
    assert stat_unlinked("/").st_ino == Path("/").stat().st_ino
    make_directory(str(tree / "d/new"))
    os.close(open_unlinked(str(tree / "d/new/x"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    assert (tree / "d/new/x").stat().st_mode & 0o777 == 0o600
    remove_unlinked(str(tree / "d/new/x"))
    assert list((tree / "d/new").iterdir()) == []


@pytest.mark.usefixtures("way")
def test_nothing_is_opened_made_or_removed_behind_a_link(tree: Path) -> None:
    before = sorted(tree.rglob("*"))
    for path in BEHIND:
        there = str(tree / path)
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
            assert failure(open_unlinked, there, flags, 0o600) == "ELOOP"
        for call in (stat_unlinked, remove_unlinked, make_directory):
            assert failure(call, there) == "ELOOP"
    assert sorted(tree.rglob("*")) == before
    assert (tree / "d/e/f").read_text() == "content"


@pytest.mark.parametrize("name", ["link", "d/to f", "d/nothing"])
def test_a_link_at_the_end_is_looked_at_and_never_followed(tree: Path, name: str, way: str) -> None:
    path = str(tree / name)
    assert stat_unlinked(path).st_ino == os.lstat(path).st_ino
    # Windows' way follows it first, and says then where that led.
    nowhere = way == "Windows" and name == "d/nothing"
    assert failure(open_unlinked, path, os.O_RDONLY) == ("ENOENT" if nowhere else "ELOOP")
    assert failure(open_unlinked, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) == "EEXIST"
    assert failure(scan_unlinked(path).__enter__) == "ELOOP"
    remove_unlinked(path)
    assert (tree / "d/e/f").read_text() == "content"
    assert not os.path.lexists(path)


@pytest.mark.usefixtures("way")
def test_errors_are_the_systems_own(tree: Path) -> None:
    for path, number in (
        ("d/none/x", "ENOENT"),
        ("d/e/f/x", "ENOTDIR"),
        (f"d/{'n' * 256}", "ENAMETOOLONG"),
    ):
        assert failure(open_unlinked, str(tree / path), os.O_RDONLY) == number
        assert failure(stat_unlinked, str(tree / path)) == number


@pytest.mark.parametrize("way", ["one call", "part by part"], indirect=True)
@pytest.mark.usefixtures("way")
def test_a_path_has_an_end_where_a_server_follows_links(tree: Path) -> None:
    """There a folder lies in itself, as deep as somebody asks."""
    assert failure(open_unlinked, f"{tree}{'/.' * 2048}", DIRECTORY) == "ENAMETOOLONG"


@pytest.mark.usefixtures("way")
def test_no_descriptor_is_left_open(tree: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for path in ("d", "d/e", *BEHIND, "d/nothing", "d/none/x"):
        for flags in (os.O_RDONLY, DIRECTORY, PLACE):
            try:
                os.close(open_unlinked(str(tree / path), flags))
            except OSError:
                continue
        try:
            stat_unlinked(str(tree / path))
        except OSError:
            continue
    assert descriptors() == before


@pytest.mark.usefixtures("way")
def test_a_kernel_that_refuses_the_one_call_is_no_refusal(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an old sandbox answers what it does not know: EPERM."""

    def refuse(*_args: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(nofollow, "_SYSCALL", refuse)
    os.close(open_unlinked(str(tree / "d/e/f"), os.O_RDONLY))
    assert stat_unlinked(str(tree / "d/e/f")).st_size == 7
    assert failure(open_unlinked, str(tree / "link/e/f"), os.O_RDONLY) == "ELOOP"


@pytest.mark.usefixtures("way")
def test_an_archive_run_in_each_way(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("d/e/a.txt", "a")
    desk.write("人事/b.txt", "b")
    run = desk.new_run(f"{UNC}\\d\n{UNC}\\人事".encode())
    run.begin(run.check())
    (desk.share / "d").rename(desk.share / "alt")
    (desk.share / "d").symlink_to("人事")
    (desk.share / "人事/e").mkdir()
    (desk.share / "人事/e/a.txt").write_text("secret")
    record = run.execute(lambda: desk.store, desk.stop)
    assert (record.state, record.archived_files) == (RunState.FAILED_FILES, 1)
    assert list(desk.store.objects) == ["fsx01/share/人事/b.txt"]
    assert desk.markers() == {"b.txt_archived.txt"}
    assert Code.LINK_NOT_FOLLOWED.name in (run.folder.path / "error_log.txt").read_text("utf-8")


# Any arrangement of links

_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)


def _arrange(share: Path, files: set[str], links: dict[str, str]) -> None:
    for name in sorted(files):
        path = share / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    for name, there in links.items():
        path = share / name
        if not path.parent.is_dir() or path.parent.resolve() != path.parent:
            continue
        if not os.path.lexists(path):
            path.symlink_to(share / there)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    files=st.sets(_PATHS, max_size=6),
    links=st.dictionaries(_PATHS, _PATHS, max_size=4),
    listed=st.lists(_PATHS, min_size=1, max_size=3, unique=True),
)
def test_whatever_links_there_are_each_file_comes_from_its_own_path(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[str],
    links: dict[str, str],
    listed: list[str],
) -> None:
    """Each content is its own path: so each object tells where it was read."""
    desk = Desk(tmp_path_factory.mktemp("links"))
    desk.write("always.txt", "always.txt")
    _arrange(desk.share, files, links)
    real = {
        str(path.relative_to(desk.share))
        for path in desk.share.rglob("*")
        if path.is_file() and not path.is_symlink() and path.parent.resolve() == path.parent
    }
    done = desk.archive(*(UNC + "\\" + name.replace("/", "\\") for name in listed))
    stored = {
        key.removeprefix("fsx01/share/"): stored.data.decode()
        for key, stored in desk.store.objects.items()
    }
    assert all(key == content for key, content in stored.items())
    below = {name for name in real if any((name + "/").startswith(f"{one}/") for one in listed)}
    if not done.plan.refused:
        assert set(stored) == below
    assert desk.markers() == {f"{Path(name).name}_archived.txt" for name in stored}
