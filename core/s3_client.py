"""boto3's clients for one bucket, and what their errors mean: shared by all that asks S3."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.configprovider import ConstantProvider
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from core.errors import Code, FatalError, HimuroError, ItemError
from core.s3_codes import meaning
from core.s3_denials import ACTIONS, OBJECT_CODES, Denials
from core.s3_lean import bucket_endpoint
from core.s3_proof import FOREIGN
from core.s3_sign import Credentials, Signer
from core.s3_watch import answered, try_failed
from core.s3_wire import AnswerError, LeanClient, Reply

if TYPE_CHECKING:
    from core.settings import Settings

L = TypeVar("L", bound=LeanClient)

_logger = logging.getLogger(__name__)

ERRORS = (ClientError, BotoCoreError, ResponseParserError, KeyError, TypeError, ValueError)
"""What a call of a client raises, and what comes of an answer that is none of S3's: a page of
HTML has none of the elements and numbers that botocore or its caller expects."""
_PASSING = frozenset({"RequestTimeout", "SlowDown", "408", "429"})
"""Below 500, and yet no answer to what was asked."""


class S3Connection:
    """Credentials, clients and endpoint for one bucket. Safe in any thread.

    Nothing is sent before ``check``.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ``FatalError`` when there are no credentials or no Region."""
        self.bucket = settings.bucket
        try:
            self._session = make_session()
            # Looked up once, before any client does it again for each.
            self.credentials: Any = self._session.get_credentials()
            if self.credentials is None:
                raise NoCredentialsError
            self.quick = self._made(2, connect=2, read=3)
            """For what has to be known soon."""
            trusted = self._session.get_config_variable("ca_bundle")
            self._endpoint = bucket_endpoint(self.bucket, self.quick, trusted)
            self.denials = Denials(self.quick, self.bucket, settings.key_prefix, self.check_again)
        except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError) as exc:
            raise fatal(exc) from exc

    def client(self, *, read: float) -> Any:
        """Return a patient client; ``read``: seconds that it waits for each piece."""
        client = self._made(5, connect=10, read=read)
        client.meta.events.register("needs-retry.s3", self._look_before_retry)
        return client

    def lean(self, kind: type[L], seconds: float) -> L | None:
        """Return a lean client; ``seconds``: how long a single send or receive may take.

        None where boto3 has to do its work. Raises ``FatalError``.
        """
        if self._endpoint is None:
            return None
        try:
            return kind(self._endpoint, Signer(self._endpoint, self._frozen), seconds)
        except OSError as exc:  # a bundle of certificates that cannot be read
            raise fatal(exc) from exc

    def _made(self, attempts: int, *, connect: float, read: float) -> Any:
        return self._session.create_client(
            "s3", config=client_config(attempts, connect=connect, read=read)
        )

    def _frozen(self) -> Credentials:
        """Return credentials as they are now; raises ``FatalError`` when they cannot be renewed.

        botocore raises whatever its source of credentials does: a refused role is a
        ``ClientError``, new credentials that are old already a ``RuntimeError``.
        """
        try:
            frozen: Credentials = self.credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError) as exc:
            cause = explain(exc)
            if isinstance(cause, FatalError):
                raise cause from exc
            raise FatalError(Code.NO_CREDENTIALS, type(exc).__name__) from exc
        return frozen

    def check(self) -> None:
        """Raise ``FatalError`` unless the bucket answers."""
        try:
            self.quick.head_bucket(Bucket=self.bucket)
        except ClientError as exc:
            if error_code(exc) in ("404", "NoSuchBucket"):
                raise FatalError(Code.NO_SUCH_BUCKET, self.bucket) from exc
            raise fatal(exc) from exc
        except BotoCoreError as exc:
            raise fatal(exc) from exc

    def check_again(self) -> None:
        """Raise ``FatalError`` when S3 is out of reach; one that is only busy is there."""
        try:
            self.check()
        except FatalError as exc:
            if not error_code(exc.__cause__).startswith("5"):
                raise

    def _look_before_retry(
        self, caught_exception: Exception | None, response: Any = None, **_: object
    ) -> None:
        """Called by botocore after each attempt: retries of a dead endpoint take minutes.

        Only a time-out is looked into. A reset or a refused connection costs nothing, so the
        retries may bridge it.
        """
        if timed_out(caught_exception):
            self.check_again()
        if response is None or response[0].status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            try_failed()

    def attempt(self, call: Callable[[], Reply]) -> Reply | None:
        """Return what S3 said to a lean client; None when that cannot be known.

        Raises ``FatalError`` when nobody answers any more.
        """
        reply = None
        try:
            reply = call()
        except TimeoutError:
            self.check_again()
        except (OSError, AnswerError) as exc:
            _logger.debug("asking again: %s", type(exc).__name__)
        if reply is None or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            try_failed()
        return reply

    def cause(self, exc: Exception, otherwise: Code = Code.UPLOAD_FAILED) -> HimuroError:
        """Return what a failure means; one that may be everybody's is looked into.

        ``otherwise``: the code of a failure that concerns this object only.
        """
        if isinstance(exc, HimuroError):
            return exc
        cause = explain(exc, otherwise)
        if isinstance(exc, ClientError):
            if _is_definite(exc):
                answered()
            code = error_code(exc)
            if exc.operation_name in ACTIONS and code in OBJECT_CODES:
                return self.denials.meaning(exc.operation_name, code, otherwise)
        elif isinstance(cause, ItemError):
            try:
                self.check_again()
            except FatalError as gone:
                return gone
            if not isinstance(exc, BotoCoreError):
                return ItemError(otherwise, FOREIGN)
        return cause


def explain(error: Exception, otherwise: Code = Code.UPLOAD_FAILED) -> HimuroError:
    """Return what an error of a client means for the run: this file only, or everything."""
    if isinstance(error, ClientError):
        return meaning(error_code(error), otherwise)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return FatalError(Code.NO_CREDENTIALS)
    if isinstance(error, CredentialRetrievalError | TokenRetrievalError | ProfileNotFound):
        return FatalError(Code.NO_CREDENTIALS, type(error).__name__)
    if isinstance(error, NoRegionError):
        return FatalError(Code.S3_UNREACHABLE, "AWS_DEFAULT_REGION が設定されていません")
    return ItemError(otherwise, type(error).__name__)


def _is_definite(exc: ClientError) -> bool:
    """Return whether S3 has decided; what passes is no decision."""
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and error_code(exc) not in _PASSING


def fatal(exc: Exception) -> FatalError:
    """Return an error met where it always concerns everything, as before anything was sent."""
    cause = explain(exc)
    if isinstance(cause, FatalError):
        return cause
    return FatalError(Code.S3_UNREACHABLE, cause.detail if isinstance(cause, ItemError) else "")


def error_code(exc: BaseException | None) -> str:
    """Return S3's own code of an error; empty when S3 did not answer."""
    if isinstance(exc, ClientError):
        return str(exc.response.get("Error", {}).get("Code", ""))
    return ""


def timed_out(exc: BaseException | None) -> bool:
    """Return whether nobody answered; what could not even be sent botocore calls "closed"."""
    while exc is not None:
        if isinstance(exc, TimeoutError | ConnectTimeoutError | ReadTimeoutError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


@cache
def _loader(data_path: str | None) -> Any:
    """Return botocore's loader of service descriptions for sessions that know S3 only.

    To say which services there are it reads some 800 folders, a tenth of a second at each start;
    S3's own description takes as long, once for all sessions.
    """
    loader = create_loader(data_path)
    loader.list_available_services = lambda *_args, **_options: ["s3"]
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


def make_session() -> Any:
    """Return a session that hears soon that there is no instance metadata.

    Of botocore, without boto3's layer of resources, documentation and transfers above it:
    nobody uses that here, and a command would wait for it.

    An instance answers within milliseconds; elsewhere the address may swallow all that is
    sent to it, twice for each lookup. What the user set for it counts.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_timestamp)
    given = session.get_scoped_config().get("metadata_service_timeout")
    if not given and "AWS_METADATA_SERVICE_TIMEOUT" not in os.environ:
        # set_config_variable would make it a whole number.
        variables = session.get_component("config_store")
        variables.set_config_provider("metadata_service_timeout", ConstantProvider(0.5))
    return session


def client_config(attempts: int, *, connect: float, read: float) -> Config:
    """Return a configuration; limits in seconds, ``attempts`` with the first one."""
    return Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=32,
        # Every request that carries data has its SHA-256 in a signed header, and whoever
        # receives data compares it with the archive list.
        s3={"payload_signing_enabled": False},
        response_checksum_validation="when_required",
    )
