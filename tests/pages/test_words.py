"""Numbers, times and tables as the pages show them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.auth.accounts import Role
from core.errors import Code
from core.model import Problem, Progress, RunRequest, RunState
from pages.auth import guard
from pages.http import routes
from pages.jobs.upload import missing_words
from pages.widgets import words

TOKYO = ZoneInfo("Asia/Tokyo")
WHEN = datetime(2026, 11, 23, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 バイト"), (1023, "1,023 バイト"), (1024, "1.0 KB"), (1536, "1.5 KB"),
     (1024 * 1024 - 1, "1.0 MB"), (80_000_000, "76.3 MB"), (1024**3, "1.0 GB"),
     (1024**4, "1.0 TB"), (3 * 1024**5, "3,072.0 TB")],
)  # fmt: skip
def test_sizes(number: int, text: str) -> None:
    assert words.size(number) == text


def test_every_role_has_its_word() -> None:
    assert list(guard.ROLE_WORDS) == list(Role)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0秒"), (0, "0秒"), (59.4, "59秒"), (59.6, "1分0秒"), (3600, "1時間0分"),
     (360_000, "100時間0分")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_moments_are_shown_in_the_time_zone_of_the_settings() -> None:
    assert words.moment(WHEN, TOKYO) == "2026/11/23 10:05"


def test_a_moment_at_the_edge_of_the_calendar() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert words.moment(last, TOKYO) == "9999/12/31 23:59"
    assert words.exact_moment(last, TOKYO) == "9999/12/31 23:59:59"


def test_pace_of_a_run() -> None:
    progress = Progress(total_files=100, total_bytes=2000, done_files=25, done_bytes=1000)
    pace = words.pace(progress, WHEN, WHEN + timedelta(seconds=10))
    assert pace == words.Pace(0.5, 100.0, 2.5, 30.0)
    assert (pace.rate, pace.file_rate, pace.left) == ("100 バイト/秒", "2.5 件/秒", "約30秒")


@pytest.mark.parametrize(
    ("progress", "seconds"),
    [(Progress(), 10), (Progress(total_files=3, total_bytes=0), 10),
     (Progress(total_files=3, done_files=3, total_bytes=9, done_bytes=9), 0),
     (Progress(total_files=3, done_files=3, total_bytes=9, done_bytes=9), -60)],
)  # fmt: skip
def test_pace_of_nothing_is_unknown(progress: Progress, seconds: int) -> None:
    pace = words.pace(progress, WHEN, WHEN + timedelta(seconds=seconds))
    assert (pace.rate, pace.file_rate, pace.left) == ("—", "—", "—")
    assert words.pace(progress, None, WHEN).left == "—"


@pytest.mark.parametrize(
    "progress",
    [Progress(total_files=5, done_files=2), Progress(1, 10, 0, 4), Progress(2, 10, 2, 25)],
)
def test_pace_stays_within_bounds(progress: Progress) -> None:
    pace = words.pace(progress, WHEN, WHEN + timedelta(seconds=1))
    assert 0 <= pace.fraction <= 1
    assert pace.seconds_left is not None
    assert pace.seconds_left >= 0


def test_every_state_and_severity_has_words() -> None:
    assert set(words.STATE_WORDS) == set(words.NEXT_STEPS) == set(RunState)
    assert {code.severity for code in Code} <= set(words.SEVERITY_WORDS)


def test_problems_as_csv() -> None:
    problems = [
        Problem(Code.SOURCE_NOT_FOUND, "=cmd|'/c calc'!A1", "一覧.csv", 3, "もしかして: x"),
        Problem(Code.LIST_EMPTY, "@x", "+list.csv"),
    ]
    data = b"".join(routes.csv_blocks(problems))
    assert data.startswith(b"\xef\xbb\xbf")
    assert data.count(b"\xef\xbb\xbf") == 1
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert rows[0] == list(words.PROBLEM_HEADER)
    assert rows[1][:4] == ["一覧.csv", "3", "'=cmd|'/c calc'!A1", "誤り"]
    assert rows[1][6] == "SOURCE_NOT_FOUND"
    assert rows[2][:3] == ["'+list.csv", "", "'@x"]


def test_long_texts_are_cut_and_request_ids_are_not() -> None:
    assert words.shortened("A" * 255) == "A" * 255
    assert words.shortened("A" * 1500) == "A" * 255 + "…（全1,500文字）"


@pytest.mark.parametrize(
    ("request_id", "requester", "lists", "missing"),
    [("A", "B", 1, ""), ("", "B", 1, "依頼ID（255文字まで）"),
     ("A" * 256, "B", 1, "依頼ID（255文字まで）"), ("A" * 255, "B" * 255, 2, ""),
     ("A", "", 0, "一覧のファイル（CSV・TXT・TSV・XLSX、1つ20 MBまで）、依頼者（255文字まで）")],
)  # fmt: skip
def test_what_is_missing_in_the_form(
    request_id: str, requester: str, lists: int, missing: str
) -> None:
    assert missing_words(RunRequest(request_id, requester), lists) == missing
