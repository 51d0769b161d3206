"""Run as a program: the console with what requirements.txt names and nothing else.

``python -m tests.support.servers.lean_console`` renders every page and prints its name. Any module
of a package that is installed here beside those (the tests' own, and what is left out) is missing
in it. With ``services`` as its argument it prints why the console's services cannot be had.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

from tests.deploy.sbom import pins

CHECKOUT = Path(__file__).resolve().parents[3]
PAGES = ("search", "archive", "restore", "runs", "health", "account")


def modules_beside() -> set[str]:
    """Return the modules of packages that are installed and not in requirements.txt."""
    named = set(pins((CHECKOUT / "requirements.txt").read_text("utf-8")))
    return {
        module
        for module, owners in packages_distributions().items()
        if not named & {owner.lower().replace("_", "-") for owner in owners}
    }


class LeanFinder(PathFinder):
    """Finds what is installed, but for some modules."""

    absent: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in cls.absent:
            return None
        return super().find_spec(fullname, path, target)


def rendered(root: Path) -> Iterator[str]:
    from streamlit.testing.v1 import AppTest

    from core.jobs.queue import Jobs
    from core.model import Entry
    from core.paths.normalization import search_key
    from pages import services
    from pages.auth import guard
    from pages.services import Services
    from tests.support.arrange import UNC, Desk, no_restores

    guard.is_operator = lambda: True
    desk = Desk(root)
    when = datetime(2026, 11, 23, 1, 5, tzinfo=UTC)
    row = Entry(
        UNC, "a.txt_archived.txt", "bucket", "k/a", when, "REQ-1", "山田", "",
        1, "0" * 64, when, search_key(UNC, "a.txt"),
    )  # fmt: skip
    desk.catalogue.add([row])
    jobs = Jobs(desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    here = Services(desk.settings, desk.catalogue, jobs)
    services.replace(here)
    here.summary.begin()
    for name in PAGES:
        page = AppTest.from_string(
            f"from pages.{name} import page\npage.render()", default_timeout=60
        )
        page.run()
        if page.exception:
            sys.exit(f"{name}: {[found.value for found in page.exception]}")
        yield name
    jobs.close(within=0)


def main(what: Sequence[str]) -> None:
    LeanFinder.absent = frozenset(modules_beside())
    sys.meta_path[sys.meta_path.index(PathFinder)] = LeanFinder
    runpy.run_path(str(CHECKOUT / "app.py"))
    if what == ["services"]:
        from core.errors import HimuroError
        from pages import services

        try:
            services.current()
        except HimuroError as exc:
            print(exc)
        return
    with tempfile.TemporaryDirectory() as root:
        print(*rendered(Path(root)))


if __name__ == "__main__":
    main(sys.argv[1:])
