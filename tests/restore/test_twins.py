"""Files whose names differ in what nobody sees: each comes back as itself, or not at all."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from core.concurrency.cancellation import StopSignal
from core.errors import Code
from core.export.writer import Form
from core.model import RunState, SearchPage, SearchQuery
from core.restore.model import RestorePlan
from tests.support.arrange import UNC
from tests.support.office import Office, restore_list

COMPOSED, DECOMPOSED = "ガ.txt", "カ\u3099.txt"
TWINS = [
    (COMPOSED, DECOMPOSED),
    ("Report.txt", "REPORT.txt"),
    ("a.txt", "a.txt\u3000"),
    ("a.txt", " a.txt"),
    ("a\u200e.txt", "a.txt"),
    ("=a.txt", "'=a.txt"),
]


@pytest.fixture
def office(tmp_path: Path, migrated_sqlite_file: Path) -> Office:
    import shutil

    from db import open_catalogue

    file = tmp_path / "catalogue.db"
    shutil.copy(migrated_sqlite_file, file)
    return Office(tmp_path / "office", open_catalogue(f"sqlite:///{file}"))


def names(plan: RestorePlan) -> list[str]:
    return [item.name for item in plan.items]


def said(plan: RestorePlan) -> list[tuple[Code, str]]:
    return [(problem.code, problem.detail) for problem in plan.problems]


def test_a_slip_of_the_case_and_one_of_a_space_are_a_question(office: Office) -> None:
    """``d\\a.txt`` and a full-width space: Windows takes it for one file, a person for another."""
    for name in ("D/a.txt\u3000", "d/a.txt", "E\u3000/b.txt", "e/c.txt"):
        office.write(name, f"content of {name}")
    office.archive()
    plan = office.plan(f'"{UNC}\\d\\a.txt\u3000",')
    both = f"{UNC}\\D\\a.txt\u3000、{UNC}\\d\\a.txt"
    assert (names(plan), said(plan)) == ([], [(Code.RESTORE_AMBIGUOUS, both)])
    plan = office.plan(f'"{UNC}\\e\u3000",')
    both = f"{UNC}\\E\u3000、{UNC}\\e"
    assert (names(plan), said(plan)) == ([], [(Code.RESTORE_AMBIGUOUS, both)])


@pytest.mark.parametrize("twins", TWINS)
def test_each_of_two_twins_comes_back_by_its_name(office: Office, twins: tuple[str, str]) -> None:
    for name in twins:
        office.write(f"d/{name}", f"content of {name}")
    office.archive()
    for name in twins:
        for line in (f'{UNC}\\d,"{name}"', f'"{UNC}\\d\\{name}",'):
            plan = office.plan(line)
            assert (names(plan), plan.problems) == ([name], ())
        assert list(office.bring_back(restore_list(f'{UNC}\\d,"{name}"')).values()) == [
            f"content of {name}"
        ]


@pytest.mark.parametrize("twins", TWINS)
def test_a_folder_brings_both_twins(office: Office, twins: tuple[str, str]) -> None:
    for name in twins:
        office.write(f"d/{name}", f"content of {name}")
    office.archive()
    plan = office.plan(f"{UNC}\\d,")
    assert (sorted(names(plan)), plan.problems) == (sorted(twins), ())
    back = office.bring_back(restore_list(f"{UNC}\\d,"))
    assert sorted(back.values()) == sorted(f"content of {name}" for name in twins)


@pytest.mark.parametrize("twins", TWINS)
@pytest.mark.parametrize("form", Form)
def test_every_exported_list_means_both_twins(
    office: Office, twins: tuple[str, str], form: Form
) -> None:
    for name in twins:
        office.write(f"d/{name}", name)
    office.archive()
    rows = office.rows()
    plan = office.restore(office.exported(form, rows)).check()
    assert ([item.key for item in plan.items], plan.problems) == ([row.key for row in rows], ())
    for row in rows:
        plan = office.restore(office.exported(form, [row])).check()
        assert ([item.key for item in plan.items], plan.problems) == ([row.key], ())


def test_a_name_that_is_neither_twin_is_a_question(office: Office) -> None:
    for name in ("Report.txt", "REPORT.txt"):
        office.write(f"d/{name}", name)
    office.write("d/one.txt", "1")
    office.archive()
    plan = office.plan(f"{UNC}\\d,rePort.txt", f"{UNC.upper()}\\D,ONE.TXT")
    assert names(plan) == ["one.txt"]
    ((code, detail),) = said(plan)
    assert code is Code.RESTORE_AMBIGUOUS
    assert detail.split("、") == [rf"{UNC}\d\REPORT.txt", rf"{UNC}\d\Report.txt"]
    assert plan.left_out == 1


def test_all_candidates_are_named_up_to_twenty(office: Office) -> None:
    letters = ["a" if n >> bit & 1 == 0 else "A" for n in range(32) for bit in range(5)]
    spellings = ["".join(letters[n * 5 : n * 5 + 5]) for n in range(32)]
    for name in spellings:
        office.write(f"{name}.txt", name)
    office.archive()
    ((code, detail),) = said(office.plan(f"{UNC},aAaAa.TXT"))
    assert code is Code.RESTORE_AMBIGUOUS
    assert len(detail.split("、")) == 21
    assert detail.endswith("、ほか12件")


# Names of markers


def markers(office: Office) -> None:
    """Archive ``x``, ``x_archived.txt`` (somebody's own) and another one of those."""
    for name in ("x_archived.txt_archived.txt", "x_archived.txt", "x"):
        office.write(name, name)
        office.archive(f"{UNC}\\{name}")
        office.clock += timedelta(microseconds=1)
        (office.share / name).unlink()
        for marker in office.share.glob("x*"):
            marker.unlink()


def test_a_name_that_is_a_file_and_the_marker_of_another(office: Office) -> None:
    markers(office)
    for name in ("x", "x_archived.txt", "x_archived.txt_archived.txt"):
        plan = office.plan(f"{UNC},{name}")  # the exact path decides
        assert (names(plan), plan.problems) == ([name], ())
        assert list(office.bring_back(restore_list(f"{UNC},{name}")).values()) == [name]
    ((code, detail),) = said(office.plan(f"{UNC},X_archived.txt"))
    assert code is Code.RESTORE_AMBIGUOUS
    assert set(detail.split("、")) == {rf"{UNC}\x", rf"{UNC}\x_archived.txt"}
    for row in office.rows():
        when = row.archived_at.isoformat(" ", "microseconds")
        titles = "ディレクトリパス,復元対象ファイル名,アーカイブ日時"
        content = restore_list(f"{UNC},{row.name},{when}", titles=titles)
        (item,) = office.restore(content).check().items
        assert item.key == row.key


def test_in_the_column_of_markers_a_name_is_a_marker(office: Office) -> None:
    markers(office)
    titles = "ディレクトリパス,アーカイブファイル名"
    for row in office.rows():
        content = restore_list(f"{UNC},{row.archived_name}", titles=titles)
        plan = office.restore(content).check()
        assert ([item.key for item in plan.items], plan.problems) == ([row.key], ())
    # Where there is no such marker, it is the name of a file.
    plan = office.restore(restore_list(f"{UNC},x", titles=titles)).check()
    assert names(plan) == ["x"]


def test_a_folder_brings_files_named_like_markers(office: Office) -> None:
    markers(office)
    assert set(office.bring_back(restore_list(f"{UNC},")).values()) == {
        "x", "x_archived.txt", "x_archived.txt_archived.txt",
    }  # fmt: skip


# Folders


def test_of_two_folders_the_exact_one_and_the_other_is_said(office: Office) -> None:
    office.write("Data/a.txt", "1")
    office.write("DATA/b.txt", "2")
    office.write("DATA/c.txt", "3")
    office.archive()
    plan = office.plan(f"{UNC}\\Data,")
    assert names(plan) == ["a.txt"]
    assert said(plan) == [(Code.FOLDER_SPELLINGS, rf"{UNC}\DATA: 2件")]
    assert plan.left_out == 0
    # Nothing is left behind when the other one is in the list as well, or what they lie in.
    assert said(office.plan(f"{UNC}\\Data,", f"{UNC}\\DATA,")) == []
    assert [c for c, _ in said(office.plan(f"{UNC}\\Data,", f"{UNC},"))] == []
    plan = office.plan(f"{UNC}\\data,")
    assert names(plan) == []
    assert said(plan) == [(Code.RESTORE_AMBIGUOUS, rf"{UNC}\DATA、{UNC}\Data")]


def test_a_folder_that_matches_exactly_comes_before_a_file_in_another_case(
    office: Office,
) -> None:
    for name in ("Plan", "plan/a.txt", "plan/b.txt"):
        office.write(name, f"content of {name}")
    office.archive()
    plan = office.plan(f"{UNC}\\plan,")
    assert (names(plan), said(plan)) == (["a.txt", "b.txt"], [])
    assert names(office.plan(f"{UNC}\\Plan,")) == ["Plan"]
    assert names(office.plan(f"{UNC}\\PLAN,")) == ["Plan"]  # no folder of that very name
    # Of several files in another case too: the folder is what was written.
    office.write("pLAN", "content of another")
    office.archive()
    assert names(office.plan(f"{UNC}\\plan,")) == ["a.txt", "b.txt"]
    assert [code for code, _ in said(office.plan(f"{UNC}\\PLAN,"))] == [Code.RESTORE_AMBIGUOUS]


def test_only_for_files_in_another_case_a_folder_is_looked_for(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        office.write(f"d/{number}.txt", str(number))
    office.archive()
    asked = []
    search = office.catalogue.search

    def counted(query: SearchQuery, **more: int) -> SearchPage:
        asked.append(query.directory)
        return search(query, **more)

    monkeypatch.setattr(office.catalogue, "search", counted)
    assert len(office.plan(*(f"{UNC}\\d\\{n}.txt," for n in range(30))).items) == 30
    assert asked == []
    assert len(office.plan(*(f"{UNC}\\D\\{n}.TXT," for n in range(30))).items) == 30
    assert asked == [f"{UNC}\\D\\"]


def test_server_and_share_have_no_case(office: Office) -> None:
    office.write("Data/a.txt", "1")
    office.archive()
    plan = office.plan(r"\\FSX01\SHARE\Data,a.txt")
    assert (names(plan), said(plan)) == (["a.txt"], [])
    plan = office.plan(r"\\Fsx01\Share,")
    assert (names(plan), said(plan)) == (["a.txt"], [])
    plan = office.plan(r"\\Fsx01\Share\DATA,")
    assert (names(plan), said(plan)) == (["a.txt"], [])


def test_a_folder_that_ends_in_a_space_of_japanese(office: Office) -> None:
    office.write("営業\u3000/a.txt", "with")
    office.write("営業/a.txt", "without")
    office.archive()
    assert office.bring_back(restore_list(f"{UNC}\\営業\u3000,")) == {"a.txt": "with"}
    assert office.bring_back(restore_list(f"{UNC}\\営業,")) == {"a.txt": "without"}
    plan = office.plan(f"{UNC}\\営業 ,")  # no such folder: what nobody sees is passed over
    assert [item.path for item in plan.items] == [rf"{UNC}\営業\a.txt"]


# Archiving


def test_twins_markers_are_not_taken_for_the_marker_of_a_third(office: Office) -> None:
    for name in ("Report.txt", "REPORT.txt"):
        office.write(name, name)
    office.archive()
    office.write("rePort.txt", "third")
    assert office.archive().archived_files == 1
    assert {row.name for row in office.rows()} == {"Report.txt", "REPORT.txt", "rePort.txt"}


def test_a_file_named_like_the_marker_of_its_twin_is_in_nobodys_way(office: Office) -> None:
    office.write(f"{COMPOSED}_archived.txt", "somebody's")
    office.write(DECOMPOSED, "decomposed")
    assert office.archive().archived_files == 2
    assert set(office.bring_back(restore_list(f"{UNC},")).values()) == {"somebody's", "decomposed"}


# A kill half way


@pytest.mark.parametrize("same", [False, True])
def test_after_a_kill_each_twin_is_known_again_by_its_content(office: Office, same: bool) -> None:
    for name in ("Report.txt", "REPORT.txt", "report.TXT"):
        path = office.write(name, "same content" if same else f"{name:20}")
        os.utime(path, ns=(0, 10**18))
    office.archive()
    run = office.restore(restore_list(f"{UNC},"))
    run.begin(run.check())
    run_id = run.execute(lambda: office.s3, StopSignal()).run_id
    office.s3.now = office.s3.now.replace(day=26)
    assert office.place(run_id).state is RunState.DONE
    before = office.placed()
    assert len(before) == 3
    outcomes = run.folder.path / "outcomes.csv"
    lines = outcomes.read_bytes().splitlines(keepends=True)
    placed = [line for line in lines if b",placed," in line]
    for lost in range(1, 4):
        kept = [line for line in lines if line not in placed[:lost]]
        outcomes.write_bytes(b"".join(kept))
        assert office.place(run_id).placed_files == 3
        assert office.placed() == before
        assert (run.folder.path / "report.csv").read_text().count("既にありました") == lost
