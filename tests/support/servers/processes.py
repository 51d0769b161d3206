"""Servers for tests, demo and benchmark: each a child process on 127.0.0.1.

Every one is a context manager that yields once the server answers and ends it on the way
out. On Linux the kernel ends them too when their parent dies, however it dies; what counts as
the parent is the *thread* that started them, so start them in one that lives long enough.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.environment import (
    ACCESS_KEY,
    APP,
    CHECKOUT,
    HOST,
    REGION,
    SECRET_KEY,
    aws_environment,
    clean_environment,
    free_port,
)

# prctl(PR_SET_PDEATHSIG) outlives exec. A preexec_fn would do the same, but Python 3.12 warns
# about forks in processes with threads, and a warning is an error in the tests.
_GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ServerError(Exception):
    """A server did not start; ``log`` is where it says why, ``tail`` its last lines."""

    def __init__(self, name: str, log: Path) -> None:
        self.log = log
        lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
        self.tail = "\n".join(lines[-20:])
        super().__init__(f"{name} did not start:\n{self.tail}")


def answers(url: str) -> int | None:
    """Return the HTTP status of a GET; None when nobody answers. Never through a proxy."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@contextlib.contextmanager
def child(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that ends with this block: SIGTERM first, after ten seconds SIGKILL.

    It stands in a session of its own, so that Ctrl-C reaches its parent only.
    """
    words = [str(word) for word in command]
    if sys.platform == "linux":
        words = [sys.executable, "-S", "-E", "-c", _GUARD, str(os.getpid()), *words]
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _server(
    name: str,
    command: Sequence[str | Path],
    *,
    url: str,
    log: Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
    ready: int = 200,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server and yield once ``url`` gives the status ``ready``.

    Raises ``ServerError`` when it ends before, or after a minute.
    """
    with child(command, env=env, cwd=cwd, log=log) as process:
        deadline = time.monotonic() + 60
        while answers(url) != ready:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(name, log)
            time.sleep(0.05)  # nothing tells when a server of somebody else's is ready
        if process.poll() is not None:  # somebody else answers at this port
            raise ServerError(name, log)
        yield process


@contextlib.contextmanager
def _log_file(given: Path | None, name: str) -> Iterator[Path]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="himuro-", ignore_cleanup_errors=True) as directory:
        yield Path(directory) / f"{name}.log"


@contextlib.contextmanager
def moto_server(log: Path | None = None) -> Iterator[str]:
    """Run an S3 in memory; yields its endpoint URL. It accepts any credentials."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    env = {**clean_environment(), **aws_environment(url)}
    with _log_file(log, "moto") as file, _server("moto", command, url=url, log=file, env=env):
        yield url


@contextlib.contextmanager
def strict_server(
    log: Path | None = None, *, thaw_seconds: float = 3600, page_keys: int = 1000
) -> Iterator[str]:
    """Run an S3 in memory that thaws as S3 does (``strict_s3.py``); yields its endpoint URL.

    ``page_keys``: how many keys a page of a listing has.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "tests.support.servers.strict_s3", "--port", str(port)]
    command += ["--thaw-seconds", str(thaw_seconds)]
    env = {**clean_environment(), **aws_environment(url), "PYTHONPATH": str(CHECKOUT)}
    env["MOTO_S3_DEFAULT_MAX_KEYS"] = str(page_keys)
    with _log_file(log, "strict-s3") as file, _server("S3", command, url=url, log=file, env=env):
        yield url


def administer(endpoint: str, bucket: str, action: str) -> None:
    """Tell a strict server to ``thaw`` or ``expire`` every copy of a bucket at once, or to make
    its listings ``plain``."""
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", f"/_strict/{bucket}/{action}")
        status = connection.getresponse().status
    if status != 200:
        raise RuntimeError(f"{bucket} does not {action}: {status}")


def make_bucket(endpoint: str, name: str, region: str = REGION) -> None:
    """Create a bucket on a moto server; one that is there already is an error.

    The request is not signed: moto does not look, and boto3 would read the user's profile.
    """
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=10)
    location = (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    )
    try:
        connection.request("PUT", f"/{name}", "" if region == "us-east-1" else location)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"bucket {name} was not created: {response.status} {text}")


@contextlib.contextmanager
def rclone_s3(directory: Path, log: Path | None = None) -> Iterator[str]:
    """Serve the subdirectories of ``directory`` as buckets; yields the endpoint URL.

    Make the buckets before: the server remembers for minutes what it saw. ``rclone`` comes
    from requirements-bench.txt. Keys are files; user metadata is kept in memory only.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"
    command: list[str | Path] = [Path(sys.executable).with_name("rclone"), "serve", "s3"]
    command += ["--addr", f"{HOST}:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    command += ["--vfs-cache-mode", "off", "--config", os.devnull, directory]
    with (
        _log_file(log, "rclone") as file,
        # 400: it is up, and a request without a signature is refused.
        _server("rclone", command, url=url, log=file, env=clean_environment(), ready=400),
    ):
        yield url


@dataclass(frozen=True, slots=True)
class Console:
    """A console that runs."""

    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def console(
    env: Mapping[str, str],
    port: int,
    *,
    log: Path | None = None,
    cwd: Path = CHECKOUT,
    base: str = "",
    module: str = "streamlit",
) -> Iterator[Console]:
    """Run the console and yield once it is healthy.

    ``env`` is added to a clean environment. ``cwd`` is where a ``.env`` would be read.
    ``base`` is the sub-path it is served below, as ``/himuro``. ``module`` is what takes
    Streamlit's command line.
    Raises ``ServerError`` when it ends instead, or is not healthy within a minute.
    """
    url = f"http://{HOST}:{port}"
    command: list[str | Path] = [sys.executable, "-m", module, "run", APP]
    command += ["--server.address", HOST, "--server.port", str(port)]
    command += ["--server.headless", "true", "--browser.gatherUsageStats", "false"]
    whole = {**clean_environment(), "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1", **env}
    if base:
        command += ["--server.baseUrlPath", base]
    base = base or env.get("STREAMLIT_SERVER_BASE_URL_PATH", "")
    health = f"{url}{'/' + base.strip('/') if base else ''}/_stcore/health"
    with (
        _log_file(log, "console") as file,
        _server("console", command, url=health, log=file, env=whole, cwd=cwd) as process,
    ):
        yield Console(url, process)


def apart(env: Mapping[str, str], root: Path) -> dict[str, str]:
    """Return the settings of the same installation, its data directory copied into ``root``: for
    a console beside one that has the other."""
    copy = root / "data-apart"
    shutil.copytree(env["HIMURO_DATA_DIR"], copy)
    return {**env, "HIMURO_DATA_DIR": str(copy)}


def raise_on_sigterm() -> None:
    """Make SIGTERM unwind the stack as Ctrl-C does, so that servers and files are cleared."""

    def handler(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, handler)
