"""The archive list in a real browser: from a click until the table stands with its new rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode, urljoin
from zoneinfo import ZoneInfo

from playwright.sync_api import Browser, Error, Page

from core.model import Entry, Order, SearchQuery
from db import SqlCatalogue, open_catalogue
from tests.bench.archive_list.big import ROWS, BigList, console_before
from tests.bench.measure import BenchError
from tests.bench.report import Row, note
from tests.support.servers.browser import chromium, screen

MAX_MS = 1000
DEEP = 1000
_PATIENCE = 10_000
"""Milliseconds after which a page counts as one that never came."""
_MONTH = tuple(datetime(2030, month, 1, tzinfo=ZoneInfo("Asia/Tokyo")) for month in (1, 2))

_WATCH = """
(() => {
  const watch = (window.watch = { begun: 0, sent: 0, drawn: new Set() })
  const begin = event => Object.assign(watch, { begun: event.timeStamp, sent: 0 })
  for (const kind of ["pointerdown", "keydown", "popstate"])
    addEventListener(kind, begin, { capture: true })
  const pen = CanvasRenderingContext2D.prototype, draw = pen.fillText
  pen.fillText = function (text, ...place) {
    watch.drawn.add(String(text))
    return draw.call(this, text, ...place)
  }
  const send = WebSocket.prototype.send
  WebSocket.prototype.send = function (data) {
    watch.sent ||= performance.now()
    return send.call(this, data)
  }
})()
"""
"""Notes when the last thing was done, when a message went out for it, and what was drawn:
tables are drawings."""

_STANDS = """
([text, patience]) => new Promise(done => {
  const look = () => {
    const app = document.querySelector('[data-testid="stApp"]')
    const still = app?.dataset.testScriptState === "notRunning"
      && !document.querySelector('[data-testid="stSkeleton"]')
    const there = one => one.includes(text)
    if (watch.sent && still && ([...watch.drawn].some(there) || there(app.textContent)))
      requestAnimationFrame(() => done([performance.now() - watch.begun, watch.sent - watch.begun]))
    else if (performance.now() - watch.begun > patience) done(null)
    else setTimeout(look, 4)
  }
  look()
})
"""
"""Waits until the script is over and the text is drawn, and for the next frame, which shows it.
Returns milliseconds since the last thing done, and until the message for it went out."""


@dataclass(frozen=True, slots=True)
class _Step:
    """Something that a person does."""

    what: str
    do: Callable[[Page], object]
    text: str
    """What stands there afterwards and not before."""
    typed: bool = False
    """Whether the page waits for a further key first; that is not counted."""
    counts: bool = True
    """Whether it may not take more than ``MAX_MS``."""


_Taken = tuple[float, float] | None
"""Milliseconds of a step, and until its request went out; None: it never came."""


def page(big: BigList, directory: Path, rounds: int) -> list[Row]:
    """Return a line for each step, and the target."""
    part = f"page {ROWS:,}"
    catalogue = open_catalogue(big.url)
    steps = _steps(catalogue)
    catalogue.close()
    with console_before(big.url, directory) as console, chromium() as browser:
        _walk(browser, console.url, steps[:1])  # the console loads the modules of its pages
        walks = [_walk(browser, console.url, steps) for _ in range(rounds)]
    rows, most = [], 0.0
    for step, taken in zip(steps, zip(*walks, strict=True), strict=True):
        came = [one for one in taken if one]
        counted = [whole - step.typed * sent for whole, sent in came]
        if step.counts:
            most = max([most, *counted, *(_PATIENCE for one in taken if not one)])
        rows.append(_line(part, step, came, counted))
    return [*rows, Row(part, f"none over {MAX_MS:,} ms", f"{most:.0f} ms", most <= MAX_MS)]


def _line(
    part: str, step: _Step, came: Sequence[tuple[float, float]], counted: Sequence[float]
) -> Row:
    if not came:
        return Row(part, step.what, "did not come")
    value = f"{statistics.median(counted):.0f} ms"
    spread = " / ".join(f"{one:.0f}" for one in counted) + " ms"
    if step.typed:
        whole = statistics.median(whole for whole, _sent in came)
        spread += f", {whole:.0f} from the last key"
    note(f"{part}, {step.what}: {value} ({spread})")
    return Row(part, step.what, value, rounds=spread)


def _walk(browser: Browser, url: str, steps: Iterable[_Step]) -> list[_Taken]:
    """Take the steps one after the other in a window of its own, with nothing in its cache."""
    taken: list[_Taken] = []
    with screen(browser, url, None) as window:
        window.page.set_default_timeout(_PATIENCE)
        window.page.add_init_script(_WATCH)
        window.page.goto(f"{url}/healthz")
        for step in steps:
            window.page.evaluate("watch.drawn.clear()")
            try:
                step.do(window.page)
                taken.append(window.page.evaluate(_STANDS, [step.text, _PATIENCE]))
            except Error as exc:  # there is nothing of that kind to press
                note(f"{step.what}: {exc.message.splitlines()[0]}")
                taken.append(None)
    return taken


def _steps(catalogue: SqlCatalogue) -> list[_Step]:
    """Return the steps in their order, each with a row that tells its result from the one
    before."""
    shown: set[str] = set()

    def row(query: SearchQuery, number: int = 1) -> str:
        """Return the name of a row on this page of hits that was not on the page before."""
        entries: Sequence[Entry] = catalogue.search(query, page=number).entries
        new = next((entry.name for entry in entries[:10] if entry.name not in shown), "")
        if not new:
            raise BenchError(f"{ROWS:,} rows are too few for a page {number:,} of {query.words}")
        shown.clear()
        shown.update(entry.name for entry in entries)
        return new

    plain, common, rare = (SearchQuery(words=words) for words in ("", "見積", "銀木"))
    month = SearchQuery(words="見積", since=_MONTH[0], until=_MONTH[1])
    below = SearchQuery(words="見積", directory=r"\\fsx01\share\営業部")
    by_name = SearchQuery(words="銀木", order=Order.NAME)
    nothing = "該当するファイルはありません"
    newest = row(plain)
    return [
        _Step("opened for the first time", _open(), newest, counts=False),
        _Step("opened again", _open(), newest),
        _Step("typed: common", _type("見積"), row(common), typed=True),
        _Step("typed: rare", _type("銀木"), row(rare), typed=True),
        _Step("typed: absent", _type("銀木鬱"), nothing, typed=True),
        _Step("typed: common, after an absent one", _type("見積"), row(common), typed=True),
        _Step("next page", _next_page, row(common, 2)),
        _Step("filter: month", _go(q="見積", **{"from": "2030-01-01", "to": "2030-01-31"}),
              row(month)),
        _Step("filter: directory", _go(q="見積", directory=below.directory), row(below)),
        _Step("sort: name", _go(q="銀木", sort="name"), row(by_name)),
        _Step(f"page {DEEP:,} of all rows, opened", _open(page=str(DEEP)), row(plain, DEEP)),
        _Step(f"page {DEEP:,} of 見積, opened", _open(q="見積", page=str(DEEP)), row(common, DEEP)),
        _Step("folders", _go(view="folders"), "fsx01"),
    ]  # fmt: skip


def _open(**address: str) -> Callable[[Page], object]:
    """Open an address as a link in a mail does."""
    path = "/?" + urlencode(address)
    return lambda page: page.goto(urljoin(page.url, path), wait_until="commit")


def _go(**address: str) -> Callable[[Page], object]:
    """Come to an address within the page, as with the browser's "back"."""
    script = """path => {
      history.pushState({}, "", path)
      dispatchEvent(new PopStateEvent("popstate"))
    }"""
    return lambda page: page.evaluate(script, "/?" + urlencode(address))


def _type(text: str) -> Callable[[Page], None]:
    def do(page: Page) -> None:
        field = page.locator(".st-key-list-q input")
        field.press("Control+a")
        field.press_sequentially(text, delay=30)

    return do


def _next_page(page: Page) -> None:
    page.get_by_test_id("stPagination").get_by_role("button").last.click()
