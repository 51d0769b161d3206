"""The console's own routes with an accounts file, as a browser or an attacker asks them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette

from core.jobs.queue import Jobs
from pages import services
from pages.http.routes import MIDDLEWARE, ROUTES
from pages.services import Services
from tests.support.arrange import Desk, no_restores
from tests.support.people import ADMINISTRATOR, OPERATOR, Person, write_accounts

SITE = "http://console.example:8501"
ORIGIN = {"Origin": SITE, "Sec-Fetch-Site": "same-origin"}


@contextmanager
def console_with_accounts(root: Path) -> Iterator[Desk]:
    """Let the pages work with an installation in ``root`` that knows an operator and an
    administrator."""
    desk = Desk(root)
    write_accounts(desk.settings.accounts_file, OPERATOR, ADMINISTRATOR)
    jobs = Jobs(desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(desk.settings, desk.catalogue, jobs))
    yield desk
    jobs.close()
    services.replace(None)


class Served(httpx.BaseTransport):
    """The console's own routes, without a server and without Streamlit's."""

    def __init__(self, address: str = "10.0.0.7") -> None:
        app = Starlette(routes=ROUTES, middleware=MIDDLEWARE)
        self._served = httpx.ASGITransport(app, client=(address, 50000))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def answer() -> httpx.Response:
            response = await self._served.handle_async_request(request)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return asyncio.run(answer())


def browser(site: str = SITE) -> httpx.Client:
    """A browser of its own, which keeps cookies and does not follow redirects."""
    return httpx.Client(transport=Served(), base_url=site)


def token_of(page: httpx.Response) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def sign_in(client: httpx.Client, person: Person = OPERATOR, **fields: str) -> httpx.Response:
    token = token_of(client.get("/signin"))
    form = {"name": person.name, "password": person.password, "token": token, **fields}
    return client.post("/signin", data=form, headers=ORIGIN)


def run_of(desk: Desk) -> str:
    """Return the address of a file that operators may have."""
    desk.write("a.txt", b"a")
    done = desk.archive(r"\\fsx01\share\a.txt")
    return f"/files/{done.record.run_id}/report.csv"
