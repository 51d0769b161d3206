"""Lists that browsers have sent and no check has taken yet: Streamlit keeps them in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

_MAX_KNOWN = 1000
"""Sessions of which it is remembered that something was refused."""

_lock = threading.Lock()
_refused: OrderedDict[str, str] = OrderedDict()


def held_bytes() -> int:
    """Return the bytes of all uploads that Streamlit holds."""
    manager = _manager()
    families = manager.get_stats().values() if manager else ()
    return sum(stat.byte_length for stats in families for stat in stats)


def _manager() -> MemoryUploadedFileManager | None:
    """Return what holds them; None where no server runs, as in tests of pages."""
    manager = Runtime.instance().uploaded_file_mgr if Runtime.exists() else None
    return manager if isinstance(manager, MemoryUploadedFileManager) else None


def of_session(session_id: str) -> tuple[int, int]:
    """Return how many uploads a session has, and their bytes."""
    manager = _manager()
    if manager is None:
        return 0, 0
    files = list(manager.file_storage.get(session_id, {}).values())
    return len(files), sum(len(file.data) for file in files)


def let_go(files: Iterable[UploadedFile]) -> None:
    """Drop uploads of this session that a check has taken; Streamlit would keep them until the
    browser leaves."""
    context, manager = get_script_run_ctx(), _manager()
    if context is None or manager is None:
        return
    for file in files:
        manager.remove_file(context.session_id, file.file_id)


def refuse(session_id: str, sentence: str) -> None:
    """Remember why an upload of a session was refused: the browser shows the page nothing but
    that it was."""
    with _lock:
        _refused[session_id] = sentence
        _refused.move_to_end(session_id)
        while len(_refused) > _MAX_KNOWN:
            _refused.popitem(last=False)


def refusal() -> str:
    """Return why the last upload of this session was refused, once; empty when none was."""
    context = get_script_run_ctx()
    with _lock:
        return _refused.pop(context.session_id, "") if context else ""
