"""The check before anything is touched."""

from __future__ import annotations

import os
import threading
import unicodedata
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.archive.check import ArchiveCheck
from core.concurrency.parallel import Cancelled, parallel
from core.config.settings import ShareSetting
from core.errors import Code, FatalError, Severity
from core.lists.parser import parse
from core.model import ArchiveStatus, ListKind, ListSource, ParsedList, ShareDirectory
from core.share.resolver import Resolver
from core.share.shares import FileSystem, Kind, Shares
from tests.support.arrange import UNC, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def codes(desk: Desk, *paths: str) -> list[tuple[Code, int | None]]:
    return [(p.code, p.line) for p in desk.check(*paths).problems]


def test_files_and_directories_become_items_in_the_order_of_the_list(desk: Desk) -> None:
    desk.write("b/2.txt", "22")
    desk.write("b/1.txt", "1")
    desk.write("a.txt", "333")
    plan = desk.check(rf"{UNC}\b", rf"{UNC}\a.txt")
    assert [i.path for i in plan.items] == [rf"{UNC}\b\1.txt", rf"{UNC}\b\2.txt", rf"{UNC}\a.txt"]
    assert plan.total_bytes == 6
    assert [i.key for i in plan.items][-1] == "fsx01/share/a.txt"
    assert plan.problems == ()
    assert not plan.refused


def test_every_file_of_a_large_directory_is_found(desk: Desk) -> None:
    for number in range(257):
        desk.write(f"d{number % 9}/{number}.txt")
    assert len(desk.check(UNC).items) == 257


@pytest.mark.parametrize("threads", [1, 3, 32])
def test_parallel_hands_back_every_item_once(threads: int) -> None:
    pairs = list(parallel(lambda n: n * 2, range(1001), threads=threads))
    assert sorted(pairs) == [(n, n * 2) for n in range(1001)]


def test_parallel_raises_what_the_work_raises() -> None:
    def work(number: int) -> int:
        if number == 50:
            raise LookupError("fifty")
        return number

    with pytest.raises(LookupError, match="fifty"):
        list(parallel(work, range(100)))


def test_parallel_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        list(parallel(lambda n: n, range(100), cancelled=lambda: True))


def test_the_spelling_of_the_server_is_what_counts(desk: Desk) -> None:
    desk.write("営業部/Report Final.TXT", "x")
    plan = desk.check(r"\\FSX01\SHARE\営業部\report FINAL.txt")
    assert [i.path for i in plan.items] == [rf"{UNC}\営業部\Report Final.TXT"]
    assert plan.items[0].key == "fsx01/share/営業部/Report Final.TXT"


def test_decomposed_and_composed_kana_are_the_same_windows_path(desk: Desk) -> None:
    decomposed = unicodedata.normalize("NFD", "ガイド.txt")
    desk.write(decomposed, "x")
    plan = desk.check(rf"{UNC}\ガイド.txt")
    assert [i.path for i in plan.items] == [rf"{UNC}\{decomposed}"]


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("見積書〜B社.xlsx", "見積書～B社.xlsx"),
        ("ﾃﾞｰﾀ.csv", "データ.csv"),
        ("ＡＢＣ.txt", "abc.txt"),
        ("報告書 .txt", "報告書.txt"),
        ("報告書.", "報告書"),
        ("第1回定例.txt", "第1回 定例.txt"),
    ],
)
def test_a_near_miss_names_the_neighbour(desk: Desk, written: str, there: str) -> None:
    desk.write(f"総務部/{there}")
    (problem,) = desk.check(rf"{UNC}\総務部\{written}").problems
    assert (problem.code, problem.line) == (Code.SOURCE_NOT_FOUND, 2)
    assert rf"もしかして: {UNC}\総務部\{there}" in problem.reason


def test_a_directory_that_is_missing_names_its_neighbour_too(desk: Desk) -> None:
    desk.write("営業部～東京/a.txt")
    (problem,) = desk.check(rf"{UNC}\営業部〜東京\a.txt").problems
    assert rf"もしかして: {UNC}\営業部～東京" in problem.reason


def test_all_problems_come_at_once_with_their_lines(desk: Desk) -> None:
    desk.write("good.txt")
    found = codes(
        desk,
        rf"{UNC}\missing.txt",
        r"\\other\share\x.txt",
        rf"{UNC}\good.txt",
        rf"{UNC}\good.txt\deeper",
        r"Z:\local.txt",
        rf"{UNC}\..\x",
    )
    assert found == [
        (Code.SOURCE_NOT_FOUND, 2),
        (Code.PATH_OUTSIDE_SHARES, 3),
        (Code.SOURCE_NOT_FOUND, 5),
        (Code.PATH_SYNTAX, 6),
        (Code.PATH_PARENT, 7),
    ]


def test_a_file_beside_its_directory_is_taken_once_and_said(desk: Desk) -> None:
    desk.write("d/a.txt")
    plan = desk.check(rf"{UNC}\d\a.txt", rf"{UNC}\d", rf"{UNC}\D\A.TXT")
    assert [i.path for i in plan.items] == [rf"{UNC}\d\a.txt"]
    assert {(p.code, p.line) for p in plan.problems} == {
        (Code.DUPLICATE_ENTRY, 2),
        (Code.DUPLICATE_ENTRY, 4),
    }
    assert not plan.refused


def test_a_directory_below_a_listed_directory_is_taken_once(desk: Desk) -> None:
    desk.write("d/e/a.txt")
    plan = desk.check(rf"{UNC}\d\e", rf"{UNC}\d")
    assert len(plan.items) == 1
    assert [(p.code, p.line) for p in plan.problems] == [(Code.DUPLICATE_ENTRY, 2)]


def test_our_markers_are_left_out_and_other_peoples_files_are_not(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.write("a.txt_archived.txt")
    desk.write("report_archived.txt", "somebody's report")
    desk.write("lonely_archived.txt")
    plan = desk.check(UNC)
    assert [i.name for i in plan.items] == ["a.txt", "lonely_archived.txt", "report_archived.txt"]
    assert plan.problems == ()


def test_a_marker_whose_original_was_deleted_is_still_a_marker(desk: Desk) -> None:
    original = desk.write("a.txt", "x")
    desk.write("b.txt", "x")
    assert desk.archive(UNC).record.archived_files == 2
    original.unlink()
    assert [i.name for i in desk.check(UNC).items] == ["b.txt"]


def test_a_listed_marker_is_left_out_and_said(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.write("a.txt_archived.txt")
    plan = desk.check(rf"{UNC}\a.txt", rf"{UNC}\a.txt_archived.txt")
    assert [i.name for i in plan.items] == ["a.txt"]
    assert [(p.code, p.line) for p in plan.problems] == [(Code.MARKER_SKIPPED, 3)]


def test_a_foreign_file_with_the_markers_name_is_an_error(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.write("a.txt_archived.txt", "not empty")
    plan = desk.check(rf"{UNC}\a.txt")
    assert [p.code for p in plan.problems] == [Code.MARKER_NAME_TAKEN]


def test_names_leave_room_for_the_marker(desk: Desk) -> None:
    fits = "あ" * 79 + ".txt"  # 241 bytes, 254 with the marker's suffix
    desk.write(fits)
    desk.write("い" * 80 + ".txt")  # 244 bytes, 257 with it
    plan = desk.check(UNC)
    assert [(p.code, p.path) for p in plan.problems] == [
        (Code.MARKER_NAME_TOO_LONG, rf"{UNC}\{'い' * 80}.txt")
    ]


def test_a_key_has_at_most_1024_bytes(desk: Desk) -> None:
    folder = "/".join(["あ" * 60] * 5)  # 5 x 180 bytes + 4 slashes
    # fsx01/share/ (12) + 904 + slash (1) + name = 1024 when the name has 107 bytes
    desk.write(f"{folder}/{'x' * 107}")
    desk.write(f"{folder}/{'y' * 108}")
    (problem,) = desk.check(UNC).problems
    assert problem.code is Code.KEY_TOO_LONG
    assert problem.path.endswith("y" * 108)


def test_links_to_what_is_listed_are_told_and_links_outside_refused(
    desk: Desk, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    desk.write("real/a.txt", "x")
    (desk.share / "inside.txt").symlink_to(desk.share / "real/a.txt")
    (desk.share / "out.txt").symlink_to(outside)
    (desk.share / "outdir").symlink_to(tmp_path)
    (desk.share / "real/loop").symlink_to(desk.share)
    plan = desk.check(UNC, rf"{UNC}\outdir\secret.txt")
    assert {i.name for i in plan.items} == {"a.txt"}
    assert {(p.code, p.path) for p in plan.problems} == {
        (Code.LINK_TWICE, rf"{UNC}\inside.txt"),
        (Code.LINK_OUTSIDE, rf"{UNC}\out.txt"),
        (Code.LINK_OUTSIDE, rf"{UNC}\outdir"),
        (Code.LINK_OUTSIDE, rf"{UNC}\outdir\secret.txt"),
        (Code.LINK_LOOP, rf"{UNC}\real\loop"),
    }


def test_a_link_laid_after_the_check_is_not_followed_out(desk: Desk, tmp_path: Path) -> None:
    file = desk.write("a.txt", "x")
    desk.write("b.txt", "y")
    run = desk.new_run(f"{UNC}\\a.txt\n{UNC}\\b.txt\n".encode())
    plan = run.check()
    run.begin(plan)
    (tmp_path / "secret.txt").write_text("secret")
    file.unlink()
    file.symlink_to(tmp_path / "secret.txt")
    record = run.execute(lambda: desk.store, desk.stop)
    assert (record.archived_files, record.failed_files) == (1, 1)
    assert list(desk.store.objects) == ["fsx01/share/b.txt"]


def test_pipes_are_refused_without_waiting_for_a_writer(desk: Desk) -> None:
    os.mkfifo(desk.share / "pipe")
    desk.write("a.txt")
    assert codes(desk, UNC) == [(Code.NOT_A_FILE, 2)]


def test_names_that_s3_cannot_list_are_refused(desk: Desk) -> None:
    desk.write("a\nb.txt")
    desk.write("back\\slash.txt")
    (desk.share / os.fsdecode(b"\xff\xfe.txt")).write_text("x")
    assert codes(desk, UNC) == [(Code.NAME_NOT_STORABLE, 2)] * 3


def test_an_empty_directory_is_said_and_nothing_at_all_refused(desk: Desk) -> None:
    (desk.share / "empty").mkdir()
    desk.write("a.txt")
    assert codes(desk, rf"{UNC}\empty", rf"{UNC}\a.txt") == [(Code.EMPTY_DIRECTORY, 2)]
    plan = desk.check(rf"{UNC}\empty")
    assert plan.refused
    assert Code.LIST_EMPTY in [p.code for p in plan.problems]


def test_a_share_that_is_not_mounted_is_one_message(desk: Desk) -> None:
    paths = [rf"{UNC}\{n}.txt" for n in range(100)]
    with pytest.raises(FatalError) as caught:
        desk.check(*paths)
    assert caught.value.code is Code.SHARE_NOT_MOUNTED
    assert UNC in str(caught.value)


class _Broken(FileSystem):
    """A share on which one file cannot be opened."""

    def open(self, path: str) -> int:
        if path.endswith("locked.xlsx"):
            raise PermissionError(13, "in use")
        return super().open(path)


def test_a_file_that_cannot_be_read_is_an_error_of_the_check(tmp_path: Path) -> None:
    desk = Desk(tmp_path, fs=_Broken())
    desk.write("locked.xlsx", "x")
    desk.write("free.xlsx", "x")
    (problem,) = desk.check(UNC).problems
    assert problem.code is Code.SOURCE_UNREADABLE
    assert problem.path == rf"{UNC}\locked.xlsx"


def test_archived_and_changed_files_are_told_apart(desk: Desk) -> None:
    same = desk.write("same.txt", "same")
    changed = desk.write("changed.txt", "before")
    desk.archive(UNC)
    changed.write_text("after, and longer")
    desk.write("new.txt", "new")
    plan = desk.check(UNC)
    assert {i.name: i.standing for i in plan.items} == {
        "same.txt": ArchiveStatus.ARCHIVED,
        "changed.txt": ArchiveStatus.CHANGED,
        "new.txt": ArchiveStatus.NEW,
    }
    assert same.exists()
    assert not plan.refused


class _Counting(FileSystem):
    """Counts how many calls are under way at a time, each held until a few have come."""

    def __init__(self) -> None:
        self.calls = 0
        self._lock = threading.Lock()

    def _count(self) -> None:
        with self._lock:
            self.calls += 1

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        self._count()
        return super().list(directory)

    def stat(self, path: str) -> os.stat_result:
        self._count()
        return super().stat(path)

    def open(self, path: str) -> int:
        self._count()
        return super().open(path)


def test_the_check_makes_one_call_a_file_and_one_a_directory(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(300):
        desk.write(f"d{number % 3}/{number}.txt")
    fs = _Counting()
    shares = Shares([ShareSetting(UNC, desk.share)], fs)
    run = desk.new_run(b"")
    listed = "\n".join(rf"{UNC}\d{n % 3}\{n}.txt" for n in range(300))
    parsed = _parsed(listed)
    plan = ArchiveCheck(shares, desk.catalogue, "").run(parsed)
    assert run is not None
    assert len(plan.items) == 300
    # the root twice (mounted? and its entries), three directories, 300 files
    assert fs.calls == 2 + 3 + 300


def _parsed(text: str) -> ParsedList:
    return parse([ListSource("l.txt", text.encode())], ListKind.ARCHIVE, ZoneInfo("Asia/Tokyo"))


def test_spellings_of_one_file_are_taken_once_and_said(desk: Desk) -> None:
    desk.write("d/Report.txt", "x")
    plan = desk.check(rf"{UNC}\d\Report.txt", rf"{UNC}\D\REPORT.TXT", rf"{UNC}\d\Report.txt ")
    assert [i.name for i in plan.items] == ["Report.txt"]
    assert [(p.code, p.line) for p in plan.problems] == [
        (Code.DUPLICATE_ENTRY, 3),
        (Code.DUPLICATE_ENTRY, 4),
    ]
    assert all("2行目" in p.detail for p in plan.problems)


@pytest.mark.parametrize("name", ["資料\u3000", " 資料", "資料\u00a0"])
def test_spaces_that_nobody_sees_need_not_be_in_the_list(desk: Desk, name: str) -> None:
    desk.write(f"{name}/b.txt", "1")
    for written in ("資料", name):
        assert [i.path for i in desk.check(rf"{UNC}\{written}").items] == [rf"{UNC}\{name}\b.txt"]
    desk.write("資料/c.txt", "2")
    assert [i.name for i in desk.check(rf"{UNC}\資料").items] == ["c.txt"]
    assert [i.name for i in desk.check(rf"{UNC}\{name.strip(' ')}").items] == (
        ["b.txt"] if name[0] != " " else ["c.txt"]
    )


def test_two_names_that_differ_in_spaces_only_are_not_guessed(desk: Desk) -> None:
    desk.write("資料\u3000/b.txt")
    desk.write("資料\u00a0/b.txt")
    assert codes(desk, rf"{UNC}\資料") == [(Code.SOURCE_AMBIGUOUS, 2)]


def test_names_that_no_line_of_a_list_can_hold_are_refused(desk: Desk) -> None:
    for name in ("d/\u3000", "d/. ", "d/..\u3000/a.txt", "d/good.txt"):
        desk.write(name, "x")
    assert codes(desk, UNC) == [(Code.NAME_NOT_STORABLE, 2)] * 3


def test_a_lost_letter_is_named_as_such(desk: Desk) -> None:
    desk.write("d/a.txt")
    (problem,) = desk.new_run(f"{UNC}\\d\\見積?.txt\n".encode()).check().problems
    assert problem.code is Code.SOURCE_NOT_FOUND
    assert "失われた文字" in problem.reason


def test_a_plan_is_no_larger_than_a_list_may_be(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        desk.write(f"d/{name}.txt")
    paths = [rf"{UNC}\d\{name}.txt" for name in "abc"]
    error_list = ("\ufeff" + "".join(f"{path}\r\n" for path in paths)).encode()
    monkeypatch.setattr("core.archive.check.MAX_ROWS", 3)
    monkeypatch.setattr("core.archive.check.MAX_BYTES", len(error_list))
    assert not desk.check(UNC).refused
    monkeypatch.setattr("core.archive.check.MAX_BYTES", len(error_list) - 1)
    assert [p.code for p in desk.check(UNC).problems] == [Code.LIST_TOO_LARGE]
    monkeypatch.setattr("core.archive.check.MAX_ROWS", 2)
    plan = desk.check(UNC)
    assert plan.refused
    assert [p.code for p in plan.problems] == [Code.LIST_TOO_LARGE]
    assert "3件" in plan.problems[0].reason


class _Opening(FileSystem):
    """Notes what is opened and which directories are read."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.listed: list[str] = []

    def open(self, path: str) -> int:
        self.opened.append(path)
        return super().open(path)

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        self.listed.append(directory)
        return super().list(directory)


def test_too_many_files_are_refused_before_any_of_them_is_opened(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for year in range(4):
        desk.write(f"営業部/{year}/a.txt")
        desk.write(f"営業部/{year}/a.txt_archived.txt")
        desk.write(f"営業部/{year}/深い/b.txt")
    desk.fs = _Opening()
    monkeypatch.setattr("core.archive.check.MAX_ROWS", 3)
    plan = desk.check(rf"{UNC}\営業部")
    (problem,) = plan.problems
    assert (problem.code, problem.line, problem.path) == (
        Code.LIST_TOO_LARGE,
        2,
        rf"{UNC}\営業部",
    )
    assert "4件以上" in problem.reason
    assert "その中のフォルダーを一覧に書き" in problem.reason
    assert (plan.items, plan.refused, desk.fs.opened) == ((), True, [])
    # The walk has ended where it was too much.
    assert not [path for path in desk.fs.listed if path.endswith("深い")]
    # Markers are not counted: 3 files with 3 markers are 3 files.
    desk.fs.opened.clear()
    listed = [rf"{UNC}\営業部\{year}\a.txt" for year in range(3)]
    markers = [f"{path}_archived.txt" for path in listed]
    assert len(desk.check(*listed, *markers).items) == 3


def test_long_paths_are_too_much_before_any_file_is_opened(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        desk.write(f"営業部/{number}.txt")
    desk.fs = _Opening()
    monkeypatch.setattr("core.archive.check.MAX_BYTES", 100)
    (problem,) = desk.check(rf"{UNC}\営業部").problems
    assert (problem.code, desk.fs.opened) == (Code.LIST_TOO_LARGE, [])


class _Hanging(FileSystem):
    """A share that stops answering below its root."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.released = threading.Event()

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        if directory.endswith("/d"):
            self.hangs.set()
            self.released.wait()
        return super().list(directory)


def test_a_check_on_a_share_that_hangs_can_be_cancelled(tmp_path: Path) -> None:
    fs = _Hanging()
    desk = Desk(tmp_path, fs=fs)
    desk.write("d/a.txt")
    run = desk.new_run(f"{UNC}\\d\n".encode())
    try:
        with pytest.raises(Cancelled):
            run.check(cancelled=fs.hangs.is_set)
    finally:
        fs.released.set()


def test_few_items_do_not_start_many_threads() -> None:
    for items, most in ((0, 0), (1, 1), (5, 5), (1000, 32)):
        names = {
            name for _, name in parallel(lambda _: threading.current_thread().name, range(items))
        }
        assert {int(name.rpartition("-")[2]) for name in names} <= set(range(most))


class _Bad(FileSystem):
    def list(self, directory: str) -> list[tuple[str, Kind]]:
        raise ValueError("embedded null byte")


def test_a_directory_that_cannot_be_listed_is_heard_by_everyone(desk: Desk) -> None:
    setting = ShareSetting(UNC, desk.share)
    resolver = Resolver(Shares([setting], _Bad()))
    for _ in range(2):
        with pytest.raises(ValueError, match="null byte"):
            resolver.listing(ShareDirectory(UNC, str(desk.share)), setting)


def test_directories_that_link_to_each_other_are_walked_once(desk: Desk) -> None:
    names = [str(number) for number in range(8)]
    for name in names:
        desk.write(f"r/{name}/f.txt", "1")
    for name in names:
        for other in names:
            if name != other:
                (desk.share / "r" / name / f"to{other}").symlink_to(desk.share / "r" / other)
    plan = desk.check(rf"{UNC}\r")
    assert [i.path for i in plan.items] == [rf"{UNC}\r\{name}\f.txt" for name in names]
    assert [p.code for p in plan.problems] == [Code.LINK_TWICE] * 56
    assert not plan.refused
    # From inside: each is another folder of the share, which nobody has listed.
    plan = desk.check(rf"{UNC}\r\0")
    assert [i.path for i in plan.items] == [rf"{UNC}\r\0\f.txt"]
    assert [(p.code, p.path) for p in plan.problems] == [
        (Code.LINK_NOT_FOLLOWED, rf"{UNC}\r\0\to{name}") for name in names[1:]
    ]
    assert plan.refused


def test_the_real_place_comes_before_a_link_wherever_it_is_listed(desk: Desk) -> None:
    desk.write("z/real/a.txt", "1")
    desk.write("a/b.txt", "1")
    (desk.share / "a/link").symlink_to(desk.share / "z/real")
    (desk.share / "b").symlink_to(desk.share / "z/real")
    plan = desk.check(rf"{UNC}\b", rf"{UNC}\a", rf"{UNC}\z")
    assert [i.path for i in plan.items] == [rf"{UNC}\a\b.txt", rf"{UNC}\z\real\a.txt"]
    assert [(p.code, p.line, p.path) for p in plan.problems] == [
        (Code.LINK_TWICE, 2, rf"{UNC}\b"),
        (Code.LINK_TWICE, 3, rf"{UNC}\a\link"),
    ]
    assert rf"{UNC}\z\real" in plan.problems[0].reason


def test_links_to_nested_directories(desk: Desk) -> None:
    desk.write("x/y/a.txt", "1")
    desk.write("x/b.txt", "1")
    (desk.share / "d").mkdir()
    (desk.share / "d/1").symlink_to(desk.share / "x/y")
    (desk.share / "d/2").symlink_to(desk.share / "x")
    plan = desk.check(rf"{UNC}\d")
    assert (plan.items, plan.refused) == ((), True)
    assert [(p.code, p.path, p.detail) for p in plan.problems] == [
        (Code.LINK_NOT_FOLLOWED, rf"{UNC}\d\1", rf"リンク先: {UNC}\x\y"),
        (Code.LINK_NOT_FOLLOWED, rf"{UNC}\d\2", rf"リンク先: {UNC}\x"),
    ]
    plan = desk.check(rf"{UNC}\d", rf"{UNC}\x")
    assert [i.path for i in plan.items] == [rf"{UNC}\x\b.txt", rf"{UNC}\x\y\a.txt"]
    assert [(p.code, p.path, p.detail) for p in plan.problems] == [
        (Code.LINK_TWICE, rf"{UNC}\d\1", rf"{UNC}\x\y として処理します"),
        (Code.LINK_TWICE, rf"{UNC}\d\2", rf"{UNC}\x として処理します"),
    ]
    assert not plan.refused


def test_a_directory_does_not_make_a_file_a_marker(desk: Desk) -> None:
    desk.write("foo/x.txt", "1")
    desk.write("foo_archived.txt")
    desk.write("bar.txt", "1")
    (desk.share / "link.txt").symlink_to(desk.share / "bar.txt")
    desk.write("link.txt_archived.txt")
    assert [i.name for i in desk.check(UNC).items] == [
        "bar.txt",
        "x.txt",
        "foo_archived.txt",
    ]


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_restore_left_half_done_is_never_archived(desk: Desk, listed: bool) -> None:
    """It is no file of anybody; only names of exactly that form are passed over, and said."""
    left = ".himuro-0a1b2c-17.tmp"
    others = (
        ".himuro-0a1b2c-17.tmp.txt",
        ".himuro-0A1B2C-17.tmp",
        ".himuro-0a1b2c-.tmp",
        ".himuro-notes-1.tmp",
        "x.himuro-0a1b2c-17.tmp",
        ".himuro-0a1b2c-1234567890.tmp",
    )
    for name in (left, *others):
        desk.write(f"復元先/{name}", "half")
    desk.write("復元先/.himuro-0a1b2c-18.tmp/a.txt", "a folder of that name is somebody's")
    rows = (rf"{UNC}\復元先\{name}" for name in (left, *others))
    plan = desk.check(*rows) if listed else desk.check(UNC)
    assert not plan.refused
    assert {item.name for item in plan.items} == {*others} | (set() if listed else {"a.txt"})
    (problem,) = plan.problems
    assert (problem.code, problem.path) == (Code.LEFTOVER_SKIPPED, rf"{UNC}\復元先\{left}")
    assert problem.severity is Severity.WARNING
