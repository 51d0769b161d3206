"""Imports between packages point one way, and the documents say what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from core.config.settings import load_settings
from core.model import EXIT_CODES
from tests.support.environment import CHECKOUT

README = (CHECKOUT / "README.md").read_text("utf-8")

MAX_MODULES = 15
"""In one folder, without its ``__init__.py``: more are not taken in at a glance."""

ENTRIES = {"core.__main__", "pages.router"}
"""Where everything comes together. Nothing imports them, so they may import what they like."""

_FLOOR = "core core.paths core.resources core.config core.files core.concurrency"
_RUNS = f"{_FLOOR} core.lists core.share core.runs"
_CONSOLE = (
    f"{_RUNS} core.search core.auth core.archive core.restore core.export core.health core.jobs"
)
_PAGE = f"{_CONSOLE} pages pages.auth pages.widgets pages.http"
ALLOWED = {
    "core": "",
    "core.paths": "core",
    "core.resources": "core",
    "core.concurrency": "core core.resources",
    "core.config": "core core.paths core.resources",
    "core.files": "core core.resources",
    "core.lists": "core core.paths core.files",
    "core.share": "core core.paths core.resources core.config core.files",
    "core.runs": _FLOOR,
    "core.search": "core core.paths core.concurrency",
    "core.auth": "core core.paths core.resources core.config core.files",
    "core.archive": _RUNS,
    "core.restore": _RUNS,
    "core.export": f"{_FLOOR} core.lists core.runs",
    "core.health": f"{_FLOOR} core.share core.runs core.restore",
    "core.jobs": f"{_FLOOR} core.runs core.archive core.restore",
    "core.s3.http": "core core.paths core.resources core.archive",
    "core.s3": f"{_FLOOR} core.archive core.restore core.health core.s3.http",
    "core.cli": _CONSOLE,
    "db.table": "core",
    "db.connection": "core core.config core.files core.resources db.table",
    "db.search": "core core.paths core.search db.table",
    "db": "core core.files core.health db.table db.connection db.search",
    "pages": f"{_CONSOLE} core.s3 db",
    "pages.auth": f"{_CONSOLE} pages",
    "pages.widgets": f"{_CONSOLE} pages pages.auth",
    "pages.traffic": f"{_CONSOLE} pages pages.auth",
    "pages.http": f"{_CONSOLE} pages pages.auth pages.widgets pages.traffic",
    "pages.jobs": _PAGE,
    "pages.account": _PAGE,
    "pages.health": _PAGE,
    "pages.archive": f"{_PAGE} pages.jobs",
    "pages.restore": f"{_PAGE} pages.jobs",
    "pages.runs": f"{_PAGE} pages.jobs",
    "pages.search": f"{_PAGE} pages.jobs",
}
"""Which packages a package may import. A new arrow is a decision: it is written down here, and
docs/architecture.md still has to be true afterwards."""


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports, each name as a module or as something in one."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(folder: str) -> dict[str, Path]:
    """Return the modules below a folder of the checkout, packages included, by dotted name."""
    found = {}
    for path in sorted((CHECKOUT / folder).rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


ALL = {name: path for folder in ("core", "db", "pages") for name, path in modules(folder).items()}
PACKAGES = {name for name, path in ALL.items() if path.name == "__init__.py"}


def package_of(name: str) -> str:
    """Return the package of what is imported: a module, a package, or a name in either."""
    while name not in PACKAGES:
        name = name.rpartition(".")[0]
    return name


def arrows() -> Mapping[str, set[str]]:
    """Return the packages that each package imports. Migrations belong to ``db``."""
    found: dict[str, set[str]] = {package: set() for package in PACKAGES}
    for name, path in ALL.items():
        if name in ENTRIES:
            continue
        used = {n for n in imports(path) if n.partition(".")[0] in ("core", "db", "pages")}
        found[package_of(name)] |= {package_of(n) for n in used} - {package_of(name)}
    return found


def test_packages_import_each_other_as_the_table_says() -> None:
    found = arrows()
    assert set(found) == set(ALLOWED), "a package is not in the table, or no longer there"
    wrong = {
        package: sorted(used - set(ALLOWED[package].split()))
        for package, used in found.items()
        if used - set(ALLOWED[package].split())
    }
    assert wrong == {}
    TopologicalSorter(found).prepare()  # raises CycleError


def test_a_folder_is_taken_in_at_a_glance() -> None:
    folders: dict[str, int] = {}
    for path in [*ALL.values(), *modules("tests").values()]:
        folder = str(path.parent.relative_to(CHECKOUT))
        folders[folder] = folders.get(folder, 0) + (path.name != "__init__.py")
    assert {name: n for name, n in folders.items() if n > MAX_MODULES} == {}


def test_every_package_says_what_it_is_for() -> None:
    packages = {
        name: path for name, path in (ALL | modules("tests")).items() if path.name == "__init__.py"
    }
    silent = {
        name
        for name, path in packages.items()
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    }
    assert silent == set()


def libraries(folder: str) -> dict[str, set[str]]:
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
    found = libraries(folder)
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
    found = {str(Path(name).parent) for name, used in libraries("core").items() if used & clients}
    assert found == {"core/s3", "core/s3/http"}


def test_only_the_contracts_folders_stand_at_the_top() -> None:
    listed = (CHECKOUT / ".gitignore").read_text().split()
    ignored = {line.strip("/") for line in listed}
    folders = {p.name for p in CHECKOUT.iterdir() if p.is_dir()} - ignored - {".git"}
    assert folders == {"pages", "core", "db", "tests", ".streamlit", "docs", ".ci"}


def test_the_readme_names_every_setting() -> None:
    named = set(re.findall(r"^\| `(HIMURO_\w+)`", README, re.MULTILINE))
    source = "".join(
        (CHECKOUT / "core" / "config" / f"{n}.py").read_text("utf-8")
        for n in ("settings", "limits")
    )
    assert named == set(re.findall(r'"(HIMURO_\w+)"', source))
    assert named == set(load_settings({}).without_secrets())
    assert load_settings({}).restore_days == 7
    assert load_settings({}).timezone.key == "Asia/Tokyo"


def test_the_readme_names_every_command() -> None:
    source = (CHECKOUT / "core" / "cli" / "main.py").read_text("utf-8")
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
    for module, test in re.findall(r"`(?:([\w/]+/test_\w+\.py)::|…)(test_\w+)`", text):
        file = module or file
        assert f"def {test}(" in (CHECKOUT / file).read_text("utf-8"), test
        named += 1
    assert named > 50
