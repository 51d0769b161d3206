"""botocore's session: which services it knows, how long it waits, where credentials come from.

Everything between here and AWS is botocore's own chain (README, "Who Himuro is to AWS"). What it
raises when credentials cannot be had is translated here, because it does so in the middle of any
call: a role, a token or a process is asked anew whenever the last answer nears its end.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Protocol

import botocore.session
from botocore.config import Config
from botocore.configprovider import ConstantProvider
from botocore.exceptions import NoCredentialsError, ProfileNotFound
from botocore.loaders import create_loader
from botocore.utils import parse_timestamp

from core.config import logs
from core.errors import Code, FatalError
from core.resources.shortage import NoProcessError, descriptors_missing, patiently
from core.s3.exceptions import MfaRefusedError, credentials_problem, unreadable_file
from core.s3.http.sigv4 import Credentials

_SERVICES = ["s3", "signin", "sso", "sso-oidc", "sts"]
"""What Himuro asks, and what botocore's providers of credentials ask."""
_IDENTITY = Config(
    connect_timeout=2,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 2},
)
"""For clients that botocore makes by itself. Its own limits let a dead STS hold a start for
five minutes; a check-up hears within its nine seconds."""
PROCESS_SECONDS = 30.0
"""So long a ``credential_process`` may take."""
RENEWAL_SECONDS = 10.0
"""So long nobody asks whether credentials are due."""
_GRAPHIC = re.compile(r"[!-~]*")
"""What credentials consist of. A line break in one would end a header of the lean client."""
_LEAST_LEFT = timedelta(minutes=1)
_FILES = ("config_file", "credentials_file")


def open_session() -> tuple[Any, LiveCredentials]:
    """Return a session and its credentials, which are looked up once for all its clients.

    Raises ``FatalError`` that says why there are none.
    """
    try:
        session, credentials = patiently(_found)
    except (NoCredentialsError, ProfileNotFound) as exc:
        raise _unread() or credentials_problem(exc) from exc
    except Exception as exc:  # whatever a source of credentials does
        raise credentials_problem(exc) from exc
    return session, credentials


def _found() -> tuple[Any, LiveCredentials]:
    """Return a session and its credentials, looked up anew."""
    session = make_session()
    credentials = session.get_credentials()
    if credentials is None:
        # botocore passes over files and services that it cannot open without a word.
        raise descriptors_missing() or NoCredentialsError
    return session, credentials


def make_session() -> Any:
    """Return a session that hears soon that there is no instance metadata.

    Of botocore, without boto3's layer of resources, documentation and transfers above it:
    nobody uses that here, and a command would wait for it.

    An instance answers within milliseconds; elsewhere the address may swallow all that is
    sent to it, twice for each lookup. What the user set for it counts.
    """
    _forget_empty()
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.set_default_client_config(_IDENTITY)
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_timestamp)
    given = session.get_scoped_config().get("metadata_service_timeout")
    if not given and "AWS_METADATA_SERVICE_TIMEOUT" not in os.environ:
        # set_config_variable would make it a whole number.
        variables = session.get_component("config_store")
        variables.set_config_provider("metadata_service_timeout", ConstantProvider(0.5))
    session.register_component("credential_provider", _Chain(_chain(session)))
    return session


def _chain(session: Any) -> Any:
    """Return botocore's chain of providers, none of which waits for somebody at a terminal."""
    chain = session.get_component("credential_provider")
    roles = chain.get_provider("assume-role")
    roles._prompter = _refuse_mfa
    chain.get_provider("custom-process")._popen = _Process
    # Those of source profiles are made when they are needed.
    builder = roles._profile_provider_builder
    make = builder._create_process_provider

    def made(profile_name: str) -> Any:
        provider = make(profile_name)
        provider._popen = _Process
        return provider

    builder._create_process_provider = made
    return chain


class _Process(subprocess.Popen[bytes]):
    """A ``credential_process`` that is asked nothing and given up when it hangs."""

    def __init__(self, command: list[str], stdout: int, stderr: int) -> None:
        try:
            super().__init__(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        except BlockingIOError as exc:
            raise NoProcessError(str(exc)) from exc

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        try:
            return super().communicate(input, timeout or PROCESS_SECONDS)
        except subprocess.TimeoutExpired as exc:
            self.kill()
            self.wait()
            for pipe in filter(None, (self.stdout, self.stderr)):
                # Not read to its end: a child of the process may hold it open.
                pipe.close()
            raise TimeoutError(errno.ETIMEDOUT, "", "credential_process") from exc


class Source(Protocol):
    """What botocore calls credentials: fixed ones, or ones that are renewed when due."""

    def get_frozen_credentials(self) -> Credentials: ...


class LiveCredentials:
    """botocore's credentials; whatever goes wrong when they are renewed is a ``FatalError``.

    Every signature asks them, boto3's and the lean client's alike, so that none is made with
    credentials that have ended. Safe in any thread.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._held: tuple[Credentials, float] | None = None

    def get_frozen_credentials(self) -> Credentials:
        """Return credentials as they are now; raises ``FatalError``.

        botocore renews what ends within fifteen minutes whenever it is asked. Of a role for
        fifteen minutes, or a process that prints less, that would be once for each object: such
        ones are good for some seconds as well.
        """
        held, now = self._held, self._clock()
        if held and now - held[1] < RENEWAL_SECONDS:
            return held[0]
        found = frozen(self._source)
        logs.hide(found.secret_key, found.token)
        self._held = (found, now) if self._lasts() else None
        return found

    def _lasts(self) -> bool:
        """Return whether the credentials are still good when they are next asked for."""
        until: datetime | None = getattr(self._source, "_expiry_time", None)
        return until is None or until - datetime.now(UTC) > _LEAST_LEFT

    def __getattr__(self, name: str) -> Any:
        """Return what else botocore wants to know of credentials."""
        return getattr(self._source, name)


def frozen(source: Source) -> Credentials:
    """Return credentials as they are now, renewed where that is due; raises ``FatalError``."""
    try:
        found = patiently(source.get_frozen_credentials)
        values = (found.access_key, found.secret_key, found.token or "")
        graphic = all(_GRAPHIC.fullmatch(value) for value in values)
    except Exception as exc:  # whatever a source of credentials does
        raise credentials_problem(exc) from exc
    if not graphic:
        raise FatalError(Code.AWS_CONFIGURATION, "認証情報に空白、改行または全角文字があります")
    return found


class _Chain:
    """botocore's chain of providers, with what it finds made ``LiveCredentials``."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain

    def load_credentials(self) -> LiveCredentials | None:
        found = self._chain.load_credentials()
        return None if found is None else LiveCredentials(found)


def _refuse_mfa(_prompt: str) -> str:
    raise MfaRefusedError


def _forget_empty() -> None:
    """Take empty ``AWS_*`` out of the environment: they mean as much as none.

    A compose file passes every variable on that it names. For botocore an empty profile is one
    that does not exist, an empty Region a host name with two dots.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        if not os.environ.get(name, "").strip():
            os.environ.pop(name, None)


def _unread() -> FatalError | None:
    """Return what is to be said of a file that botocore passed over without a word."""
    session = botocore.session.get_session()
    for name in _FILES:
        problem = unreadable_file(session.get_config_variable(name))
        if problem:
            return problem
    return None


@cache
def _loader(data_path: str | None) -> Any:
    """Return botocore's loader of service descriptions for sessions that know few services.

    To say which services there are it reads some 800 folders, a tenth of a second at each start;
    S3's own description takes as long, once for all sessions. The others are read when a
    profile needs them.
    """
    loader = create_loader(data_path)
    loader.list_available_services = lambda *_args, **_options: _SERVICES
    return loader


def _timestamp(value: Any) -> datetime | None:
    """Read a time of an answer; the form of listings without guessing, which took more than
    half of the time that a page of a thousand objects needs. None: nobody understands it, which
    must not cost the rest of the answer."""
    parsed: datetime
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        try:
            parsed = parse_timestamp(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class _WithoutTraceback(logging.Filter):
    """Renewals that fail are reported by whoever needed them; what botocore adds to its warning
    may quote what a process printed."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True


for _name in ("botocore.credentials", "botocore.tokens"):
    logging.getLogger(_name).addFilter(_WithoutTraceback(_name))
