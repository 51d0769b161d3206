"""The guides, held against the code and the pictures that they show."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from core.errors import Code
from core.model import RunState
from core.restore.model import STAGE_WORDS
from pages.widgets import words
from tests.deploy.pictures import GUIDES, IMAGES, shown
from tests.support.environment import CHECKOUT

OPERATORS, REQUESTERS = GUIDES
README = CHECKOUT / "README.md"
DOCUMENTS = sorted({*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")})
_LINK = r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)"


def plain(cell: str) -> str:
    """Return a cell of a Markdown table as it is read."""
    return re.sub(r"\\([\\_*|.\[\]])", r"\1", cell.strip())


def rows(guide: Path, first: str) -> list[tuple[str, ...]]:
    """Return the rows of tables whose first cell matches."""
    found = []
    for line in guide.read_text("utf-8").splitlines():
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        if cells and re.fullmatch(first, cells[0].strip()):
            found.append(tuple(map(plain, cells)))
    return found


def told_codes() -> list[tuple[str, ...]]:
    """Return the rows of the tables of error codes; other tables have fewer columns."""
    return [row for row in rows(OPERATORS, r"`[A-Z][A-Z0-9_]+`") if len(row) == 5]


def test_every_error_code_with_its_sentence_and_remedy() -> None:
    known = [
        (f"`{code.name}`", words.SEVERITY_WORDS[code.severity], code.what, code.remedy)
        for code in Code
    ]
    assert sorted(row[:4] for row in told_codes()) == sorted(known)


def test_every_error_code_with_how_it_comes_about() -> None:
    assert [row[0] for row in told_codes() if len(row[4]) < 10] == []


def test_every_state_of_a_run() -> None:
    states = "|".join(map(re.escape, words.STATE_WORDS.values()))
    told = [row[0] for row in rows(OPERATORS, states)]
    assert sorted(told) == sorted(words.STATE_WORDS[state] for state in RunState)


def test_every_stage_of_a_restored_file() -> None:
    stages = "|".join(map(re.escape, STAGE_WORDS.values()))
    assert [row[0] for row in rows(OPERATORS, stages)] == list(STAGE_WORDS.values())


def test_exit_codes_are_those_of_the_readme() -> None:
    assert [row[0] for row in rows(OPERATORS, r"\d+")] == [row[0] for row in rows(README, r"\d+")]


def test_files_of_a_run_are_called_as_on_the_pages() -> None:
    text = OPERATORS.read_text("utf-8")
    for name in (
        "error_log.txt",
        "failed_uploads.txt",
        "report.csv",
        "restore_requests.txt",
        "restore_errors.txt",
    ):
        assert words.file_label(name).replace("（", "（`").replace("）", "`）") in text


def test_pictures_are_those_shown() -> None:
    assert set(IMAGES.iterdir()) == shown(OPERATORS) | shown(REQUESTERS)


def test_pictures_are_those_that_the_browser_tests_take() -> None:
    make = (CHECKOUT / "Makefile").read_text("utf-8")
    taken = []
    for file in (CHECKOUT / "tests").rglob("test_*.py"):
        names = re.findall(r'\.picture\("([^"]+)"\)', file.read_text("utf-8"))
        assert not names or f" {file.relative_to(CHECKOUT)}" in make, file.name
        taken += names
    assert sorted(taken) == sorted(path.stem for path in IMAGES.iterdir())


def test_pictures_are_whole_windows_in_little_room() -> None:
    sizes = {}
    for file in IMAGES.iterdir():
        with Image.open(file) as picture:
            assert picture.size == (1366, 768), file.name
        sizes[file.name] = file.stat().st_size
    assert max(sizes.values()) < 150_000
    assert sum(sizes.values()) < 3_000_000


@pytest.mark.parametrize("guide", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(guide: Path) -> None:
    text = guide.read_text("utf-8")
    for link in re.findall(_LINK, text):
        assert link.isascii() or link.startswith("#"), f"{link} needs percent-encoding"
        path, _, heading = link.partition("#")
        if path.startswith("http"):
            continue
        target = guide.parent / unquote(path) if path else guide
        assert target.exists(), link
        if heading:
            assert unquote(heading) in map(_anchor, _headings(target)), link


def _headings(document: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)


def _anchor(heading: str) -> str:
    """Return the fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
