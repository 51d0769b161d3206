"""What a docstring says is understood without the one before it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.environment import CHECKOUT

_NEIGHBOUR = re.compile(r"(The same|As)\b")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each, also of those below an attribute or a constant."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text.strip()


def test_no_docstring_begins_with_its_neighbour() -> None:
    files = [
        file for package in ("core", "db", "pages") for file in (CHECKOUT / package).rglob("*.py")
    ]
    found = [
        f"{file.relative_to(CHECKOUT)}:{line} {text[:60]}"
        for file in files
        for line, text in docstrings(file)
        if _NEIGHBOUR.match(text)
    ]
    assert len(files) > 200
    assert found == []
