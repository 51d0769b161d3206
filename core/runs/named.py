"""Runs as people name them: by number, or by the path of the folder that a command printed."""

from __future__ import annotations

import os
from pathlib import Path

from core.config.settings import Settings
from core.errors import ListError
from core.runs.history import is_run_id


def run_named(settings: Settings, text: str) -> str:
    """Return the number of the run that ``text`` names, whether or not there is one.

    Raises ``ListError`` for what names no run, and for a folder that does not lie among the
    runs of this installation: its namesake here would be another run.
    """
    named = text.strip()
    if is_run_id(named):
        return named
    path = Path(named)
    if not is_run_id(path.name):
        raise ListError(
            f"実行番号ではありません: {text}。実行番号か、その実行のフォルダーを指定してください。"
        )
    if os.path.realpath(path.parent) != os.path.realpath(settings.runs_dir):
        raise ListError(
            f"ほかのデータディレクトリの実行です: {text}。"
            f"{settings.runs_dir} にある実行を指定してください。"
        )
    return path.name


def is_named_run(path: Path) -> bool:
    """Return whether an argument that may be a list as well names a run: whatever lies there
    as a file is a list, also under the name of a run."""
    return is_run_id(path.name.strip()) and not path.is_file()
