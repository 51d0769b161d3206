"""A real browser in front of a real console, with S3 and a share behind it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from tests.support.environment import CHECKOUT, aws_environment, clean_environment, free_port
from tests.support.people import ADMINISTRATOR, OPERATOR, Person, signed_in, write_accounts
from tests.support.servers.processes import console, make_bucket, moto_server, strict_server
from tests.support.servers.proxy import FaultyProxy, faulty_proxy
from tests.support.share import Share, build_share

BUCKET = "himuro-browser"
PATIENCE = 60_000
"""Milliseconds: far more than anything takes, so that a busy machine is no failure."""
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
_SIZE: ViewportSize = {"width": 1366, "height": 768}


def is_upload(request: BaseHTTPRequestHandler) -> bool:
    return request.command == "PUT"


def is_download(request: BaseHTTPRequestHandler) -> bool:
    return request.command == "GET" and "list-type" not in request.path


def is_look(request: BaseHTTPRequestHandler) -> bool:
    """Whether it looks if the bucket is there, as every check begins."""
    return request.command == "HEAD"


class Gate:
    """Lets requests of a kind through until it is shut; those that follow wait until it is
    opened."""

    def __init__(
        self, proxy: FaultyProxy, guards: Callable[[BaseHTTPRequestHandler], bool] = is_upload
    ) -> None:
        self._open = threading.Event()
        self._open.set()
        self._left: int | None = None
        self._lock = threading.Lock()
        self._usual = self._guards = guards
        forward = proxy.handle

        def handle(request: BaseHTTPRequestHandler) -> None:
            if self._guards(request) and not self._passes():
                self._hold(request)
            forward(request)

        proxy.handle = handle  # type: ignore[method-assign]

    def shut_after(
        self, requests: int, guards: Callable[[BaseHTTPRequestHandler], bool] | None = None
    ) -> None:
        """``guards``: another kind of requests than usual, until it is opened."""
        with self._lock:
            self._guards = guards or self._usual
            self._left = requests
            self._open.clear()

    def open(self) -> None:
        with self._lock:
            self._guards = self._usual
            self._left = None
            self._open.set()

    def _hold(self, request: BaseHTTPRequestHandler) -> None:
        """Let a request wait. Who looks for the bucket gives up after some seconds without a
        word from S3: "100 Continue" is one (RFC 9110, 15.2)."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not self._open.wait(1) and time.monotonic() < deadline:
            if is_look(request):
                request.send_response_only(HTTPStatus.CONTINUE)
                request.end_headers()

    def _passes(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0


@dataclass(frozen=True)
class Installation:
    """What a console needs, and where it is served."""

    root: Path
    share: Share
    env: dict[str, str]
    gate: Gate
    s3: str
    """The endpoint of the S3 itself, behind the gate."""
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    """The console, while it is served."""

    @property
    def runs(self) -> list[Path]:
        """The run folders, oldest first."""
        return sorted((self.root / "data" / "runs").iterdir())

    def write_list(self, name: str, *paths: str, encoding: str = "cp932") -> Path:
        r"""Write an archive list that names ``営業部\…`` of the share."""
        rows = [f'"{self.share.unc}\\{path}",' for path in paths]
        file = self.root / name
        file.write_bytes("\r\n".join(["ディレクトリパス,ファイル名", *rows]).encode(encoding))
        return file


@contextmanager
def installation(root: Path, files: int = 150, *, restores: bool = False) -> Iterator[Installation]:
    """Set up share, S3 and database below ``root``, without a console.

    ``restores``: its S3 thaws when it is told to, files are restored to ``復元`` on the
    share, and the gate is for downloads.
    """
    share = build_share(root / "share", files)
    with ExitStack() as stack:
        server = strict_server if restores else moto_server
        endpoint = stack.enter_context(server(root / "s3.log"))
        make_bucket(endpoint, BUCKET)
        proxy = stack.enter_context(faulty_proxy(endpoint))
        env = {
            "HIMURO_DATA_DIR": str(root / "data"),
            "HIMURO_BUCKET": BUCKET,
            "HIMURO_SHARES": share.setting,
            **aws_environment(proxy.endpoint),
        }
        if restores:
            share.local("復元").mkdir()
            env["HIMURO_RESTORE_ROOTS"] = f"{share.unc}\\復元"
        write_accounts(root / "data" / "accounts.toml", OPERATOR, ADMINISTRATOR)
        core(env, root, "init-db")
        gate = Gate(proxy, is_download if restores else is_upload)
        yield Installation(root, share, env, gate, endpoint)


def core(env: dict[str, str], cwd: Path, *command: str) -> str:
    """Run ``python -m core …``, which must succeed, and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "core", *command],
        env={**clean_environment(), "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1", **env},
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def served(here: Installation, module: str = "streamlit") -> Iterator[Installation]:
    """Run a console for an installation; ``module`` as for ``console``."""
    log = here.root / "console.log"
    with console(here.env, free_port(), log=log, cwd=here.root, module=module) as running:
        try:
            yield replace(here, url=running.url, process=running.process)
        finally:
            here.gate.open()
    text = log.read_text("utf-8", "replace")
    assert "Traceback" not in text, text


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the machine's Chromium."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed (see .ci/run)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Screen:
    """One person's browser window at the console."""

    page: Page
    url: str
    strangers: list[str] = field(default_factory=list)
    """Addresses asked for that are not the console's."""

    def open(self, path: str = "/") -> None:
        self.page.goto(self.url + path)
        self.settle()

    def settle(self) -> None:
        """Wait until the script has run and everything is drawn."""
        app = '[data-testid="stApp"][data-test-script-state="notRunning"]'
        expect(self.page.locator(app)).to_be_visible(timeout=PATIENCE)
        expect(self.page.locator('[data-testid="stSkeleton"]')).to_have_count(0, timeout=PATIENCE)

    def see(self, text: str | re.Pattern[str]) -> Locator:
        """Wait until this text can be seen."""
        found = self.page.get_by_text(text).first
        expect(found).to_be_visible(timeout=PATIENCE)
        return found

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click(timeout=PATIENCE)

    def answer(self, name: str) -> None:
        """Press a button of the open dialog."""
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name=name, exact=True).click(timeout=PATIENCE)

    def metric(self, label: str) -> Locator:
        """Return the number that stands below a label."""
        box = self.page.get_by_test_id("stMetric").filter(has_text=label)
        return box.get_by_test_id("stMetricValue").first

    def submit(self, lists: list[Path], request_id: str, requester: str, comment: str = "") -> None:
        """Fill in the first step and ask for the check."""
        files = [str(path) for path in lists]
        self.page.locator('input[type="file"]').set_input_files(files, timeout=PATIENCE)
        for path in lists:
            self.see(re.compile(re.escape(path.name[:4])))
        for label, text in (("依頼ID", request_id), ("依頼者", requester), ("コメント", comment)):
            self.page.get_by_label(label).fill(text)
        self.press("内容を確認する")

    def run(self, chosen: Path, request_id: str, requester: str) -> None:
        """Check a list that is in order and confirm its run."""
        self.open("/archive")
        self.submit([chosen], request_id, requester)
        self.see("実行できます")
        self.settle()
        self.press("アーカイブを実行する")
        self.answer("実行する")

    def download(self, name: str) -> tuple[str, bytes]:
        """Follow a download link and return the suggested name and what came."""
        link = self.page.get_by_role("link", name=name)
        with self.page.expect_download(timeout=PATIENCE) as started:
            link.click(timeout=PATIENCE)
        return started.value.suggested_filename, Path(started.value.path()).read_bytes()

    def scroll_to(self, heading: str) -> None:
        """Bring a heading up to where the menu ends."""
        found = self.page.get_by_role("heading", name=heading, exact=True)
        found.evaluate("it => { it.style.scrollMarginTop = '60px'; it.scrollIntoView() }")
        self.settle()

    def show_instead(self, here: Path, shown: str) -> None:
        """Let pages that are opened from now on show another directory than this machine's, in
        texts and in tables, which are drawings."""
        self.page.add_init_script(
            f"const [here, shown] = {json.dumps([str(here), shown])};"
            """
            const tidy = text => typeof text === "string" ? text.replaceAll(here, shown) : text
            const pen = CanvasRenderingContext2D.prototype, draw = pen.fillText
            pen.fillText = function (text, ...place) { draw.call(this, tidy(text), ...place) }
            for (const name of ["nodeValue", "textContent"]) {
                const content = Object.getOwnPropertyDescriptor(Node.prototype, name)
                const set = function (text) { content.set.call(this, tidy(text)) }
                Object.defineProperty(Node.prototype, name, { ...content, set })
            }
            const make = document.createTextNode
            document.createTextNode = text => make.call(document, tidy(text))
            """
        )

    def picture(self, name: str) -> None:
        """Keep a screenshot when somebody wants to look at it."""
        directory = os.environ.get("HIMURO_SCREENSHOTS")
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(directory) / f"{name}.png", animations="disabled")


@contextmanager
def screen(browser: Browser, url: str, person: Person | None = OPERATOR) -> Iterator[Screen]:
    """Open a window of its own: no cookies or sessions are shared with other windows.

    ``person`` has signed in already; None has not.
    """
    context = browser.new_context(viewport=_SIZE, locale="ja-JP", timezone_id="Asia/Tokyo")
    try:
        if person:
            name, _, value = signed_in(url, person)["Cookie"].partition("=")
            context.add_cookies([{"name": name, "value": value, "url": url}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        window = Screen(page, url)

        def note(address: str) -> None:
            if not address.startswith((url, url.replace("http", "ws"), "data:", "blob:")):
                window.strangers.append(address)

        page.on("request", lambda request: note(request.url))
        page.on("websocket", lambda socket: note(socket.url))
        yield window
    finally:
        context.close()
