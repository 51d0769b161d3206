"""Random shares with every kind of twin, archived by clocks that jump: the right bytes come back.

The reference is the simplest there is: what was stored last under each exact path.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from core.errors import Code
from core.export.writer import Form
from core.model import MARKER_SUFFIX
from core.paths.normalization import identity
from core.restore.model import RestorePlan
from db import open_catalogue
from tests.support.arrange import UNC
from tests.support.office import Office, restore_list

EXAMPLES = int(os.environ.get("HIMURO_EXAMPLES", "6"))
NAMES = [
    "ガ.txt", "カ\u3099.txt", "Report.txt", "REPORT.txt", "report.txt", "x", "X",
    f"x{MARKER_SUFFIX}", f"x{MARKER_SUFFIX * 2}", " a.txt", "a.txt", "a.txt\u3000", "'=a", "=a",
    "a\u200e.txt", "報告:1?.txt",
]  # fmt: skip
FOLDERS = ["", "d/", "D/", "か\u3099/", "が/", "d\u3000/"]
FILES = [f"{folder}{name}" for folder in FOLDERS for name in NAMES]
JUMPS = [-3600, -1, 0, 0.5, 7200]


class Reference:
    """What the archive list has to hold, in the order in which it was stored."""

    def __init__(self) -> None:
        self.share: dict[str, str] = {}
        self.stored: list[tuple[str, str]] = []

    def write(self, name: str, content: str) -> list[str]:
        """Put a file on the share; returns those that go: no file may have the name of another
        one's marker."""
        mine, marked = identity(name), identity(name + MARKER_SUFFIX)
        gone = [
            there
            for there in self.share
            if identity(there) == marked or identity(there + MARKER_SUFFIX) == mine
        ]
        for there in gone:
            del self.share[there]
        self.share[name] = content
        return gone

    def archive(self) -> None:
        before = self.last()
        for name, content in self.share.items():
            if self.content_of(name, before) != content:
                self.stored.append((name, content))

    def content_of(self, name: str, last: dict[str, str]) -> str | None:
        """Return the newest content of a file, which may have been renamed as Windows allows:
        in letter case only."""
        if name in last:
            return last[name]
        former = [
            content
            for other, content in self.stored
            if identity(other) == identity(name) and other not in self.share
        ]
        return former[-1] if former else None

    def last(self) -> dict[str, str]:
        return dict(self.stored)


Step = tuple[list[tuple[str, int]], list[str], float]
"""Files with their contents, files that are removed, seconds by which the clock jumps."""
STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(FILES), st.integers(0, 3)), min_size=1, max_size=8),
        st.lists(st.sampled_from(FILES), max_size=2),
        st.sampled_from(JUMPS),
    ),
    min_size=1,
    max_size=4,
)


def unc(name: str) -> str:
    return f"{UNC}\\{name}".replace("/", "\\").rstrip("\\")


def lived_through(office: Office, steps: list[Step]) -> Reference:
    """Carry out what happens to a share, in the office and in the reference."""
    reference = Reference()
    for files, removed, jump in steps:
        for marker in office.share.rglob(f"*{MARKER_SUFFIX}"):
            if not marker.stat().st_size:
                marker.unlink()
        for name, content in files:
            for gone in reference.write(name, f"content {content}"):
                (office.share / gone).unlink()
            office.write(name, f"content {content}")
        for name in removed:
            if len(reference.share) > 1 and reference.share.pop(name, ""):
                (office.share / name).unlink()
        office.clock += timedelta(seconds=jump)
        writes = len(office.store.writes)
        office.archive()
        stored = len(reference.stored)
        reference.archive()
        assert len(office.store.writes) - writes == len(reference.stored) - stored
        # What is archived is not sent again, whatever the clock says.
        assert office.archive().archived_files == 0
    return reference


def content_of(office: Office, plan: RestorePlan) -> list[str]:
    return [office.store.objects[item.key].data.decode() for item in plan.items]


# Without shrinking, which would take minutes: each example is a whole office.
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS, st.sampled_from([str.upper, str.lower, str.swapcase]))
@example([([("d/a.txt", 0), ("D/a.txt\u3000", 1)], [], 0)], str.lower)
@example(
    [([(f, n % 3) for n, f in enumerate(FILES)], [], 3600), ([(FILES[0], 3)], [], -7200)], str.upper
)
def test_the_right_bytes_come_back(
    migrated_sqlite_file: Path, steps: list[Step], turned: Callable[[str], str]
) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        shutil.copy(migrated_sqlite_file, root / "catalogue.db")
        catalogue = open_catalogue(f"sqlite:///{root / 'catalogue.db'}")
        try:
            office = Office(root / "office", catalogue)
            reference = lived_through(office, steps)
            require_right_bytes(office, reference, turned)
        finally:
            catalogue.close()


def require_right_bytes(office: Office, reference: Reference, turned: Callable[[str], str]) -> None:
    last = reference.last()
    rows = office.rows()
    stored = [(row.path, office.store.objects[row.key].data.decode()) for row in rows]
    assert Counter(stored) == Counter((unc(name), text) for name, text in reference.stored)
    times: dict[str, list[object]] = {}
    for row in rows:
        times.setdefault(row.path, []).append(row.archived_at)
    assert all(found == sorted(set(found)) for found in times.values())  # type: ignore[type-var]

    by_name = {name: office.plan(f'"{unc(name)}",') for name in last}
    for name, plan in by_name.items():
        assert content_of(office, plan) == [last[name]]
    for name in last:
        require_turned(office, last, turned(name))
    for folder in FOLDERS:
        below = sorted(text for name, text in last.items() if name.startswith(folder))
        if below:
            plan = office.plan(f'"{unc(folder)}",')
            assert sorted(content_of(office, plan)) == below
            assert {p.code for p in plan.problems} <= {Code.FOLDER_SPELLINGS}
    for form in (Form.CSV, Form.XLSX):
        plan = office.restore(office.exported(form, rows)).check()
        assert ([item.key for item in plan.items], plan.problems) == ([r.key for r in rows], ())
    newest = {row.path: row for row in rows}
    one_by_one = [office.restore(office.exported(Form.RESTORE, [row])).check() for row in rows]
    for row, plan in zip(rows, one_by_one, strict=True):
        assert [item.key for item in plan.items] == [row.key]
    back = office.bring_back(restore_list(f"{UNC},"))
    assert Counter(back.values()) == Counter(last.values())
    assert len(newest) == len(back)


def require_turned(office: Office, last: dict[str, str], name: str) -> None:
    """A path that nobody has exactly means the only one that Windows takes for it, or none."""
    plan = office.plan(f'"{unc(name)}",')
    bare = name.removesuffix(MARKER_SUFFIX)
    exact = [n for n in (name, bare) if n in last][:1]
    near = {n for n in last if identity(n) in (identity(name), identity(bare))}
    # A full-width space at the end may be a slip, as the letter case may be.
    near |= {name.rstrip("\u3000")} & last.keys()
    found = exact or sorted(near)
    if len(found) == 1:
        assert content_of(office, plan) == [last[found[0]]]
    else:
        assert content_of(office, plan) == []
        assert [p.code for p in plan.problems] == [Code.RESTORE_AMBIGUOUS]
