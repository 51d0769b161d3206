"""The deployment files, held against the code and against real servers where there are any."""

from __future__ import annotations

import ast
import configparser
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
import yaml
from botocore import xform_name
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import make_url
from streamlit.config import get_config_options

from core.archive.ports import NewObject, Part
from core.concurrency.cancellation import DRAIN_SECONDS
from core.config.settings import load_environment, load_settings
from core.errors import FatalError
from core.jobs.queue import LISTS_SECONDS
from core.model import Entry
from core.restore.model import Tier
from db import open_catalogue
from db.schema import upgrade
from tests.console.test_hardening import complaints
from tests.support.entries import entry, stored
from tests.support.environment import CHECKOUT, HOST, free_port
from tests.support.people import OPERATOR, write_accounts
from tests.support.servers.browser import Screen, chromium
from tests.support.servers.buckets import Bucket
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.processes import child, console

DEPLOY = CHECKOUT / "docs" / "deploy"
COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
DRAIN = DRAIN_SECONDS + LISTS_SECONDS


def known_settings() -> set[str]:
    """Return every variable that some part of an installation reads."""
    core = "".join(path.read_text("utf-8") for path in (CHECKOUT / "core").rglob("*.py"))
    own = set(re.findall(r'"(HIMURO_[A-Z_]+)"', core))
    streamlit = {option.env_var for option in get_config_options().values()}
    return own | streamlit | {"AWS_DEFAULT_REGION", "FORWARDED_ALLOW_IPS"}


# The container


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def test_the_image_is_made_of_what_there_is() -> None:
    copied = [line.split()[0] for line in instructions("COPY") if "--from" not in line]
    allowed = (CHECKOUT / ".dockerignore").read_text("utf-8").splitlines()
    for source in copied:
        assert (CHECKOUT / source).exists(), source
        assert f"!{source}" in allowed, source
    needed = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")} - {"tests"}
    assert needed | {"app.py", ".streamlit", "requirements.txt"} == set(copied)


def test_the_image_is_pinned_and_runs_as_nobody() -> None:
    bases = [line.split()[0] for line in instructions("FROM")]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])
    assert instructions("USER") == ["10001:10001"]
    for name in ("CMD", "HEALTHCHECK"):
        (line,) = instructions(name)
        assert isinstance(json.loads(line[line.index("[") :]), list)  # no shell in between
    assert "/healthz" in instructions("HEALTHCHECK")[0]
    names = re.findall(r"\b(HIMURO_[A-Z_]+|STREAMLIT_[A-Z_]+)=", DOCKERFILE)
    assert names
    assert set(names) <= known_settings()


def test_services_give_runs_the_time_to_end() -> None:
    console = COMPOSE["services"]["console"]
    assert int(console["stop_grace_period"].removesuffix("s")) > DRAIN
    assert int(unit()["Service"]["TimeoutStopSec"]) > DRAIN
    assert unit()["Service"]["KillSignal"] == "SIGTERM"


def test_compose_names_settings_that_exist() -> None:
    for name in ("console", "init-db"):
        environment = COMPOSE["services"][name]["environment"]
        own = {key for key in environment if not key.startswith("POSTGRES_")}
        assert own <= known_settings() | {"HIMURO_OWNER_PASSWORD", "HIMURO_APP_PASSWORD"}
    shares = load_settings({"HIMURO_SHARES": environment_of("console")["HIMURO_SHARES"]}).shares
    targets = [volume.split(":")[-2] for volume in COMPOSE["services"]["console"]["volumes"][1:]]
    assert [str(share.directory) for share in shares] == targets


def environment_of(service: str) -> dict[str, str]:
    return dict(COMPOSE["services"][service]["environment"])


def test_compose_opens_nothing_and_holds_no_secret() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "network_mode" not in service, name
        assert "privileged" not in service, name
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key or "URL" in key:
                assert "${" in value, (name, key)
                assert ":?}" in value, (name, key)
    for volume in COMPOSE["services"]["database"]["volumes"]:
        source = volume.split(":")[0]
        assert not source.startswith("./") or (CHECKOUT / source).is_file(), source


def test_the_console_trusts_the_gateway_alone() -> None:
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert environment_of("console")["FORWARDED_ALLOW_IPS"] == network["gateway"]


# systemd


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "himuro.service", "utf-8")
    return parser


def test_the_settings_file_is_one_that_the_program_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by systemd in production; here by the reader of ``.env``, which quotes the same."""
    text = (DEPLOY / "himuro.env").read_text("utf-8")
    names = re.findall(r"^#? ?([A-Z_]+)=", text, re.MULTILINE)
    assert set(names) <= known_settings()
    assert "\\" not in "".join(line for line in text.splitlines() if not line.startswith("#"))
    (tmp_path / ".env").write_text(text, "utf-8")
    # A copy: what is read here must not reach other tests.
    kept = {name: value for name, value in os.environ.items() if name not in names}
    monkeypatch.setattr(os, "environ", kept)
    load_environment(tmp_path)
    settings = load_settings()
    assert [share.unc for share in settings.shares] == [r"\\fsx01\share"]
    assert str(settings.data_dir) == f"/var/lib/{unit()['Service']['StateDirectory']}"
    assert str(settings.shares[0].directory) == unit()["Service"]["ReadWritePaths"].lstrip("-")


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """``systemd-analyze`` needs no running systemd; machines without it check the form only."""
    service = unit()["Service"]
    assert service["NoNewPrivileges"] == "yes"
    assert service["User"] == service["Group"] == "himuro"
    if not (tool := shutil.which("systemd-analyze")):
        return
    text = (DEPLOY / "himuro.service").read_text("utf-8")
    python = shutil.which("true")
    (tmp_path / "himuro.service").write_text(
        text.replace("/opt/himuro/venv/bin/python", str(python)), "utf-8"
    )
    command = [tool, "verify", "--man=no", str(tmp_path / "himuro.service")]
    done = subprocess.run(command, capture_output=True, text=True)
    about_us = [line for line in done.stderr.splitlines() if "himuro" in line]
    assert about_us == []


def test_commands_beside_the_console_run_as_the_service_does(tmp_path: Path) -> None:
    """The script up to ``setpriv``, which here says what it was given: it needs root."""
    (tmp_path / "himuro.env").write_text(
        (DEPLOY / "himuro.env").read_text("utf-8") + "\nHIMURO_BUCKET=of-the-file\n", "utf-8"
    )
    (tmp_path / "setpriv").write_text(
        '#!/bin/sh\npwd; umask; echo "$HOME"; echo "$HIMURO_BUCKET"; printf "%s\\n" "$@"\n', "utf-8"
    )
    (tmp_path / "setpriv").chmod(0o755)
    service = unit()["Service"]
    script = (DEPLOY / "himuro").read_text("utf-8")
    for written, ours in {
        service["EnvironmentFile"]: str(tmp_path / "himuro.env"),
        service["WorkingDirectory"]: str(tmp_path),
    }.items():
        assert script.count(written) == 1
        script = script.replace(written, ours)
    done = subprocess.run(
        ["sh", "-c", script, "himuro", "archive", "/srv/見積 一覧.csv", "--requester", 'a "b" $c'],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HIMURO_BUCKET": "other"},
        capture_output=True,
        encoding="utf-8",
    )
    state = f"/var/lib/{service['StateDirectory']}"
    python = service["ExecStart"].split()[0]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *(str(tmp_path), service["UMask"], state, "of-the-file"),
        *(f"--reuid={service['User']}", f"--regid={service['Group']}", "--init-groups"),
        *("--no-new-privs", python, "-m", "core"),
        *("archive", "/srv/見積 一覧.csv", "--requester", 'a "b" $c'),
    ]


def test_the_steps_can_be_copied() -> None:
    """Every block of commands is one for a shell, and every file it takes is there."""
    text = (CHECKOUT / "docs" / "deploy.md").read_text("utf-8")
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced if not language]
    assert len(blocks) > 10
    for block in blocks:
        checked = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr + block
    taken = re.findall(r"/opt/himuro/app/(\S+\.?\w)", "".join(blocks))
    assert {"requirements.txt", "docs/deploy/himuro"} <= set(taken)
    for path in taken:
        assert (CHECKOUT / path).is_file(), path


# PostgreSQL


@pytest.fixture
def installed_database(postgres: PostgresServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A database made by postgresql.sql; yields the URLs of its two roles."""
    script = (DEPLOY / "postgresql.sql").read_text("utf-8")
    urls = {}
    for role in ("owner", "app"):
        made = make_url(postgres.url("himuro", password=f"{role}-secret"))
        urls[role] = made.set(username=f"himuro_{role}").render_as_string(hide_password=False)
    environment = {f"HIMURO_{role.upper()}_PASSWORD": f"{role}-secret" for role in urls}
    psql = [postgres.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    try:
        run_tool([*psql, libpq(postgres.url("postgres"))], input=script, env=environment)
        yield urls
    finally:
        postgres.drop("himuro")
        for role in urls:
            postgres.execute(f"DROP ROLE IF EXISTS himuro_{role}")


def libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def run_tool(command: list[Any], *, input: str = "", env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        input=input,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_console_may_read_and_add_and_nothing_else(
    postgres: PostgresServer, installed_database: dict[str, str]
) -> None:
    upgrade(installed_database["owner"])
    upgrade(installed_database["owner"])
    catalogue = open_catalogue(installed_database["app"])
    catalogue.check()
    assert catalogue.add([entry("a.txt")]) == []
    assert stored(catalogue) == [entry("a.txt")]
    catalogue.close()
    for statement in (
        "UPDATE archive_list SET コメント = 'x'",
        "DELETE FROM archive_list",
        "TRUNCATE archive_list",
        "DROP TABLE archive_list",
        "CREATE TABLE other (x int)",
        "DELETE FROM alembic_version",
    ):
        sql = [postgres.program("psql"), "-X", "-q", "-c", statement]
        done = subprocess.run(
            [*map(str, sql), libpq(installed_database["app"])], capture_output=True, text=True
        )
        assert done.returncode != 0, statement
    with pytest.raises(FatalError, match="権限がありません|データベース"):
        upgrade(installed_database["app"].replace("himuro_app", "himuro_nobody"))


def test_backup_and_restore(
    postgres: PostgresServer, installed_database: dict[str, str], tmp_path: Path
) -> None:
    """The very commands of docs/deploy.md: back up, lose the table, get all of it back."""
    upgrade(installed_database["owner"])
    entries = {entry(f"{number} 見積.xlsx") for number in range(300)}
    later = entry("後から.txt")

    def rows() -> set[Entry]:
        catalogue = open_catalogue(installed_database["app"])
        catalogue.check()
        found = set(stored(catalogue))
        # Rights and the counter of the keys were restored as well.
        assert catalogue.add([later]) == []
        catalogue.close()
        return found

    catalogue = open_catalogue(installed_database["app"])
    assert catalogue.add(list(entries)) == []
    catalogue.close()
    words = {
        "himuro.dump": str(tmp_path / "himuro.dump"),
        "postgresql://himuro_owner@127.0.0.1/himuro": libpq(installed_database["owner"]),
    }
    run_tool(documented("pg_dump", postgres, words))
    postgres.execute("DROP TABLE archive_list", "himuro")
    postgres.execute("DROP TABLE alembic_version", "himuro")
    run_tool(documented("pg_restore", postgres, words))
    assert rows() == entries
    run_tool(documented("pg_restore", postgres, words))  # over what was added since
    assert rows() == entries


def documented(program: str, postgres: PostgresServer, words: dict[str, str]) -> list[str]:
    """Return a command of docs/deploy.md with this test's file and address in it."""
    text = (CHECKOUT / "docs" / "deploy.md").read_text("utf-8")
    (line,) = re.findall(rf"^{program} .*$", text, re.MULTILINE)
    for written, ours in words.items():
        assert written in line
        line = line.replace(written, ours)
    return [str(postgres.program(program)), *line.split()[1:]]


# IAM

ACTIONS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "get_bucket_encryption": "s3:GetEncryptionConfiguration",
    "get_bucket_lifecycle_configuration": "s3:GetLifecycleConfiguration",
    "get_bucket_location": "s3:GetBucketLocation",
    "get_bucket_versioning": "s3:GetBucketVersioning",
    "get_object": "s3:GetObject",
    "get_object_lock_configuration": "s3:GetBucketObjectLockConfiguration",
    "head_bucket": "s3:ListBucket",
    "head_object": "s3:GetObject",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_objects_v2": "s3:ListBucket",
    "list_parts": "s3:ListMultipartUploadParts",
    "put_object": "s3:PutObject",
    "restore_object": "s3:RestoreObject",
    "upload_part": "s3:PutObject",
}
"""Operation → what IAM calls it (AWS, "Actions, resources, and condition keys for Amazon S3")."""
OPTIONAL = "HimuroOptionalReadOnlyChecks"


def policy() -> dict[str, set[str]]:
    document = json.loads((DEPLOY / "iam-policy.json").read_text("utf-8"))
    assert document["Version"] == "2012-10-17"
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert statement["Resource"].startswith("arn:aws:s3:::EXAMPLE-BUCKET")
        of_objects = statement["Sid"] in ("HimuroObjects", "HimuroRestore")
        assert statement["Resource"].endswith("/EXAMPLE-PREFIX*") == of_objects
    return {statement["Sid"]: set(statement["Action"]) for statement in document["Statement"]}


def operations_in_the_code(but: str = "") -> set[str]:
    """Return every S3 operation that ``core`` names, as a call or for a paginator; ``but`` is
    a module whose operations do not count."""
    service = botocore.session.get_session().get_service_model("s3")
    names = {xform_name(operation) for operation in service.operation_names}
    found = set()
    for path in (CHECKOUT / "core" / "s3").rglob("*.py"):  # no other module may (test_architecture)
        if path.name == but:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in names:
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and node.value in names:
                found.add(str(node.value))
    return found


def test_the_policy_allows_what_the_code_calls_and_no_more() -> None:
    called = {ACTIONS[operation] for operation in operations_in_the_code()}
    allowed = policy()
    optional = allowed.pop(OPTIONAL)
    assert called - optional == set.union(*allowed.values())
    assert all(re.match(r"s3:Get(Bucket|Lifecycle|Encryption)", action) for action in optional)


def test_the_readme_names_the_same_actions() -> None:
    allowed = policy()
    allowed.pop(OPTIONAL)
    text = (CHECKOUT / "README.md").read_text("utf-8")
    assert set(re.findall(r"`(s3:\w+)`", text)) == set.union(*allowed.values())


def test_what_reaches_s3_is_what_the_policy_allows(bucket: Bucket) -> None:
    """Every kind of call that the stores can make, seen from the network."""
    store = bucket.store()
    store.check()
    data = b"x" * 1024
    assert store.create(new_object("small.txt", data), data)
    assert not store.create(new_object("small.txt", data), data)
    large = b"y" * (9 * 1024 * 1024)
    assert store.create(new_object("large.bin", large), large)
    assert store.create_in_parts(new_object("parts.bin", data), [Part(data, digest(data))])
    with pytest.raises(RuntimeError):
        store.create_in_parts(new_object("aborted.bin", data), interrupted(data))
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="left.bin")
    assert store.abort_unfinished(["left.bin"]) == 1
    assert store.head("small.txt")
    restores = bucket.restores()
    assert len(list(restores.states([f"{n}" for n in range(20)]))) == 20
    assert restores.thaw("small.txt", Tier.BULK, 7)
    restores.fetch("small.txt", 1024, lambda _block: None)
    seen = {operation(method, path, bucket.name) for method, path, _ in bucket.proxy.seen}
    assert seen == operations_in_the_code(but="health.py") - set(OPTIONAL_OPERATIONS)


OPTIONAL_OPERATIONS = tuple(name for name in ACTIONS if name.startswith("get_bucket_"))


def new_object(key: str, data: bytes) -> NewObject:
    source = f"\\\\fsx01\\share\\{key}"
    return NewObject(key=key, size=len(data), sha256=digest(data).hex(), source_path=source)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def interrupted(data: bytes) -> Iterator[Part]:
    yield Part(data, digest(data))
    raise RuntimeError


def operation(method: str, path: str, bucket: str) -> str:
    """Return which S3 operation a request is, by S3's REST reference."""
    where, _, query = path.partition("?")
    on_object = where.strip("/") != bucket
    names = {part.partition("=")[0] for part in query.split("&")} - {"x-id"}
    table = {
        ("HEAD", False): "head_bucket",
        ("HEAD", True): "head_object",
        ("GET", False): "list_multipart_uploads" if "uploads" in names else "list_objects_v2",
        ("GET", True): "get_object",
        ("PUT", True): "upload_part" if "partNumber" in names else "put_object",
        ("POST", True): "create_multipart_upload"
        if "uploads" in names
        else "restore_object"
        if "restore" in names
        else "complete_multipart_upload",
        ("DELETE", True): "abort_multipart_upload" if "uploadId" in names else "delete_object",
    }
    return table[method, on_object]


# nginx

NAME = "localhost"
"""TLS carries names only, no addresses; nginx refuses whoever names nobody."""


@contextmanager
def nginx(
    directory: Path, backend: str, base: str, smaller: dict[str, str] | None = None
) -> Iterator[str]:
    """Run nginx with the example, below ``base`` or at the root; yields the https address.

    ``smaller`` replaces limits, so that few requests reach them.
    """
    port, plain = free_port(), free_port()
    key, certificate = self_signed(directory)
    changes = {
        "listen 443 ssl http2": f"listen {HOST}:{port} ssl http2",
        "listen 443 ssl default_server": f"listen {HOST}:{port} ssl default_server",
        "listen 80": f"listen {HOST}:{plain}",
        "himuro.example.co.jp": NAME,
        "127.0.0.1:8501": urlsplit(backend).netloc,
        "/etc/ssl/himuro/fullchain.pem": str(certificate),
        "/etc/ssl/himuro/privkey.pem": str(key),
        "snippets/himuro-proxy.conf": str(directory / "himuro-proxy.conf"),
        **(smaller or {}),
    }
    proxy = (DEPLOY / "nginx-proxy.conf").read_text("utf-8")
    for old, new in (smaller or {}).items():
        assert old in proxy + (DEPLOY / "nginx.conf").read_text("utf-8"), old
        proxy = proxy.replace(old, new)
    (directory / "himuro-proxy.conf").write_text(proxy, "utf-8")
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    if base:
        text = re.sub(r"    location .*?\n    }\n", "", text, flags=re.DOTALL)
        text = text.rstrip().removesuffix("}") + (DEPLOY / "nginx-subpath.conf").read_text() + "}\n"
    for old, new in changes.items():
        text = text.replace(old, new)
    (directory / "himuro.conf").write_text(text, "utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid nginx.pid; error_log stderr;\n"
        "events {}\nhttp { access_log off; client_body_temp_path body; proxy_temp_path proxy;\n"
        "fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n"
        "include himuro.conf; }\n"
    )
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program, "nginx is not installed (see .ci/run)"
    command = [program, "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr, checked.stderr
    log = directory / "nginx.log"
    with child(command, log=log):
        yield f"https://{NAME}:{port}"
    errors = [line for line in log.read_text("utf-8").splitlines() if "[error]" in line]
    meant = ("intended to send too large body", "limiting connections", "limiting requests")
    assert [line for line in errors if not any(words in line for words in meant)] == []


def self_signed(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1))
    signed = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    files = directory / "key.pem", directory / "certificate.pem"
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    files[0].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    files[1].write_bytes(signed.public_bytes(pem))
    return files


def https(url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
    """Ask and return the answer, whatever its status; redirects are not followed."""
    request = urllib.request.Request(url, body, headers or {}, method="PUT" if body else "GET")
    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), Still()
    )
    try:
        return opener.open(request, timeout=60)
    except urllib.error.HTTPError as refused:
        return refused


class Still(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


@pytest.mark.parametrize("base", ["", "/himuro"])
def test_a_browser_behind_nginx(base: str, tmp_path: Path, migrated_sqlite_file: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(migrated_sqlite_file, tmp_path / "data" / "catalogue.db")
    write_accounts(tmp_path / "data" / "accounts.toml", OPERATOR)
    env = {
        "HIMURO_DATA_DIR": str(tmp_path / "data"),
        "STREAMLIT_SERVER_ALLOWED_HOSTS": f"himuro.example.co.jp {NAME}",
        "STREAMLIT_SERVER_BASE_URL_PATH": base.strip("/"),
    }
    log = tmp_path / "console.log"
    with (
        console(env, free_port(), log=log, cwd=tmp_path) as behind,
        nginx(tmp_path, behind.url, base) as url,
    ):
        answer = wait_for(url + base + "/")
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert answer.headers["Server"] == "nginx"
        assert b"<title>Streamlit" in answer.read()
        health = https(url + base + "/_stcore/health")
        assert "Secure" in health.headers["Set-Cookie"]
        assert https(url + base + "/readyz").status == 200
        assert https(f"{behind.url}/healthz").status == 200  # as the container asks
        large = https(url + base + "/_stcore/upload_file/a/b", body=bytes(27 * 1024 * 1024))
        assert large.status == 413
        assert b"nginx" in large.read()  # it never came to the console
        look_behind_nginx(url, base)
    assert "Traceback" not in log.read_text("utf-8")


FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/x",
    "X-Forwarded-Server": "x",
    "X-Forwarded-User": "admin",
    "X-Real-Ip": "203.0.113.9",
    "X-Client-Ip": "203.0.113.9",
    "True-Client-Ip": "203.0.113.9",
    "Cf-Connecting-Ip": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
    "Via": "1.1 x",
}


def test_nobody_can_claim_to_be_somebody_else(tmp_path: Path) -> None:
    """What the console is told of the client comes from nginx alone."""
    received: list[dict[str, str]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            received.append(dict(self.headers.items()))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    with ThreadingHTTPServer((HOST, 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        backend = f"http://{HOST}:{server.server_address[1]}"
        with nginx(tmp_path, backend, "") as url:
            wait_for(url)
            assert https(url, FORGED).status == 204
            with pytest.raises(urllib.error.URLError, match="unrecognized name|UNRECOGNIZED_NAME"):
                https(url.replace(NAME, HOST))
        server.shutdown()
        thread.join()
    told = {name: value for name, value in received[-1].items() if name.title() in FORGED}
    assert told == {
        "X-Forwarded-For": HOST,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": urlsplit(url).netloc,
    }


@contextmanager
def patient_backend() -> Iterator[str]:
    """Run a server that opens every WebSocket, and answers every request; yields its address."""

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            if self.headers.get("Upgrade"):
                self.wfile.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\n\r\n"
                )
                self.rfile.read(1)  # until it is closed
                self.close_connection = True
            else:
                self.send_response(204)
                self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    with ThreadingHTTPServer((HOST, 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def opened_page(url: str) -> tuple[ssl.SSLSocket, str]:
    """Open a WebSocket through nginx; returns it, and the first line of the answer."""
    there = urlsplit(url)
    context = ssl._create_unverified_context()
    plain = socket.create_connection((HOST, there.port or 0), timeout=60)
    stream = context.wrap_socket(plain, server_hostname=NAME)
    stream.sendall(
        b"GET /_stcore/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n\r\n"
    )
    return stream, stream.recv(4096).decode().partition("\r\n")[0]


def test_nginx_lets_an_address_open_so_many_pages(tmp_path: Path) -> None:
    few = {"himuro_pages_of 220;": "himuro_pages_of 3;"}
    with patient_backend() as backend, nginx(tmp_path, backend, "", few) as url:
        wait_for(url)
        pages = [opened_page(url) for _ in range(4)]
        assert [line.split()[1] for _, line in pages] == ["101", "101", "101", "503"]
        # Whoever has a page open still gets the rest of it.
        assert https(url).status == 204
        for stream, _line in pages:
            stream.close()


def test_nginx_lets_an_address_ask_so_often(tmp_path: Path) -> None:
    few = {"rate=300r/s": "rate=1r/m", "burst=8000 delay=600": "burst=2 nodelay"}
    with patient_backend() as backend, nginx(tmp_path, backend, "", few) as url:
        wait_for(url)  # the first one
        assert [https(url).status for _ in range(3)] == [204, 204, 503]


def test_limits_agree() -> None:
    """nginx refuses before the console does, and the console has the files for what it takes."""
    proxy = (DEPLOY / "nginx-proxy.conf").read_text("utf-8")
    most = {zone: int(n) for zone, n in re.findall(r"limit_conn himuro_(\w+) (\d+);", proxy)}
    limits = load_settings({}).limits
    assert most["all"] < limits.connections
    assert most["addresses"] < limits.connections_per_address
    assert most["pages"] < limits.pages
    assert most["pages_of"] < limits.pages_per_address
    assert limits.fitting(int(unit()["Service"]["LimitNOFILE"])) == limits
    files = COMPOSE["services"]["console"]["ulimits"]["nofile"]
    assert files["soft"] == files["hard"]
    assert limits.fitting(files["hard"]) == limits


def wait_for(url: str) -> Any:
    """Ask until nginx listens; nothing tells when."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return https(url)
        except urllib.error.URLError as exc:
            refused = isinstance(exc.reason, ConnectionRefusedError)
            if not refused or time.monotonic() > deadline:
                raise


def look_behind_nginx(url: str, base: str) -> None:
    """Open the archive list over TLS: no complaint, no other host, a WebSocket that answers."""
    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True, locale="ja-JP")
        window = Screen(context.new_page(), url)
        said, sockets, asked = complaints(window.page), [], []
        window.page.on("websocket", lambda socket: sockets.append(socket.url))
        window.page.on("request", lambda request: asked.append(request.url))
        window.open(f"{base}/")
        window.see("アーカイブされたファイルはまだありません")
        assert sockets == [url.replace("https", "wss") + base + "/_stcore/stream"]
        assert [address for address in asked if not address.startswith(url + base)] == []
        assert said == []
        window.page.goto(f"{url}{base}/signin?next=/account")
        window.page.get_by_label("アカウント").fill(OPERATOR.name)
        window.page.get_by_label("パスワード").fill(OPERATOR.password)
        window.page.keyboard.press("Enter")
        window.see("このブラウザー")
        below = f"-{base.strip('/')}" if base else ""
        names = {f"__Host-himuro_{kind}{below}" for kind in ("session", "device", "form")}
        ours = {c["name"] for c in context.cookies() if "himuro" in c["name"]}
        assert ours == names
        window.press("サインアウト")
        window.see("サインアウトしました")
        left = {c["name"] for c in context.cookies() if "himuro" in c["name"]}
        assert names - left == {f"__Host-himuro_session{below}"}
        context.close()
