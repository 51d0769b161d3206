"""Every way to be somebody to AWS, as far as a request to S3 that is signed with it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import CredentialRetrievalError

from core.archive.ports import Lane, NewObject
from core.config.settings import load_settings
from core.errors import Code, FatalError, sentence
from core.health.checks import Check, run
from core.health.findings import Status
from core.resources import shortage
from core.s3.archive_store import S3ObjectStore
from core.s3.health import S3Health
from core.s3.http.sigv4 import Credentials
from core.s3.session import RENEWAL_SECONDS, LiveCredentials, open_session
from tests.support.environment import aws_environment, free_port
from tests.support.servers.aws_identity import Gate, Identity, guard, identity_server
from tests.support.servers.buckets import Bucket

ROLE = "arn:aws:iam::111122223333:role/himuro"


@dataclass
class Home:
    """A user's files below ``~/.aws``, and who gives credentials out."""

    path: Path
    identity: Identity
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack

    def set(self, **environ: str) -> None:
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)

    def profile(self, name: str = "default", kind: str = "profile", **settings: str) -> None:
        """Add a section to the configuration file."""
        heading = name if name == "default" else f"{kind} {name}"
        lines = [f"[{heading}]", *(f"{key} = {value}" for key, value in settings.items())]
        with (self.path / "config").open("a", encoding="utf-8") as file:
            file.write("\n".join([*lines, "", ""]))

    def keys_of(self, profile: str) -> None:
        """Add a profile with keys that S3 and STS know to the credentials file."""
        self.identity.fixed("AKIAFIXED", "fixed")
        lines = [f"[{profile}]", "aws_access_key_id=AKIAFIXED", "aws_secret_access_key=fixed"]
        (self.path / "credentials").write_text("\n".join(lines))

    def token(self, name: str, until: datetime, **more: str) -> None:
        """Remember a sign-in to IAM Identity Center, as ``aws sso login`` does."""
        cache = self.path / "sso" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        token = {"accessToken": f"signed-in-{name}", "expiresAt": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
        file = cache / f"{hashlib.sha1(name.encode()).hexdigest()}.json"
        file.write_text(json.dumps(token | more))

    def refusal(self) -> FatalError:
        """Return why there is no store, which the check-up says as well."""
        settings = load_settings({"HIMURO_BUCKET": "himuro-test"})
        with pytest.raises(FatalError) as caught:
            S3ObjectStore(settings)
        why = caught.value
        (found,) = run([Check("s3", S3Health(settings).reach)], 60)
        assert found.status is Status.FAILED
        assert (found.what, found.remedy) == (sentence(why.code, why.detail), why.code.remedy)
        return why


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    cache = str(tmp_path / "sso" / "cache")
    # Where these look is settled when they are imported.
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", cache)
    monkeypatch.setattr("botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR", cache)
    with identity_server() as identity, ExitStack() as stack:
        made = Home(tmp_path, identity, monkeypatch, stack)
        made.set(**aws_environment(f"http://127.0.0.1:{free_port()}"), **identity.environ)
        made.set(
            AWS_CONFIG_FILE=str(tmp_path / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
        )
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        yield made


@pytest.fixture
def gate(bucket: Bucket, home: Home) -> Gate:
    """A bucket that lets in only whom the user's identity has given credentials; whether these
    are due is asked at each signature."""
    home.monkeypatch.setattr("core.s3.session.RENEWAL_SECONDS", 0)
    home.set(AWS_ENDPOINT_URL_S3=bucket.proxy.endpoint)
    return guard(bucket.proxy, home.identity)


def put(store: S3ObjectStore, key: str) -> None:
    """Create an object by a single call, one in a lane, and look at both."""
    data = key.encode()
    new = NewObject(key, len(data), hashlib.sha256(data).hexdigest(), rf"\\fsx01\share\{key}")
    assert store.create(new, data) is True
    lane: Lane[str] | None = store.lane()
    assert lane is not None
    with contextlib.closing(lane):
        lane.begin(NewObject(f"{key}-lane", new.size, new.sha256, new.source_path), data, key)
        assert list(lane.wait()) == [(key, True)]
    assert store.head(key) is not None


def with_source_profile(home: Home) -> None:
    home.keys_of("base")
    home.profile(role_arn=ROLE, source_profile="base", external_id="himuro")


def through_another_role(home: Home) -> None:
    home.keys_of("base")
    home.profile("middle", role_arn=f"{ROLE}-middle", source_profile="base")
    home.profile("himuro", role_arn=ROLE, source_profile="middle")
    home.set(AWS_PROFILE="himuro")


def with_the_machines_role(home: Home) -> None:
    home.monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    # Half a second, which tells real machines apart, may pass on a busy one.
    home.monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "60")
    home.profile(role_arn=ROLE, credential_source="Ec2InstanceMetadata")


def with_the_containers_role(home: Home) -> None:
    home.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{home.identity.url}/container")
    home.profile(role_arn=ROLE, credential_source="EcsContainer")


def with_a_token_file(home: Home) -> None:
    (home.path / "token").write_text("web-1")
    home.set(AWS_WEB_IDENTITY_TOKEN_FILE=str(home.path / "token"), AWS_ROLE_ARN=ROLE)


def with_a_token_file_of_a_profile(home: Home) -> None:
    (home.path / "token").write_text("web-1")
    home.profile("web", role_arn=ROLE, web_identity_token_file=str(home.path / "token"))
    home.set(AWS_PROFILE="web")


def sign_in(home: Home, **more: str) -> None:
    account = {"sso_account_id": "111122223333", "sso_role_name": "Archiver"}
    home.profile("sso", **account, **more)
    home.set(AWS_PROFILE="sso")


WHERE = {"sso_start_url": "https://example.awsapps.com/start", "sso_region": "ap-northeast-1"}


def signed_in(home: Home) -> None:
    home.profile("office", "sso-session", **WHERE)
    sign_in(home, sso_session="office")
    home.token("office", datetime.now(UTC) + timedelta(hours=8))


def signed_in_in_the_old_form(home: Home) -> None:
    sign_in(home, **WHERE)
    home.token(WHERE["sso_start_url"], datetime.now(UTC) + timedelta(hours=8))


def signed_in_yesterday(home: Home) -> None:
    """The sign-in itself can be renewed for some months, without anybody."""
    home.profile("office", "sso-session", **WHERE)
    sign_in(home, sso_session="office")
    home.token(
        "office",
        datetime.now(UTC) - timedelta(hours=8),
        refreshToken="yesterday",
        clientId="c",
        clientSecret="s",
        registrationExpiresAt="2099-01-01T00:00:00Z",
    )


def with_a_process(home: Home) -> None:
    process(home, home.identity.give("PROCESS").access)


def process(home: Home, access: str) -> None:
    """Let a process print credentials that were given out."""
    keys = home.identity.known[access]
    printed = {
        "Version": 1,
        "AccessKeyId": keys.access,
        "SecretAccessKey": keys.secret,
        "SessionToken": keys.token,
        "Expiration": keys.iso,
    }
    answer = home.path / "answer.json"
    answer.write_text(json.dumps(printed))
    script = home.path / "credentials.py"
    script.write_text(
        f"import sys; assert not sys.stdin.read(); print(open({str(answer)!r}).read())"
    )
    if not (home.path / "config").exists():
        home.profile(credential_process=f"{sys.executable} {script}")


def in_a_container(home: Home) -> None:
    home.set(
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{home.identity.url}/container",
        AWS_CONTAINER_AUTHORIZATION_TOKEN="container-token",
    )


def in_a_container_of_ecs(home: Home) -> None:
    # The address is fixed, and no address of this machine.
    here = home.identity.url.removeprefix("http://")
    home.monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.IP_ADDRESS", here)
    home.set(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/container")


def on_an_instance(home: Home) -> None:
    home.monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    # Half a second is enough for an instance, not for a server within this busy process.
    home.set(AWS_METADATA_SERVICE_TIMEOUT="60")


WAYS: dict[Callable[[Home], None], tuple[str, dict[str, str]]] = {
    with_source_profile: ("ROLE", {"by": "AKIAFIXED", "role": ROLE}),
    through_another_role: ("ROLE", {"by": "ASIAROLE1", "role": ROLE}),
    with_the_machines_role: ("ROLE", {"by": "ASIAIMDS1", "role": ROLE}),
    with_the_containers_role: ("ROLE", {"by": "ASIACONTAINER1", "role": ROLE}),
    with_a_token_file: ("WEB", {"web": "web-1", "by": "", "role": ROLE}),
    with_a_token_file_of_a_profile: ("WEB", {"web": "web-1", "role": ROLE}),
    signed_in: ("SSO", {"token": "signed-in-office", "role": "Archiver"}),
    signed_in_in_the_old_form: ("SSO", {"token": f"signed-in-{WHERE['sso_start_url']}"}),
    signed_in_yesterday: ("SSO", {"token": "after-yesterday"}),
    with_a_process: ("PROCESS", {}),
    in_a_container: ("CONTAINER", {"authorization": "container-token"}),
    in_a_container_of_ecs: ("CONTAINER", {}),
    on_an_instance: ("IMDS", {}),
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_requests_are_signed_with_what_was_given_out(
    bucket: Bucket, home: Home, gate: Gate, way: Callable[[Home], None]
) -> None:
    way(home)
    store = bucket.store()
    store.check()
    put(store, "k")
    how, said = WAYS[way]
    assert gate.refused == []
    last = home.identity.asked[-1]
    assert last["how"] == how
    assert said.items() <= last.items()
    access = f"ASIA{how}{len(home.identity.asked)}"
    assert gate.users() == {("boto3", access), ("lean", access)}


# Credentials that end while a run goes on

SOON = timedelta(minutes=5)
"""Closer than that to their end botocore asks for others before each signature."""


@pytest.mark.parametrize(
    "way",
    [with_source_profile, with_a_token_file, signed_in, in_a_container, with_a_process],
    ids=lambda way: way.__name__,
)
def test_what_ends_soon_is_fetched_anew_by_both_clients(
    bucket: Bucket, home: Home, gate: Gate, way: Callable[[Home], None]
) -> None:
    home.identity.lifetime = SOON
    way(home)
    store = bucket.store()
    store.check()
    put(store, "before")
    old = set(home.identity.known)
    home.identity.lifetime = timedelta(hours=1)
    if way is with_a_process:
        process(home, home.identity.give("PROCESS").access)
    gate.seen.clear()
    put(store, "after")
    users = gate.users()
    (access,) = {key for _, key in users}
    assert access not in old
    assert users == {("boto3", access), ("lean", access)}
    assert gate.refused == []
    asked = len(home.identity.asked)
    put(store, "later")
    assert len(home.identity.asked) == asked


def test_a_role_for_fifteen_minutes_is_not_taken_for_each_object(home: Home) -> None:
    home.identity.lifetime = timedelta(minutes=15)
    with_source_profile(home)
    now = 0.0
    _, found = open_session()
    credentials = LiveCredentials(found._source, lambda: now)
    keys = {credentials.get_frozen_credentials().access_key for _ in range(50)}
    assert keys == {"ASIAROLE1"}
    now = RENEWAL_SECONDS
    assert credentials.get_frozen_credentials().access_key == "ASIAROLE2"
    # What ends sooner than that is never held.
    home.identity.lifetime = timedelta(seconds=30)
    now *= 2
    keys = {credentials.get_frozen_credentials().access_key for _ in range(3)}
    assert keys == {"ASIAROLE3", "ASIAROLE4", "ASIAROLE5"}


def test_a_token_file_that_is_replaced_is_read_again(
    bucket: Bucket, home: Home, gate: Gate
) -> None:
    home.identity.lifetime = SOON
    with_a_token_file(home)
    store = bucket.store()
    store.check()
    (home.path / "token").write_text("web-2")
    put(store, "k")
    assert home.identity.asked[0]["web"] == "web-1"
    assert home.identity.asked[-1]["web"] == "web-2"
    (home.path / "token").unlink()
    with pytest.raises(FatalError) as caught:
        put(store, "k2")
    assert caught.value.code is Code.CREDENTIALS_UNAVAILABLE
    assert caught.value.detail == f"{home.path / 'token'}: 存在しません"
    with pytest.raises(FatalError) as caught:
        store.head("k")
    assert caught.value.code is Code.CREDENTIALS_UNAVAILABLE


def test_a_role_that_is_taken_away_in_the_middle_stops_the_run(
    bucket: Bucket, home: Home, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    home.identity.lifetime = SOON
    with_source_profile(home)
    store = bucket.store()
    store.check()
    home.identity.refuse = (
        403,
        "AccessDenied",
        f"not authorized to perform: sts:AssumeRole {ROLE}",
    )
    calls: list[Callable[[], object]] = [
        lambda: put(store, "k"),
        lambda: store.head("k"),
        store.check,
    ]
    for call in calls:
        with pytest.raises(FatalError) as caught:
            call()
        assert caught.value.code is Code.ROLE_REFUSED
        assert caught.value.detail == "AssumeRole: AccessDenied"
    # botocore warns of each failure, without quoting it.
    assert "mandatory refresh" in caplog.text
    assert ROLE not in caplog.text


# Nobody to be


def test_mfa_is_refused_with_a_sentence_and_never_asked_for(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.keys_of("base")
    serial = "arn:aws:iam::111122223333:mfa/tanaka"
    home.profile(role_arn=ROLE, source_profile="base", mfa_serial=serial)
    why = home.refusal()
    assert why.code is Code.MFA_REQUIRED
    assert "mfa_serial のないプロファイル" in str(why)
    assert serial not in str(why) + caplog.text
    assert home.identity.asked == []


@pytest.fixture
def typed() -> Iterator[None]:
    """Something that was typed for somebody else waits on standard input."""
    before = os.dup(0)
    reading, writing = os.pipe()
    os.write(writing, b"typed")
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    yield
    os.dup2(before, 0)
    os.close(before)


@pytest.mark.parametrize("of_a_source", [False, True])
def test_a_process_is_asked_nothing_and_asks_nobody(
    home: Home, typed: None, of_a_source: bool
) -> None:
    with_a_process(home)
    if of_a_source:
        home.profile("role", role_arn=ROLE, source_profile="default")
        home.set(AWS_PROFILE="role")
    _, credentials = open_session()
    wanted = "ASIAROLE2" if of_a_source else "ASIAPROCESS1"
    assert credentials.get_frozen_credentials().access_key == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIA "),
        ("AWS_SECRET_ACCESS_KEY", "geheim\n"),
        ("AWS_SESSION_TOKEN", "geheim\r\nx-amz-acl: public-read"),
        ("AWS_SESSION_TOKEN", "ｇｅｈｅｉｍ"),
    ],
)
def test_keys_with_blanks_or_line_breaks_are_never_sent(
    bucket: Bucket, home: Home, name: str, value: str
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "geheim"}
    home.set(**keys, AWS_ENDPOINT_URL_S3=bucket.proxy.endpoint)
    home.set(**{name: value})
    why = home.refusal()
    assert why.code is Code.AWS_CONFIGURATION
    assert why.detail == "認証情報に空白、改行または全角文字があります"
    assert bucket.proxy.seen == []


def ended_sign_in(home: Home) -> None:
    sign_in(home, **WHERE)
    home.token(WHERE["sso_start_url"], datetime.now(UTC) - timedelta(hours=1))


def no_sign_in(home: Home) -> None:
    home.profile("office", "sso-session", **WHERE)
    sign_in(home, sso_session="office")


def sign_in_that_aws_refuses(home: Home) -> None:
    signed_in(home)
    home.identity.refuse = (401, "UnauthorizedException", "Session token not found or invalid")


def role_that_nobody_may_have(home: Home) -> None:
    signed_in(home)
    home.identity.refuse = (403, "ForbiddenException", "No access")


def ended_web_token(home: Home) -> None:
    with_a_token_file(home)
    home.identity.refuse = (400, "ExpiredTokenException", "Token expired: current date")


def unknown_key_for_a_role(home: Home) -> None:
    with_source_profile(home)
    home.identity.refuse = (403, "InvalidClientTokenId", "The security token is invalid")


def clock_behind_at_sts(home: Home) -> None:
    with_source_profile(home)
    words = "Signature expired: 20261128T080000Z is now earlier than 20261128T082500Z"
    home.identity.refuse = (403, "SignatureDoesNotMatch", words)


def sts_that_is_down(home: Home) -> None:
    with_source_profile(home)
    home.set(AWS_ENDPOINT_URL_STS=f"http://127.0.0.1:{free_port()}")


def sts_that_is_silent(home: Home) -> None:
    with_source_profile(home)
    impatient = Config(read_timeout=0.1, retries={"total_max_attempts": 1})
    home.monkeypatch.setattr("core.s3.session._IDENTITY", impatient)
    listener = home.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    home.set(AWS_ENDPOINT_URL_STS=f"http://127.0.0.1:{listener.getsockname()[1]}")


def process_that_hangs(home: Home) -> None:
    home.monkeypatch.setattr("core.s3.session.PROCESS_SECONDS", 0.1)
    code = "import threading; threading.Event().wait()"
    home.profile(credential_process=f'{sys.executable} -c "{code}"')


def process_that_fails(home: Home) -> None:
    code = "import sys; print('geheim-of-a-process', file=sys.stderr); sys.exit(3)"
    home.profile(credential_process=f'{sys.executable} -c "{code}"')


def process_that_is_not_there(home: Home) -> None:
    home.profile(credential_process="/nowhere/credentials")


def process_that_prints_something_else(home: Home) -> None:
    home.profile(credential_process=f'{sys.executable} -c "print(1)"')


def container_without_a_role(home: Home) -> None:
    home.monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    home.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{home.identity.url}/nothing")


def unknown_profile(home: Home) -> None:
    home.set(AWS_PROFILE="nobody")


def broken_configuration(home: Home) -> None:
    (home.path / "config").write_text("[default\nregion")


def unreadable_credentials(home: Home) -> None:
    # Its first byte cannot be read, not even by root.
    home.set(AWS_SHARED_CREDENTIALS_FILE="/proc/self/mem")


def half_of_a_key(home: Home) -> None:
    home.set(AWS_ACCESS_KEY_ID="AKIAHALF")


def source_profile_that_is_not_there(home: Home) -> None:
    home.profile(role_arn=ROLE, source_profile="gone")


def session_of_aws_login(home: Home) -> None:
    home.profile(login_session="arn:aws:iam::111122223333:user/tanaka")


def region_that_is_none(home: Home) -> None:
    home.keys_of("default")
    home.set(AWS_DEFAULT_REGION="東京")


def endpoint_that_is_none(home: Home) -> None:
    home.keys_of("default")
    home.set(AWS_ENDPOINT_URL_S3="s3.example.com")


def role_that_is_no_arn(home: Home) -> None:
    home.keys_of("base")
    home.profile(role_arn="himuro", external_id="x", source_profile="base")


def token_file_that_is_empty(home: Home) -> None:
    (home.path / "token").touch()
    home.set(AWS_WEB_IDENTITY_TOKEN_FILE=str(home.path / "token"), AWS_ROLE_ARN=ROLE)


def process_that_prints_numbers(home: Home) -> None:
    code = 'print(\'{\\"Version\\": 1, \\"AccessKeyId\\": 1, \\"SecretAccessKey\\": 2}\')'
    home.profile(credential_process=f'{sys.executable} -c "{code}"')


REFUSED: dict[Callable[[Home], None], tuple[Code, str]] = {
    ended_sign_in: (Code.SIGN_IN_ENDED, ""),
    no_sign_in: (Code.SIGN_IN_ENDED, ""),
    sign_in_that_aws_refuses: (Code.SIGN_IN_ENDED, ""),
    role_that_nobody_may_have: (Code.ROLE_REFUSED, "GetRoleCredentials: ForbiddenException"),
    ended_web_token: (Code.ROLE_REFUSED, "AssumeRoleWithWebIdentity: ExpiredTokenException"),
    unknown_key_for_a_role: (Code.ACCESS_KEY_UNKNOWN, "InvalidClientTokenId"),
    clock_behind_at_sts: (Code.CLOCK_WRONG, "RequestTimeTooSkewed"),
    sts_that_is_down: (Code.CREDENTIALS_UNAVAILABLE, "接続が拒否されました"),
    sts_that_is_silent: (Code.CREDENTIALS_UNAVAILABLE, "時間内に応答がありません"),
    process_that_hangs: (Code.CREDENTIALS_UNAVAILABLE, "credential_process: 時間内に応答"),
    process_that_fails: (Code.CREDENTIALS_UNAVAILABLE, "credential_process から取得できません"),
    process_that_is_not_there: (Code.CREDENTIALS_UNAVAILABLE, "/nowhere/credentials: 存在しません"),
    process_that_prints_something_else: (Code.CREDENTIALS_UNAVAILABLE, "読み取れません"),
    container_without_a_role: (
        Code.CREDENTIALS_UNAVAILABLE,
        "コンテナの認証情報 から取得できません",
    ),
    unknown_profile: (Code.AWS_CONFIGURATION, "プロファイル nobody がありません"),
    broken_configuration: (Code.AWS_CONFIGURATION, "config の書き方が正しくありません"),
    unreadable_credentials: (Code.AWS_CONFIGURATION, "/proc/self/mem を読み取れません"),
    half_of_a_key: (Code.NO_CREDENTIALS, "AWS_SECRET_ACCESS_KEY がありません"),
    source_profile_that_is_not_there: (Code.AWS_CONFIGURATION, '"gone"'),
    session_of_aws_login: (Code.AWS_CONFIGURATION, "login_session"),
    region_that_is_none: (Code.AWS_CONFIGURATION, "東京"),
    role_that_is_no_arn: (
        Code.AWS_CONFIGURATION,
        "external_id、role_arn の値の形式が正しくありません",
    ),
    token_file_that_is_empty: (Code.AWS_CONFIGURATION, "web_identity_token_file の値の形式"),
    process_that_prints_numbers: (Code.CREDENTIALS_UNAVAILABLE, "読み取れません: TypeError"),
    endpoint_that_is_none: (Code.AWS_CONFIGURATION, "Invalid endpoint: s3.example.com"),
}


@pytest.mark.parametrize("way", REFUSED, ids=lambda way: way.__name__)
def test_why_there_are_no_credentials(
    home: Home, way: Callable[[Home], None], caplog: pytest.LogCaptureFixture
) -> None:
    way(home)
    why = home.refusal()
    code, detail = REFUSED[way]
    assert why.code is code, str(why)
    assert detail in why.detail
    assert "geheim" not in str(why) + caplog.text


def test_a_machine_that_is_short_of_something_is_not_said_to_have_no_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)

    class Short:
        def get_frozen_credentials(self) -> Credentials:
            raise CredentialRetrievalError(provider="custom-process", error_msg="") from OSError(
                errno.EMFILE, "Too many open files"
            )

    with pytest.raises(FatalError) as caught:
        LiveCredentials(Short()).get_frozen_credentials()
    assert caught.value.code is Code.MACHINE_SHORT


@pytest.mark.parametrize(
    "name",
    [
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_CA_BUNDLE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ],
)
def test_an_empty_variable_means_as_much_as_none(
    bucket: Bucket, home: Home, gate: Gate, name: str
) -> None:
    on_an_instance(home)
    home.set(**{name: ""})
    bucket.store().check()
    assert gate.users() == {("boto3", "ASIAIMDS1")}
