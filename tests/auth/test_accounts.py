"""The accounts file as administrators write it, and what its mistakes do."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from core.auth import passwords
from core.auth.accounts import AccountsError, AccountsFile, Role, parse_accounts
from core.errors import ListError
from tests.support.people import ADMINISTRATOR, OPERATOR, write_accounts

FILE = Path("accounts.toml")
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2g"
TANAKA = f'[accounts.tanaka]\nrole = "operator"\npassword = "{HASH}"\n'


def problems(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(AccountsError) as caught:
        parse_accounts(FILE, text if isinstance(text, bytes) else text.encode())
    return caught.value.problems


def test_accounts_and_rules() -> None:
    text = (
        TANAKA
        + f'[accounts."佐藤"]\nrole = "administrator"\npassword = "{HASH}"\n'
        + '[[oidc]]\nemail = "Sato@Example.co.jp"\nrole = "operator"\n'
        + '[[oidc]]\ngroup = "himuro-admins"\nrole = "administrator"\n'
    )
    accounts = parse_accounts(FILE, text.encode("utf-8-sig"))
    assert {a.name: a.role for a in accounts.by_key.values()} == {
        "tanaka": Role.OPERATOR,
        "佐藤": Role.ADMINISTRATOR,
    }
    assert [(r.email, r.group, r.role) for r in accounts.rules] == [
        ("sato@example.co.jp", "", Role.OPERATOR),
        ("", "himuro-admins", Role.ADMINISTRATOR),
    ]


@pytest.mark.parametrize("typed", ["tanaka", "TANAKA", " tanaka ", "ｔａｎａｋａ", "Tanaka"])
def test_one_name_in_many_spellings(typed: str) -> None:
    found = parse_accounts(FILE, TANAKA.encode()).find(typed)
    assert found is not None
    assert found.name == "tanaka"


@pytest.mark.parametrize("typed", ["", "tanak", "tanakaa", "tanaka\0", "tan aka", "tаnaka"])
def test_other_names_are_nobody(typed: str) -> None:
    assert parse_accounts(FILE, TANAKA.encode()).find(typed) is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[accounts.a", "末尾"),
        ("a = 1\n[b", "TOML"),
        ("a = = 1", "1行目の5文字目"),
        (TANAKA + TANAKA, "TOML"),
        (TANAKA.replace("operator", "root"), "role"),
        (TANAKA.replace("role", "rolle"), "知らない項目"),
        (TANAKA + "admin = true\n", "知らない項目"),
        ('[accounts.a]\nrole = "operator"\n', "hash-password"),
        (TANAKA.replace(HASH, "geheim"), "hash-password"),
        (TANAKA.replace(HASH, "$2b$12$abcdefghijklmnopqrstuv"), "hash-password"),
        (TANAKA.replace("[accounts.tanaka]", '[accounts."a b"]'), "名前に使える"),
        (TANAKA.replace("[accounts.tanaka]", '[accounts."a\\nb"]'), "名前に使える"),
        (TANAKA + TANAKA.replace("tanaka", "Tanaka"), "同じ名前"),
        ("accounts = 1", "accounts"),
        ("accounts = {a = 1}", "accounts"),
        ('[[oidc]]\nrole = "operator"\n', "どちらか一方"),
        ('[[oidc]]\nemail = "a@b"\ngroup = "c"\nrole = "operator"\n', "どちらか一方"),
        ('[[oidc]]\nemail = "a@b"\nrole = 1\n', "role"),
        ("oidc = 1", "oidc"),
        ("oidc = [1]", "oidc"),
        ("oidc_trust_unverified_email = 1", "true"),
        ("oidc_group_claim = 1", "oidc_group_claim"),
        ("role = 1", "知らない項目"),
    ],
)
def test_every_mistake_is_named(text: str, hint: str) -> None:
    assert any(hint in problem for problem in problems(text))


def test_other_encodings_are_refused() -> None:
    assert "UTF-8" in problems('[accounts."佐藤"]'.encode("cp932"))[0]


def test_all_mistakes_at_once_and_no_hash_in_a_message() -> None:
    text = TANAKA.replace("operator", "x") + '[accounts.b]\nrole = "y"\npassword = "秘密の言葉"\n'
    found = problems(text)
    assert len(found) == 3
    assert not any("秘密" in problem or "argon2id" in problem for problem in found)
    assert "秘密" not in str(problems('password = "秘密の言葉')[0])


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: (TANAKA + t).encode()))
def test_nonsense_never_does_anything_else(content: bytes) -> None:
    with suppress(AccountsError):
        parse_accounts(FILE, content)


# Roles of an identity provider

RULES = """
[[oidc]]
email = "a@example.com"
role = "operator"
[[oidc]]
group = "admins"
role = "administrator"
"""
VERIFIED = {"email": "A@Example.com", "email_verified": True}


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        (VERIFIED, Role.OPERATOR),
        ({**VERIFIED, "groups": ["x", "admins"]}, Role.ADMINISTRATOR),
        ({"groups": "admins"}, Role.ADMINISTRATOR),
        ({"email": "a@example.com"}, Role.ANYONE),
        ({"email": "a@example.com", "email_verified": "true"}, Role.ANYONE),
        ({"email": "a@example.com", "email_verified": False}, Role.ANYONE),
        ({"email": "b@example.com", "email_verified": True}, Role.ANYONE),
        ({"email": ["a@example.com"], "email_verified": True}, Role.ANYONE),
        ({"groups": ["Admins", "", None, {"admins": 1}]}, Role.ANYONE),
        ({"groups": {"admins": True}}, Role.ANYONE),
        ({"email": "", "email_verified": True, "groups": [""]}, Role.ANYONE),
        ({}, Role.ANYONE),
    ],
)
def test_roles_of_claims(claims: dict[str, Any], role: Role) -> None:
    assert parse_accounts(FILE, RULES.encode()).role_of(claims) is role


def test_a_provider_may_be_trusted_and_name_its_claim() -> None:
    head = 'oidc_trust_unverified_email = true\noidc_group_claim = "roles"\n'
    accounts = parse_accounts(FILE, (head + RULES).encode())
    assert accounts.role_of({"email": "a@example.com"}) is Role.OPERATOR
    assert accounts.role_of({"roles": ["admins"]}) is Role.ADMINISTRATOR
    assert accounts.role_of({"groups": ["admins"]}) is Role.ANYONE


# The file on the disk


def test_the_file_is_read_again_whenever_it_changes(tmp_path: Path) -> None:
    file = AccountsFile(tmp_path / "accounts.toml")
    assert file.current().by_key == {}
    write_accounts(file.path, OPERATOR, ADMINISTRATOR)
    assert set(file.current().by_key) == {"tanaka", "kanri"}
    before = file.path.stat()
    # Same size, same inode, same time: only the content says so.
    text = file.path.read_text("utf-8").replace("tanaka", "tonako")
    file.path.write_text(text, "utf-8")
    os.utime(file.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(file.current().by_key) == {"tonako", "kanri"}
    file.path.unlink()
    assert file.current().by_key == {}


def test_a_broken_file_closes_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = AccountsFile(write_accounts(tmp_path / "accounts.toml", OPERATOR))
    assert file.current().by_key
    file.path.write_text(file.path.read_text("utf-8") + "[accounts", "utf-8")
    for _ in range(3):
        with pytest.raises(AccountsError, match="TOML"):
            file.current()
    assert caplog.text.count("TOML") == 1
    write_accounts(file.path, OPERATOR)
    assert file.current().by_key


def test_a_directory_or_a_huge_file_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = AccountsFile(tmp_path)
    for _ in range(3):
        with pytest.raises(AccountsError, match="読み取れません"):
            directory.current()
    assert caplog.text.count("読み取れません") == 1
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(AccountsError, match="1 MB"):
        AccountsFile(huge).current()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such bits")
def test_a_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = AccountsFile(write_accounts(tmp_path / "accounts.toml", OPERATOR))
    file.path.chmod(0o644)
    assert file.current().by_key
    assert "chmod 600" in caplog.text


# Passwords


def test_a_password_and_its_hash() -> None:
    hashed = passwords.hash_password("雪の夜に、がぎの蔵を開く")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(hashed, "雪の夜に、がぎの蔵を開く")
    # As a Mac sends it:
    assert passwords.matches(hashed, "雪の夜に、か\u3099き\u3099の蔵を開く")
    assert not passwords.matches(hashed, "雪の夜に、かぎの蔵を開く")
    assert not passwords.matches(hashed, "x" * 1_000_000)
    assert not passwords.matches(hashed, "\ud800")
    assert not passwords.matches("nonsense", "雪の夜に、がぎの蔵を開く")


@pytest.mark.parametrize("password", ["", "elevenchars", "が" * 11, "x" * 257])
def test_lengths_of_passwords(password: str) -> None:
    with pytest.raises(ListError, match="12文字以上256文字以内"):
        passwords.hash_password(password)


def test_a_password_of_before_stays_good() -> None:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("password")
    assert passwords.matches(hashed, "password")
