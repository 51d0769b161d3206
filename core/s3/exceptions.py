"""What botocore's exceptions mean: why there are no credentials, why nobody answers.

Pure. What S3 itself says is in ``error_codes.py``. Nothing of what a server, a process or a file
said is repeated but names that cannot be secret.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as aws

from core.errors import Code, FatalError, os_reason
from core.resources.shortage import is_shortage, shortage_behind, unexpected
from core.s3.error_codes import meaning

_SIGN_IN = (
    aws.SSOTokenLoadError,
    aws.UnauthorizedSSOTokenError,
    aws.TokenRetrievalError,
    aws.LoginError,
)
_CONFIGURATION = (
    aws.ProfileNotFound,
    aws.ConfigParseError,
    aws.ConfigNotFound,
    aws.InvalidConfigError,
    aws.InvalidRegionError,
    aws.InvalidIMDSEndpointError,
    aws.InvalidIMDSEndpointModeError,
    aws.InvalidRetryConfigurationError,
    aws.MissingDependencyException,
    aws.NoRegionError,
    aws.UnknownCredentialError,
)
CREDENTIALS = (
    *_SIGN_IN,
    *_CONFIGURATION,
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.RefreshWithMFAUnsupportedError,
)
"""Exceptions that say why there are no credentials, whatever was to be done with them."""
_SOURCES = {
    "custom-process": "credential_process",
    "container-role": "コンテナの認証情報",
    "iam-role": "インスタンスメタデータ",
    "EcsContainer": "コンテナの認証情報",
    "Ec2InstanceMetadata": "インスタンスメタデータ",
    "Environment": "環境変数",
}
_PARAMETER = re.compile(r"parameter (\w+)")
_SETTINGS = {
    "RoleArn": "role_arn",
    "RoleSessionName": "role_session_name",
    "ExternalId": "external_id",
    "DurationSeconds": "duration_seconds",
    "WebIdentityToken": "web_identity_token_file",
}
"""What a parameter of STS is called in a profile."""
_NETWORK_REASONS = {
    errno.ECONNREFUSED: "接続が拒否されました",
    errno.ECONNRESET: "接続が切られました",
    errno.ENETUNREACH: "ネットワークに届きません",
    errno.EHOSTUNREACH: "サーバーに届きません",
}
_CERTIFICATES = {
    "certificate has expired": "証明書の期限が切れています",
    "certificate is not yet valid": "証明書の期間がまだ始まっていません",
    "Hostname mismatch": "証明書の名前が違います",
    "IP address mismatch": "証明書の名前が違います",
    "doesn't match": "証明書の名前が違います",
    "self-signed certificate": "知らない認証局の証明書です",
    "self signed certificate": "知らない認証局の証明書です",
    "unable to get local issuer": "知らない認証局の証明書です",
}
_PROXY_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")
_MAX_WORDS = 200
_HARMLESS = ("Unsupported host", "Invalid endpoint", "Auth token value")
"""How errors begin that repeat a setting, but no header, which may be a secret."""


class MfaRefusedError(Exception):
    """A profile wants a code from somebody's device."""


def credentials_problem(exc: Exception) -> FatalError:
    """Return why credentials could not be had, or had anew."""
    if isinstance(exc, FatalError):
        return exc
    if shortage := shortage_behind(exc):
        return unexpected(shortage)
    if isinstance(exc, MfaRefusedError | aws.RefreshWithMFAUnsupportedError):
        return FatalError(Code.MFA_REQUIRED)
    if isinstance(exc, _SIGN_IN):
        return FatalError(Code.SIGN_IN_ENDED)
    if isinstance(exc, aws.ClientError):
        return _refused(exc)
    if isinstance(exc, aws.ParamValidationError):
        # Nothing was sent to anybody: what does not fit stands in a profile.
        return FatalError(Code.AWS_CONFIGURATION, _unfit(exc))
    if isinstance(exc, _CONFIGURATION) or type(exc) is ValueError:
        return configuration_problem(exc)
    if isinstance(exc, aws.BotoCoreError) and (reached := _named(exc)):
        return reached
    if isinstance(exc, aws.NoCredentialsError):
        return FatalError(Code.NO_CREDENTIALS)
    if isinstance(exc, aws.PartialCredentialsError):
        return FatalError(Code.NO_CREDENTIALS, f"{_given(exc).get('cred_var')} がありません")
    return FatalError(Code.CREDENTIALS_UNAVAILABLE, _failure(exc))


def _failure(exc: Exception) -> str:
    """Return how a source of credentials failed."""
    if isinstance(exc, aws.CredentialRetrievalError):
        source = str(_given(exc).get("provider"))
        return f"{_SOURCES.get(source, source)} から取得できません"
    if isinstance(exc, aws.MetadataRetrievalError):
        return "インスタンスメタデータから取得できません"
    if isinstance(exc, aws.BotoCoreError):
        return _silence(exc)
    if isinstance(exc, OSError):
        return f"{exc.filename}: {os_reason(exc)}" if exc.filename else os_reason(exc)
    if isinstance(exc, RuntimeError):
        return "取得し直した認証情報の期限が切れています"
    return f"取得した認証情報を読み取れません: {type(exc).__name__}"


def _refused(exc: aws.ClientError) -> FatalError:
    """Return why STS or IAM Identity Center gives no credentials out."""
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code, asked = str(error.get("Code", "")), exc.operation_name
    headers = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = meaning(code, error=error, headers=headers)
    if isinstance(told, FatalError) and told.code in (
        Code.ACCESS_KEY_UNKNOWN,
        Code.SECRET_KEY_WRONG,
        Code.CLOCK_WRONG,
    ):
        return told
    if code in ("ExpiredTokenException", "ExpiredToken") and asked == "AssumeRole":
        return told if isinstance(told, FatalError) else FatalError(Code.CREDENTIALS_REJECTED)
    if status >= 500 or "Throttl" in code or code in ("TooManyRequestsException", ""):
        return FatalError(Code.CREDENTIALS_UNAVAILABLE, f"{asked}: {code or status}")
    return FatalError(Code.ROLE_REFUSED, f"{asked}: {code}")


def _unfit(exc: Exception) -> str:
    """Return which values of a profile STS would not even be asked with, but not the values."""
    names = sorted(set(_PARAMETER.findall(str(_given(exc).get("report", "")))))
    settings = "、".join(_SETTINGS.get(name, name) for name in names)
    return f"{settings} の値の形式が正しくありません" if settings else "値の形式が正しくありません"


def configuration_problem(exc: Exception) -> FatalError:
    """Return what is wrong with the settings of AWS, in files or in the environment."""
    given = _given(exc)
    if isinstance(exc, aws.ProfileNotFound):
        words = f"プロファイル {given.get('profile')} がありません"
    elif isinstance(exc, aws.ConfigParseError):
        words = f"{given.get('path')} の書き方が正しくありません"
    elif isinstance(exc, aws.NoRegionError):
        words = "AWS_DEFAULT_REGION が設定されていません"
    elif isinstance(exc, aws.InvalidRegionError):
        words = f"リージョンの名前が正しくありません: {given.get('region_name')}"
    elif isinstance(exc, aws.MissingDependencyException):
        words = "aws login のプロファイル（login_session）は使えません"
    elif isinstance(exc, aws.BotoCoreError) or str(exc).startswith(_HARMLESS):
        words = " ".join(str(exc).split())[:_MAX_WORDS]
    else:
        words = "値の形式が正しくありません"
    return FatalError(Code.AWS_CONFIGURATION, words)


def unreadable_file(name: str) -> FatalError | None:
    """Return what is wrong with a file of AWS settings that cannot be read; None: nothing.

    botocore takes such a file for an empty one.
    """
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if is_shortage(exc):
            return unexpected(exc)
        return FatalError(Code.AWS_CONFIGURATION, f"{path} を読み取れません: {os_reason(exc)}")
    return None


def unreachable(exc: Exception) -> FatalError:
    """Return why there is no answer from S3, of an error that a client raised."""
    named = _named(exc)
    return named or FatalError(Code.S3_UNREACHABLE, _silence(exc))


def untrusted_bundle(path: str | None, exc: OSError) -> FatalError:
    """Return what is wrong with the file of trusted certificates."""
    if is_shortage(exc):
        return unexpected(exc)
    reason = os_reason(exc) if exc.errno in (errno.ENOENT, errno.EACCES) else "証明書がありません"
    return FatalError(
        Code.CERTIFICATE_UNTRUSTED, f"AWS_CA_BUNDLE {path} を読み取れません: {reason}"
    )


def _named(exc: Exception) -> FatalError | None:
    """Return what is wrong with the certificates or the proxy; None: it is something else."""
    said = " ".join(str(cause) for cause in _causes(exc))
    if isinstance(exc, aws.ProxyConnectionError):
        status = _PROXY_STATUS.search(said)
        why = f"、応答 {status[1]}" if status else ""
        return FatalError(Code.PROXY_FAILED, _host(_given(exc).get("proxy_url")) + why)
    if "CERTIFICATE_VERIFY_FAILED" in said or "doesn't match" in said:
        why = next((w for known, w in _CERTIFICATES.items() if known in said), "検証できません")
        return FatalError(Code.CERTIFICATE_UNTRUSTED, f"{_asked(exc)}、{why}")
    unread = any(isinstance(one, FileNotFoundError | PermissionError) for one in _causes(exc))
    if isinstance(exc, aws.SSLError) and (unread or "NO_CERTIFICATE" in said):
        return FatalError(Code.CERTIFICATE_UNTRUSTED, "AWS_CA_BUNDLE のファイルを読み取れません")
    return None


def _silence(exc: Exception) -> str:
    """Return how a connection failed, and to whom."""
    where = f"{_asked(exc)}、" if _asked(exc) else ""
    if isinstance(exc, aws.SSLError):
        return f"{where}TLSで接続できません"
    for cause in _causes(exc):
        if isinstance(cause, socket.gaierror) or type(cause).__name__ == "NameResolutionError":
            return f"{where}名前を解決できません"
        if isinstance(cause, TimeoutError | aws.ConnectTimeoutError | aws.ReadTimeoutError):
            return f"{where}時間内に応答がありません"
        if isinstance(cause, OSError) and cause.errno in _NETWORK_REASONS:
            return where + _NETWORK_REASONS[cause.errno]
    return where + type(exc).__name__


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it comes from, the outermost first."""
    seen: list[BaseException] = []
    ahead: list[BaseException | None] = [exc]
    while ahead:
        one = ahead.pop(0)
        if one is not None and not any(one is known for known in seen):
            seen.append(one)
            yield one
            inner = _given(one).get("error")
            ahead += [inner if isinstance(inner, BaseException) else None]
            ahead += [one.__cause__, one.__context__]


def _given(exc: BaseException) -> dict[str, Any]:
    """Return what botocore made its message of."""
    given = getattr(exc, "kwargs", {})
    return given if isinstance(given, dict) else {}


def _asked(exc: Exception) -> str:
    return _host(_given(exc).get("endpoint_url"))


def _host(url: object) -> str:
    """Return host and port of an address, without what may be secret in it."""
    try:
        parts = urlsplit(str(url or ""))
        return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return ""
