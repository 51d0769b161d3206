"""What kind of file system a directory lies on, as far as Linux tells without asking it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_NETWORK = frozenset(
    ("cifs", "smb3", "smbfs", "nfs", "nfs4", "ncpfs", "afs", "ceph", "glusterfs", "lustre")
)


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the network file system that ``path`` lies on.

    Empty for a local one and where it is not known (Windows, no ``/proc``). ``path`` need not
    exist. ``mounts`` is in the form of proc(5), ``/proc/[pid]/mountinfo``.
    """
    try:
        text = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
    real = os.path.realpath(path).rstrip("/") + "/"
    # Of several on one place the last was mounted over the others.
    kind, longest = "", -1
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5:
            continue
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/") + "/"
        if real.startswith(point) and len(point) >= longest:
            kind, longest = kinds[0], len(point)
    return kind if kind in _NETWORK or kind.startswith("fuse.") else ""
