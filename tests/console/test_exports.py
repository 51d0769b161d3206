"""One machine that has files made from many pages, and another one that wants one as well."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.sync.client import ClientConnection

from db import open_catalogue
from tests.support.entries import entry
from tests.support.environment import free_port
from tests.support.servers.browser import core
from tests.support.servers.held_console import AT_ONCE, HOLD
from tests.support.servers.page_socket import page_socket
from tests.support.servers.processes import Console, console

GREEDY, OTHER, THIRD = "192.0.2.1", "192.0.2.2", "192.0.2.3"
LINES = 300
"""More than a console for tests writes before it waits."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of the console."""
    return tmp_path_factory.mktemp("crowded") / "data"


@pytest.fixture(scope="module")
def running(data: Path) -> Iterator[Console]:
    """A console whose files stay at their first rows while ``HOLD`` is there."""
    data.mkdir()
    env = {"HIMURO_DATA_DIR": str(data), AT_ONCE: "1"}
    core(env, data.parent, "init-db")
    catalogue = open_catalogue(f"sqlite:///{data / 'catalogue.db'}")
    catalogue.add([entry(f"{number}.txt") for number in range(LINES)])
    log = data.parent / "console.log"
    with console(
        env, free_port(), log=log, cwd=data.parent, module="tests.support.servers.held_console"
    ) as found:
        yield found
    assert "Traceback" not in log.read_text("utf-8")


@pytest.fixture
def hold(data: Path, running: Console) -> Iterator[Path]:
    path = data / HOLD
    path.touch()
    yield path
    path.unlink(missing_ok=True)


@dataclass
class Page:
    """The archive list in a browser of some machine."""

    stream: ClientConnection
    script: str = ""

    def run(self, state: ClientState | None = None) -> list[Delta]:
        """Have the script run, and return what it shows."""
        state = state or ClientState()
        state.page_script_hash = self.script
        self.stream.send(BackMsg(rerun_script=state).SerializeToString())
        return self.shown_until_the_end()

    def shown_until_the_end(self) -> list[Delta]:
        """Return what a run of the script shows, one of a fragment included."""
        shown: list[Delta] = []
        while True:
            data = self.stream.recv(timeout=60)
            assert isinstance(data, bytes)
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.script = message.new_session.page_script_hash
            elif kind == "delta":
                shown.append(message.delta)
            elif kind == "script_finished":
                return shown

    def press_save(self) -> list[Delta]:
        """Press 「CSVで保存」; return what is shown then."""
        (button,) = (
            delta.new_element.button.id
            for delta in self.run()
            if delta.new_element.button.id.endswith("takeaway-all-csv")
        )
        pressed = WidgetState(id=button, trigger_value=True)
        return self.run(ClientState(widget_states=WidgetStates(widgets=[pressed])))


@contextmanager
def page(url: str, address: str) -> Iterator[Page]:
    with page_socket(url, {"X-Forwarded-For": address}) as stream:
        yield Page(stream)


def texts(shown: list[Delta]) -> str:
    """Return everything readable."""
    elements = (delta.new_element for delta in shown)
    return "\n".join(e.alert.body or e.text.body or e.progress.text for e in elements)


def address_of(shown: list[Delta]) -> str:
    """Return the address of 「ダウンロード」; empty while there is none."""
    links = (delta.new_element.link_button for delta in shown)
    return next((link.url for link in links if link.label == "ダウンロード"), "")


def test_another_machine_gets_its_file_before_the_third_of_one(
    running: Console, hold: Path
) -> None:
    with ExitStack() as greedy, page(running.url, OTHER) as other:
        said = []
        for _ in range(22):
            one = greedy.enter_context(page(running.url, GREEDY))
            said.append(texts(one.press_save()))
        refused = ["このパソコンの書き出しが2件、順番を待って" in text for text in said]
        assert refused == [False] * 4 + [True] * 18
        assert "混み合っています" not in "".join(said)
        shown = other.press_save()
        assert "順番を待っています（前に2 件）" in texts(shown)  # the two that are being made
        hold.unlink()
        while not (link := address_of(shown)):
            shown = other.run()
        connection = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        with closing(connection):
            connection.request("GET", link)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read().splitlines())) == (200, LINES + 1)


def test_what_somebody_waits_for_ends_with_the_page(running: Console, hold: Path) -> None:
    """Of four pages that are closed two waited: there is room in the line, and no file of them."""

    def made() -> int:
        return len(list(hold.parent.glob("exports/*/*.csv")))

    before = made()
    with ExitStack() as left:
        for _ in range(4):
            left.enter_context(page(running.url, THIRD)).press_save()
        with page(running.url, THIRD) as fifth:
            assert "このパソコンの書き出しが2件" in texts(fifth.press_save())
    with page(running.url, THIRD) as again:
        while "このパソコンの書き出しが2件" in texts(shown := again.press_save()):
            continue  # the console hears of a closed page a moment later
        hold.unlink()
        while not address_of(shown):
            shown = again.run()
    # Its own, and at most the two that were being made.
    assert before < made() <= before + 3
