"""The numbers above the newest entries, and the tree of folders, without a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.ipc
import pytest
from streamlit.testing.v1 import AppTest

from core.errors import Code, FatalError
from core.jobs.queue import Jobs
from db import SqlCatalogue, open_catalogue
from pages import services
from pages.search import folders, overview
from pages.services import Services
from pages.widgets.literally import literally
from tests.pages.test_every_page import ODD, shown
from tests.support.arrange import Desk, no_restores
from tests.support.entries import entry

SHARE = r"\\fsx01\share"
NOW = datetime(2026, 11, 30, 20, tzinfo=UTC)
"""December has begun in Tokyo."""
NAME = ODD.replace("/", "").replace("\\", "")
OLD = datetime(2025, 3, 3, tzinfo=UTC)
ROWS = [
    entry("a.txt", SHARE + r"\営業部\第10回", size=1000),
    entry("b.txt", SHARE + r"\営業部\第2回", size=24, archived_at=NOW),
    entry("c.txt", SHARE + r"\営業部", size=1024**2, archived_at=OLD),
    entry("d.txt", SHARE + r"\ｶﾞ"),
    entry("e.txt", SHARE + r"\ガ"),
    entry("f.txt", SHARE + "\\" + NAME),
]


@pytest.fixture
def catalogue(
    tmp_path: Path, migrated_sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlCatalogue]:
    """An empty archive list that the console shows; it is 5:00 on the first of December."""
    path = tmp_path / "catalogue.db"
    shutil.copy(migrated_sqlite_file, path)
    opened = open_catalogue(f"sqlite:///{path}")
    desk = Desk(tmp_path)
    jobs = Jobs(desk.settings, opened, lambda _settings: desk.store, no_restores)
    services.replace(Services(desk.settings, opened, jobs))
    monkeypatch.setattr(overview, "utc_now", lambda: NOW)
    yield opened
    jobs.close()
    services.replace(None)
    opened.close()


@pytest.fixture
def filled(catalogue: SqlCatalogue) -> SqlCatalogue:
    catalogue.add(ROWS)
    return catalogue


OVERVIEW = """
from pages import services
from pages.search import overview
overview.render(services.current())
"""
TREE = """
import streamlit as st
from pages import services
from pages.search import folders
folders.render(services.current(), st.query_params.get("folder", ""))
"""


def run(script: str, **query: str) -> AppTest:
    app = AppTest.from_string(script, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return again(app)


def again(app: AppTest) -> AppTest:
    """Run until the numbers are there, as the page itself does."""
    app.run()
    while services.current().summary.ask().working:
        app.run()
    return app.run()


def tree(folder: str = "", **query: str) -> AppTest:
    return run(TREE, view="folders", folder=folder, **query)


def bars(app: AppTest) -> dict[str, float]:
    """Return what the chart shows: months and the heights of their bars."""
    (chart,) = app.get("vega_lite_chart")
    encoding = json.loads(chart.proto.spec)["encoding"]
    frame = pyarrow.ipc.open_stream(chart.proto.data.data).read_pandas()
    return dict(zip(frame[encoding["x"]["field"]], frame[encoding["y"]["field"]], strict=True))


def asked(app: AppTest) -> dict[str, str]:
    """Return the address; what was there from the beginning is a list of one."""
    values = {name: app.query_params[name] for name in app.query_params}
    return {name: v if isinstance(v, str) else v[0] for name, v in values.items()}


def test_an_empty_list_has_no_numbers(catalogue: SqlCatalogue) -> None:
    app = run(OVERVIEW)
    assert not app.exception
    assert [len(app.metric), len(app.button), len(app.get("vega_lite_chart"))] == [0, 0, 0]
    assert "まだありません" in shown(tree())


def test_the_numbers(filled: SqlCatalogue) -> None:
    app = run(OVERVIEW)
    assert {metric.label: metric.value for metric in app.metric} == {
        "ファイル": "6 件",
        "容量": "1.0 MB",
        "今月のファイル": "1 件（24 バイト）",
        "フォルダー": "6 件",
    }
    assert len(bars(app)) == 24
    assert {month: n for month, n in bars(app).items() if n} == {
        "2025/03": 1,
        "2026/11": 4,
        "2026/12": 1,
    }
    app.segmented_control(key="overview-chart").set_value("容量").run()
    assert bars(app)["2025/03"] == 1
    assert bars(app)["2026/12"] == 24 / 1024**2


def test_the_tree_from_the_top(filled: SqlCatalogue) -> None:
    app = tree()
    assert app.dataframe[0].value.values.tolist() == [["fsx01", 6, 1024**2 + 1024, 0]]
    assert len(app.button) == 0
    app = tree(SHARE + r"\営業部")
    assert "3 件、1.0 MB" in shown(app)
    below, inside = (frame.value for frame in app.dataframe)
    assert below.values.tolist() == [["第2回", 1, 24, 1], ["第10回", 1, 1000, 1]]
    assert list(inside["ファイル名"]) == ["c.txt"]
    assert [app.button(key=f"way-{n}").label for n in (1, 2)] == ["fsx01", "share"]
    app.button(key="way-2").click().run()
    assert asked(app) == {"view": "folders", "folder": SHARE}


def test_the_way_to_the_list(filled: SqlCatalogue) -> None:
    app = tree(SHARE + r"\営業部")
    assert "3 件" in app.button(key="tree-all").label
    assert "1 件" in app.button(key="tree-own").label
    app.button(key="tree-all").click().run()
    assert asked(app) == {"directory": SHARE + r"\営業部"}
    app = tree(SHARE + r"\営業部")
    app.button(key="tree-own").click().run()
    assert asked(app) == {"directory": SHARE + r"\営業部", "only": "1"}
    app = tree(SHARE, q="a", page="3", columns="name", folder_order="size")
    app.button(key="tree-all").click().run()
    assert asked(app) == {"directory": SHARE, "columns": "name"}


def test_folders_can_be_sorted_by_size(filled: SqlCatalogue) -> None:
    app = tree(SHARE + r"\営業部", folder_order="size")
    assert list(app.dataframe[0].value["フォルダー"]) == ["第10回", "第2回"]
    app.selectbox(key="tree-sort").set_value("").run()
    assert asked(app) == {"view": "folders", "folder": SHARE + r"\営業部"}
    assert list(app.dataframe[0].value["フォルダー"]) == ["第2回", "第10回"]
    app = tree(SHARE + r"\営業部", folder_order="nonsense", folder_page="-1")
    assert list(app.dataframe[0].value["フォルダー"]) == ["第2回", "第10回"]


def test_many_folders_are_paged(catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "PER_PAGE", 3)
    catalogue.add([entry("a", rf"{SHARE}\{n}") for n in range(1, 12)])
    app = tree(SHARE, folder_page="4")
    assert "フォルダー 11 件" in shown(app)
    assert list(app.dataframe[0].value["フォルダー"]) == ["10", "11"]
    assert list(tree(SHARE, folder_page="9").dataframe[0].value["フォルダー"]) == ["10", "11"]


def test_what_the_list_will_mix_in_is_said(filled: SqlCatalogue) -> None:
    app = tree(SHARE + r"\ガ")
    assert "区別されない" in shown(app)
    assert r"\\fsx01\share\ｶﾞ（1 件）" in [text.value for text in app.text]
    assert list(app.dataframe[0].value["ファイル名"]) == ["e.txt"]
    assert "区別されない" not in shown(tree(SHARE + r"\営業部"))


def test_a_space_at_the_end_of_a_name_stays(catalogue: SqlCatalogue) -> None:
    catalogue.add([entry("a", rf"{SHARE}\末尾　\x"), entry("b", rf"{SHARE}\末尾　")])
    app = tree(rf"{SHARE}\末尾　\x")
    app.button(key="way-3").click().run()
    assert asked(app)["folder"] == f"{SHARE}\\末尾　\\"
    app.button(key="tree-own").click().run()
    assert asked(app) == {"directory": f"{SHARE}\\末尾　\\", "only": "1"}


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("営業部 2026年", "営業部 2026年"),
        ("*a_b*", r"\*a\_b\*"),
        (r"\[x](y)`$", r"\\\[x\]\(y\)\`\$"),
        (":ice:", "\\:\u2060ice\\:\u2060"),
        ("->", "\\-\u2060\\>\u2060"),
        ("a\nb", "a b"),
    ],
)
def test_labels_are_read_letter_by_letter(name: str, markdown: str) -> None:
    assert literally(name) == markdown


def test_names_are_shown_as_they_are(filled: SqlCatalogue) -> None:
    app = tree(f"{SHARE}\\{NAME}")
    assert NAME in [text.value for text in app.text]
    assert "f.txt" in list(app.dataframe[0].value["ファイル名"])


@pytest.mark.parametrize("folder", [r"\\fsx01\share\営業", ODD, "\\\\" + "\\".join("a" * 5000)])
def test_an_unknown_folder_is_said_to_be_one(filled: SqlCatalogue, folder: str) -> None:
    app = tree(folder)
    assert "アーカイブされたファイルがありません" in shown(app)
    assert len(app.dataframe) == 0
    app.button(key="tree-top").click().run()
    assert asked(app) == {"view": "folders"}


def test_without_a_database_it_says_so(
    filled: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_serial: int) -> int:
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    monkeypatch.setattr(filled, "count_until", down)
    for script in (OVERVIEW, TREE):
        assert "集計を新しくできませんでした" in shown(run(script))
