"""The check-up through its command: what it finds, what it says to do, and that it leaves
nothing behind."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from core.__main__ import WIRING, open_health
from core.cli.main import main
from core.concurrency.cancellation import StopSignal
from core.config.settings import load_settings
from core.files.mounts import network_file_system
from core.health import checks as core_doctor
from core.health import local_checks
from core.health.background import Checkup
from core.health.checks import Check, examine, run
from core.health.findings import CHECKS, Finding, Status
from core.runs.locks import wait_for_turn
from core.s3 import health
from core.s3.health import S3Health
from core.s3.health_answers import clock, encryption, object_lock, region, versioning
from core.s3.lifecycle import judge
from core.share.shares import FileSystem
from db.connection.engine import make_engine, writing
from db.health import SqlHealth
from db.table.revision import HEAD
from tests.support.arrange import UNC, Desk
from tests.support.environment import SECRET_KEY, free_port
from tests.support.servers.buckets import Bucket
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.processes import make_bucket
from tests.support.servers.proxy import Fault

ABORT_RULE = {
    "ID": "abort",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}
ONLY_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@dataclass
class Clinic:
    """An installation, and its check-up as a command."""

    root: Path
    bucket: Bucket
    capsys: pytest.CaptureFixture[str]
    code: int = -1
    output: str = ""
    """Everything that the last check-up wrote."""

    @property
    def share(self) -> Path:
        return self.root / "share"

    def examine(self) -> dict[str, list[Finding]]:
        """Run ``doctor --json`` and return its findings by name."""
        self.code = main(["doctor", "--json"], WIRING)
        out, err = self.capsys.readouterr()
        self.output = out + err
        (line,) = out.splitlines()
        report = json.loads(line)
        found: dict[str, list[Finding]] = {}
        for one in report["findings"]:
            finding = Finding(one["name"], Status(one["status"]), one["what"], one["remedy"])
            found.setdefault(finding.name, []).append(finding)
            assert bool(finding.remedy) == (finding.status is not Status.OK), finding
        return found

    def one(self, name: str) -> Finding:
        """Examine and return the only finding of a name."""
        (finding,) = self.examine()[name]
        return finding

    def rules(self, *rules: Mapping[str, object]) -> None:
        self.bucket.client.put_bucket_lifecycle_configuration(
            Bucket=self.bucket.name, LifecycleConfiguration={"Rules": list(rules)}
        )

    def files(self) -> set[str]:
        return {str(path) for path in self.root.rglob("*")}


@pytest.fixture
def clinic(
    tmp_path: Path,
    bucket: Bucket,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Clinic:
    """An installation without a fault."""
    clinic = Clinic(tmp_path / "site", bucket, capsys)
    for name in ("share", "restored", "data"):
        (clinic.root / name).mkdir(parents=True)
    (clinic.share / "a.txt").write_text("a")
    monkeypatch.chdir(clinic.root)
    monkeypatch.setenv("HIMURO_DATA_DIR", str(clinic.root / "data"))
    monkeypatch.setenv("HIMURO_DATABASE_URL", database_url)
    monkeypatch.setenv("HIMURO_BUCKET", bucket.name)
    monkeypatch.setenv("HIMURO_SHARES", f"{UNC}={clinic.share}")
    monkeypatch.setenv("HIMURO_RESTORE_ROOTS", f"{clinic.root / 'restored'};{UNC}")
    # A busy machine is no failure.
    monkeypatch.setattr(core_doctor, "DEADLINE_SECONDS", 60)
    monkeypatch.setattr(health, "_READ_SECONDS", 60)
    # How full the disk of this machine is has no part in it.
    monkeypatch.setattr(local_checks, "_DATA_BYTES", 0)
    monkeypatch.setattr(local_checks, "_RESTORE_BYTES", 0)
    clinic.rules(ABORT_RULE)
    return clinic


# Nothing is wrong


def test_a_sound_installation(clinic: Clinic, database_kind: str) -> None:
    before = clinic.files()
    found = clinic.examine()
    assert clinic.code == 0, clinic.output
    assert {f.status for findings in found.values() for f in findings} == {Status.OK}
    groups = {"s3-permissions", "s3-protection"}  # named only when they cannot be asked
    other = {"sqlite": "database-encoding", "postgresql": "database-storage"}[database_kind]
    assert set(found) == set(CHECKS) - groups - {other}
    assert len(found["restore-root"]) == 2
    assert found["s3-unfinished"][0].what == "1日以上残っているものはありません"
    assert "点検の結果: OK" in clinic.output
    assert clinic.files() == before
    assert clinic.bucket.object_keys() == clinic.bucket.unfinished() == []


@ONLY_SQLITE
def test_on_a_terminal(clinic: Clinic) -> None:
    clinic.bucket.client.delete_bucket_lifecycle(Bucket=clinic.bucket.name)
    assert main(["doctor"], WIRING) == 1
    out, err = clinic.capsys.readouterr()
    lines = out.splitlines()
    assert "OK       リージョン: ap-northeast-1（設定とバケットが一致しています）" in lines
    warning = next(n for n, line in enumerate(lines) if line.startswith("WARNING  "))
    assert lines[warning].startswith("WARNING  未完了アップロードの自動中止: ")
    assert lines[warning + 1].startswith("         → 「未完了のマルチパート")
    assert "WARNING 1件 / FAILED 0件" in err


@ONLY_SQLITE
def test_a_job_is_not_disturbed(clinic: Clinic) -> None:
    """Neither by a lock nor by the file that is tried, even one that was left behind."""
    settings = load_settings()
    with wait_for_turn(settings.data_dir, StopSignal(), lambda _progress: None) as mine:
        assert mine
        clinic.examine()
    assert clinic.code == 0, clinic.output


def test_walks_pass_over_the_file_that_is_tried(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.txt", "a")
    desk.write(".himuro-doctor-0123456789abcdef")
    desk.write(".himuro-doctor-my notes")
    assert {item.name for item in desk.check(UNC).items} == {"a.txt", ".himuro-doctor-my notes"}


# Settings


@ONLY_SQLITE
def test_wrong_settings_are_one_finding(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIMURO_TIMEZONE", "Mars/Olympus")
    monkeypatch.setenv("HIMURO_RESTORE_DAYS", "many")
    finding = clinic.one("settings")
    assert (clinic.code, finding.status) == (3, Status.FAILED)
    assert finding.what.startswith("2件の誤りがあります")
    assert "HIMURO_TIMEZONE" in finding.what
    assert "HIMURO_RESTORE_DAYS" in finding.what
    assert clinic.bucket.proxy.seen == []


@ONLY_SQLITE
def test_settings_that_jobs_need(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUCKET", "SHARES", "RESTORE_ROOTS"):
        monkeypatch.delenv(f"HIMURO_{name}")
    found = clinic.examine()
    assert clinic.code == 3
    assert found["s3"][0].what == "HIMURO_BUCKET が設定されていません"
    assert found["share"][0].what == "HIMURO_SHARES が設定されていません"
    assert found["share"][0].status is Status.FAILED
    assert found["restore-root"][0].status is Status.WARNING
    assert found["database-rows"][0].status is Status.OK
    assert "s3-put" not in found


@ONLY_SQLITE
def test_no_secret_is_shown(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for url in (
        f"postgresql://himuro:geheim@127.0.0.1:{port}/himuro",
        f"postgresql://himuro:geheim@127.0.0.1:{port}/himuro?sslmode=geheim",
        "postgresql://himuro:geheim@[127.0.0.1/himuro",
    ):
        monkeypatch.setenv("HIMURO_DATABASE_URL", url)
        finding = clinic.one("database")
        assert (clinic.code, finding.status) == (3, Status.FAILED)
        assert "HIMURO_DATABASE_URL" in finding.what + finding.remedy
        assert "geheim" not in clinic.output
        assert SECRET_KEY not in clinic.output


# Database


def test_an_old_schema(clinic: Clinic, database_url: str) -> None:
    change = "UPDATE alembic_version SET version_num = '{}'"
    execute(database_url, change.format("0000"))
    found = clinic.examine()
    execute(database_url, change.format(HEAD))
    assert clinic.code == 3
    assert found["database"][0].status is Status.OK
    assert f"データベースの版 0000、必要な版 {HEAD}" in found["database-schema"][0].what
    assert found["database-schema"][0].remedy == "python -m core init-db を実行してください"
    assert "database-rows" not in found


def execute(url: str, statement: str) -> None:
    """Run a statement on a database of either kind."""
    engine = make_engine(url)
    with writing(engine).begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@ONLY_SQLITE
def test_sqlite_without_wal_or_without_a_schema(
    clinic: Clinic, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    assert "WALではなく delete" in clinic.one("database-storage").what
    assert clinic.code == 1
    monkeypatch.setenv("HIMURO_DATABASE_URL", f"sqlite:///{clinic.root}/new.db")
    assert "init-db" in clinic.one("database").remedy
    assert not (clinic.root / "new.db").exists()


def answers(url: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in SqlHealth(url).examine()}


def test_a_postgresql_role_that_may_only_read(
    postgres: PostgresServer, migrated_postgres_url: str
) -> None:
    name = migrated_postgres_url.rpartition("/")[2].split("?")[0]
    postgres.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
    postgres.execute("GRANT SELECT ON archive_list, alembic_version TO reader", name)
    url = migrated_postgres_url.replace("//himuro:", "//reader:").replace(
        f":{postgres.password}@", ":r@"
    )
    found = answers(url)
    postgres.execute("DROP OWNED BY reader", name)
    postgres.execute("DROP ROLE reader")
    assert found["database-rights"].status is Status.FAILED
    assert found["database-rights"].what == "archive_list への INSERT が許可されていません"
    assert found["database-rows"].status is Status.OK
    read_only = f"{migrated_postgres_url}&options=-c%20default_transaction_read_only%3Don"
    assert answers(read_only)["database-rights"].what == "データベースが読み取り専用です"


def test_a_postgresql_database_in_another_encoding(postgres: PostgresServer) -> None:
    name = postgres.create(encoding="EUC_JP")
    found = answers(postgres.url(name))
    postgres.drop(name)
    assert found["database-encoding"].status is Status.FAILED
    assert "EUC_JP" in found["database-encoding"].what
    assert found["database-schema"].status is Status.FAILED


# S3: is it there


@ONLY_SQLITE
class TestReach:
    def test_no_such_bucket(self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIMURO_BUCKET", "himuro-nowhere")
        found = clinic.examine()
        assert clinic.code == 3
        assert found["s3"][0].what == "S3バケットが存在しません（himuro-nowhere）"
        assert found["s3-permissions"][0].status is Status.WARNING
        assert "確認していません" in found["s3-protection"][0].what

    def test_no_credentials(self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert clinic.one("s3").what == "AWSの認証情報がありません"
        assert clinic.code == 3

    def test_rejected_credentials_are_told_from_missing_rights(self, clinic: Clinic) -> None:
        """A HEAD has no body: the listing after it says which of the two it is."""
        clinic.bucket.proxy.decide = lambda _method, _path: Fault.EXPIRED
        assert "期限が切れています" in clinic.one("s3").what
        clinic.bucket.proxy.decide = lambda _method, _path: Fault.DENIED
        assert "許可されていません" in clinic.one("s3").what

    def test_wrong_region(
        self, clinic: Clinic, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_bucket(s3_endpoint, f"{clinic.bucket.name}-us", "us-west-2")
        monkeypatch.setenv("HIMURO_BUCKET", f"{clinic.bucket.name}-us")
        finding = clinic.one("s3-region")
        assert (clinic.code, finding.status) == (3, Status.FAILED)
        assert "us-west-2 にありますが、設定は ap-northeast-1" in finding.what
        assert "AWS_DEFAULT_REGION を us-west-2 に" in finding.remedy

    def test_clock(self, clinic: Clinic) -> None:
        there = datetime.now(UTC) + timedelta(minutes=20)
        clinic.bucket.proxy.date = format_datetime(there, usegmt=True)
        finding = clinic.one("clock")
        assert (clinic.code, finding.status) == (3, Status.FAILED)
        assert "秒遅れています。15分を超えると" in finding.what

    def test_an_endpoint_that_never_answers(
        self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            begun = time.monotonic()
            found = {f.name: f for f in examine(load_settings, open_health, seconds=1.5)}
            assert time.monotonic() - begun < 30
        assert found["s3"].what == "2秒以内に応答がありません"
        assert "ネットワーク" in found["s3"].remedy
        assert found["s3-permissions"].status is Status.WARNING


@pytest.mark.parametrize(
    ("date", "status", "words"),
    [
        ("Mon, 23 Nov 2026 01:05:00 GMT", Status.OK, "S3との差は0秒"),
        ("Mon, 23 Nov 2026 01:05:59 GMT", Status.OK, "S3との差は59秒"),
        ("Mon, 23 Nov 2026 01:03:00 GMT", Status.WARNING, "120秒進んで"),
        ("Mon, 23 Nov 2026 01:19:59 GMT", Status.WARNING, "899秒遅れて"),
        ("Mon, 23 Nov 2026 00:49:00 GMT", Status.FAILED, "960秒進んで"),
        ("soon", Status.WARNING, "確認できません"),
        ("", Status.WARNING, "確認できません"),
    ],
)
def test_clocks(date: str, status: Status, words: str) -> None:
    here = datetime(2026, 11, 23, 1, 5, 0, 500_000, tzinfo=UTC)
    finding = clock({"date": date} if date else {}, here)
    assert (finding.status, words in finding.what) == (status, True), finding


@pytest.mark.parametrize(
    ("there", "ours", "status"),
    [
        ("eu-west-1", "eu-west-1", Status.OK),
        ("eu-west-1", None, Status.FAILED),
        ("", "eu-west-1", Status.WARNING),
    ],
)
def test_regions(there: str, ours: str | None, status: Status) -> None:
    assert region(there, ours).status is status


# S3: may the jobs work


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("request_line", "name", "action"),
    [
        ("POST uploads", "s3-put", "s3:PutObject"),
        ("DELETE uploadId=", "s3-abort", "s3:AbortMultipartUpload"),
        ("GET list-type=2", "s3-list", "s3:ListBucket"),
        ("HEAD .himuro-doctor", "s3-get", "s3:GetObject"),
        ("POST restore", "s3-restore", "s3:RestoreObject"),
        ("GET uploads", "s3-list-uploads", "s3:ListBucketMultipartUploads"),
    ],
)
def test_each_action_that_is_denied(
    clinic: Clinic, request_line: str, name: str, action: str
) -> None:
    method, part = request_line.split(" ")
    clinic.bucket.proxy.decide = lambda m, path: (
        Fault.DENIED if m == method and part in path else Fault.NONE
    )
    found = {f.name: f for f in S3Health(load_settings()).permissions()}
    assert found[name].status is Status.FAILED
    assert found[name].what.startswith(f"{action} が許可されていません")
    assert action in found[name].remedy
    wrong = {f.name for f in found.values() if f.status is not Status.OK}
    # An upload that cannot be given up stays, is named, and is found among the others; moto
    # says that every one of them is years old.
    assert wrong == ({name, "s3-unfinished"} if name == "s3-abort" else {name})
    left = clinic.bucket.unfinished()
    assert len(left) == (name == "s3-abort")
    assert all(key in found[name].what for key in left)
    assert clinic.bucket.object_keys() == []


@ONLY_SQLITE
def test_restoring_is_no_must_where_nothing_is_restored(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIMURO_RESTORE_ROOTS")
    clinic.bucket.proxy.decide = lambda _method, path: (
        Fault.DENIED if "restore" in path else Fault.NONE
    )
    assert clinic.one("s3-restore").status is Status.WARNING
    assert clinic.code == 1


@ONLY_SQLITE
def test_unfinished_uploads(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIMURO_KEY_PREFIX", "archive/")
    for key in ("archive/a", "archive/b", "elsewhere/c"):
        clinic.bucket.client.create_multipart_upload(Bucket=clinic.bucket.name, Key=key)
    finding = clinic.one("s3-unfinished")
    assert (clinic.code, finding.status) == (1, Status.WARNING)
    assert "2件" in finding.what  # moto says that each began in 2010
    assert len(clinic.bucket.unfinished()) == 3
    younger = S3Health(load_settings(), now=lambda: datetime(2010, 11, 11, tzinfo=UTC))
    status = {f.name: f.status for f in younger.permissions()}["s3-unfinished"]
    assert status is Status.OK


# S3: is the archive safe


@ONLY_SQLITE
def test_a_rule_that_deletes(clinic: Clinic) -> None:
    expiring = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}}
    clinic.rules(ABORT_RULE, {**expiring, "Expiration": {"Days": 400}})
    finding = clinic.one("s3-lifecycle")
    assert (clinic.code, finding.status) == (3, Status.FAILED)
    assert finding.what == "アーカイブしたオブジェクトを削除するルールがあります: old"


def rule(prefix: str | None = "", **more: object) -> dict[str, object]:
    where = {} if prefix is None else {"Filter": {"Prefix": prefix}}
    return {"ID": "r", "Status": "Enabled", **where, **more}


EXPIRE, GLACIER = {"Days": 1}, [{"Days": 1, "StorageClass": "GLACIER"}]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (rule(Expiration=EXPIRE), Status.FAILED),
        (rule(None, Prefix="a/fsx01/", Expiration={"Date": "2027-01-01"}), Status.FAILED),
        (rule("a/fsx01/share/project/", Expiration=EXPIRE), Status.FAILED),
        (rule(None, Filter={"And": {"Prefix": "a", "ObjectSizeLessThan": 9}}, Expiration=EXPIRE),
         Status.FAILED),
        (rule("logs/", Expiration=EXPIRE), Status.OK),
        (rule(Expiration={"ExpiredObjectDeleteMarker": True}), Status.OK),
        (rule(Status="Disabled", Expiration=EXPIRE), Status.OK),
        (rule(None, Filter={"Tag": {"Key": "tmp", "Value": "1"}}, Expiration=EXPIRE), Status.OK),
        (rule(None, Filter={"And": {"Prefix": "", "Tags": [{"Key": "t"}]}}, Expiration=EXPIRE),
         Status.OK),
        (rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}), Status.WARNING),
        (rule(Transitions=GLACIER), Status.WARNING),
        (rule("logs/", Transitions=GLACIER), Status.OK),
    ],
)  # fmt: skip
def test_what_rules_would_do(given: dict[str, object], status: Status) -> None:
    moving, aborting = judge([given], ["a/fsx01/share/"])
    assert moving.status is status
    assert aborting.status is Status.WARNING


@pytest.mark.parametrize(
    ("prefix", "status"),
    [
        ("", Status.OK),
        ("a/", Status.OK),
        ("b/", Status.WARNING),
        ("a/fsx01/share/x", Status.WARNING),
    ],
)
def test_uploads_that_a_rule_gives_up(prefix: str, status: Status) -> None:
    given = rule(prefix, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7})
    assert judge([given], ["a/fsx01/share/"])[1].status is status
    assert judge([{**given, "Status": "Disabled"}], ["a/"])[1].status is Status.WARNING


@ONLY_SQLITE
def test_settings_that_may_not_be_read(clinic: Clinic) -> None:
    """Jobs do not need them."""
    settings = ("versioning", "lifecycle", "object-lock", "encryption")
    clinic.bucket.proxy.decide = lambda _method, path: (
        Fault.DENIED if path.endswith(tuple(f"?{name}" for name in settings)) else Fault.NONE
    )
    found = clinic.examine()
    assert clinic.code == 1
    for name, action in zip(
        settings,
        (
            "s3:GetBucketVersioning",
            "s3:GetLifecycleConfiguration",
            "s3:GetBucketObjectLockConfiguration",
            "s3:GetEncryptionConfiguration",
        ),
        strict=True,
    ):
        (finding,) = found[f"s3-{name}"]
        assert finding.status is Status.WARNING
        assert finding.what == "確認できません（AccessDenied）"
        assert action in finding.remedy


@ONLY_SQLITE
def test_a_key_of_kms_has_to_be_kept(clinic: Clinic) -> None:
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key-1"}
    clinic.bucket.client.put_bucket_encryption(
        Bucket=clinic.bucket.name,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )
    clinic.bucket.proxy.decide = lambda method, path: (
        Fault.DENIED if method == "POST" and "uploads" in path else Fault.NONE
    )
    found = clinic.examine()
    assert found["s3-encryption"][0].status is Status.WARNING
    assert "key-1" in found["s3-encryption"][0].what
    assert "kms:GenerateDataKey" in found["s3-put"][0].remedy


def test_what_other_settings_say() -> None:
    lock = {"ObjectLockEnabled": "Enabled"}
    kept = {**lock, "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}}
    assert [f.what for f in versioning({"Status": "Enabled"})] == ["有効です"]
    for answer, state in (({"Status": "Suspended"}, "停止中です"), ({}, "無効です")):
        (finding,) = versioning(answer)
        assert finding.what == f"{state}（氷室は上書きも削除もしないため、なくても構いません）"
        assert (finding.status, finding.remedy) == (Status.OK, "")
    assert [f.what for f in object_lock({})] == ["使われていません"]
    assert "なし" in object_lock({"ObjectLockConfiguration": lock})[0].what
    assert "COMPLIANCE 30日" in object_lock({"ObjectLockConfiguration": kept})[0].what
    assert encryption({})[0].status is Status.OK


# Shares and directories


def refuse(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int, refused: Callable[[Path], bool]
) -> None:
    """Make a call to the file system fail for some paths: root may do everything."""
    real: Callable[..., None] = getattr(FileSystem, call)

    def guarded(self: FileSystem, path: str) -> None:
        if refused(Path(path)):
            raise OSError(number, os.strerror(number), path)
        real(self, path)

    monkeypatch.setattr(FileSystem, call, guarded)


@ONLY_SQLITE
class TestPlaces:
    @pytest.fixture(autouse=True)
    def _without_s3(self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
        """S3 has no part in these, and takes its time."""
        monkeypatch.delenv("HIMURO_BUCKET")

    def test_a_share_that_is_not_mounted(self, clinic: Clinic) -> None:
        (clinic.share / "a.txt").unlink()
        # As another check may try it in this moment, for a restore directory there.
        (clinic.share / f".himuro-doctor-{'0' * 16}").touch()
        finding = clinic.one("share")
        assert finding.status is Status.FAILED
        assert finding.what == f"{UNC} → {clinic.share}: 共有フォルダーに接続できません"
        assert "マウント" in finding.remedy

    @pytest.mark.parametrize(
        ("number", "root_only", "status", "words"),
        [
            (errno.EROFS, False, Status.FAILED, "書き込みが禁止されています"),
            (errno.EACCES, False, Status.FAILED, "アクセスが拒否されました"),
            (errno.EACCES, True, Status.WARNING, "下のフォルダーには作れます"),
        ],
    )
    def test_a_share_that_takes_no_markers(
        self,
        clinic: Clinic,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        root_only: bool,
        status: Status,
        words: str,
    ) -> None:
        (clinic.share / "営業部").mkdir()
        refuse(
            monkeypatch,
            "create_empty",
            number,
            lambda path: path.parent == clinic.share or not root_only,
        )
        finding = clinic.one("share")
        assert (finding.status, words in finding.what) == (status, True)

    def test_a_file_that_cannot_be_removed(
        self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is named, and a second check-up makes no second one."""
        monkeypatch.delenv("HIMURO_RESTORE_ROOTS")
        with monkeypatch.context() as broken:
            refuse(broken, "remove", errno.EACCES, lambda path: path.parent == clinic.share)
            for _ in range(2):
                finding = clinic.one("share")
                (left,) = clinic.share.glob(".*")
                assert (finding.status, str(left) in finding.what) == (Status.WARNING, True)
        assert clinic.one("share").status is Status.OK
        assert list(clinic.share.glob(".*")) == []

    def test_a_share_that_hangs(self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
        release = threading.Event()
        monkeypatch.delenv("HIMURO_RESTORE_ROOTS")

        def listing(_self: FileSystem, path: str) -> list[object]:
            if path == str(clinic.share):
                release.wait(60)
            return []

        monkeypatch.setattr(FileSystem, "list", listing)
        found = {f.name: f for f in examine(load_settings, open_health, seconds=1.5)}
        release.set()
        assert found["share"].what == f"{UNC} → {clinic.share}: 2秒以内に応答がありません"
        assert {"data-dir", "database"} <= set(found)

    def test_restore_roots(self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
        roots = [
            "missing",
            r"\\fsx09\other",
            rf"{UNC}\..",
            r"\\FSX01\Share\戻し先",
            str(clinic.root / "restored"),
        ]
        (clinic.share / "戻し先").mkdir()
        monkeypatch.setenv("HIMURO_RESTORE_ROOTS", ";".join(roots))
        found = {f.what.partition(": ")[0]: f for f in clinic.examine()["restore-root"]}
        assert [found[root].status for root in roots] == [
            Status.FAILED,
            Status.FAILED,
            Status.FAILED,
            Status.OK,
            Status.OK,
        ]
        assert "存在しません" in found["missing"].what
        assert all("共有の中にありません" in found[root].what for root in roots[1:3])

    def test_room(self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_checks, "_DATA_BYTES", 1024**6)
        assert clinic.one("data-space").status is Status.WARNING
        monkeypatch.setattr(local_checks, "_LEAST_BYTES", 1024**6)
        assert clinic.one("data-space").status is Status.FAILED

    def test_a_data_directory_that_is_none(
        self, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HIMURO_DATA_DIR", str(clinic.root / "new" / "data"))
        assert "まだありません" in clinic.one("data-dir").what
        assert not (clinic.root / "new").exists()
        monkeypatch.setenv("HIMURO_DATA_DIR", str(clinic.share / "a.txt"))
        assert clinic.one("data-dir").status is Status.FAILED
        monkeypatch.setenv("HIMURO_DATA_DIR", str(clinic.share / "a.txt" / "data"))
        assert "作ることもできません" in clinic.one("data-dir").what

    def test_past_runs(self, clinic: Clinic) -> None:
        runs = clinic.root / "data" / "runs"
        now = datetime.now(UTC)
        for number, (state, when) in enumerate(
            [("done", now), ("interrupted", now), ("interrupted", now - timedelta(days=30))]
        ):
            folder = runs / f"20261101-10000{number}-archive-00000{number}"
            folder.mkdir(parents=True)
            record = {"run_id": folder.name, "kind": "archive", "state": state, "request": {}}
            record |= {"created_at": when.isoformat()}
            record["request"] = {"request_id": "R", "requester": "山田"}
            (folder / "run.json").write_text(json.dumps(record))
        broken = runs / "20261101-100009-archive-000009"
        broken.mkdir()
        assert "壊れて" not in clinic.one("runs").what  # it may be about to be written
        os.utime(broken, (0, 0))
        finding = clinic.one("runs")
        assert finding.status is Status.WARNING
        assert finding.what == (
            f"4件、記録が壊れているもの1件（{broken.name} など）、"
            "7日以内に中断したもの1件（20261101-100001-archive-000001 など）"
        )


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/data/runs", ""), ("/mnt/share/data", "cifs"), ("/mnt/other", ""), ("/mnt/my nfs/x", "nfs4"),
     ("/mnt/over/x", "")],
)  # fmt: skip
def test_network_file_systems(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /mnt/share rw - cifs //fsx01/share rw\n"
        "31 22 0:41 / /mnt/my\\040nfs rw - nfs4 host:/x rw\n"
        "32 22 0:42 / /mnt/over rw - nfs4 host:/y rw\n"
        "33 22 8:2 / /mnt/over rw - xfs /dev/sdb1 rw\n"
        "torn\n"
    )
    assert network_file_system(Path(path), mounts) == kind
    assert network_file_system(Path(path), tmp_path / "none") == ""


# How checks are run


def test_a_check_that_breaks_is_a_finding(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("runs", Status.OK, "1件")
        raise ZeroDivisionError("geheim")

    found = list(run([Check("runs", broken)], 10))
    assert [f.status for f in found] == [Status.OK, Status.FAILED]
    assert found[1].what == "予期しないエラーが発生しました（ZeroDivisionError）"
    assert "geheim" in caplog.text  # for whoever reads the log


def test_what_comes_too_late_is_not_heard() -> None:
    release, said = threading.Event(), threading.Event()

    def slow() -> Iterator[Finding]:
        yield Finding("runs", Status.OK, "1件")
        release.wait(60)
        yield Finding("runs", Status.OK, "2件")
        said.set()

    following = Check("data-dir", lambda: [Finding("data-dir", Status.OK, "書き込めます")])
    found = run([Check("runs", slow, then=(following,))], 1)
    assert next(found).what == "1件"
    late = next(found)
    release.set()
    assert said.wait(60)
    assert (late.name, late.status, late.what) == (
        "runs",
        Status.FAILED,
        "1秒以内に応答がありません",
    )
    assert [(f.name, f.status, f.what) for f in found] == [
        ("data-dir", Status.WARNING, "「過去の実行」が失敗したため、確認していません")
    ]


def test_two_clicks_are_one_check_up() -> None:
    release = threading.Event()
    begun: list[str] = []
    ended = threading.Event()

    def slow() -> Iterator[Finding]:
        begun.append("x")
        yield Finding("runs", Status.OK, "1件")
        release.wait(60)

    def clock() -> datetime:
        if release.is_set():
            ended.set()
        return datetime(2026, 11, 23, tzinfo=UTC)

    checkup = Checkup(slow, now=clock)
    assert not checkup.view().running
    assert checkup.start()
    assert not checkup.start()
    assert checkup.view().running
    release.set()
    assert ended.wait(60)
    assert begun == ["x"]
