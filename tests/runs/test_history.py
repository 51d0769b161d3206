"""Past runs: the index, its filters, damaged folders, their files and the zip of them."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.__main__ import WIRING
from core.cli.main import main
from core.config.settings import Settings
from core.errors import Code, FatalError
from core.files.zip_stream import zip_blocks
from core.jobs.recovery import recover
from core.model import RunRecord, RunRequest, RunState
from core.paths.normalization import fold
from core.runs import index as run_index
from core.runs.filters import RunFilter
from core.runs.history import (
    PastRun,
    file_of,
    files_of,
    past_runs,
    read_run,
    record_of,
    records,
    run_of,
)
from core.runs.index import RunIndex
from core.runs.record import MAX_BYTES, dump_record
from tests.support.arrange import UNC, Desk

TOKYO_DAY = datetime(2026, 11, 23, tzinfo=UTC) - timedelta(hours=9)
"""Midnight of 2026-11-23 in Tokyo."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Desk(tmp_path).settings
    made.runs_dir.mkdir(parents=True)
    return made


def name_of(number: int, kind: str = "archive") -> str:
    return f"20261123-{number:06}-{kind}-{number:06x}"


def write_run(settings: Settings, number: int, **changes: object) -> RunRecord:
    """Write a finished run that was created ``number`` seconds after midnight in Tokyo."""
    kind = str(changes.get("kind", "archive"))
    record = RunRecord(
        run_id=name_of(number, kind),
        kind=kind,
        state=RunState.DONE,
        request=RunRequest(f"REQ-{number:04}", "山田 花子", "決算", "tanaka"),
        created_at=TOKYO_DAY + timedelta(seconds=number),
        inputs=("一覧.csv",),
        settings={"HIMURO_BUCKET": "bucket"},
    )
    record = replace(record, **changes)  # type: ignore[arg-type]
    folder = settings.runs_dir / record.run_id
    folder.mkdir(exist_ok=True)
    draft = folder / "run.json.tmp"
    draft.write_text(dump_record(record, settings.timezone), "utf-8")
    draft.replace(folder / "run.json")
    return record


def ids(runs: object) -> list[str]:
    return [run.run_id for run in runs]  # type: ignore[attr-defined]


# The index


def test_newest_first_and_what_is_no_run_by_name(settings: Settings) -> None:
    index = RunIndex(settings)
    assert index.listing().runs == ()
    for number in (1, 3, 2):
        write_run(settings, number)
    (settings.runs_dir / "memo\u202e.txt").write_text("x")
    (settings.runs_dir / ".hidden").write_text("x")
    (settings.runs_dir / os.fsdecode(b"\x88\x97")).mkdir()
    listing = index.listing()
    assert ids(listing.runs) == [name_of(3), name_of(2), name_of(1)]
    assert listing.others == ("\\udc88\\udc97", "memo\\u202e.txt")
    assert [r.record.settings for r in listing.runs if r.record] == [{}] * 3
    assert ids(past_runs(settings)) == ids(listing.runs)


def test_changes_are_seen(settings: Settings) -> None:
    index = RunIndex(settings)
    write_run(settings, 1, state=RunState.RUNNING)
    write_run(settings, 2)
    assert [run.state for run in index.listing().runs] == ["done", "running"]
    write_run(settings, 1, state=RunState.STOPPED)
    write_run(settings, 3)
    (settings.runs_dir / name_of(2) / "run.json").unlink()
    listing = index.listing()
    assert [run.state for run in listing.runs] == ["done", "damaged", "stopped"]
    (settings.runs_dir / name_of(2)).rmdir()
    assert ids(index.listing().runs) == [name_of(3), name_of(1)]


def test_what_has_not_changed_is_not_read_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(settings: Settings, name: str) -> PastRun | None:
        read.append(name)
        return read_run(settings, name)

    monkeypatch.setattr(run_index, "read_run", counted)
    for number in range(3):
        write_run(settings, number)
    index = RunIndex(settings)
    first = index.listing()
    write_run(settings, 1, state=RunState.ERROR)
    second = index.listing()
    assert sorted(read) == sorted([*ids(first.runs), name_of(1)])
    assert second.runs[0] is first.runs[0]


def test_runs_that_cannot_be_listed_are_one_error(tmp_path: Path) -> None:
    settings = Desk(tmp_path).settings
    settings.data_dir.mkdir()
    settings.runs_dir.write_text("a file")
    with pytest.raises(FatalError) as raised:
        RunIndex(settings).listing()
    assert raised.value.code is Code.DATA_DIR_UNREADABLE
    assert str(settings.runs_dir) in str(raised.value)


# Damage


def _damage(settings: Settings) -> dict[str, str]:
    """Make one folder of each kind of damage; returns what is said of each."""
    runs = settings.runs_dir
    good = dump_record(write_run(settings, 1), settings.timezone).encode()

    def folder(number: int) -> Path:
        path = runs / name_of(number)
        path.mkdir()
        return path

    (folder(10) / "run.json").write_bytes(good[: len(good) // 2])
    (folder(11) / "run.json").write_bytes(b"\x00\xff" * 50)
    (folder(12) / "run.json").write_bytes(good.decode().encode("utf-16"))
    (folder(13) / "run.json").write_bytes(b"")
    with (folder(14) / "run.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    folder(15)
    (folder(16) / "run.json").mkdir()
    (folder(17) / "run.json").symlink_to(runs / name_of(1) / "run.json")
    os.mkfifo(folder(18) / "run.json")
    (folder(19) / "run.json").write_bytes(good)
    (runs / name_of(20)).write_text("a file")
    (runs / name_of(21)).symlink_to(runs / name_of(1))
    (runs / name_of(22)).symlink_to("nowhere")
    broken = "run.json の内容が壊れています"
    return {
        **dict.fromkeys(map(name_of, (10, 11, 12, 13)), broken),
        name_of(14): "run.json が大きすぎます",
        name_of(15): "run.json がありません",
        **dict.fromkeys(map(name_of, (16, 17, 18)), "run.json が通常のファイルではありません"),
        name_of(19): "run.json が別の実行のものです",
        name_of(20): "フォルダーではありません",
        **dict.fromkeys(map(name_of, (21, 22)), "ほかの場所へのリンクです"),
    }


def test_every_damage_is_named_and_harms_nothing_else(settings: Settings) -> None:
    expected = _damage(settings)
    listing = RunIndex(settings).listing()
    assert {run.run_id: run.damage for run in listing.runs if run.record is None} == expected
    assert [run.run_id for run in listing.runs if run.record] == [name_of(1)]
    assert [record.run_id for record in records(settings)] == [name_of(1)]
    assert recover(settings) == []
    for name, damage in expected.items():
        run = run_of(settings, name)
        assert run is not None
        assert (run.damage, run.kind, run.state) == (damage, "archive", "damaged")
        assert record_of(settings, name) is None
    damaged = RunFilter(state="damaged").select(listing.runs)
    assert len(damaged) == len(expected)
    assert damaged[-1].created_at == TOKYO_DAY + timedelta(seconds=10)


def test_a_name_that_is_no_time_is_listed_without_one(settings: Settings) -> None:
    (settings.runs_dir / "20269999-999999-archive-abcdef").mkdir()
    (run,) = RunIndex(settings).listing().runs
    assert (run.created_at, run.state) == (None, "damaged")
    assert RunFilter(since=TOKYO_DAY).select([run]) == ()


def test_a_run_that_is_being_made_is_not_called_damaged(settings: Settings) -> None:
    folder = settings.runs_dir / name_of(1)
    folder.mkdir()
    (folder / "lock").touch()
    index = RunIndex(settings)
    assert index.listing().runs == ()
    write_run(settings, 1)
    assert ids(index.listing().runs) == [name_of(1)]
    (folder / "run.json").unlink()
    os.utime(folder, (0, 0))
    assert [run.state for run in index.listing().runs] == ["damaged"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@hypothesis.settings(max_examples=50)
@given(st.binary(max_size=300) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_content_of_run_json_raises(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    settings = Desk(tmp_path_factory.mktemp("any")).settings
    folder = settings.runs_dir / name_of(1)
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(content)
    (run,) = RunIndex(settings).listing().runs
    assert run.record is None
    assert run.damage


def test_kinds_of_later_versions_are_runs_too(settings: Settings) -> None:
    record = write_run(settings, 1, kind="restore-request")
    assert record_of(settings, record.run_id) == record
    (run,) = RunIndex(settings).listing().runs
    assert (run.kind, run.damage) == ("restore-request", "")


# Filters


def test_filters(settings: Settings) -> None:
    write_run(settings, 1, request=RunRequest("REQ-A", "ヤマダ　Hanako", "", "tanaka"))
    write_run(settings, 2, state=RunState.REFUSED, inputs=("見積～２０２６.xlsx",))
    write_run(settings, 3, kind="validate", request=RunRequest("", "", "", "佐藤"))
    runs = RunIndex(settings).listing().runs

    def found(**wanted: object) -> list[int]:
        chosen = RunFilter(**wanted).select(runs)  # type: ignore[arg-type]
        return [int(run.run_id[9:15]) for run in chosen]

    assert found() == [3, 2, 1]
    assert found(kind="validate") == [3]
    assert found(state="refused") == [2]
    assert found(person="やまだ") == found(person="ﾔﾏﾀﾞ ｈａｎａｋｏ") == [1]
    assert found(person="佐藤") == [3]
    assert found(person="TANAKA") == [2, 1]
    assert found(text="見積~2026") == [2]
    assert found(text="req-0002 ケッサン") == []
    assert found(text="req-0002 決算 .XLSX") == [2]
    assert found(text=name_of(3, "validate")) == [3]
    assert found(since=TOKYO_DAY + timedelta(seconds=2)) == [3, 2]
    assert found(until=TOKYO_DAY + timedelta(seconds=2)) == [1]


@given(st.text(min_size=1, max_size=20))
def test_what_was_typed_is_found_by_any_of_its_forms(text: str) -> None:
    run = PastRun("id", "archive", None, None, people=fold(text), haystack=fold(text))
    assert RunFilter(person=text.strip()).select([run]) == (run,)
    words = " ".join(word for word in text.split())
    assert RunFilter(text=words).select([run]) == (run,)


@pytest.fixture
def command(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Returns exit code, standard output and standard error of ``runs``."""
    monkeypatch.chdir(settings.data_dir)
    monkeypatch.setenv("HIMURO_DATA_DIR", str(settings.data_dir))

    def run(*options: str) -> tuple[int, str, str]:
        code = main(["runs", *options], WIRING)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_filters_too(
    settings: Settings, command: Callable[..., tuple[int, str, str]]
) -> None:
    for number in range(3):
        write_run(settings, number)
    write_run(settings, 86_400, kind="validate", state=RunState.REFUSED)
    (settings.runs_dir / name_of(99)).mkdir()
    for options, found in (
        ([], [3, 2, 1, 0]),
        (["--limit", "2"], [3, 2]),
        (["--state", "refused"], [3]),
        (["--kind", "archive", "--limit", "1"], [2]),
        (["--from", "2026/11/24"], [3]),
        (["--to", "2026-11-23", "--text", "req-0001 ケッサン"], []),
        (["--to", "2026-11-23", "--text", "req-0001 決算"], [1]),
        (["--person", "TANAKA", "--kind", "validate"], [3]),
    ):
        code, out, _err = command("--json", *options)
        runs = json.loads(out)["runs"]
        numbers = [int(run["request_id"].removeprefix("REQ-")) % 86_397 for run in runs]
        assert (code, numbers) == (0, found), options
    code, out, err = command()
    assert out.count("REQ-") == 4
    assert name_of(99) in err
    for wrong in (["--from", "x"], ["--state", "x"], ["--limit", "0"]):
        assert command(*wrong)[0] == 2


# Files and the zip


def test_files_of_a_run_are_the_contracts_and_no_links(settings: Settings) -> None:
    record = write_run(settings, 1)
    folder = settings.runs_dir / record.run_id
    for name in ("input.csv", "input-2.xlsx", "input-10.txt", "error_log.txt"):
        (folder / name).write_bytes(b"12345")
    for name in ("lock", "reserve", "input", "input.csv.tmp", "input-0.csv", "secret.txt"):
        (folder / name).write_bytes(b"no")
    (folder / "report.csv").symlink_to("/etc/hostname")
    os.mkfifo(folder / "plan.csv")
    (folder / "outcomes.csv").mkdir()
    found = files_of(settings, record.run_id)
    names = ["input.csv", "input-2.xlsx", "input-10.txt", "run.json", "error_log.txt"]
    assert [path.name for path, _size in found] == names
    assert [size for path, size in found if path.name != "run.json"] == [5, 5, 5, 5]
    for name in ("report.csv", "plan.csv", "outcomes.csv", "lock", "input", "../x", "input.csv/"):
        assert file_of(settings, record.run_id, name) is None
    (settings.runs_dir / name_of(2)).symlink_to(folder)
    assert files_of(settings, name_of(2)) == []
    assert file_of(settings, name_of(2), "input.csv") is None
    assert files_of(settings, "../" + record.run_id) == []


def test_a_zip_holds_every_byte_and_its_memory_does_not_grow(
    tmp_path: Path, settings: Settings
) -> None:
    big, small, link = tmp_path / "error_log.txt", tmp_path / "input.csv", tmp_path / "run.json"
    line = "[2026-10-05 10:15:00] ERROR: \\\\fsx01\\share\\が - 存在しません\n".encode()
    big.write_bytes(line * 300_000)
    small.write_bytes(b"")
    link.symlink_to("/etc/hostname")
    os.utime(small, (0, 0))
    os.utime(big, (1_790_000_000, 1_790_000_000))
    target = tmp_path / "all.zip"
    tracemalloc.start()
    try:
        with target.open("wb") as file:
            for block in zip_blocks([big, small, link], "20261123", settings.timezone):
                file.write(block)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 * 1024 * 1024 < big.stat().st_size
    with zipfile.ZipFile(target) as bundle:
        assert bundle.testzip() is None
        assert bundle.namelist() == ["20261123/error_log.txt", "20261123/input.csv"]
        assert bundle.read("20261123/error_log.txt") == big.read_bytes()
        assert bundle.getinfo("20261123/input.csv").date_time[0] == 1980
        assert bundle.getinfo("20261123/error_log.txt").date_time == (2026, 9, 21, 23, 13, 20)


@given(st.lists(st.binary(max_size=2000), max_size=4))
def test_any_bytes_come_back_from_a_zip(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    paths = [folder / f"input-{number}.txt" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    content = b"".join(zip_blocks(paths, "run", UTC))
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert [bundle.read(f"run/{path.name}") for path in paths] == contents


def test_a_file_that_grows_is_as_long_as_when_it_was_opened(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_bytes(os.urandom(1024 * 1024))
    blocks = zip_blocks([path], "run", settings.timezone)
    begun = next(blocks)
    with path.open("ab") as file:
        file.write(b"more")
    with zipfile.ZipFile(io.BytesIO(begun + b"".join(blocks))) as bundle:
        assert bundle.read("run/outcomes.csv") == path.read_bytes()[: 1024 * 1024]


def test_a_real_run_is_listed_with_its_numbers(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.txt", "abc")
    done = desk.archive(UNC).record
    (run,) = RunIndex(desk.settings).listing().runs
    assert run.record == replace(done, settings={})
    assert [path.name for path, _ in files_of(desk.settings, done.run_id)] == [
        "input.csv", "run.json", "plan.csv", "outcomes.csv", "report.csv",
    ]  # fmt: skip


def test_the_newest_runs_are_kept_and_the_others_counted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_run(settings, number)
    monkeypatch.setattr(run_index, "MAX_BYTES", 5000)
    index = RunIndex(settings)
    for _ in range(2):
        listing = index.listing()
        assert (ids(listing.runs), listing.older) == ([name_of(4), name_of(3)], 3)
    assert len(index._known) == 2
