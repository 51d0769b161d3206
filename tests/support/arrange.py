"""A small installation for tests: a share, a data directory, an archive list and a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.archive.check import refusal
from core.archive.run import ArchiveRun
from core.concurrency.cancellation import StopSignal
from core.config.settings import Settings, load_settings
from core.errors import Code, FatalError
from core.model import ListSource, Plan, RunRecord, RunRequest
from core.restore.ports import RestoreStore
from core.share.shares import FileSystem, Shares
from tests.support.fakes import MemoryCatalogue, MemoryStore

UNC = r"\\fsx01\share"
BUCKET = "himuro-test"
REQUEST = RunRequest("REQ-0001", "山田 花子", "テスト", "tester")


def archive_list(*paths: str) -> bytes:
    """Return a list that names UNC paths, as a requester's CSV."""
    lines = ["ディレクトリパス,ファイル名", *(f'"{path}",' for path in paths)]
    return "\r\n".join(lines).encode("utf-8-sig")


@dataclass
class Desk:
    """Everything one run needs, in a temporary directory."""

    root: Path
    catalogue: MemoryCatalogue = field(default_factory=MemoryCatalogue)
    store: MemoryStore = field(default_factory=MemoryStore)
    fs: FileSystem = field(default_factory=FileSystem)
    environ: Mapping[str, str] = field(default_factory=dict)
    stop: StopSignal = field(default_factory=StopSignal)

    def __post_init__(self) -> None:
        self.share.mkdir(parents=True, exist_ok=True)

    @property
    def share(self) -> Path:
        return self.root / "share"

    @property
    def settings(self) -> Settings:
        return load_settings(
            {
                "HIMURO_DATA_DIR": str(self.root / "data"),
                "HIMURO_BUCKET": BUCKET,
                "HIMURO_SHARES": f"{UNC}={self.share}",
                **self.environ,
            }
        )

    def write(self, name: str, content: bytes | str = b"") -> Path:
        """Put a file on the share; ``name`` with forward slashes."""
        path = self.share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def new_run(self, content: bytes) -> ArchiveRun:
        return ArchiveRun(
            self.settings,
            self.catalogue,
            [ListSource("一覧.csv", content)],
            REQUEST,
            shares=Shares(self.settings.shares, self.fs),
        )

    def check(self, *paths: str) -> Plan:
        return self.new_run(archive_list(*paths)).check()

    def archive(self, *paths: str) -> Done:
        return self.run(archive_list(*paths))

    def run(self, content: bytes) -> Done:
        """Do what an operator does: check, and run unless it is refused."""
        run = self.new_run(content)
        plan = run.check()
        if refusal(plan):
            return Done(run.refuse(plan), run.folder.path, plan)
        run.begin(plan)
        return Done(run.execute(lambda: self.store, self.stop), run.folder.path, plan)

    def markers(self) -> set[str]:
        return {p.name for p in self.share.rglob("*_archived.txt")}


def no_restores(_settings: Settings) -> RestoreStore:
    """For consoles in which nobody restores anything."""
    raise FatalError(Code.S3_UNREACHABLE)


@dataclass(frozen=True)
class Done:
    """A finished run."""

    record: RunRecord
    folder: Path
    plan: Plan

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8-sig") if path.exists() else ""

    @property
    def failed(self) -> list[str]:
        """The error file list."""
        return self.read("failed_uploads.txt").splitlines()


def rows(catalogue: MemoryCatalogue) -> set[tuple[str, str, str]]:
    """Return what counts of an archive list: path, key, SHA-256."""
    return {(row.path, row.key, row.sha256) for row in catalogue.rows}
