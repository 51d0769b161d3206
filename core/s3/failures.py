"""What a failed call of boto3's means: for this object only, or for everything."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from core.errors import Code, FatalError, ItemError
from core.resources.shortage import shortage_behind, unexpected
from core.s3.error_codes import HIDDEN_CODES, meaning
from core.s3.exceptions import (
    CREDENTIALS,
    configuration_problem,
    credentials_problem,
    unreachable,
)
from core.s3.http.proof import FOREIGN

ERRORS = (ClientError, BotoCoreError, ResponseParserError, KeyError, TypeError, ValueError)
"""What a call of a client raises, and what comes of an answer that is none of S3's: a page of
HTML has none of the elements and numbers that botocore or its caller expects."""
_PASSING = frozenset({"RequestTimeout", "SlowDown", "408", "429"})
"""Codes below 500 that pass: S3 has decided nothing yet."""


def explain(error: Exception, otherwise: Code = Code.UPLOAD_FAILED) -> FatalError | ItemError:
    """Return what an error of a client means for the run: this file only, or everything."""
    if isinstance(error, ClientError):
        metadata = error.response.get("ResponseMetadata", {})
        return meaning(
            error_code(error),
            otherwise,
            error=error.response.get("Error", {}),
            headers=metadata.get("HTTPHeaders", {}),
        )
    if isinstance(error, CREDENTIALS):
        return credentials_problem(error)
    if isinstance(error, ValueError):
        return configuration_problem(error)
    if short := shortage_behind(error):
        return unexpected(short)
    return ItemError(otherwise, type(error).__name__)


def is_definite(exc: ClientError) -> bool:
    """Return whether S3 has decided; what passes is no decision."""
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and error_code(exc) not in _PASSING


def fatal(exc: Exception) -> FatalError:
    """Return an error met where it always concerns everything, as before anything was sent."""
    if _is_foreign(exc):
        return FatalError(Code.S3_UNREACHABLE, f"{FOREIGN}、{error_code(exc)}")
    cause = explain(exc)
    if isinstance(cause, FatalError):
        return cause
    if isinstance(exc, ClientError):
        return FatalError(Code.S3_UNREACHABLE, error_code(exc))
    return unreachable(exc)


def _is_foreign(exc: Exception) -> bool:
    """Return whether somebody between here and S3 answered: S3's own errors have a body that
    names them, but for those of a HEAD. 407 is a proxy's own word."""
    code = error_code(exc)
    return (
        isinstance(exc, ClientError)
        and code.isdigit()
        and code != "407"
        and not exc.operation_name.startswith("Head")
    )


def refusal(client: Any, bucket: str, refused: ClientError) -> FatalError:
    """Return why the bucket's HEAD was refused.

    A HEAD has no body that says it: a listing of one key is asked for, which needs the same
    permission.
    """
    if error_code(refused) in ("404", "NoSuchBucket"):
        return FatalError(Code.NO_SUCH_BUCKET, bucket)
    if error_code(refused) in HIDDEN_CODES:
        try:
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as told:
            if isinstance(explain(told), FatalError) or _is_foreign(told):
                return fatal(told)
        except ERRORS:
            pass
    return fatal(refused)


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
