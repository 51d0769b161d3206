"""Who gives credentials out, on 127.0.0.1: STS, IAM Identity Center, instance metadata and a
container's endpoint in one server; and an S3 that lets in only whom they gave some."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.servers.proxy import FaultyProxy

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+/[^/]+/[^/]+/aws4_request), "
    r"SignedHeaders=([^,]+), Signature=([0-9a-f]+)"
)


@dataclass(frozen=True)
class Keys:
    """Credentials as they were given out."""

    access: str
    secret: str
    token: str
    until: datetime

    @property
    def iso(self) -> str:
        return f"{self.until:%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class Identity:
    """The server's state. Credentials are named after who asked for them and how."""

    url: str = ""
    lifetime: timedelta = timedelta(hours=1)
    refuse: tuple[int, str, str] | None = None
    """Status, code and message of the answer that everybody gets instead."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """What each request for credentials said, with ``how`` and ``by`` (an access key)."""
    known: dict[str, Keys] = field(default_factory=dict)
    """By access key."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, how: str, **said: str) -> Keys:
        with self.lock:
            self.asked.append({"how": how, **said})
            number = len(self.asked)
            until = datetime.now(UTC).replace(microsecond=0) + self.lifetime
            keys = Keys(f"ASIA{how}{number}", f"geheim-{how}-{number}", f"token-{number}", until)
            self.known[keys.access] = keys
            return keys

    def fixed(self, access: str, secret: str) -> None:
        """Know credentials that somebody has for ever."""
        self.known[access] = Keys(access, secret, "", datetime.max.replace(tzinfo=UTC))

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead a process here instead of to AWS."""
        return {
            "AWS_ENDPOINT_URL_STS": f"{self.url}/sts",
            "AWS_ENDPOINT_URL_SSO": f"{self.url}/sso",
            "AWS_ENDPOINT_URL_SSO_OIDC": f"{self.url}/oidc",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.url}/imds",
        }


@contextmanager
def identity_server() -> Iterator[Identity]:
    identity = Identity()

    class Handler(_Handler):
        state = identity

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        identity.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield identity
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Identity

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.state.refuse and not parts.path.endswith("/security-credentials/"):
            self._refused()
        elif parts.path == "/imds/latest/meta-data/iam/security-credentials/":
            self._send(200, "text/plain", "role-of-the-machine")
        elif parts.path.startswith("/imds/latest/meta-data/iam/"):
            assert self.headers["x-aws-ec2-metadata-token"] == "imds-v2"
            self._metadata(self.state.give("IMDS"))
        elif parts.path == "/sso/federation/credentials":
            token = self.headers["x-amz-sso_bearer_token"]
            keys = self.state.give("SSO", token=token, role=asked["role_name"])
            self._json(
                {
                    "roleCredentials": {
                        "accessKeyId": keys.access,
                        "secretAccessKey": keys.secret,
                        "sessionToken": keys.token,
                        "expiration": int(keys.until.timestamp() * 1000),
                    }
                }
            )
        elif parts.path == "/container":
            by = self.headers.get("Authorization", "")
            self._metadata(self.state.give("CONTAINER", authorization=by))
        else:
            self._send(404, "text/plain", "")

    def do_PUT(self) -> None:
        found = self.path == "/imds/latest/api/token"
        self._send(200 if found else 404, "text/plain", "imds-v2" if found else "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.state.refuse:
            self._refused()
        elif self.path.startswith("/oidc"):
            asked = json.loads(body)
            assert asked["grantType"] == "refresh_token"
            fresh = {"accessToken": f"after-{asked['refreshToken']}", "expiresIn": 28800}
            self._json({**fresh, "tokenType": "Bearer", "refreshToken": "next"})
        else:
            self._sts({name: values[0] for name, values in parse_qs(body).items()})

    def _sts(self, asked: dict[str, str]) -> None:
        signed = _AUTHORIZATION.match(self.headers.get("Authorization", ""))
        action, by = asked["Action"], signed[1] if signed else ""
        how = {"AssumeRole": "ROLE", "AssumeRoleWithWebIdentity": "WEB"}[action]
        said = {"role": asked["RoleArn"], "web": asked.get("WebIdentityToken", "")}
        keys = self.state.give(how, by=by, **said)
        xml = (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<{action}Result><Credentials><AccessKeyId>{keys.access}</AccessKeyId>"
            f"<SecretAccessKey>{keys.secret}</SecretAccessKey>"
            f"<SessionToken>{keys.token}</SessionToken><Expiration>{keys.iso}</Expiration>"
            f"</Credentials></{action}Result></{action}Response>"
        )
        self._send(200, "text/xml", xml)

    def _refused(self) -> None:
        status, code, message = self.state.refuse or (500, "", "")
        if self.path.startswith("/sts"):
            error = f"<Code>{code}</Code><Message>{message}</Message>"
            self._send(status, "text/xml", f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")
        else:
            self.send_response(status)
            self.send_header("x-amzn-ErrorType", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _metadata(self, keys: Keys) -> None:
        given = {"AccessKeyId": keys.access, "SecretAccessKey": keys.secret, "Token": keys.token}
        self._json({**given, "Expiration": keys.iso, "Code": "Success"})

    def _json(self, value: object) -> None:
        self._send(200, "application/json", json.dumps(value))

    def _send(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@dataclass
class Gate:
    """What an S3 saw that looks at signatures."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    """Of each request that was let in, which client sent it (``boto3`` or ``lean``) and the
    access key."""
    refused: list[str] = field(default_factory=list)
    """The codes of the others."""

    def users(self) -> set[tuple[str, str]]:
        return set(self.seen)


def guard(proxy: FaultyProxy, identity: Identity) -> Gate:
    """Let only those through to S3 whose signature is made with what was given to them."""
    gate, forward = Gate(), proxy._forward

    def checked(request: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = _AUTHORIZATION.match(headers.get("authorization", ""))
        keys = identity.known.get(signed[1]) if signed else None
        wrong = ""
        if signed is None or keys is None:
            wrong = "InvalidAccessKeyId"
        elif headers.get("x-amz-security-token", "") != keys.token:
            wrong = "InvalidToken"
        elif time.time() > keys.until.timestamp():
            wrong = "ExpiredToken"
        elif _signature(request, headers, keys.secret, signed[2], signed[3]) != signed[4]:
            wrong = "SignatureDoesNotMatch"
        if wrong:
            gate.refused.append(wrong)
            xml = f"<Error><Code>{wrong}</Code></Error>".encode()
            return 403, {"Content-Type": "application/xml"}, xml
        assert keys is not None
        gate.seen.append(("boto3" if "user-agent" in headers else "lean", keys.access))
        return forward(request, body)

    proxy._forward = checked  # type: ignore[method-assign]
    return gate


def _signature(request: Any, headers: dict[str, str], secret: str, scope: str, names: str) -> str:
    """Return the signature that a request has to have (Signature Version 4, for S3)."""
    path, _, query = request.path.partition("?")
    pairs = sorted(p if "=" in p else f"{p}=" for p in query.split("&") if p)
    lines = [f"{name}:{' '.join(headers[name].split())}\n" for name in names.split(";")]
    canonical = "\n".join(
        [
            request.command,
            path,
            "&".join(pairs),
            "".join(lines),
            names,
            headers["x-amz-content-sha256"],
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
