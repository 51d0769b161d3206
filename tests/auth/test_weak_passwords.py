"""Which passwords are refused because they are guessed first, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import core.auth.weak_passwords
from core.auth.passwords import hash_password
from core.auth.weak_passwords import weakness
from core.errors import ListError

LISTED = Path(core.auth.weak_passwords.__file__).with_suffix(".txt")


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "Password2026!", "P@ssw0rd1234", "ｐａｓｓｗｏｒｄ１２３４",
        "iloveyou1234567",
        "passwordpassword", "administrator", "Welcome2026!!", "changeme-2026",
        "qwertyuiop[]", "asdfghjkl;12", "1qaz2wsx3edc", "zaq1xsw2cde3", "poiuytrewq09",
        "123456789012", "098765432109", "111111222222", "abcdefghijkl", "zyxwvutsrqpo",
        "aaaaaaaaaaaa", "abcabcabcabc", "xK9qxK9qxK9q", "ababababababa",
        "2026/10/05-2026", "19850412-19850413", "summer winter 2026", "Tokyo-Osaka-2026",
        "himurohimuro1", "himuro2026himuro!", "氷室氷室氷室氷室2026", "Glacier-Archive-1",
        "パスワード1234567", "ひみつの東京2026", "あいうえおかきくけこさし",
        "いろはにほへとちりぬるを",
    ],
)  # fmt: skip
def test_guessed_first(password: str) -> None:
    with pytest.raises(ListError, match="すぐに推測される|12文字以上"):
        hash_password(password)
    assert weakness(password)


@pytest.mark.parametrize(
    ("password", "name"),
    [
        ("tanaka-tanaka-1", "tanaka"),
        ("Ｔａｎａｋａ20261128", "tanaka"),
        ("tanaka.ichiro2026", "tanaka.ichiro"),
        ("ichiro!tanaka!12", "tanaka.ichiro"),
        ("田中一郎2026!!田中一郎", "田中一郎"),
    ],
)
def test_the_name_of_the_account(password: str, name: str) -> None:
    assert "アカウント" in weakness(password, [name]) or "繰り返し" in weakness(password, [name])


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple", "冷たい鍵と雪の夜 2026", "雪の夜に、蔵を開く鍵",
        "x7Kq-02mT-hhLp", "Vb3!zRw8#tQ1", "our cat sleeps on the router", "9f8e2c41b7a03d65",
        "himuro wakes before the snow",
    ],
)  # fmt: skip
def test_not_guessed_first(password: str) -> None:
    assert weakness(password, ["tanaka"]) == ""


def test_everything_on_the_list_is_refused() -> None:
    listed = [line for line in LISTED.read_text("utf-8").splitlines() if line[:1] != "#"]
    assert len(listed) > 2000
    assert [each for each in listed if not weakness(each)] == []
    assert [each for each in listed if not weakness(each.upper() + "1!")] == []
    assert LISTED.stat().st_size < 40_000


@given(st.text(max_size=256), st.text(max_size=64))
def test_any_text_has_an_answer(password: str, name: str) -> None:
    assert weakness(password, [name]) == weakness(password, [name])
    if len(password) > 1:
        assert weakness(password, [password])


@given(st.lists(st.sampled_from("bdfhkmpqtvxz"), min_size=12, max_size=64, unique=True))
def test_letters_at_random_are_taken(letters: list[str]) -> None:
    """All twelve in some order; none of the rows has more than two of them side by side."""
    assert weakness("".join(letters)) == ""
