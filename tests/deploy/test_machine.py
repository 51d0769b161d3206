"""``make test`` says what a machine lacks before it begins, and ``make help`` what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import machine
from tests.support.environment import CHECKOUT

MAKEFILE = (CHECKOUT / "Makefile").read_text("utf-8")


def told(path: str) -> tuple[int, str]:
    """Return the exit code and what is said on a machine with this ``PATH``."""
    done = subprocess.run(
        [sys.executable, "-m", machine.__name__],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={"PATH": path},
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def with_programs(directory: Path, **scripts: str) -> str:
    """Return a ``PATH`` that has these programs alone, each a line of shell."""
    for name, line in scripts.items():
        file = directory / name.replace("_", "-")
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)
    return str(directory)


def test_a_bare_machine_is_told_in_one_sentence_what_to_install() -> None:
    code, said = told("")
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(
        "The whole test suite needs Chromium, a Japanese font and nginx, "
        "which this machine does not have: run "
        "`apt-get install --yes --no-install-recommends chromium fonts-noto-cjk nginx`"
    )
    assert said.isascii()


def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    path = with_programs(tmp_path, chromium="exit 0", nginx="exit 0", fc_list="exit 0")
    code, said = told(path)
    assert code == 1
    assert said.startswith("The whole test suite needs a Japanese font, which")
    assert "recommends fonts-noto-cjk`" in said


def test_a_machine_that_has_everything_is_told_nothing(tmp_path: Path) -> None:
    font = "[ $1 = :lang=ja ] && echo 'NotoSansCJK.ttc: Noto Sans CJK JP'"
    path = with_programs(tmp_path, chromium="exit 0", nginx="exit 0", fc_list=font)
    assert told(path) == (0, "")


def test_continuous_integration_installs_the_same() -> None:
    script = (CHECKOUT / ".ci" / "run").read_text("utf-8")
    added = set(" ".join(re.findall(r"packages\+=\(([^)]+)\)", script)).split())
    assert added - {"make", "python3", "python3-venv"} == set(machine.NEEDED)


def made(*arguments: str) -> str:
    program = shutil.which("make")
    assert program, "make is not installed (see .ci/run)"
    return subprocess.run(
        [program, "--no-print-directory", *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        check=True,
    ).stdout


def test_tests_begin_only_when_the_machine_has_what_they_need() -> None:
    planned = made("--dry-run", "test").splitlines()
    looked = next(n for n, line in enumerate(planned) if machine.__name__ in line)
    others = [n for n, line in enumerate(planned) if "pytest" in line or "pip install" in line]
    assert others
    assert looked < min(others)


def test_help_has_a_line_for_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony
    lines = made("help").splitlines()
    assert made() == made("help")
    told = dict(re.findall(r"^  make (\S+) +(\S.+)$", "\n".join(lines), re.MULTILINE))
    assert sorted(told) == sorted(phony[1].split())


PRE_COMMIT = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text("utf-8"))


def test_a_commit_is_looked_at_by_the_same_tools_as_make_check() -> None:
    check = MAKEFILE.partition("\ncheck:")[2].partition("\n\n")[0]
    tools = set(re.findall(r"\$\(BIN\)/(\w+)", check))
    hooks = [hook for repo in PRE_COMMIT["repos"] for hook in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in hooks} == {f".venv/bin/{tool}" for tool in tools}
    assert {repo["repo"] for repo in PRE_COMMIT["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}


@pytest.mark.parametrize("pattern", ["*.py", "Makefile", "*.md"])
def test_editors_are_told_how_lines_end(pattern: str) -> None:
    text = (CHECKOUT / ".editorconfig").read_text("utf-8")
    assert f"[{pattern}]" in text
    for file in [*CHECKOUT.glob(pattern), *(CHECKOUT / "docs").rglob(pattern)]:
        content = file.read_bytes()
        assert b"\r\n" not in content, file
        assert content.endswith(b"\n"), file
