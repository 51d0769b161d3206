# Arguments have the names of the fixtures that are imported.
# ruff: noqa: F811
"""Nothing that another client puts on a file server is replaced: aimed races, lost answers.

The stand-in behaves as the kernel's CIFS client (``docs/facts.md``, "CIFS"): it looks whether a
name is free, and then sends a rename that replaces. In between somebody else's file appears.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Code, FatalError
from core.files import exclusive_rename, mounts
from core.files.exclusive_rename import LOCAL, renames_exclusively
from core.files.nofollow import open_unlinked
from core.model import RunState
from core.restore.target import Directory, Target
from core.share.shares import FileSystem
from tests.restore.test_run import NIGHT, Counter, counter  # noqa: F401
from tests.support.arrange import UNC

RACES = 100
SOMEBODYS = b"somebody's"


def lies_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """Let every directory of this process be mounted as ``kind``, for whoever asks."""
    text = Path("/proc/self/mountinfo").read_text()
    lines = [line.partition(" - ") for line in text.splitlines()]
    shown = tmp_path / "mountinfo"
    shown.write_text("".join(f"{before} - {kind} none rw\n" for before, _, _ in lines))
    monkeypatch.setattr(mounts, "_MOUNTS", shown)


class FileServer:
    """Calls of this process as a server would carry them out, with another client beside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.directory = directory
        self.appears: Callable[[Path], object] = lambda path: path.write_bytes(SOMEBODYS)
        self.links = self.renames = 0
        self.link_error: int | None = None
        self.answer_lost: int | None = None
        self._link = os.link
        monkeypatch.setattr(exclusive_rename, "_RENAMEAT2", self.renameat2)
        monkeypatch.setattr(os, "link", self.link)

    def renameat2(self, at: int, old: bytes, _at: int, new: bytes, _flags: int) -> int:
        self.renames += 1
        path = self.directory / os.fsdecode(new)
        if path.exists():
            ctypes.set_errno(errno.EEXIST)
            return -1
        self.appears(path)
        os.replace(old, new, src_dir_fd=at, dst_dir_fd=at)
        return 0

    def link(self, old: str, new: str, **options: Any) -> None:
        self.links += 1
        if self.link_error is not None:
            raise OSError(self.link_error, os.strerror(self.link_error), new)
        self.appears(self.directory / new)
        self._link(old, new, **options)
        if self.answer_lost is not None:
            raise OSError(self.answer_lost, os.strerror(self.answer_lost), new)


def nobody(_path: Path) -> None:
    """Let no other client do anything."""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directory:
    lies_on(monkeypatch, tmp_path, "cifs")
    place = tmp_path / "place"
    place.mkdir()
    return Directory(Target(str(place), str(place), exists=True))


@pytest.fixture
def server(opened: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    return FileServer(monkeypatch, tmp_path / "place")


def finished(directory: Directory, name: str, content: bytes = b"ours") -> None:
    descriptor = directory.create(name)
    os.write(descriptor, content)
    os.close(descriptor)


@pytest.mark.parametrize("kind", ["cifs", "smb3", "nfs4", "fuse.sshfs", "fuseblk", "9p", "new"])
def test_no_race_for_a_name_on_a_file_server_is_won_by_replacing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of 300 such races 87 replaced a file when the call was chosen because it exists."""
    lies_on(monkeypatch, tmp_path, kind)
    place = tmp_path / "place"
    place.mkdir()
    directory = Directory(Target(str(place), str(place), exists=True))
    server = FileServer(monkeypatch, place)
    for number in range(RACES):
        finished(directory, "temporary")
        assert not directory.publish("temporary", f"{number}.txt")
        directory.remove("temporary")
    assert {path.read_bytes() for path in place.iterdir()} == {SOMEBODYS}
    assert len(list(place.iterdir())) == RACES
    assert server.renames == 0


def test_the_stand_in_replaces_where_rename_is_trusted(
    server: FileServer, opened: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests here would not notice otherwise."""
    lies_on(monkeypatch, tmp_path, "ext4")
    local = Directory(Target(str(server.directory), str(server.directory), exists=True))
    for number in range(RACES):
        finished(local, "temporary")
        assert local.publish("temporary", f"{number}.txt")
    assert {path.read_bytes() for path in server.directory.iterdir()} == {b"ours"}


@pytest.mark.parametrize("kind", [*sorted(LOCAL), ""])
def test_only_this_kernels_own_file_systems_are_renamed_on(kind: str) -> None:
    mount = mounts.Mount("1", "/mnt", kind) if kind else None
    assert renames_exclusively(mount) is bool(kind)


def test_the_directory_itself_tells_what_it_lies_on(tmp_path: Path) -> None:
    """By its descriptor: its path may lead elsewhere a moment later."""
    directory = Directory(Target(str(tmp_path), str(tmp_path), exists=True))
    assert directory.mount == mounts.mount_of(tmp_path)
    assert renames_exclusively(directory.mount)  # of whatever this machine has its disk as


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT])
def test_a_name_whose_answer_was_lost_is_ours(
    server: FileServer, opened: Directory, code: int
) -> None:
    """The client sends the call again, and the server refuses what it has done already."""
    server.appears, server.answer_lost = nobody, code
    finished(opened, "temporary", b"x" * 9)
    assert opened.publish("temporary", "a.txt")
    assert {p.name: p.read_bytes() for p in server.directory.iterdir()} == {"a.txt": b"x" * 9}


def test_a_name_that_somebody_took_meanwhile_is_not_ours(
    server: FileServer, opened: Directory
) -> None:
    """Also when the content is the same, to the last byte and to the nanosecond."""
    finished(opened, "temporary", SOMEBODYS)

    def same(path: Path) -> None:
        path.write_bytes(SOMEBODYS)
        status = (server.directory / "temporary").stat()
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))

    server.appears = same
    assert not opened.publish("temporary", "a.txt")
    assert {p.name for p in server.directory.iterdir()} == {"a.txt", "temporary"}


@pytest.mark.parametrize(
    "code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK]
)
def test_where_no_name_can_be_given_safely_nothing_is_placed(
    server: FileServer, opened: Directory, code: int
) -> None:
    server.link_error = code
    finished(opened, "temporary")
    with pytest.raises(FatalError, match="（cifs）.*置き換えないことを保証できません"):
        opened.publish("temporary", "a.txt")
    assert {path.name for path in server.directory.iterdir()} == {"temporary"}
    assert server.renames == 0


def test_a_local_disk_without_second_names_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT has no links; this kernel renames there without replacing."""
    lies_on(monkeypatch, tmp_path, "exfat")
    place = tmp_path / "place"
    place.mkdir()
    directory = Directory(Target(str(place), str(place), exists=True))

    def refused(old: str, new: str, **_options: int) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), new)

    monkeypatch.setattr(os, "link", refused)
    finished(directory, "temporary")
    assert directory.publish("temporary", "a.txt")
    finished(directory, "temporary")
    assert not directory.publish("temporary", "a.txt")


# A whole restore onto a file server


def test_a_restore_beside_other_clients_keeps_all_files(
    counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name is taken in the moment before it is given."""
    lies_on(monkeypatch, tmp_path, "cifs")
    names = [f"{n}.txt" for n in range(20)]
    counter.archive(**{name: name for name in names})
    run_id = counter.ready(f"{UNC},,")
    server = FileServer(monkeypatch, counter.target)
    taken: set[str] = set()

    def first(path: Path) -> None:
        if path.name in names and path.name not in taken:
            taken.add(path.name)
            path.write_bytes(SOMEBODYS)

    server.appears = first
    record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.DONE, 20)
    placed = counter.placed()
    assert {placed[name] for name in names} == {SOMEBODYS}
    assert {placed[f"{n}_{NIGHT}.txt"] for n in range(20)} == {n.encode() for n in names}
    assert len(placed) == 40


@pytest.mark.parametrize("size", [5, 500])
def test_a_temporary_name_that_stays_is_no_second_file(
    counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Killed between the new name and the removal of the old one: the file has both."""
    lies_on(monkeypatch, tmp_path, "cifs")
    counter.archive(**{f"{n}.bin": str(n) * size for n in range(3)})
    run_id = counter.ready(f"{UNC},,")

    class Killed(BaseException):
        pass

    def killed(_name: str, **_options: int) -> None:
        raise Killed

    def die(directory: Directory, temporary: str, name: str) -> bool:
        with monkeypatch.context() as dying:
            dying.setattr(os, "unlink", killed)
            with pytest.raises(Killed):
                give(directory, temporary, name)
        raise FatalError(Code.INTERNAL)

    give = Directory.publish
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "publish", die)
        patch.setattr(Directory, "remove", lambda _self, _name: None)
        record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    left = [name for name in counter.placed() if name.startswith(".himuro-")]
    assert left
    done = counter.place(run_id)
    assert (done.state, done.placed_files) == (RunState.DONE, 3)
    assert counter.placed() == {f"{n}.bin": str(n).encode() * size for n in range(3)}
    assert "同じ内容のファイルが既にありました" in counter.read(run_id, "report.csv")


def test_a_temporary_name_that_cannot_be_removed_is_cleared_in_the_end(
    counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virus scanner has it open for a moment: the file is placed all the same."""
    lies_on(monkeypatch, tmp_path, "cifs")
    counter.archive(**{"a.txt": "1", "b.txt": "2"})
    run_id = counter.ready(f"{UNC},,")
    real, tried = os.unlink, set()

    def busy(name: str, **options: int) -> None:
        if str(name).startswith(".himuro-") and name not in tried:
            tried.add(name)
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name)
        real(name, **options)

    monkeypatch.setattr(os, "unlink", busy)
    record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.DONE, 2)
    assert counter.placed() == {"a.txt": b"1", "b.txt": b"2"}


def test_a_leftover_that_nobody_can_remove_is_in_nobodys_way(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is that of the first file which this run would write."""
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},,")
    stuck = f".himuro-{run_id.rpartition('-')[2]}-1.tmp"
    (counter.target / stuck).write_bytes(b"half")
    real = os.unlink

    def refused(name: str, **options: int) -> None:
        if name == stuck:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), name)
        real(name, **options)

    monkeypatch.setattr(os, "unlink", refused)
    assert counter.place(run_id).state is RunState.DONE
    assert counter.placed() == {"a.txt": b"1", stuck: b"half"}


# Other files of ours beside those of people


def test_a_marker_never_replaces_what_somebody_creates_in_that_moment(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, raced = open_unlinked, []

    def other_client(path: str, flags: int, mode: int = 0) -> int:
        if path.endswith("_archived.txt") and flags & os.O_CREAT:
            raced.append(path)
            Path(path).write_bytes(SOMEBODYS)
        return real(path, flags, mode)

    for number in range(20):
        counter.desk.write(f"{number}.txt", str(number))
    with monkeypatch.context() as patch:
        patch.setattr("core.share.shares.open_unlinked", other_client)
        counter.desk.archive(UNC)
    assert len(raced) == 20
    markers = list(counter.desk.share.glob("*_archived.txt"))
    assert {path.read_bytes() for path in markers} == {SOMEBODYS}
    assert len(markers) == 20


def test_a_probe_never_replaces_what_somebody_creates_in_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open_unlinked

    def other_client(path: str, flags: int, mode: int = 0) -> int:
        if flags & os.O_CREAT:
            Path(path).write_bytes(SOMEBODYS)
        return real(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr("core.share.shares.open_unlinked", other_client)
        with pytest.raises(FileExistsError):
            FileSystem().create_empty(str(tmp_path / "probe"))
    assert (tmp_path / "probe").read_bytes() == SOMEBODYS
