"""Files of a run that go while somebody asks for them: a sentence, and no broken answer."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from core.auth.accounts import Role
from core.jobs.queue import Jobs
from pages import services
from pages.auth import guard, session
from pages.http.downloads import Download
from pages.http.routes import ROUTES
from pages.services import Services
from tests.support.arrange import UNC, Desk, no_restores


def fetch(app: Any, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get(path)

    return asyncio.run(ask())


@dataclass
class Ran:
    """A run that has ended, at a console that lets everybody have its files."""

    folder: Path
    app: Starlette

    def fetch(self, address: str) -> httpx.Response:
        return fetch(self.app, address)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    desk = Desk(tmp_path)
    desk.write("a.txt", "a")
    folder = desk.archive(UNC).folder
    jobs = Jobs(desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(desk.settings, desk.catalogue, jobs))
    monkeypatch.setattr(session, "role_of_request", lambda _request: Role.ADMINISTRATOR)
    yield Ran(folder, Starlette(routes=ROUTES))
    jobs.close()
    services.replace(None)


def gone_after(monkeypatch: pytest.MonkeyPatch, method: str, remove: Callable[[], None]) -> None:
    """Remove something when the route has found it."""
    real = getattr(Jobs, method)

    def found(self: Jobs, *args: object) -> object:
        there = real(self, *args)
        remove()
        return there

    monkeypatch.setattr(Jobs, method, found)


def test_a_file_of_a_run_that_goes_after_it_was_found(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/files/{ran.folder.name}/report.csv"
    assert ran.fetch(address).content == (ran.folder / "report.csv").read_bytes()
    gone_after(monkeypatch, "past", lambda: (ran.folder / "report.csv").unlink(missing_ok=True))
    answer = ran.fetch(address)
    assert (answer.status_code, answer.text) == (404, guard.NOT_FOUND)


def test_a_zip_of_a_run_that_goes_after_it_was_found(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/files/{ran.folder.name}.zip"
    assert ran.fetch(address).content.startswith(b"PK\x03\x04")
    gone_after(monkeypatch, "past", lambda: shutil.rmtree(ran.folder, ignore_errors=True))
    answer = ran.fetch(address)
    assert (answer.status_code, answer.text) == (404, guard.NOT_FOUND)


@pytest.mark.parametrize("kind", ["nothing", "a directory", "what may not be read"])
def test_what_cannot_be_sent_is_a_404_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "a.csv"
    if kind == "a directory":
        path.mkdir()
    elif kind == "what may not be read":
        path.write_text("content")

        def refuse(*_args: object, **_options: object) -> None:
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr("anyio.open_file", refuse)
    answer = fetch(Download(path, "一覧.csv", "もうありません。"), "/")
    assert (answer.status_code, answer.text) == (404, "もうありません。")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_file_without_content_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    answer = fetch(Download(tmp_path / "a.csv", "a.csv", "もうありません。"), "/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a.csv"'
