"""What comments and docstrings cite exists, so that whoever follows them arrives."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.environment import CHECKOUT

DOCS = CHECKOUT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
_PARTS = ("Date", "Context", "Decision", "Figures", "Consequence")
_CITATION = re.compile(r"docs/([\w/.-]+\.md)(?:``)?(?:, \"([^\"]+)\")?")
_ELSEWHERE = re.compile(r"\bFACTS\b|\b[Cc]ontract,|\(contract\b")


def words(source: str) -> Iterator[str]:
    """Yield every text of a module, comments that follow each other as one, without line ends."""
    comment: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comment.append(token.string.lstrip("#: "))
        elif token.type == tokenize.STRING:
            yield " ".join(token.string.split())
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and comment:
            yield " ".join(comment)
            comment = []
    yield " ".join(comment)


@cache
def all_words() -> tuple[tuple[str, str], ...]:
    """Return each text of the program and its tests with the file that it stands in; files that
    cite nothing are not taken apart."""
    found: list[tuple[str, str]] = []
    files = [CHECKOUT / "app.py"]
    for folder in ("core", "db", "pages", "tests"):
        files += (CHECKOUT / folder).rglob("*.py")
    for path in files:
        source = path.read_text("utf-8")
        if path != Path(__file__) and ("docs/" in source or _ELSEWHERE.search(source)):
            name = str(path.relative_to(CHECKOUT))
            found += ((name, text) for text in words(source))
    return tuple(found)


def headings(document: Path) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE))


def missing(name: str, heading: str) -> bool:
    document = DOCS / name
    return not document.is_file() or bool(heading) and heading not in headings(document)


def test_every_cited_heading_exists() -> None:
    cited = [(file, *found) for file, text in all_words() for found in _CITATION.findall(text)]
    assert [one for one in cited if missing(*one[1:])] == []
    assert len(cited) > 30


def test_every_citation_of_the_contract_and_the_facts_names_a_heading() -> None:
    cited = [(file, *found) for file, text in all_words() for found in _CITATION.findall(text)]
    assert [one for one in cited if one[1] in ("contract.md", "facts.md") and not one[2]] == []


DOCUMENTS = sorted({*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")} - {CHECKOUT / "CHANGELOG.md"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_and_folder_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    named = set(re.findall(r"`((?:core|db|pages|tests|docs)/[\w/]+(?:\.\w+|/)?)`", text))
    assert [path for path in sorted(named) if not (CHECKOUT / path).exists()] == []


def test_nothing_is_cited_that_is_not_here() -> None:
    assert [(file, text) for file, text in all_words() if _ELSEWHERE.search(text)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('# A rule (docs/contract.md,\n# "Run folder").', ("contract.md", "Run folder")),
        (
            '"""A rule (``docs/facts.md``, "S3 and\n    Deep Archive")."""',
            ("facts.md", "S3 and Deep Archive"),
        ),
    ],
)
def test_a_citation_is_seen_over_the_end_of_a_line(text: str, found: tuple[str, str]) -> None:
    assert [c for part in words(text) for c in _CITATION.findall(part)] == [found]


def test_a_heading_that_is_not_there_is_noticed() -> None:
    assert missing("contract.md", "No such heading")
    assert missing("no-such-document.md", "")


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_all_its_parts(record: Path) -> None:
    text = record.read_text("utf-8")
    number = record.stem[:4]
    assert re.match(rf"# {number}\. \S", text), "the title begins with the number"
    assert re.findall(r"^\*\*(\w+)\.\*\* ", text, re.MULTILINE) == list(_PARTS)


def test_decisions_are_numbered_and_listed() -> None:
    assert [path.stem[:4] for path in DECISIONS] == [f"{n + 1:04}" for n in range(len(DECISIONS))]
    listed = (DOCS / "architecture.md").read_text("utf-8")
    assert [path.name for path in DECISIONS if f"decisions/{path.name}" not in listed] == []


def test_the_architecture_is_read_in_one_sitting() -> None:
    assert len((DOCS / "architecture.md").read_text("utf-8").splitlines()) <= 150
