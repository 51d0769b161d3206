"""Trying whether a directory takes files, with an empty one that is removed at once.

Nothing else tells: on a mounted Windows share the mode bits say nothing, and root may write
where they forbid it. The name is random, so nobody's file is touched, and the walk of an
archive run passes over names like it: a check-up never gets into a run that goes on beside it.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from core.share.shares import FileSystem, is_probe


def leftover(fs: FileSystem, directory: str) -> str:
    """Create and remove an empty file; return the path of one that cannot be removed.

    It may be that of an earlier check-up, which is tried first: where files cannot be
    removed, a second call makes no second one. Raises ``OSError`` when the directory cannot
    be listed or takes no file.
    """
    old = [str(Path(directory, name)) for name, _ in fs.list(directory) if is_probe(name)]
    for path in old:
        if not _removed(fs, path):
            return path
    path = str(Path(directory, f".himuro-doctor-{secrets.token_hex(8)}"))
    fs.create_empty(path)
    return "" if _removed(fs, path) else path


def _removed(fs: FileSystem, path: str) -> bool:
    try:
        fs.remove(path)
    except FileNotFoundError:  # a check-up beside this one was faster
        return True
    except OSError:
        return False
    return True
