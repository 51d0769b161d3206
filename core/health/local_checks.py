"""What a check-up looks at on this machine: shares, restore directories, the data directory."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from core.clock import utc_now
from core.config.settings import Settings, ShareSetting
from core.errors import Code, FatalError, os_reason, sentence
from core.files.mounts import network_file_system
from core.health.findings import Finding, Status
from core.model import RunState
from core.restore.target import local_of, real_root, require_mounted
from core.runs.folder import RunFolder
from core.runs.history import is_run_id
from core.share.shares import FileSystem, Kind, Shares
from core.share.write_probe import leftover
from core.units import human_size

_GIB = 1024**3
_LEAST_BYTES = 100 * 1024**2
"""Two lists, a plan and the room kept for the error file list of the largest run."""
_DATA_BYTES = 5 * _GIB
_RESTORE_BYTES = 10 * _GIB
_TRIED_FOLDERS = 5
_RECENT = timedelta(days=7)
_YOUNG_SECONDS = 60
"""A run folder is made before its record: until then it is new, not damaged."""
_REFUSED = (errno.EACCES, errno.EPERM)
_LEFT_REMEDY = "このファイルを手で削除し、削除の権限を確認してください"


def share(setting: ShareSetting) -> Iterator[Finding]:
    """Tell whether a share is mounted and takes markers; tries an empty file."""
    fs, root = FileSystem(), str(setting.directory)
    name = f"{setting.unc} → {root}"
    if not Shares([setting], fs, patient=False).is_mounted(setting):
        code = Code.SHARE_NOT_MOUNTED
        yield Finding("share", Status.FAILED, f"{name}: {code.what}", code.remedy)
        return
    try:
        left = leftover(fs, root)
    except OSError as exc:
        yield _refused(fs, root, name, exc)
        return
    if left:
        what = f"{name}: 試しに作った空のファイルを削除できません: {left}"
        yield Finding("share", Status.WARNING, what, _LEFT_REMEDY)
    else:
        yield Finding("share", Status.OK, f"{name}: 読み取りと目印の作成ができます")


def _refused(fs: FileSystem, root: str, name: str, exc: OSError) -> Finding:
    """Return what a root that takes no file means: often only its folders take any."""
    what = f"{name}: 目印を作れません（{os_reason(exc)}）"
    if exc.errno in _REFUSED and _some_folder_takes_files(fs, root):
        what = f"{name}: 直下には目印を作れません（{os_reason(exc)}）。下のフォルダーには作れます"
        remedy = "直下のファイルもアーカイブするなら、直下への書き込みを許可してください"
        return Finding("share", Status.WARNING, what, remedy)
    remedy = "読み書きできるようにマウントし、アカウントに変更の権限を与えてください"
    return Finding("share", Status.FAILED, what, remedy)


def _some_folder_takes_files(fs: FileSystem, root: str) -> bool:
    folders = [name for name, kind in fs.list(root) if kind is Kind.DIRECTORY]
    for name in folders[:_TRIED_FOLDERS]:
        try:
            if not leftover(fs, str(Path(root, name))):
                return True
        except OSError:
            continue
    return False


def restore_root(settings: Settings, root: str) -> Iterator[Finding]:
    """Tell whether restored files can be placed below a directory; tries an empty file."""
    fs = FileSystem()
    Shares(settings.shares, fs)  # whoever writes into a share may put a link in its place there
    local = local_of(settings, root)
    if local is None:
        what = f"{root}: HIMURO_SHARES の共有の中にありません"
        remedy = "HIMURO_RESTORE_ROOTS を共有の中のパス、またはこのマシンのパスにしてください"
        yield Finding("restore-root", Status.FAILED, what, remedy)
        return
    try:
        if os.path.isdir(local):  # noqa: PTH112 - nothing is tried on the disk below a mount
            require_mounted(settings, root, real_root(settings, root))
        left = leftover(fs, local)
        free = shutil.disk_usage(local).free
    except FatalError as exc:
        what = f"{root}: {sentence(exc.code, exc.detail)}"
        yield Finding("restore-root", Status.FAILED, what, exc.code.remedy)
        return
    except OSError as exc:
        what = f"{root}: 使えません（{os_reason(exc)}）"
        remedy = (
            "マウントを確認してください。マウントする場所でなければ、フォルダーを作成し、"
            "書き込みを許可してください"
        )
        yield Finding("restore-root", Status.FAILED, what, remedy)
        return
    if left:
        what = f"{root}: 試しに作った空のファイルを削除できません: {left}"
        yield Finding("restore-root", Status.WARNING, what, _LEFT_REMEDY)
        return
    status, remedy = _room(free, _RESTORE_BYTES)
    yield Finding("restore-root", status, f"{root}: 空き {human_size(free)}", remedy)


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Tell whether runs can be recorded; tries an empty file."""
    place = settings.data_dir
    if not os.path.lexists(place):
        yield _not_made(place)
        return
    try:
        left = leftover(FileSystem(), str(place))
        free = shutil.disk_usage(place).free
    except OSError as exc:
        what = f"{place}: {Code.DATA_DIR_UNWRITABLE.what}（{os_reason(exc)}）"
        yield Finding("data-dir", Status.FAILED, what, Code.DATA_DIR_UNWRITABLE.remedy)
        return
    if left:
        what = f"試しに作った空のファイルを削除できません: {left}"
        yield Finding("data-dir", Status.FAILED, what, _LEFT_REMEDY)
    else:
        yield Finding("data-dir", Status.OK, f"{place} に書き込めます")
    status, remedy = _room(free, _DATA_BYTES)
    yield Finding("data-space", status, f"空き {human_size(free)}", remedy)
    yield _location(place)


def _not_made(place: Path) -> Finding:
    above = next(parent for parent in place.parents if os.path.lexists(parent))
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = f"フォルダーがなく、作ることもできません: {place}"
        return Finding("data-dir", Status.FAILED, what, Code.DATA_DIR_UNWRITABLE.remedy)
    remedy = "場所が正しければ、python -m core init-db か最初の実行で作られます"
    return Finding("data-dir", Status.WARNING, f"フォルダーがまだありません: {place}", remedy)


def _location(place: Path) -> Finding:
    network = network_file_system(place)
    if network:
        what = f"ネットワークファイルシステム（{network}）の上にあります"
        remedy = "ロックが正しく働くように、HIMURO_DATA_DIR をローカルディスクにしてください"
        return Finding("data-location", Status.WARNING, what, remedy)
    return Finding("data-location", Status.OK, "ローカルディスクです")


def _room(free: int, wanted: int) -> tuple[Status, str]:
    if free >= wanted:
        return Status.OK, ""
    remedy = (
        f"不要なファイルを削除するか、ディスクを拡張してください（目安 {human_size(wanted)} 以上）"
    )
    return Status.FAILED if free < _LEAST_BYTES else Status.WARNING, remedy


def runs(settings: Settings) -> Iterator[Finding]:
    """Count past runs, those whose record is damaged and those that were broken off lately."""
    total, damaged, broken_off = 0, [], []
    try:
        folders = sorted(settings.runs_dir.iterdir()) if settings.runs_dir.exists() else []
    except OSError as exc:
        what = f"{settings.runs_dir}: 読み取れません（{os_reason(exc)}）"
        yield Finding("runs", Status.FAILED, what, Code.DATA_DIR_UNWRITABLE.remedy)
        return
    since = utc_now() - _RECENT
    for path in (folder for folder in folders if is_run_id(folder.name)):
        total += 1
        record = RunFolder(path, settings.timezone).read_record()
        if record is None:
            if not _is_young(path):
                damaged.append(path.name)
        elif record.state is RunState.INTERRUPTED and record.created_at > since:
            broken_off.append(path.name)
    what, remedy = f"{total:,}件", []
    if damaged:
        what += f"、記録が壊れているもの{len(damaged):,}件（{damaged[-1]} など）"
        remedy.append("壊れた実行のフォルダーを確認し、バックアップから戻してください")
    if broken_off:
        what += f"、7日以内に中断したもの{len(broken_off):,}件（{broken_off[-1]} など）"
        remedy.append("中断した実行は、エラーファイル一覧で再実行したか確認してください")
    yield Finding("runs", Status.WARNING if remedy else Status.OK, what, "。".join(remedy))


def _is_young(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < _YOUNG_SECONDS
    except FileNotFoundError:
        return True
    except OSError:
        return False
