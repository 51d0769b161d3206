# Arguments have the names of the fixtures that are imported.
# ruff: noqa: F811
"""A restore root that is not mounted is not a directory to make, and nothing there is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import Code, FatalError
from core.files import mounts
from core.files.mounts import is_gone, mount_of, not_mounted
from core.health.findings import Status
from core.health.local_checks import restore_root
from core.model import RunState
from core.restore.model import Stage
from core.restore.preview import PlacePreview
from core.restore.target import find_target
from core.share.shares import FileSystem
from tests.cli.test_restore import WHO, desk  # noqa: F401
from tests.cli.test_restore import Desk as Shell
from tests.restore.test_run import START, Counter
from tests.support.arrange import UNC, Desk
from tests.support.fakes import MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore
from tests.support.servers.buckets import Bucket


class Machine:
    """What is mounted on this machine and what should be, in files that a test writes.

    A mount that goes away is played by moving the directory's content aside.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._mounted: dict[str, str] = {"/": "ext4"}
        self._info, self._fstab = root / "mountinfo", root / "fstab"
        self._units = root / "units"
        self._units.mkdir()
        monkeypatch.setattr(mounts, "_MOUNTS", self._info)
        monkeypatch.setattr(mounts, "_FSTAB", self._fstab)
        monkeypatch.setattr(mounts, "_UNITS", self._units)
        self._write()

    def fstab(self, *points: Path) -> None:
        lines = [
            f"//fsx01/share {str(p).replace(' ', chr(92) + '040')} cifs rw 0 0" for p in points
        ]
        self._fstab.write_text("# <device> /mnt <type>\nUUID=1 / ext4 rw 0 1\nx none swap sw\n")
        with self._fstab.open("a") as file:
            file.write("\n".join(lines) + "\n")

    def unit(self, point: Path) -> None:
        (self._units / "mnt.mount").write_text(f"[Mount]\nWhat=//fsx01/x\nWhere={point}\n")

    def mount(self, point: Path, kind: str = "cifs") -> None:
        self._mounted[str(point)] = kind
        aside = self._root / "aside"
        if aside.exists():
            point.rmdir()
            aside.rename(point)
        self._write()

    def unmount(self, point: Path) -> None:
        """The content is out of reach; the empty directory stays."""
        self._mounted.pop(str(point), None)
        point.rename(self._root / "aside")
        point.mkdir()
        self._write()

    def _write(self) -> None:
        lines = (
            f"{n} 1 0:{n} / {point.replace(' ', chr(92) + '040')} rw - {kind} none rw\n"
            for n, (point, kind) in enumerate(self._mounted.items(), start=20)
        )
        self._info.write_text("".join(lines))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A restore root that lies in no share."""
    made = tmp_path / "mnt" / "復元 先"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def counter(tmp_path: Path, root: Path) -> Counter:
    memory = MemoryStore()
    roots = {"HIMURO_RESTORE_ROOTS": f"{root};{tmp_path / 'other'}"}
    (tmp_path / "other").mkdir()
    return Counter(Desk(tmp_path, store=memory, environ=roots), MemoryRestoreStore(memory, START))


def archived(counter: Counter) -> str:
    counter.archive(**{name: name for name in ("a.txt", "b.txt", "c.txt")})
    return counter.ready(f"{UNC},,")


@pytest.mark.parametrize("below", ["", "2026", "2026/11"])
@pytest.mark.parametrize("known_by", ["fstab", "unit", "above"])
def test_an_empty_mount_point_is_no_target(
    counter: Counter, machine: Machine, root: Path, below: str, known_by: str
) -> None:
    run_id = archived(counter)
    if known_by == "unit":
        machine.unit(root)
    else:
        machine.fstab(root if known_by == "fstab" else root.parent)
    with pytest.raises(FatalError, match="共有フォルダーに接続できません.*マウント") as failed:
        find_target(counter.settings, str(root / below))
    assert failed.value.code is Code.SHARE_NOT_MOUNTED
    assert list(root.iterdir()) == []
    assert counter.opened(run_id).record.state is RunState.WAITING
    machine.mount(root if known_by != "above" else root.parent)
    assert counter.place(run_id, str(root)).state is RunState.DONE


@pytest.mark.parametrize("below", ["", "2026"])
def test_a_root_that_is_missing_is_not_made(counter: Counter, root: Path, below: str) -> None:
    """Also when the directory to be made is not the root itself; and nobody is told to make
    the root by hand on the local disk."""
    run_id = archived(counter)
    root.rmdir()
    with pytest.raises(FatalError, match="HIMURO_RESTORE_ROOTS のフォルダーがありません") as failed:
        find_target(counter.settings, str(root / below))
    assert failed.value.code is Code.SHARE_NOT_MOUNTED
    assert not root.exists()
    root.mkdir()
    assert counter.place(run_id, str(root)).state is RunState.DONE


def test_a_root_in_a_share_that_is_not_mounted(counter: Counter, tmp_path: Path) -> None:
    """Written as a path of this machine it lies in the share all the same."""
    run_id = archived(counter)
    inside = counter.desk.share / "復元先"
    counter.desk.environ = {"HIMURO_RESTORE_ROOTS": str(inside)}
    shutil.rmtree(counter.desk.share)
    inside.parent.mkdir()
    for text in (inside, inside / "2026"):
        with pytest.raises(FatalError, match=r"共有フォルダーに接続できません.*fsx01"):
            find_target(counter.settings, str(text))
    assert list(counter.desk.share.iterdir()) == []
    assert run_id


def test_a_mount_that_goes_while_the_run_waits_takes_no_file(
    counter: Counter, machine: Machine, root: Path
) -> None:
    """Hours may pass between the click and the turn."""
    run_id = archived(counter)
    machine.fstab(root)
    machine.mount(root)
    target = find_target(counter.settings, str(root))
    restore = counter.opened(run_id)
    restore.begin("tanaka")
    machine.unmount(root)
    record = restore.place(lambda: counter.store, target, counter.stop)
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    assert "共有フォルダーに接続できません" in record.message
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("in_fstab", [True, False])
def test_a_mount_that_goes_in_the_middle_ends_the_run_with_that_reason(
    counter: Counter, machine: Machine, root: Path, in_fstab: bool
) -> None:
    counter.archive(**{f"{n}.bin": str(n) * 500 for n in range(6)})
    run_id = counter.ready(f"{UNC},,")
    if in_fstab:
        machine.fstab(root)
    machine.mount(root)
    fetched: list[str] = []

    def before(call: str, key: str) -> None:
        if call == "fetch":
            fetched.append(key)
            if len(fetched) == 3:
                machine.unmount(root)

    counter.store.before = before
    record = counter.place(run_id, str(root))
    assert record.state is RunState.ERROR
    assert "共有フォルダーに接続できません" in record.message
    assert list(root.iterdir()) == []
    counter.store.before = lambda _call, _key: None
    machine.mount(root)
    on_the_server = {p.name for p in root.iterdir() if not p.name.startswith(".himuro-")}
    assert record.placed_files <= len(on_the_server)
    done = counter.place(run_id, str(root))
    assert (done.state, done.placed_files) == (RunState.DONE, 6)
    assert {p.name: p.read_bytes() for p in root.iterdir()} == {
        f"{n}.bin": str(n).encode() * 500 for n in range(6)
    }


@pytest.mark.parametrize("in_fstab", [True, False])
@pytest.mark.parametrize("below", ["", "2026"])
def test_what_was_placed_on_an_absent_mount_is_not_lost(
    counter: Counter, machine: Machine, root: Path, tmp_path: Path, in_fstab: bool, below: str
) -> None:
    run_id = archived(counter)
    if in_fstab:
        machine.fstab(root)
    machine.mount(root)
    counter.place(run_id, str(root / below))
    machine.unmount(root)

    def seen() -> PlacePreview:
        return counter.preview(run_id, str(tmp_path / "other"))

    assert (seen().lost, len(seen().unseen)) == ((), 3)
    assert counter.place(run_id, str(tmp_path / "other"), again=True).placed_files == 3
    assert list((tmp_path / "other").iterdir()) == list(root.iterdir()) == []
    assert set(counter.stages(run_id).values()) == {Stage.PLACED}
    machine.mount(root)
    assert (seen().lost, seen().unseen) == ((), ())
    (root / below / "a.txt").unlink()
    assert ([s.item.name for s in seen().lost], seen().unseen) == (["a.txt"], ())


def test_a_run_remembers_that_its_target_was_a_mount(
    counter: Counter, machine: Machine, root: Path
) -> None:
    """Nothing but the run knows: the mount was made by hand."""
    run_id = archived(counter)
    del counter.store.copies[counter.key("b.txt")]
    machine.mount(root)
    assert counter.place(run_id, str(root)).placed_files == 2
    counter.request_again(run_id)
    counter.pass_time(hours=49)
    machine.unmount(root)
    with pytest.raises(FatalError, match="共有フォルダーに接続できません"):
        counter.preview(run_id, str(root))
    record = counter.place(run_id, str(root))
    assert (record.state, record.placed_files) == (RunState.ERROR, 2)
    assert "共有フォルダーに接続できません" in record.message
    assert list(root.iterdir()) == []
    machine.mount(root)
    assert counter.place(run_id, str(root)).state is RunState.DONE


def test_a_directory_that_people_removed_is_lost_with_its_files(
    counter: Counter, machine: Machine, root: Path
) -> None:
    run_id = archived(counter)
    machine.mount(root)
    counter.place(run_id, str(root / "2026"))
    shutil.rmtree(root / "2026")
    seen = counter.preview(run_id, str(root))
    assert (len(seen.lost), seen.unseen) == (3, ())


@pytest.mark.parametrize("mounted", [True, False])
def test_the_check_up_tries_nothing_where_something_should_be_mounted(
    counter: Counter,
    machine: Machine,
    root: Path,
    mounted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It called the local disk fit for restores, with its room."""
    machine.fstab(root)
    if mounted:
        machine.mount(root)
    tried: list[str] = []
    real = FileSystem.create_empty

    def create_empty(self: FileSystem, path: str) -> None:
        tried.append(path)
        real(self, path)

    monkeypatch.setattr(FileSystem, "create_empty", create_empty)
    counter.archive(**{"a.txt": "1"})
    tried.clear()
    (found,) = restore_root(counter.settings, str(root))
    assert len(tried) == mounted
    if mounted:
        assert found.status is not Status.FAILED
    else:
        assert found.status is Status.FAILED
        assert f"{root} がマウントされていません" in found.what
        assert found.remedy == Code.SHARE_NOT_MOUNTED.remedy


def test_what_should_be_mounted(machine: Machine, tmp_path: Path) -> None:
    point, link = tmp_path / "point", tmp_path / "link"
    point.mkdir()
    link.symlink_to(point)
    machine.fstab(link)
    assert not_mounted(point / "x") == not_mounted(link) == str(point)
    assert not_mounted(tmp_path) == not_mounted("/") == not_mounted(tmp_path / "pointless") == ""
    machine.mount(point, "nfs4")
    assert not_mounted(point / "x") == ""
    found = mount_of(point / "x" / "y")
    assert found is not None
    assert (found.point, found.kind, found.is_remote) == (str(point), "nfs4", True)


@pytest.mark.parametrize(
    ("before", "now", "gone"),
    [
        ("", "cifs", False),
        ("cifs {point}", "cifs", False),
        ("cifs {point}", "smb3", False),
        ("cifs {point}", "ext4", True),
        ("ext4 {point}", "xfs", False),
        ("ext4 {point}", "cifs", False),
        ("cifs {point}", "", True),
        ("ext4 {point}", "", True),
        ("ext4 /", "", False),
    ],
)
def test_what_a_mount_was_and_is(
    machine: Machine, tmp_path: Path, before: str, now: str, gone: bool
) -> None:
    point = tmp_path / "point"
    point.mkdir()
    if now:
        machine.mount(point, now)
    assert is_gone(before.format(point=point), point / "x") is gone


@pytest.mark.parametrize(
    ("kind", "absent"), [("cifs", False), ("smb3", False), ("ext4", True), ("autofs", True)]
)
def test_what_only_looks_like_the_mount(
    machine: Machine, tmp_path: Path, kind: str, absent: bool
) -> None:
    """The sandbox of a service lays ``ReadWritePaths`` over themselves; an automount point is
    there before anything is mounted."""
    point = tmp_path / "point"
    point.mkdir()
    machine.mount(point, kind)
    machine.fstab(point)
    assert not_mounted(point / "x") == (str(point) if absent else "")


def test_nothing_is_known_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "none")
    fstab = tmp_path / "fstab"
    fstab.write_text(f"x {tmp_path} cifs rw\n")
    monkeypatch.setattr(mounts, "_FSTAB", fstab)
    assert (not_mounted(tmp_path), mount_of(tmp_path)) == ("", None)
    assert not is_gone(f"cifs {tmp_path}", tmp_path)


def test_the_command_exits_with_3_and_names_the_place(
    desk: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict_bucket: Bucket
) -> None:
    desk.archive(**{"a.txt": b"1"})
    run = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]["run_id"]
    desk.thaw()
    (tmp_path / "mounts").mkdir()
    machine = Machine(tmp_path / "mounts", monkeypatch)
    machine.fstab(desk.target)
    for to in (desk.target, desk.target / "2026"):
        code, _, err = desk.run("restore-download", run, "--to", str(to))
        assert (code, str(desk.target) in err) == (3, True), err
    assert desk.placed() == {}
    machine.mount(desk.target)
    assert desk.run("restore-download", run, "--to", str(desk.target))[0] == 0
    machine.unmount(desk.target)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        roots = f"{desk.target};{other}"
        patch.setattr(Shell, "environ", {**desk.environ, "HIMURO_RESTORE_ROOTS": roots})
        code, _, err = desk.run("restore-download", run, "--to", str(other), "--again")
    assert (code, "1件は、いま確認できません" in err) == (0, True), err
    assert list(other.iterdir()) == []
