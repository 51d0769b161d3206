"""Why there is no connection: each of libpq's and the server's reasons in a sentence that helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from core.errors import Code, FatalError, SettingsError
from db import open_catalogue
from db.connection.errors import translated
from db.health import SqlHealth
from db.schema import upgrade
from db.table.revision import NEW_DATABASE
from tests.support.certificates import Authority, make_authority
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.postgres_stub import Stub, stub

SECRET = "geheim-91d4"


def reason(url: str) -> str:
    """Return why a run cannot begin; nothing of the URL's password is in it."""
    catalogue = open_catalogue(url)
    with pytest.raises(FatalError) as caught:
        catalogue.check()
    catalogue.close()
    assert caught.value.code is Code.DATABASE_UNAVAILABLE
    assert SECRET not in str(caught.value)
    return caught.value.detail


def at(port: int, more: str = "", host: str = "127.0.0.1") -> str:
    return f"postgresql://himuro:{SECRET}@{host}:{port}/himuro?{more}"


WHO = "ユーザー名またはパスワード"
NONE = "指定されたデータベースがありません"
FULL = "接続数が上限"
STARTING = "起動中です"
FATAL = [
    ('password authentication failed for user "x"', WHO),
    ('ユーザー"x"のパスワード認証に失敗しました', WHO),
    ('role "x" does not exist', WHO),
    ('ロール"x"は存在しません', WHO),
    ('database "x" does not exist', NONE),
    ('データベース"x"は存在しません', NONE),
    # Names say nothing.
    ('database "password timeout refused" does not exist', NONE),
    ('no pg_hba.conf entry for host "10.0.0.1", user "x", database "password", no encryption',
     "pg_hba.conf"),
    ('ホスト"10.0.0.1"、ユーザー"x"、データベース"y", 暗号化なし用のエントリがpg_hba.confに'
     "ありません",
     "pg_hba.conf"),
    ('pg_hba.conf rejects connection for host "10.0.0.1", user "x", database "y", SSL encryption',
     "pg_hba.conf"),
    ('Peer authentication failed for user "x"', "127.0.0.1"),
    ('Ident authentication failed for user "x"', "ident"),
    ('LDAP authentication failed for user "x"', WHO),
    ('role "x" is not permitted to log in', "ログインを許可されていません"),
    ('ロール"x"はログインが許可されません', "ログインを許可されていません"),
    ('permission denied for database "x"', "GRANT CONNECT"),
    ('database "x" is not currently accepting connections', "受け付けない設定"),
    ("sorry, too many clients already", FULL),
    ("現在クライアント数が多すぎます", FULL),
    ("remaining connection slots are reserved for roles with the SUPERUSER attribute", FULL),
    ('too many connections for role "x"', FULL),
    ('too many connections for database "x"', FULL),
    ('ロール"x"からの接続が多すぎます', FULL),
    ("the database system is starting up", STARTING),
    ("データベースシステムは起動処理中です", STARTING),
    ("the database system is in recovery mode", STARTING),
    ("the database system is not yet accepting connections", STARTING),
    ("the database system is shutting down", "停止中です"),
    ("データベースシステムはシャットダウンしています", "停止中です"),
    ('unrecognized configuration parameter "x"', "options の設定名"),
    ('invalid value for parameter "statement_timeout": "abc"', "options の値"),
    ("conversion between UTF8 and MULE_INTERNAL is not supported", "ENCODING 'UTF8'"),
    ("connection requires a valid client certificate", "sslcert"),
    ("out of memory", "メモリー"),
    ("unsupported startup parameter: options", "PostgreSQLのポートに直接"),
    ("unsupported startup parameter in options: statement_timeout", "PostgreSQLのポートに直接"),
    ("no such database: x", NONE),
    ("no such user: x", WHO),
    ("no more connections allowed (max_client_conn)", FULL),
    ("query_wait_timeout", FULL),
    ("何か別の理由", "データベースのログ"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), FATAL)
def test_what_a_server_or_a_pooler_refuses(words: str, said: str) -> None:
    with stub(Stub(words)) as port:
        assert said in reason(at(port))


CLIENT = [
    ("fe_sendauth: no password supplied", "パスワードが指定されていません"),
    ('could not translate host name "x" to address: Temporary failure in name resolution', "DNS"),
    ("connection to server at \"10.0.0.1\", port 5432 failed: No route to host", "経路"),
    ("connection to server at \"10.0.0.1\", port 5432 failed: Network is unreachable", "経路"),
    ("connection to server at \"10.0.0.1\", port 5432 failed: Connection timed out", "時間内に"),
    ("connection to server at \"10.0.0.1\", port 5432 failed: timeout expired", "時間内に"),
    ("connection to server at \"x\", port 1 failed: Connection reset by peer", "直後に切られ"),
    ('connection to server on socket "/run/.s.PGSQL.5432" failed: Permission denied', "権限"),
    ("SCRAM authentication requires libpq version 10 or above", "psycopg2-binary"),
    ("authentication method 13 not supported", "scram-sha-256"),
    ('private key file "/x" has group or world access; file must have permissions u=rw (0600)',
     "600"),
    ("SSL error: tlsv1 alert unknown ca", "クライアント証明書"),
    ("SSL error: unsupported protocol", "ssl_min_protocol_version"),
    ("channel binding required, but SSL not in use", "channel_binding"),
    ("SSL error: something new", "TLSの接続に失敗"),
    # localhost has two addresses: what the one that answers says counts.
    ('connection to server at "localhost" (::1), port 5432 failed: Connection refused\n'
     "\tIs the server running on that host and accepting TCP/IP connections?\n"
     'connection to server at "localhost" (127.0.0.1), port 5432 failed: FATAL:  database "x" '
     "does not exist", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), CLIENT)
def test_what_libpq_says_by_itself(words: str, said: str) -> None:
    """The words are libpq's own (17), where a test cannot bring about the thing itself."""
    with pytest.raises(FatalError) as caught, translated():
        raise OperationalError("", None, psycopg2.OperationalError(words)) from None
    assert said in caught.value.detail


def test_a_pooler_that_takes_no_options_is_named() -> None:
    """As PgBouncer refuses what it does not know; its own words are in the list above."""
    with stub(Stub("no such user", unsupported="options")) as port:
        assert "中継を通さず" in reason(at(port))


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    one, another = (tmp_path_factory.mktemp(name) for name in ("one", "another"))
    return make_authority(one), make_authority(another)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_that_the_server_does_not_have(mode: str) -> None:
    with stub(Stub("never heard")) as port:
        assert "TLSに対応していません" in reason(at(port, f"sslmode={mode}"))
        said = reason(at(port, f"sslmode={mode}&sslrootcert=system"))
        assert ("TLSに対応していません" in said) is (mode == "verify-full")
        assert ("verify-full" in said) is (mode != "verify-full")


def test_certificates(authorities: tuple[Authority, Authority], tmp_path: Path) -> None:
    ours, theirs = authorities
    refused = "password authentication failed"
    with stub(Stub(refused, tls=ours.tls)) as port:
        trusted = f"sslmode=verify-full&sslrootcert={ours.file}"
        assert WHO in reason(at(port, trusted))
        wrong = f"sslmode=verify-full&sslrootcert={theirs.file}"
        assert "証明書を信頼できません" in reason(at(port, wrong))
        missing = f"sslmode=verify-full&sslrootcert={tmp_path / 'none.pem'}"
        assert "認証局の証明書のファイル" in reason(at(port, missing))
    with stub(Stub(refused, tls=ours.elsewhere)) as port:
        assert "別のサーバー名" in reason(at(port, trusted))


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"]
)
def test_something_that_is_no_postgresql(greeting: bytes) -> None:
    with stub(Stub(greeting=greeting)) as port:
        assert "相手が" in reason(at(port, "sslmode=disable"))
        assert "ポート番号" in reason(at(port))


def test_a_server_that_hangs_up() -> None:
    with stub(Stub()) as port:
        assert "つないだ直後に切られました" in reason(at(port))


def test_a_time_limit_that_is_no_number_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(SettingsError, match="HIMURO_DATABASE_URL に誤りがあります") as caught:
        open_catalogue(at(1, "connect_timeout=soon"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (at(5432, host="nowhere.invalid"), "サーバー名"),
        (f"postgresql://himuro:{SECRET}@/x?host=/nowhere", "起動していません"),
        (f"postgresql://himuro:{SECRET}@/x?host=/{'x' * 120}", "長すぎます"),
        (at(1, "sslmode=maybe"), "HIMURO_DATABASE_URL に誤りがあります"),
        (at(1, "channel_binding=maybe"), "HIMURO_DATABASE_URL に誤りがあります"),
        (at(1, "foo=1"), "HIMURO_DATABASE_URL に誤りがあります"),
        (at(1), "起動していません"),
    ],
)
def test_what_never_reaches_a_server(url: str, said: str) -> None:
    assert said in reason(url)


@contextmanager
def role(postgres: PostgresServer, options: str) -> Iterator[str]:
    postgres.execute(f"CREATE ROLE guest {options} PASSWORD '{SECRET}'")
    try:
        yield f"postgresql://guest:{SECRET}@/postgres?host={postgres.directory}"
    finally:
        postgres.execute("DROP ROLE guest")


def test_what_a_real_server_refuses(postgres: PostgresServer) -> None:
    with role(postgres, "LOGIN") as url:
        assert NONE in reason(url.replace("/postgres?", "/password?"))
        assert WHO in reason(url.replace(SECRET, "x"))
        assert "パスワードが指定されていません" in reason(url.replace(f":{SECRET}", ""))
        assert "options の設定名" in reason(f"{url}&options=-c%20nonsense%3D1")
        name = postgres.create()
        postgres.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        assert "GRANT CONNECT" in reason(url.replace("/postgres?", f"/{name}?"))
        postgres.drop(name)
    with role(postgres, "NOLOGIN") as url:
        assert "ログインを許可されていません" in reason(url)
    with role(postgres, "LOGIN CONNECTION LIMIT 0") as url:
        assert FULL in reason(url)


# Encodings


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "EUC_JP", "LATIN1"])
def test_a_database_that_is_not_utf8(postgres: PostgresServer, encoding: str) -> None:
    """Said by init-db before anything is made, and by all else before init-db is asked for."""
    name = postgres.create(encoding=encoding)
    url = postgres.url(name)
    catalogue = open_catalogue(url)
    for call in (lambda: upgrade(url), catalogue.check, lambda: catalogue.find(["x"])):
        with pytest.raises(FatalError) as caught:
            call()
        assert caught.value.code is Code.DATABASE_SCHEMA
        assert f"UTF8 ではなく {encoding} で" in caught.value.detail
        assert (
            "先に、CREATE DATABASE 名前 TEMPLATE template0 ENCODING 'UTF8'" in caught.value.detail
        )
    catalogue.close()
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [
        (0,)
    ]
    found = {finding.name: finding for finding in SqlHealth(url).examine()}
    assert "ENCODING 'UTF8'" in found["database-encoding"].remedy
    postgres.drop(name)


def test_the_statement_that_is_proposed_works(postgres: PostgresServer) -> None:
    postgres.execute(NEW_DATABASE.replace("名前", "proposed"))
    upgrade(postgres.url("proposed"))
    postgres.drop("proposed")


def test_an_encoding_without_a_way_to_utf8(postgres: PostgresServer) -> None:
    name = postgres.create(encoding="MULE_INTERNAL")
    assert "ENCODING 'UTF8'" in reason(postgres.url(name))
    postgres.drop(name)
