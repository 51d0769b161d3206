"""Why AWS refuses or does not answer: each reason with its own sentence, in the record and the log
of a run and in the check-up alike, and no secret in any of them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from core.concurrency.cancellation import StopSignal
from core.config.settings import Settings
from core.errors import Code, FatalError, ItemError
from core.health.checks import Check, run
from core.health.findings import Finding, Status
from core.model import RunState
from core.s3 import health as s3_health
from core.s3.archive_store import S3ObjectStore
from core.s3.error_codes import FATAL_CODES, meaning
from core.s3.health import S3Health
from core.s3.restore_store import S3RestoreStore
from tests.support.arrange import UNC, Desk, archive_list
from tests.support.certificates import Authority, make_authority
from tests.support.environment import aws_environment, free_port
from tests.support.servers.scripted_s3 import Peer, Script, answering, serving

HERE = datetime(2026, 10, 5, 1, 15, tzinfo=UTC)
"""The client's clock, as the answers repeat it."""


def clocks(off: timedelta) -> str:
    return (
        f"<RequestTime>{HERE + off:%Y%m%dT%H%M%SZ}</RequestTime>"
        f"<ServerTime>{HERE:%Y-%m-%dT%H:%M:%SZ}</ServerTime>"
        "<MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>"
    )


@dataclass(frozen=True)
class Refusal:
    """What S3 answers, and what is to be said of it."""

    status: int
    name: str
    code: Code
    detail: str
    """The words in brackets."""
    message: str = "geheim: what S3 says may repeat what it was sent"
    more: str = ""
    """Further elements of the error's body."""
    headers: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ("HEAD", "GET", "PUT", "POST", "DELETE")
    """The methods that are refused."""

    @property
    def sentence(self) -> str:
        return f"{self.code.what}（{self.detail}）"


OSAKA = {"x-amz-bucket-region": "ap-northeast-3"}
IN_OSAKA = "バケットは ap-northeast-3 にあります"
KMS_ACTION = (
    "User: arn:aws:iam::111122223333:user/himuro is not authorized to perform: "
    "kms:GenerateDataKey on resource: arn:aws:kms:ap-northeast-1:111122223333:key/1 because no "
    "identity-based policy allows the kms:GenerateDataKey action"
)
S3_ACTION = (
    "User: arn:aws:iam::111122223333:user/himuro is not authorized to perform: s3:ListBucket on "
    "resource: arn:aws:s3:::himuro-test because no resource-based policy allows it"
)
EXPIRED = "一時的な認証情報の期限切れ、ExpiredToken"
WRITES = ("PUT", "POST")

REFUSALS = [
    Refusal(403, "InvalidAccessKeyId", Code.ACCESS_KEY_UNKNOWN, "InvalidAccessKeyId"),
    Refusal(403, "SignatureDoesNotMatch", Code.SECRET_KEY_WRONG, "SignatureDoesNotMatch"),
    Refusal(400, "ExpiredToken", Code.CREDENTIALS_REJECTED, EXPIRED),
    Refusal(
        400, "InvalidToken", Code.CREDENTIALS_REJECTED, "セッショントークンの誤り、InvalidToken"
    ),
    Refusal(
        403,
        "RequestTimeTooSkewed",
        Code.CLOCK_WRONG,
        "このマシンの時計が約20分進んでいます、RequestTimeTooSkewed",
        more=clocks(timedelta(minutes=20)),
    ),
    Refusal(
        403,
        "RequestTimeTooSkewed",
        Code.CLOCK_WRONG,
        "このマシンの時計が約1,440分遅れています、RequestTimeTooSkewed",
        more=clocks(timedelta(days=-1)),
    ),
    Refusal(403, "AccessDenied", Code.ACCESS_DENIED, "AccessDenied", "Access Denied"),
    Refusal(403, "AccessDenied", Code.ACCESS_DENIED, "s3:ListBucket、AccessDenied", S3_ACTION),
    Refusal(403, "AllAccessDisabled", Code.ACCOUNT_UNUSABLE, "AllAccessDisabled"),
    Refusal(
        301,
        "PermanentRedirect",
        Code.REGION_WRONG,
        f"{IN_OSAKA}、PermanentRedirect",
        headers=OSAKA,
    ),
    Refusal(
        400,
        "AuthorizationHeaderMalformed",
        Code.REGION_WRONG,
        f"{IN_OSAKA}、AuthorizationHeaderMalformed",
        more="<Region>ap-northeast-3</Region>",
    ),
    Refusal(404, "NoSuchBucket", Code.NO_SUCH_BUCKET, "himuro-test"),
    Refusal(
        403,
        "AccessDenied",
        Code.KMS_DENIED,
        "kms:GenerateDataKey、AccessDenied",
        KMS_ACTION,
        only=WRITES,
    ),
    Refusal(
        400,
        "KMS.DisabledException",
        Code.KMS_KEY_UNUSABLE,
        "鍵が無効にされています、KMS.DisabledException",
        only=WRITES,
    ),
    Refusal(
        400,
        "KMS.NotFoundException",
        Code.KMS_KEY_UNUSABLE,
        "鍵が存在しません、KMS.NotFoundException",
        only=WRITES,
    ),
    Refusal(
        400,
        "KMS.KMSInvalidStateException",
        Code.KMS_KEY_UNUSABLE,
        "鍵が削除待ちなどで使えない状態です、KMS.KMSInvalidStateException",
        only=WRITES,
    ),
    # What begins after the check was passed.
    Refusal(400, "ExpiredToken", Code.CREDENTIALS_REJECTED, EXPIRED, only=WRITES),
    Refusal(
        403, "SignatureDoesNotMatch", Code.SECRET_KEY_WRONG, "SignatureDoesNotMatch", only=WRITES
    ),
]


class Counter(BaseHTTPRequestHandler):
    """Answers as S3 does: a refused HEAD has no body that says why."""

    protocol_version = "HTTP/1.1"
    refusal: ClassVar[Refusal | None] = None
    asked: ClassVar[list[str]] = []

    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(f"{self.command} {self.path}")
        no = self.refusal
        if no and self.command in no.only:
            xml = f"<Error><Code>{no.name}</Code><Message>{no.message}</Message>{no.more}</Error>"
            self._answer(no.status, xml, no.headers)
        elif self.command == "HEAD" and self.path.count("/") > 1:
            self._answer(404, "", {})
        elif self.command == "GET" and "uploads" in self.path:
            self._answer(200, "<ListMultipartUploadsResult/>", {})
        else:
            self._answer(200, "<ListBucketResult/>" if self.command == "GET" else "", {})

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815

    def _answer(self, status: int, xml: str, headers: dict[str, str]) -> None:
        body = xml.encode() if self.command != "HEAD" else b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def counter() -> Iterator[str]:
    """The address of an S3 that refuses what ``Counter.refusal`` says."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Counter) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def desk(tmp_path: Path, counter: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An installation with one file to archive, whose S3 is the counter."""
    monkeypatch.setattr(s3_health, "_READ_SECONDS", 60)
    given = aws_environment(counter) | {
        "AWS_SECRET_ACCESS_KEY": "geheim-secret",
        "AWS_SESSION_TOKEN": "geheim-token",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Counter, "refusal", None)
    desk = Desk(tmp_path)
    desk.write("a.txt", "a")
    return desk


def archived(desk: Desk) -> tuple[RunState, str, str]:
    """Archive the file; return the run's state, its message, and everything in its folder."""
    work = desk.new_run(archive_list(UNC))
    work.begin(work.check())
    record = work.execute(lambda: S3ObjectStore(desk.settings), StopSignal())
    files = sorted(path for path in work.folder.path.iterdir() if path.is_file())
    written = {path.name: path.read_text("utf-8-sig") for path in files}
    assert written["failed_uploads.txt"].splitlines() == [rf"{UNC}\a.txt"]
    assert record.message in written["error_log.txt"]
    return record.state, record.message, "\n".join(written.values())


def examined(settings: Settings) -> list[Finding]:
    """Return what the check-up finds out about S3, but for what is in order."""
    health = S3Health(settings)
    then = (Check("s3-permissions", health.permissions),)
    found = run([Check("s3", health.reach, then=then)], 60)
    return [finding for finding in found if finding.status is not Status.OK]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: f"{one.name}-{one.only[0]}")
def test_what_s3_refuses(
    desk: Desk,
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Counter, "refusal", refusal)
    state, message, written = archived(desk)
    assert state is RunState.ERROR
    assert message == f"{refusal.sentence}。{refusal.code.remedy}。"
    assert f"({refusal.code.name})" in written
    found = examined(desk.settings)
    name = "s3" if "HEAD" in refusal.only else "s3-put"
    told = [(one.status, one.what, one.remedy) for one in found if one.name == name]
    assert told == [(Status.FAILED, refusal.sentence, refusal.code.remedy)]
    assert "geheim" not in written + caplog.text + str(found)


GATEWAY = "<html><body>Sign in to go on<br></body></html>"


def test_a_gateway_that_refuses_is_not_taken_for_a_policy(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("GET", "HEAD", "PUT", "POST"):
        monkeypatch.setattr(Counter, f"do_{method}", lambda self: self._answer(403, GATEWAY, {}))
    told = f"{Code.S3_UNREACHABLE.what}（S3のものではない応答です、403）"
    state, message, _ = archived(desk)
    assert (state, message) == (RunState.ERROR, f"{told}。{Code.S3_UNREACHABLE.remedy}。")
    assert told in [finding.what for finding in examined(desk.settings)]


def test_a_gateway_that_answers_everything_is_not_taken_for_s3(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("GET", "HEAD", "PUT", "POST"):
        monkeypatch.setattr(Counter, f"do_{method}", lambda self: self._answer(200, GATEWAY, {}))
    # botocore makes a 500 of it.
    told = f"{Code.S3_UNREACHABLE.what}（S3のものではない応答です、500）"
    found = {finding.name: finding for finding in examined(desk.settings)}
    for name in ("s3-put", "s3-list"):
        assert (found[name].status, found[name].what) == (Status.FAILED, told)


def test_the_table() -> None:
    """Every code that stops a run has its own sentence where its cause is another one."""
    codes = {name: code for name, (code, _) in FATAL_CODES.items()}
    told = {refusal.name: refusal.code for refusal in REFUSALS if "HEAD" in refusal.only}
    assert told.items() <= codes.items()
    for name, code in codes.items():
        cause = meaning(name, error={"Region": "ap-northeast-3"})
        assert isinstance(cause, FatalError)
        assert cause.code is code
        assert cause.detail.endswith(name)
    # Without a Region in it the header itself is wrong: an access key with a space, say.
    malformed = meaning("AuthorizationHeaderMalformed")
    assert isinstance(malformed, FatalError)
    assert malformed.code is Code.CREDENTIALS_REJECTED


def test_a_clock_without_a_body_is_read_off_the_answers_date() -> None:
    there = datetime.now(UTC) - timedelta(minutes=30)
    cause = meaning(
        "SignatureDoesNotMatch",
        error={"Message": "Signature not yet current: 20261128T090000Z is still later than"},
        headers={"date": f"{there:%a, %d %b %Y %H:%M:%S GMT}"},
    )
    assert isinstance(cause, FatalError)
    assert cause.detail == "このマシンの時計が約30分進んでいます、RequestTimeTooSkewed"


def test_a_head_of_one_object_that_hides_its_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is asked: where it answers, only this object is concerned."""
    hidden = Refusal(400, "InvalidRequest", Code.UPLOAD_FAILED, "")
    monkeypatch.setattr(Counter, "refusal", hidden)
    with pytest.raises(FatalError):
        S3ObjectStore(desk.settings).head("k")

    def only_objects(self: Counter) -> None:
        refused = self.command == "HEAD" and self.path.endswith("/k")
        self._answer(400 if refused else 200, "", {})

    monkeypatch.setattr(Counter, "do_HEAD", only_objects)
    monkeypatch.setattr(Counter, "refusal", None)
    with pytest.raises(ItemError) as caught:
        S3ObjectStore(desk.settings).head("k")  # what the bucket said is remembered for a moment
    assert caught.value.code is Code.UPLOAD_FAILED


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("AccessDenied", KMS_ACTION.replace("GenerateDataKey", "Decrypt"), Code.KMS_DENIED),
        ("KMS.DisabledException", "", Code.KMS_KEY_UNUSABLE),
    ],
)
def test_a_key_of_one_archived_object_concerns_that_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str, message: str, code: Code
) -> None:
    """The next one may have another key."""
    store = S3RestoreStore(desk.settings)
    refused = Refusal(403, name, code, "", message, only=("GET",))
    monkeypatch.setattr(Counter, "refusal", refused)
    with pytest.raises(ItemError) as caught:
        store.fetch("k", 5, lambda _block: None)
    assert caught.value.code is code


# Nobody answers


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@dataclass
class Network:
    """What lies between the console and S3."""

    stack: ExitStack
    authority: Authority
    monkeypatch: pytest.MonkeyPatch
    place: Path

    def set(self, **environ: str) -> None:
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)

    def serve(self, script: Script, tls: ssl.SSLContext | None = None) -> str:
        """Start a server; return its host and port."""
        return f"127.0.0.1:{self.stack.enter_context(serving(script, tls)).port}"

    def behind(self, proxy: str) -> None:
        self.set(HTTPS_PROXY=f"http://himuro:geheim-proxy@{proxy}", NO_PROXY="", no_proxy="")
        self.set(AWS_ENDPOINT_URL_S3="https://s3.example.com")


def unknown_authority(net: Network) -> str:
    where = net.serve(answering(b""), net.authority.tls)
    net.set(AWS_ENDPOINT_URL_S3=f"https://{where}")
    return f"{where}、知らない認証局の証明書です"


def another_name(net: Network) -> str:
    where = net.serve(answering(b""), net.authority.elsewhere)
    net.set(AWS_ENDPOINT_URL_S3=f"https://{where}", AWS_CA_BUNDLE=str(net.authority.file))
    return f"{where}、証明書の名前が違います"


def no_bundle(net: Network) -> str:
    where = net.serve(answering(b""), net.authority.tls)
    net.set(AWS_ENDPOINT_URL_S3=f"https://{where}", AWS_CA_BUNDLE=str(net.place / "ca.pem"))
    return "を読み取れません"


def bundle_without_certificates(net: Network) -> str:
    (net.place / "ca.pem").write_text("nothing")
    return no_bundle(net)


def no_proxy(net: Network) -> str:
    where = f"127.0.0.1:{free_port()}"
    net.behind(where)
    return where


def proxy_that_wants_a_password(net: Network) -> str:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    where = net.serve(answering(refusal))
    net.behind(where)
    return f"{where}、応答 407"


def no_such_name(net: Network) -> str:
    net.set(AWS_ENDPOINT_URL_S3="http://s3.himuro.invalid")
    return "s3.himuro.invalid、名前を解決できません"


def closed_port(net: Network) -> str:
    where = f"127.0.0.1:{free_port()}"
    net.set(AWS_ENDPOINT_URL_S3=f"http://{where}")
    return f"{where}、接続が拒否されました"


def no_tls(net: Network) -> str:
    def plain(peer: Peer) -> None:
        peer.connection.recv(8192)
        peer.answer(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    where = net.serve(plain)
    net.set(AWS_ENDPOINT_URL_S3=f"https://{where}")
    return f"{where}、TLSで接続できません"


SILENCES: dict[Callable[[Network], str], Code] = {
    unknown_authority: Code.CERTIFICATE_UNTRUSTED,
    another_name: Code.CERTIFICATE_UNTRUSTED,
    no_bundle: Code.CERTIFICATE_UNTRUSTED,
    bundle_without_certificates: Code.CERTIFICATE_UNTRUSTED,
    no_proxy: Code.PROXY_FAILED,
    proxy_that_wants_a_password: Code.PROXY_FAILED,
    no_such_name: Code.S3_UNREACHABLE,
    closed_port: Code.S3_UNREACHABLE,
    no_tls: Code.S3_UNREACHABLE,
}


@pytest.mark.parametrize("between", SILENCES, ids=lambda one: one.__name__)
def test_what_is_between(
    desk: Desk,
    authority: Authority,
    tmp_path: Path,
    between: Callable[[Network], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ExitStack() as stack:
        where = between(Network(stack, authority, monkeypatch, tmp_path))
        code = SILENCES[between]
        state, message, written = archived(desk)
        assert state is RunState.ERROR
        assert message.startswith(f"{code.what}（")
        assert where in message
        assert message.endswith(f"{code.remedy}。")
        (first, *_) = [one for one in examined(desk.settings) if one.name == "s3"]
        assert first.status is Status.FAILED
        assert first.what.startswith(f"{code.what}（")
        assert where in first.what
        assert first.remedy == code.remedy
        assert "geheim" not in written + caplog.text + first.what
