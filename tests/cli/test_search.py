"""``search --out``: the file it names, and nothing else in that folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.__main__ import WIRING
from core.cli.main import main
from core.errors import Code, FatalError
from core.model import Entry, SearchQuery
from core.ports import Hits
from tests.support.entries import entry
from tests.support.fakes import MemoryCatalogue


class Folder:
    """A working directory in which the command is given, and an archive list of three files."""

    def __init__(self, path: Path) -> None:
        self.path, self.catalogue = path, MemoryCatalogue()
        self.catalogue.add([entry(name) for name in ("a.txt", "b.txt", "c.txt")])

    def search(self, *argv: str) -> int:
        return main(["search", *argv], replace(WIRING, open_catalogue=lambda _: self.catalogue))

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HIMURO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("HIMURO_DATABASE_URL", raising=False)
    return Folder(place)


def rows(path: Path) -> int:
    """Return the number of rows of an exported CSV, without its heading."""
    return len(path.read_text("utf-8-sig").splitlines()) - 1


@pytest.mark.parametrize("theirs", ["all.csv.tmp", "all.tmp", ".all.csv.tmp"])
def test_a_file_of_somebody_else_beside_it_stays(folder: Folder, theirs: str) -> None:
    (folder.path / theirs).write_text("下書き", "utf-8")
    assert folder.search("--out", "all.csv") == 0
    assert folder.names == {"all.csv", theirs}
    assert rows(folder.path / "all.csv") == 3
    assert (folder.path / theirs).read_text("utf-8") == "下書き"


def test_a_link_beside_it_leads_nobody_astray(folder: Folder, tmp_path: Path) -> None:
    """In a folder that others may write to, they could choose what is overwritten."""
    (tmp_path / "precious").write_text("大切", "utf-8")
    (folder.path / "all.csv.tmp").symlink_to(tmp_path / "precious")
    assert folder.search("--out", "all.csv") == 0
    assert (tmp_path / "precious").read_text("utf-8") == "大切"
    assert folder.names == {"all.csv", "all.csv.tmp"}


def test_the_file_itself_is_replaced_as_a_whole(folder: Folder, tmp_path: Path) -> None:
    """A link of that name is replaced too: what it leads to is not what was named."""
    (folder.path / "all.csv").write_text("古い\n" * 100, "utf-8")
    assert folder.search("--out", "all.csv") == 0
    assert rows(folder.path / "all.csv") == 3
    (tmp_path / "precious").write_text("大切", "utf-8")
    (folder.path / "link.csv").symlink_to(tmp_path / "precious")
    assert folder.search("--out", "link.csv") == 0
    assert (tmp_path / "precious").read_text("utf-8") == "大切"
    assert rows(folder.path / "link.csv") == 3
    assert folder.names == {"all.csv", "link.csv"}


@pytest.mark.parametrize("failure", [FatalError(Code.DATABASE_UNAVAILABLE), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["all.csv", "all.xlsx"])
def test_what_is_not_finished_leaves_nothing(
    folder: Folder, name: str, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / name).write_text("前回", "utf-8")
    (folder.path / f"{name}.tmp").write_text("下書き", "utf-8")

    def breaking(query: SearchQuery) -> Hits:
        hits = MemoryCatalogue.hits(folder.catalogue, query)

        def batches() -> Iterator[Sequence[Entry]]:
            yield next(iter(hits.batches))
            raise failure

        return Hits(hits.total, batches())

    monkeypatch.setattr(folder.catalogue, "hits", breaking)
    assert folder.search("--out", name) == (3 if isinstance(failure, FatalError) else 130)
    assert folder.names == {name, f"{name}.tmp"}
    assert (folder.path / name).read_text("utf-8") == "前回"
    assert (folder.path / f"{name}.tmp").read_text("utf-8") == "下書き"


def test_what_is_no_file_is_refused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe that became a file would leave its reader waiting for ever."""
    os.mkfifo(folder.path / "pipe.csv")
    (folder.path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        assert folder.search("--out", name) == 2
        assert f"通常のファイルではありません（{name}）" in capsys.readouterr().err
    assert (folder.path / "pipe.csv").is_fifo()
    assert folder.names == {"pipe.csv", "folder.csv"}


def test_a_name_as_long_as_names_may_be(folder: Folder) -> None:
    name = "一" * 83 + "ab.csv"
    assert len(name.encode()) == 255
    assert folder.search("--out", name) == 0
    assert folder.names == {name}
