"""The directory that restored files are placed in: chosen by an operator, below the roots.

Inside it every call goes through one open descriptor where the system has such: a link that
is laid in the meantime leads nowhere. A name is given without ever replacing anything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.config.settings import Settings
from core.errors import Code, FatalError, ItemError, ListError, os_reason
from core.files.exclusive_rename import NO_SECOND_NAME, c_function, give_name, renames_exclusively
from core.files.mounts import Mount, is_gone, mount_at, mount_of, not_mounted
from core.files.nofollow import BY_DESCRIPTOR, DIRECTORY, make_directory, open_unlinked
from core.paths.unc import join, tidy
from core.resources.shortage import is_shortage, patiently, unexpected
from core.share.shares import LEFTOVER, FileSystem, PatientFileSystem, Shares, name_fits
from core.share.write_probe import leftover
from core.units import human_size

_FATAL = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.ENOTCONN,
)
"""Error numbers that do not concern one file: the next one would meet them, too."""
_SYNCFS = c_function("syncfs")


@dataclass(frozen=True, slots=True)
class Target:
    """A directory below one of the restore roots."""

    typed: str
    """The path in the words of whoever asked: a UNC path, or one of this machine."""
    local: str
    """Absolute path on this machine."""
    exists: bool

    def place_of(self, name: str) -> str:
        """Return where a file of this name lies, as people write it."""
        separator = "\\" if self.typed.startswith("\\\\") or os.name == "nt" else "/"
        return f"{self.typed.rstrip(separator)}{separator}{name}"


def local_of(settings: Settings, path: str) -> str | None:
    """Return where a UNC or local path lies here; None for a UNC path of no share of ours."""
    if not path.startswith(("\\\\", "//")):
        return str(Path(path).absolute())
    located = Shares(settings.shares).locate(path.replace("/", "\\"))
    if located is None:
        return path if os.name == "nt" else None
    if ".." in located[1]:
        return None
    return str(located[0].directory.joinpath(*located[1]))


def find_target(settings: Settings, text: str) -> Target:
    """Return the directory that somebody typed.

    It may be missing when the one above it is there: then it is made when files are placed.
    Raises ``ListError`` for one that is not below ``HIMURO_RESTORE_ROOTS``, with all its links
    followed, or that is no directory; ``FatalError`` as ``require_mounted``.
    """
    typed = _typed(text)
    if not settings.restore_roots:
        raise ListError("HIMURO_RESTORE_ROOTS が設定されていません。管理者に連絡してください。")
    local = local_of(settings, typed)
    roots = [real_root(settings, r) for r in settings.restore_roots if local_of(settings, r)]
    allowed = "、".join(settings.restore_roots)
    outside = ListError(
        f"復元先に指定できないフォルダーです: {typed}。"
        f"次のフォルダーの中を指定してください: {allowed}"
    )
    if local is None:
        raise outside
    _require_share(settings, typed)
    real = os.path.realpath(local)
    if not any(_is_inside(real, root) for root in roots):
        raise outside
    require_mounted(settings, typed, real)
    try:
        status = patiently(os.stat, local)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(os.path.dirname(real)):
            raise ListError(
                f"フォルダーがありません: {typed}。上のフォルダーを先に作成してください。"
            ) from None
        return Target(typed, real, exists=False)
    except OSError as exc:
        raise ListError(f"フォルダーを開けません: {typed}（{os_reason(exc)}）。") from exc
    if not stat.S_ISDIR(status.st_mode):
        raise ListError(f"フォルダーではありません: {typed}。フォルダーを指定してください。")
    return Target(typed, real, exists=True)


def _typed(text: str) -> str:
    """Return a directory as people write it; raises ``ListError``."""
    tidied = tidy(text)
    if not tidied:
        raise ListError("復元先のフォルダーを指定してください。")
    if os.path.isabs(tidied) and not tidied.startswith(("\\\\", "//")):
        if ".." in Path(tidied).parts or "\0" in tidied:
            raise ListError(f"復元先のパスに「..」は使えません: {tidied}。")
        return str(Path(tidied))
    try:
        return join(tidied)
    except ItemError as exc:
        raise ListError(f"復元先のパスの書き方が正しくありません: {tidied}（{exc}）。") from exc


def _require_share(settings: Settings, typed: str) -> None:
    shares = Shares(settings.shares)
    if typed.startswith("\\\\") and (located := shares.locate(typed)):
        shares.require_mounted([located[0]])


def require_mounted(settings: Settings, typed: str, real: str, before: str = "") -> None:
    """Raise ``FatalError(SHARE_NOT_MOUNTED)`` when what a restore writes to is not in reach.

    An empty directory where something should be mounted looks like any other, and files placed
    there would fill the local disk and be hidden by the mount. Nothing is made instead of a
    root that is missing either. ``typed``: how people write the place; ``real``: where it
    lies, all links followed; ``before``: what it lay on when it was last used.
    """
    shares = Shares(settings.shares)
    shares.require_mounted(
        [s for s in settings.shares if _is_inside(real, os.path.realpath(s.directory))]
    )
    if absent := not_mounted(real):
        detail = f"{typed}: {absent} がマウントされていません"
        raise FatalError(Code.SHARE_NOT_MOUNTED, detail)
    if is_gone(before, real):
        detail = f"{typed}: 前に配置したときの接続（{before}）がありません"
        raise FatalError(Code.SHARE_NOT_MOUNTED, detail)
    for root in settings.restore_roots:
        local = local_of(settings, root)
        if local and _is_inside(real, real_root(settings, root)) and not os.path.isdir(local):
            detail = f"HIMURO_RESTORE_ROOTS のフォルダーがありません: {root}"
            raise FatalError(Code.SHARE_NOT_MOUNTED, detail)


def real_root(settings: Settings, root: str) -> str:
    """Return where a restore root that lies here is, with the links followed that are the
    administrator's: people who write into a share may put one in the place of a root there."""
    local = local_of(settings, root) or root
    for share in settings.shares:
        if _is_inside(local, str(share.directory)):
            below = local[len(str(share.directory).rstrip(os.sep)) :]
            return os.path.realpath(share.directory).rstrip(os.sep) + below
    return os.path.realpath(local)


def _is_inside(path: str, root: str) -> bool:
    root = root.rstrip(os.sep)
    return path == root or path.startswith(root + os.sep)


class Directory:
    """The target while files are placed; safe in any thread. ``close`` it in the end.

    Whatever is asked of it waits while this machine is too short for that.
    What concerns the whole directory is raised as ``FatalError(TARGET_UNWRITABLE)``, what
    concerns one name as ``ItemError(NAME_NOT_PLACEABLE)``.
    """

    def __init__(self, target: Target) -> None:
        """Opens the directory, and makes it where it is missing."""
        self._target = target
        self._at: int | None = None
        self.mount: Mount | None = None
        """What it lies on; None: not known."""
        self.lies_on = str(mount_of(target.local) or "")
        """The mount that its path lies on, in the form of ``run.json``; empty: not known."""
        self._closed = False
        try:
            if not target.exists:
                with suppress(FileExistsError):
                    patiently(make_directory, target.local)
            if BY_DESCRIPTOR:
                self._at = patiently(open_unlinked, target.local, DIRECTORY)
                self.mount = mount_at(self._at)
            self.require_in_place()
        except OSError as exc:
            self.close()
            raise self._fatal(exc) from exc
        except FatalError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the directory. A thread that nobody waits for any more finds it shut."""
        self._closed = True
        if self._at is not None:
            os.close(self._at)
            self._at = None

    def require_in_place(self) -> None:
        """Raise ``FatalError`` when the directory is not at its path any more.

        The descriptor would follow it wherever it is moved, out of the restore roots as well.
        """
        path = self._target.local
        try:
            there = patiently(os.stat, path)
            mine = there if self._at is None else patiently(os.fstat, self._at)
        except OSError as exc:
            raise self._fatal(exc) from exc
        if is_gone(self.lies_on, path) or not_mounted(path):
            detail = f"{self._target.typed}: 配置の途中で接続が切れました"
            raise FatalError(Code.SHARE_NOT_MOUNTED, detail)
        if not os.path.samestat(there, mine) or os.path.realpath(path) != path:
            detail = f"{self._target.typed}: 移動されたか、別のものに置き換えられました"
            raise FatalError(Code.TARGET_UNWRITABLE, detail)

    def names(self) -> list[str]:
        """Return everything that has a name in it."""
        try:
            if self._at is None:
                return patiently(os.listdir, self._target.local)
            # A listing moves the position of a descriptor; each takes one of its own.
            own = patiently(os.open, ".", DIRECTORY, dir_fd=self._at)
            try:
                return patiently(os.listdir, own)
            finally:
                os.close(own)
        except OSError as exc:
            raise self._fatal(exc) from exc

    def stat(self, name: str) -> os.stat_result | None:
        """Return what is known of a name, links not followed; None when there is none."""
        try:
            path = self._path(name)
            return patiently(os.stat, path, dir_fd=self._at, follow_symlinks=False)
        except OSError:
            return None

    def open_file(self, name: str) -> int:
        """Open a regular file for reading; raises ``OSError``."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        # What was a file a moment ago may be a pipe, whose other end nobody opens.
        flags |= getattr(os, "O_NONBLOCK", 0)
        return patiently(os.open, self._path(name), flags, dir_fd=self._at)

    def create(self, name: str) -> int:
        """Create a file that nobody has yet and return its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            return patiently(os.open, self._path(name), flags, 0o664, dir_fd=self._at)
        except OSError as exc:
            raise self._fatal(exc) from exc

    @property
    def syncs_at_once(self) -> bool:
        """Whether ``sync`` brings all files to the disk; else each has to be synced by itself."""
        return _SYNCFS is not None and self._at is not None

    def sync(self) -> None:
        """Bring what was written to the disk, all of it at once. Raises ``OSError``.

        For a hundred small files that takes a fraction of what an ``fsync`` of each does.
        """
        if _SYNCFS is not None and self._at is not None:
            patiently(_sync, _SYNCFS, self._at)

    def publish(self, temporary: str, name: str) -> bool:
        """Give a finished file its name; False when anything has that name already."""
        try:
            patiently(
                give_name,
                self._path(temporary),
                self._path(name),
                self._at,
                exclusive_rename=renames_exclusively(self.mount),
            )
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno in NO_SECOND_NAME:
                raise self._no_second_name() from exc
            raise self.explain(exc) from exc
        return True

    def _no_second_name(self) -> FatalError:
        kind = self.mount.kind if self.mount else "種類は不明"
        detail = (
            f"{self._target.typed}: このファイルシステム（{kind}）では、ほかの人のファイルを"
            "置き換えないことを保証できません。ハードリンクを作れる共有か、"
            "このサーバーのディスクを配置先にしてください"
        )
        return FatalError(Code.TARGET_UNWRITABLE, detail)

    def set_time(self, descriptor: int, name: str, nanoseconds: int) -> None:
        """Set the modification time of a file that was just written; raises ``OSError``."""
        times = (nanoseconds, nanoseconds)
        if os.utime in os.supports_fd:
            patiently(os.utime, descriptor, ns=times)
        else:
            patiently(os.utime, self._path(name), ns=times)

    def remove(self, name: str) -> None:
        """Remove a file of ours; one that cannot be removed is left for the next run."""
        with suppress(OSError):
            os.unlink(self._path(name), dir_fd=self._at)

    def require_names(self) -> None:
        """Raise ``FatalError`` where no name could be given safely; tries an empty file."""
        if self._at is None or renames_exclusively(self.mount):
            return
        one, other = (f".himuro-doctor-{secrets.token_hex(8)}" for _ in range(2))
        try:
            os.close(self.create(one))
            self.publish(one, other)
        except ItemError as exc:
            raise FatalError(Code.TARGET_UNWRITABLE, f"{self._target.typed}: {exc}") from exc
        finally:
            self.remove(one)
            self.remove(other)

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield temporary files and the short id of the run that each belongs to."""
        for name in self.names():
            if match := LEFTOVER.fullmatch(name):
                yield name, match["run"]

    def explain(self, exc: OSError) -> ItemError | FatalError:
        """Return what an error means: for one name, or for every file."""
        if exc.errno in _FATAL or is_shortage(exc) or not os.path.isdir(self._target.local):
            return self._fatal(exc)
        return ItemError(Code.NAME_NOT_PLACEABLE, os_reason(exc))

    def _fatal(self, exc: OSError) -> FatalError:
        if is_shortage(exc):
            return unexpected(exc)
        if is_gone(self.lies_on, self._target.local):
            return FatalError(Code.SHARE_NOT_MOUNTED, f"{self._target.typed}: {os_reason(exc)}")
        return FatalError(Code.TARGET_UNWRITABLE, f"{self._target.typed}: {os_reason(exc)}")

    def _path(self, name: str) -> str:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), name)
        return name if self._at is not None else os.path.join(self._target.local, name)


def _sync(syncfs: Callable[..., int], descriptor: int) -> None:
    if syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def temporary_name(run_id: str, number: int) -> str:
    """Return a short name for a file that is not finished; ASCII, so that it fits anywhere."""
    return f".himuro-{run_id.rpartition('-')[2]}-{number}.tmp"


def candidate(name: str, day: str, number: int) -> str:
    """Return the name that a file may get, 0 the best (``docs/contract.md``, "Invariants", 5).

    ``day``: ``yyyymmdd``. A stem is cut where the name would not fit.
    """
    if not number:
        return name
    return with_addition(name, f"_{day}" + (f"_{number}" if number > 1 else ""))


def with_addition(name: str, addition: str) -> str:
    """Return a name with something added to its stem, which is cut where that does not fit."""
    stem, suffix = split_name(name)
    while stem and not name_fits(stem + addition + suffix):
        stem = stem[:-1]
    return stem + addition + suffix


def split_name(name: str) -> tuple[str, str]:
    """Return stem and suffix, the latter with its dot; a name that begins with a dot has none."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def require_room(target: Target, needed: int, free: int) -> None:
    """Raise ``FatalError(TARGET_UNWRITABLE)`` when so many bytes do not fit."""
    if needed > free:
        detail = (
            f"{target.typed}: 空き容量が足りません"
            f"（必要 {human_size(needed)}、空き {human_size(free)}）"
        )
        raise FatalError(Code.TARGET_UNWRITABLE, detail)


def free_bytes(target: Target) -> int:
    """Return the room that the user of this process has there; raises ``FatalError``."""
    place = target.local if target.exists else os.path.dirname(target.local)
    try:
        return patiently(shutil.disk_usage, place).free
    except OSError as exc:
        raise FatalError(Code.TARGET_UNWRITABLE, f"{target.typed}: {os_reason(exc)}") from exc


def check_writable(target: Target) -> None:
    """Raise ``ListError`` unless an existing target takes files; tries an empty one."""
    fs = FileSystem()
    fs.confine(Path(target.local).anchor)
    try:
        leftover(PatientFileSystem(fs), target.local)
    except OSError as exc:
        raise ListError(f"配置先に書き込めません: {target.typed}（{os_reason(exc)}）。") from exc
