"""What is installed: every file by its SHA-256, nothing that the console does not need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy import sbom
from tests.support.environment import CHECKOUT
from tests.support.servers.lean_console import PAGES

FILES = sorted(CHECKOUT.glob("requirements*.txt"))
LEFT_OUT = "requirements-left-out.in"


def text(name: str) -> str:
    return (CHECKOUT / name).read_text("utf-8")


def names(file: str) -> set[str]:
    """Return what a file for ``make lock`` asks for."""
    return {
        canonicalize_name(Requirement(line).name)
        for line in text(file).splitlines()
        if line and not line.startswith("#")
    }


def here(file: str) -> dict[str, str]:
    """Return name → version of what a file installs on this machine."""
    found = {}
    for line in text(file).splitlines():
        if (pin := sbom.PIN.match(line)) and (not pin[3] or Marker(pin[3]).evaluate()):
            found[pin[1]] = pin[2]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_package_has_one_version_and_the_hashes_of_its_files(path: Path) -> None:
    content = path.read_text("utf-8")
    packages = sbom.pins(content)
    assert packages
    for name, (version, hashes) in packages.items():
        assert hashes, f"{name}=={version} has no hash"
    for line in content.splitlines():
        known = sbom.PIN.match(line) or sbom.HASH.match(line)
        assert known or re.fullmatch(r"|\s*#.*|-r requirements[a-z-]*\.txt", line), line


def test_no_package_is_named_twice() -> None:
    seen: dict[str, str] = {}
    for file in ("", "-oidc", "-dev", "-bench"):
        for name in sbom.pins(text(f"requirements{file}.txt")):
            assert name not in seen, f"{name}: {file} and {seen[name]}"
            seen[name] = file


@pytest.mark.parametrize(
    "file", ["requirements.txt", "requirements-oidc.txt", "requirements-dev.txt"]
)
def test_the_tests_run_with_the_versions_that_are_named(file: str) -> None:
    wanted = here(file)
    assert {name: distribution(name).version for name in wanted} == wanted


@pytest.mark.parametrize(
    ("file", "before"),
    [("requirements", []), ("requirements-oidc", ["requirements"])],
)
def test_nothing_is_missing_but_what_is_left_out(file: str, before: list[str]) -> None:
    """pip is told to look for no dependencies, so that nobody else would notice."""
    installed = {name for part in (*before, file) for name in here(f"{part}.txt")}
    for name in here(f"{file}.txt"):
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            other = canonicalize_name(needed.name)
            assert other in installed | names(LEFT_OUT), f"{name} needs {line}"
            if other in installed:
                assert needed.specifier.contains(distribution(other).version), f"{name}: {line}"


def test_what_is_asked_for_is_named() -> None:
    for file in ("requirements", "requirements-oidc", "requirements-bench", "requirements-tools"):
        assert names(f"{file}.in") <= set(sbom.pins(text(f"{file}.txt"))), file
    everything = {n for part in ("", "-oidc", "-dev") for n in here(f"requirements{part}.txt")}
    assert names("requirements-dev.in") <= everything
    assert not names(LEFT_OUT) & set(here("requirements.txt"))


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile", "README.md", "docs/deploy.md"])
def test_everything_is_installed_by_hash(file: str) -> None:
    joined = text(file).replace("\\\n", " ")
    joined = joined.replace("$(INSTALL)", "".join(re.findall(r"^INSTALL := (.*)", joined, re.M)))
    installs = re.findall(r"pip install .*", joined)
    assert installs
    for line in installs:
        assert {"--no-deps", "--require-hashes"} <= set(line.split()), line


def lean(*words: str, **environ: str) -> str:
    """Run the console without what requirements.txt does not name; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.servers.lean_console", *words],
        cwd=CHECKOUT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_every_page_is_rendered_without_what_is_not_installed() -> None:
    assert lean().split() == list(PAGES)


def test_a_provider_without_its_libraries_is_told_with_what_to_install(tmp_path: Path) -> None:
    said = lean("services", HIMURO_SIGNIN="oidc", HIMURO_DATA_DIR=str(tmp_path))
    assert said.splitlines() == [
        "設定に誤りがあります:",
        "  - HIMURO_SIGNIN=oidc に必要なライブラリーがインストールされていません"
        "（authlib、httpx、joserfc）。"
        "requirements.txt の代わりに requirements-oidc.txt をインストールしてください",
    ]


def component(name: str, version: str, *hashes: str) -> dict[str, object]:
    digests = [{"alg": "SHA-256", "content": digest} for digest in hashes]
    place = {"type": "distribution", "url": "https://example.com", "hashes": digests}
    return {"name": name, "version": version, "externalReferences": [place]}


def test_a_bill_of_materials_that_lacks_something_is_refused() -> None:
    requirements = (
        f"a==1 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n    # via x\n"
        f"b-c==2 ; sys_platform == 'win32' \\\n    --hash=sha256:{'2' * 64}\n"
    )
    first = component("a", "1", "0" * 64, "1" * 64)
    second = component("b-c", "2", "2" * 64)
    assert sbom.differences(requirements, {"components": [first, second]}) == []
    assert sbom.differences(requirements, {"components": [first]}) == ["b-c"]
    other = component("a", "1", "0" * 64)
    assert sbom.differences(requirements, {"components": [other, second]}) == ["a"]
    more = component("d", "1", "3" * 64)
    assert sbom.differences(requirements, {"components": [first, second, more]}) == ["d"]


def test_the_bill_of_materials_is_made_and_compared_by_a_target() -> None:
    printed = subprocess.run(
        ["make", "--dry-run", "sbom"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    assert "cyclonedx-py requirements" in printed
    assert "-m tests.deploy.sbom requirements.txt sbom.json" in printed
