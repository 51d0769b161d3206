"""An installation with a real archive list, in which files are archived and come back.

The clocks are moved by hand: ``clock`` is what archive runs read, which may be wrong; S3's own
(``s3.now``) never is.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.archive.check import refusal
from core.archive.run import ArchiveRun
from core.concurrency.cancellation import StopSignal
from core.config.settings import Settings, load_settings
from core.export import writer
from core.export.writer import Form
from core.model import Entry, ListSource, Plan, RunRecord, SearchQuery
from core.ports import Catalogue, Hits
from core.restore.model import RestorePlan
from core.restore.run import OpenRestore, RestoreRun
from core.restore.target import find_target
from tests.support.arrange import BUCKET, REQUEST, UNC, archive_list
from tests.support.fakes import MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore

START = datetime(2026, 11, 23, 9, 30, 15, tzinfo=UTC)


@dataclass
class Office:
    """Everything that archives and restores, in a directory of its own."""

    root: Path
    catalogue: Catalogue
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: datetime = START

    def __post_init__(self) -> None:
        self.share.mkdir(parents=True)
        self.target.mkdir()
        self.s3 = MemoryRestoreStore(self.store, START)

    @property
    def share(self) -> Path:
        return self.root / "share"

    @property
    def target(self) -> Path:
        return self.root / "back"

    @property
    def settings(self) -> Settings:
        return load_settings(
            {
                "HIMURO_DATA_DIR": str(self.root / "data"),
                "HIMURO_BUCKET": BUCKET,
                "HIMURO_SHARES": f"{UNC}={self.share}",
                "HIMURO_RESTORE_ROOTS": str(self.target),
            }
        )

    def write(self, name: str, content: str) -> Path:
        """Put a file on the share; ``name`` with forward slashes."""
        path = self.share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    # Archiving

    def checked(self, *paths: str) -> ArchiveRun:
        """Return a run whose list was checked and confirmed."""
        sources = [ListSource("一覧.csv", archive_list(*(paths or (UNC,))))]
        run = ArchiveRun(self.settings, self.catalogue, sources, REQUEST, now=lambda: self.clock)
        run.begin(self.accepted(run))
        return run

    def accepted(self, run: ArchiveRun) -> Plan:
        plan = run.check()
        assert refusal(plan) == "", plan.problems
        return plan

    def archive(self, *paths: str) -> RunRecord:
        return self.checked(*paths).execute(lambda: self.store, StopSignal())

    def rows(self) -> list[Entry]:
        """Return the archive list as it was stored."""
        found = self.catalogue.search(SearchQuery(), per_page=1_000_000).entries
        return sorted(found, key=lambda row: row.id)

    # Lists that are made here

    def exported(self, form: Form, rows: Sequence[Entry]) -> bytes:
        file = io.BytesIO()
        writer.write(file, form, Hits(len(rows), iter([rows])), self.settings.timezone)
        return file.getvalue()

    # Restoring

    def restore(self, content: bytes, name: str = "復元.csv") -> RestoreRun:
        sources = [ListSource(name, content)]
        return RestoreRun(self.settings, self.catalogue, sources, REQUEST, now=lambda: self.s3.now)

    def plan(self, *lines: str) -> RestorePlan:
        return self.restore(restore_list(*lines)).check()

    def bring_back(self, content: bytes) -> dict[str, str]:
        """Restore a list from request to placed files; returns contents by their names."""
        run = self.restore(content)
        plan = run.check()
        if plan.refused:
            run.refuse(plan)
            return {}
        run.begin(plan)
        record = run.execute(lambda: self.s3, StopSignal())
        self.s3.now += timedelta(hours=49)
        shutil.rmtree(self.target)
        self.target.mkdir()
        self.place(record.run_id)
        return self.placed()

    def place(self, run_id: str) -> RunRecord:
        opened = OpenRestore(self.settings, run_id, lambda: self.s3.now)
        opened.begin("tanaka")
        target = find_target(self.settings, str(self.target))
        return opened.place(lambda: self.s3, target, StopSignal())

    def placed(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.target.iterdir()}


def restore_list(*lines: str, titles: str = "ディレクトリパス,復元対象ファイル名") -> bytes:
    """Return a restore list as Excel saves it for UTF-8."""
    return "\r\n".join([titles, *lines]).encode("utf-8-sig")


def unc(*names: str) -> list[str]:
    """Return the UNC paths of files on the share."""
    return [f"{UNC}\\{name}".replace("/", "\\") for name in names]


def paths(rows: Iterable[Entry]) -> list[str]:
    return [row.path for row in rows]
