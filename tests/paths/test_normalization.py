"""Normal forms of names, and the ASCII form for metadata."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.paths.normalization import (
    decode_metadata,
    encode_metadata,
    fold,
    generation_key,
    identity,
    may_be_generation,
    near_key,
    object_key,
    printable,
    search_key,
    split_unc,
    storable,
)

# A busy machine is no reason to fail.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("がハﾊﾞ゛〜～ßİıſΣς表"))
NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='\\/<>:"|?*'), min_size=1
)
STAMPS = st.datetimes().map(lambda moment: moment.strftime("%Y%m%d-%H%M%S"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\\FSX01\Share\A.TXT", r"\\fsx01\share\a.txt"),
        ("が.txt", "か\u3099.TXT"),
        ("é", "E\u0301"),
        ("ａ", "Ａ"),
        ("ς", "Σ"),
    ],
)
def test_same_path(one: str, other: str) -> None:
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("straße", "STRASSE"), ("ｱ", "ア"), ("〜", "～"), ("ひ", "ヒ"), ("a", "ａ"), ("ﬁ", "FI")],
)
def test_different_paths(one: str, other: str) -> None:
    assert identity(one) != identity(other)


@untimed
@given(TEXT)
def test_identity_ignores_composition_and_separators_stay(text: str) -> None:
    assert identity(unicodedata.normalize("NFD", text)) == identity(text)
    assert identity(text).count("\\") == text.count("\\")


@untimed
@given(TEXT, TEXT)
def test_identity_of_a_path_is_made_of_its_parts(one: str, other: str) -> None:
    assert identity(f"{one}\\{other}") == f"{identity(one)}\\{identity(other)}"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("みつもり", "ミツモリ"),
        ("ﾐﾂﾓﾘ", "ミツモリ"),
        ("ａｂｃ", "ABC"),
        ("見積〜", "見積～"),
        ("ガ", "カ\u3099"),
        ("①", "1"),
        ("ヽ", "ゝ"),
        ("ー", "ｰ"),
    ],
)
def test_found_by_search(typed: str, stored: str) -> None:
    assert fold(typed) == fold(stored)


@untimed
@given(TEXT)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@untimed
@given(st.text("aAがｶﾞー 　.1"))
def test_near_key_ignores_spaces_case_and_final_dots(text: str) -> None:
    assert near_key(f" {text.swapcase()} . ") == near_key(text)


def test_search_key() -> None:
    assert search_key(r"\\FSX01\営業部", "ミツモリ.XLSX") == r"\\fsx01\営業部\みつもり.xlsx"


@untimed
@given(st.lists(NAMES, min_size=2))
def test_parts_of_a_path_come_back(parts: list[str]) -> None:
    path = "\\\\" + "\\".join(parts)
    assert split_unc(path) == tuple(parts)
    assert object_key("p/", path) == "p/" + "/".join(parts)


@pytest.mark.parametrize(
    ("key", "counter", "result"),
    [
        ("s/d/test.txt", 1, "s/d/test_20261123-183000.txt"),
        ("s/d/test.txt", 2, "s/d/test_20261123-183000_2.txt"),
        ("s/d.e/test", 1, "s/d.e/test_20261123-183000"),
        ("s/d/.profile", 1, "s/d/.profile_20261123-183000"),
        ("s/d/a.tar.gz", 1, "s/d/a.tar_20261123-183000.gz"),
        ("test", 1, "test_20261123-183000"),
    ],
)
def test_generation_key(key: str, counter: int, result: str) -> None:
    assert generation_key(key, "20261123-183000", counter) == result


def test_a_generation_key_is_cut_to_what_s3_takes() -> None:
    folder = "s/" + "d" * 990
    long = generation_key(f"{folder}/{'あ' * 10}.txt", "20261123-183000")
    assert long == f"{folder}/あああ_20261123-183000.txt"[-len(long) :]
    assert 1024 - 3 < len(long.encode()) <= 1024
    assert may_be_generation(long)


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("s/a_20261123-183000.txt", True),
        ("s/a_20261123-183000_2.txt", True),
        ("s/a_20261123-183000_20261123-183000", True),
        ("s/a_20261123-183000.tar.gz", False),
        ("s_20261123-183000/a.txt", False),
        ("s/a_20261123.txt", False),
        ("s/a.txt", False),
    ],
)
def test_keys_that_may_be_another_files(key: str, may: bool) -> None:
    assert may_be_generation(key) is may


@untimed
@given(NAMES, STAMPS, st.integers(1, 50))
def test_a_generation_stays_in_its_folder(name: str, stamp: str, counter: int) -> None:
    key = generation_key(f"s/d/{name}", stamp, counter)
    assert key.rpartition("/")[0] == "s/d"
    assert key != f"s/d/{name}"
    assert key != generation_key(f"s/d/{name}", stamp, counter + 1)
    assert may_be_generation(key)


@untimed
@given(TEXT)
def test_metadata_is_ascii_and_comes_back(text: str) -> None:
    encoded = encode_metadata(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert decode_metadata(encoded) == text


@untimed
@given(st.text(st.characters()))
def test_printable_text_is_one_line_and_can_be_written(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    assert not any(unicodedata.category(c) == "Cc" for c in shown)
    assert "\u202e" not in shown


def test_gaiji_and_full_width_spaces_stay() -> None:
    assert printable("株\ue000　式") == "株\ue000　式"


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "a\x7f", "\udc80", "a\x00"])
def test_not_storable(name: str) -> None:
    assert not storable(name)


@untimed
@given(NAMES)
def test_windows_names_are_storable(name: str) -> None:
    assert storable(name)
