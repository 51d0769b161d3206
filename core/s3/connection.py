"""The clients for one bucket, and the retry rule around both of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
)

from core.errors import Code, FatalError, HimuroError, ItemError
from core.resources.shortage import patiently
from core.s3.denials import ACTIONS, OBJECT_CODES, Denials
from core.s3.error_codes import HIDDEN_CODES
from core.s3.exceptions import (
    CREDENTIALS,
    untrusted_bundle,
)
from core.s3.failures import error_code, explain, fatal, is_definite, refusal, timed_out
from core.s3.http.client import AnswerError, LeanClient, Reply
from core.s3.http.fast_put import bucket_endpoint
from core.s3.http.proof import FOREIGN
from core.s3.http.sigv4 import Credentials, Signer
from core.s3.http.stall_watch import answered, try_failed
from core.s3.session import frozen, open_session

if TYPE_CHECKING:
    from core.config.settings import Settings

L = TypeVar("L", bound=LeanClient)
T = TypeVar("T")

_logger = logging.getLogger(__name__)

_SINGLE = frozenset({Code.ACCESS_DENIED, Code.CREDENTIALS_REJECTED})
"""Meanings of a 403 that may hold for one object only (``denials.py`` finds out)."""


class S3Connection:
    """Credentials, clients and endpoint for one bucket. Safe in any thread.

    Nothing is sent before ``check``.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ``FatalError`` when there are no credentials or no Region."""
        self.bucket = settings.bucket
        self.credentials: Any
        self._session, self.credentials = open_session()
        try:
            self.quick = self._made(2, connect=2, read=3)
            """A client with short time limits, for what has to be known soon."""
            trusted = self._session.get_config_variable("ca_bundle")
            self._endpoint = bucket_endpoint(self.bucket, self.quick, trusted)
            self.denials = Denials(self.quick, self.bucket, settings.key_prefix, self.check_again)
        except (BotoCoreError, ClientError, OSError, ValueError) as exc:
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
            signer = Signer(self._endpoint, self._frozen)
            return patiently(kind, self._endpoint, signer, seconds)
        except OSError as exc:
            raise untrusted_bundle(self._endpoint.ca_bundle, exc) from exc

    def _made(self, attempts: int, *, connect: float, read: float) -> Any:
        config = client_config(attempts, connect=connect, read=read)
        return _made_patient(patiently(self._session.create_client, "s3", config=config))

    def _frozen(self) -> Credentials:
        """Return credentials as they are now; raises ``FatalError``."""
        return frozen(self.credentials)

    def check(self) -> None:
        """Raise ``FatalError`` unless the bucket answers."""
        try:
            self.quick.head_bucket(Bucket=self.bucket)
        except ClientError as exc:
            raise refusal(self.quick, self.bucket, exc) from exc
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
        """Called by botocore after each of its attempts."""
        self.after_try(caught_exception, response[0].status_code if response else None)

    def after_try(self, exc: BaseException | None, status: int | None = None) -> None:
        """Take in how one try of either client ended, before another one is made.

        ``exc``: what broke it; ``status``: of the answer, None when there was none. Raises
        ``FatalError`` when there is no use in another one. Only a time-out is looked into: tries
        of an endpoint that is dead take minutes; a reset or a refused connection costs nothing,
        so further tries may bridge it.
        """
        if timed_out(exc):
            self.check_again()
        if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            try_failed()

    def ask(
        self,
        lean: Callable[[], Reply] | None,
        proven: Callable[[Reply], T | None],
        again: Callable[[], T],
    ) -> T:
        """Make one request with the two clients: the lean one tries once, boto3 does the rest.

        ``lean``: makes the request; None where the lean client cannot stand in. ``proven``:
        returns what an answer to it proves, None when it proves nothing. Whatever is not proven
        (a lost answer, a refusal, a gateway's page) is asked ``again`` with boto3, which knows
        every answer, retries and explains: so there is one table of errors, and the lean client
        knows only success. A request has to be one that may be made twice. Raises
        ``FatalError`` when nobody answers any more, and as ``again`` does.
        """
        if lean is not None:
            reply, broken = None, None
            try:
                reply = lean()
            except (OSError, AnswerError) as exc:
                broken = exc
                _logger.debug("asking again: %s", type(exc).__name__)
            self.after_try(broken, reply.status if reply else None)
            told = proven(reply) if reply else None
            if told is not None:
                return told
        return again()

    def cause(self, exc: Exception, otherwise: Code = Code.UPLOAD_FAILED) -> HimuroError:
        """Return what a failure means; one that may be everybody's is looked into.

        ``otherwise``: the code of a failure that concerns this object only.
        """
        if isinstance(exc, HimuroError):
            return exc
        if isinstance(exc, ClientError):
            return self._refused(exc, otherwise)
        if isinstance(exc, (BotoCoreError, *CREDENTIALS)):
            cause = explain(exc, otherwise)
        else:
            cause = ItemError(otherwise, FOREIGN)
        return cause if isinstance(cause, FatalError) else self.gone() or cause

    def _refused(self, exc: ClientError, otherwise: Code) -> HimuroError:
        """Return what a refusal of S3's means."""
        if is_definite(exc):
            answered()
        code, cause = error_code(exc), explain(exc, otherwise)
        # That a key of KMS is denied has a sentence of its own.
        same = isinstance(cause, FatalError) and cause.code in _SINGLE
        if exc.operation_name in ACTIONS and code in OBJECT_CODES and same:
            return self.denials.meaning(exc.operation_name, code, otherwise)
        if code in HIDDEN_CODES:
            return self.gone() or ItemError(otherwise, code)
        return cause

    def gone(self) -> FatalError | None:
        """Return what is wrong when S3 is out of reach; None while it is there."""
        try:
            self.check_again()
        except FatalError as gone:
            return gone
        return None


def _made_patient(client: Any) -> Any:
    """Return a client that waits while this machine is too short to send a request.

    botocore's own retries last some seconds, and a server that cannot be asked is to them one
    that does not answer.
    """
    http = client._endpoint.http_session
    send = http.send

    def attempt(request: Any, *, again: bool) -> Any:
        if again:
            request.reset_stream()  # some of it may have gone
        return send(request)

    def patient(request: Any) -> Any:
        tries = count()
        return patiently(lambda: attempt(request, again=next(tries) > 0))

    http.send = patient
    return client


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
