"""``python -m tests.deploy.sbom REQUIREMENTS SBOM``: is all that is installed in a bill of
materials?

Needs nothing but Python. Exits with 1 and the packages concerned when it is not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)(?: ; ([^\\]+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$")


def pins(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return name → version and SHA-256 of its files, of a file that ``make lock`` wrote."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    name = ""
    for line in text.splitlines():
        if pin := PIN.match(line):
            name = pin[1]
            found[name] = (pin[2], frozenset())
        elif digest := HASH.match(line):
            version, digests = found[name]
            found[name] = (version, digests | {digest[1]})
    return found


def listed(sbom: Mapping[str, Any]) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the same of a bill of materials (CycloneDX)."""
    return {
        component["name"]: (
            component["version"],
            frozenset(
                digest["content"]
                for place in component.get("externalReferences", [])
                for digest in place.get("hashes", [])
                if digest["alg"] == "SHA-256"
            ),
        )
        for component in sbom["components"]
    }


def differences(requirements: str, sbom: Mapping[str, Any]) -> list[str]:
    """Return the packages that are not in both with the same version and hashes, sorted."""
    wanted, found = pins(requirements), listed(sbom)
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


if __name__ == "__main__":
    _requirements, _sbom = (Path(name).read_text("utf-8") for name in sys.argv[1:])
    if wrong := differences(_requirements, json.loads(_sbom)):
        sys.exit("not as in the requirements: " + ", ".join(wrong))
