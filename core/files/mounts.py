"""What is mounted where, and what should be, as far as Linux tells without asking a server.

All answers are empty where that is not known (Windows, no ``/proc``). Where this machine is too
short to look, that is no answer: all of it raises ``FatalError(MACHINE_SHORT)``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.resources.shortage import patiently

_MOUNTS = Path("/proc/self/mountinfo")
_FSTAB = Path("/etc/fstab")
_UNITS = Path("/etc/systemd/system")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)
_WHERE = re.compile(r"^Where\s*=\s*(/.*?)\s*$", re.MULTILINE)
_TYPE = re.compile(r"^Type\s*=\s*(\S+)", re.MULTILINE)
_AUTOMOUNT = "autofs"
_NETWORK = frozenset(
    ("cifs", "smb3", "smbfs", "nfs", "nfs4", "ncpfs", "afs", "ceph", "glusterfs", "lustre")
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of proc(5), ``/proc/[pid]/mountinfo``."""

    number: str
    """The mount's number, which ``mnt_id`` in ``/proc/self/fdinfo`` of an open file names."""
    point: str
    """Directory, without a separator at its end; empty for the root."""
    kind: str
    """Type of the file system."""

    @property
    def is_remote(self) -> bool:
        """Whether another machine holds the files."""
        return self.kind in _NETWORK or self.kind.startswith("fuse.")

    def __str__(self) -> str:
        return f"{self.kind} {self.point or '/'}"


def network_file_system(path: Path, mounts: Path | None = None) -> str:
    """Return the type of the network file system that ``path`` lies on; empty for a local one.

    ``path`` need not exist. ``mounts``: where the mounts stand; None: those of this process.
    """
    mount = mount_of(path, mounts)
    return mount.kind if mount and mount.is_remote else ""


def mount_of(path: str | Path, mounts: Path | None = None) -> Mount | None:
    """Return what a path lies on, with all links followed; it need not exist."""
    real = _closed(os.path.realpath(path))
    found: Mount | None = None
    # Of several on one place the last was mounted over the others.
    for mount in _mounted(mounts):
        if real.startswith(mount.point + "/") and len(mount.point) >= len(
            found.point if found else ""
        ):
            found = mount
    return found


def mount_at(descriptor: int) -> Mount | None:
    """Return what an open file or directory lies on, wherever its path leads by now."""
    match = _MOUNT_ID.search(_text(Path(f"/proc/self/fdinfo/{descriptor}")))
    if match is None:
        return None
    return next((mount for mount in _mounted(None) if mount.number == match[1]), None)


def not_mounted(path: str | Path) -> str:
    """Return the directory at or above ``path`` on which something should be mounted, by
    ``/etc/fstab`` or a unit of systemd, and is not; empty when there is none."""
    if not any(_mounted(None)):
        return ""
    real = _closed(os.path.realpath(path))
    for point, kind in _wanted():
        where = os.path.realpath(point).rstrip("/")
        if real.startswith(where + "/") and _is_absent(where, kind):
            return where
    return ""


def _is_absent(point: str, kind: str) -> bool:
    there = _mounted_on(point)
    if there and there.kind == _AUTOMOUNT:
        # Whoever opens it first has it mounted.
        with suppress(OSError):
            os.close(patiently(os.open, point, os.O_RDONLY))
        there = _mounted_on(point)
    if there is None or there.kind == _AUTOMOUNT:
        return True
    # The sandbox of a service lays a directory over itself, and it looks like a mount.
    return Mount("", point, kind).is_remote and not there.is_remote


def _mounted_on(point: str) -> Mount | None:
    """Return what is mounted there last of all."""
    found = [mount for mount in _mounted(None) if mount.point == point]
    return found[-1] if found else None


def is_gone(before: str, path: str | Path) -> bool:
    """Return whether a mount that was there is not there any more at or above ``path``.

    ``before``: ``str`` of an earlier ``mount_of``; empty: not known. Another disk on the same
    place is no loss, but where another machine had the files there has to be one again: under
    a mount that is absent lies a local disk.
    """
    kind, _, point = before.partition(" ")
    now = mount_of(path)
    point = point.rstrip("/")
    if now is None or not point or not _closed(os.path.realpath(path)).startswith(point + "/"):
        return False
    was_remote = Mount("", point, kind).is_remote
    return len(now.point) < len(point) or (now.point == point and was_remote and not now.is_remote)


def _mounted(mounts: Path | None) -> Iterator[Mount]:
    for line in _text(mounts or _MOUNTS).splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= 5:
            yield Mount(fields[0], _unescaped(fields[4]).rstrip("/"), after.split(" ")[0])


def _wanted() -> Iterator[tuple[str, str]]:
    """Yield directories on which something is to be mounted, with its type where it is said."""
    for line in _text(_FSTAB).splitlines():
        fields = line.split()
        if len(fields) >= 3 and not fields[0].startswith("#") and fields[1].startswith("/"):
            yield _unescaped(fields[1]), fields[2]
    try:
        units = patiently(lambda: sorted(_UNITS.glob("*.mount")))
    except OSError:
        units = []
    for unit in units:
        text = _text(unit)
        if where := _WHERE.search(text):
            kind = _TYPE.search(text)
            yield where[1], kind[1] if kind else ""


def _text(path: Path) -> str:
    try:
        return patiently(path.read_text, "utf-8", "surrogateescape")
    except OSError:
        return ""


def _closed(path: str) -> str:
    return path.rstrip("/") + "/"


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
