"""Dependencies point one way, and the documents say what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.settings import load_settings
from core.model import EXIT_CODES
from tests.servers import CHECKOUT

README = (CHECKOUT / "README.md").read_text("utf-8")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def packages(folder: str) -> dict[str, set[str]]:
    files = (CHECKOUT / folder).rglob("*.py")
    return {
        str(path.relative_to(CHECKOUT)): {name.partition(".")[0] for name in imports(path)}
        for path in files
    }


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("core", {"streamlit", "starlette", "sqlalchemy", "alembic", "psycopg2", "db", "pages"}),
        ("db", {"streamlit", "starlette", "pages", "boto3", "botocore"}),
        ("pages", {"boto3", "botocore", "sqlalchemy", "alembic", "tests"}),
    ],
)
def test_dependencies_point_one_way(folder: str, forbidden: set[str]) -> None:
    found = packages(folder)
    assert found
    wiring = {"core/__main__.py": {"db"}}
    wrong = {
        name: bad
        for name, used in found.items()
        if (bad := (used & forbidden) - wiring.get(name, set()))
    }
    assert wrong == {}


def test_only_s3_talks_to_s3() -> None:
    clients = {"boto3", "botocore"}
    found = {name for name, used in packages("core").items() if used & clients}
    assert found == {
        "core/s3/exceptions.py",
        "core/s3/session.py",
        "core/s3/connection.py",
        "core/s3/denials.py",
        "core/s3/health.py",
        "core/s3/http/fast_put.py",
        "core/s3/restore_store.py",
        "core/s3/object_states.py",
    }


def test_only_the_contracts_folders_stand_at_the_top() -> None:
    listed = (CHECKOUT / ".gitignore").read_text().split()
    ignored = {line.strip("/") for line in listed}
    folders = {p.name for p in CHECKOUT.iterdir() if p.is_dir()} - ignored - {".git"}
    assert folders == {"pages", "core", "db", "tests", ".streamlit", "docs", ".ci"}


def test_the_readme_names_every_setting() -> None:
    named = set(re.findall(r"^\| `(HIMURO_\w+)`", README, re.MULTILINE))
    source = "".join(
        (CHECKOUT / "core" / f"{n}.py").read_text("utf-8") for n in ("settings", "limits")
    )
    assert named == set(re.findall(r'"(HIMURO_\w+)"', source))
    assert named == set(load_settings({}).without_secrets())
    assert load_settings({}).restore_days == 7
    assert load_settings({}).timezone.key == "Asia/Tokyo"


def test_the_readme_names_every_command() -> None:
    source = (CHECKOUT / "core" / "commands.py").read_text("utf-8")
    commands = set(re.findall(r'\badd\(\s*"([a-z-]+)"', source))
    assert commands == set(re.findall(r"^\| `python -m core ([a-z-]+)", README, re.MULTILINE))


def test_the_readme_names_every_exit_code() -> None:
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert named == set(EXIT_CODES.values())


def test_no_document_names_a_package_index() -> None:
    for path in [
        *CHECKOUT.glob("requirements*"),
        *CHECKOUT.glob("*.md"),
        CHECKOUT / "Makefile",
    ]:
        text = path.read_text("utf-8")
        assert "index-url" not in text
        assert "--registry" not in text
        assert "find-links" not in text


def test_the_security_page_names_tests_that_exist() -> None:
    text = (CHECKOUT / "docs" / "security.md").read_text("utf-8")
    file, named = "", 0
    for module, test in re.findall(r"`(?:(test_\w+\.py)::|…)(test_\w+)`", text):
        file = module or file
        assert f"def {test}(" in (CHECKOUT / "tests" / file).read_text("utf-8"), test
        named += 1
    assert named > 50
