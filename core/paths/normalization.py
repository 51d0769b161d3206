"""Names and paths: one normal form for each kind of comparison.

Windows compares names without regard to letter case; Japanese text arrives composed or
decomposed, full or half width, with either wave dash (``docs/facts.md``, "Windows and Japanese
text").
Only the comparison is normalised: what is stored is always the spelling on the server.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote, unquote

# CP932 and typed text use different code points for the same sign.
_TWINS = str.maketrans(
    {
        "\u301c": "~",
        "\u2016": "\u2225",
        "\u2212": "-",
        "\u2014": "\u2015",
        "\u00a5": "\\",
    }
)
_KATAKANA_TO_HIRAGANA = str.maketrans(
    {code: code - 0x60 for code in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}
)


def identity(path: str) -> str:
    """Return what two spellings of the same Windows path have in common.

    NFC, and upper case letter by letter as NTFS does it: ``ß`` is not ``SS``.
    """
    return capitals(unicodedata.normalize("NFC", path))


def capitals(path: str) -> str:
    """Return a path in NTFS's upper case, its letters composed or decomposed as they are: two
    names on one Windows volume differ in this."""
    return path.upper() if path.isascii() else "".join(map(_upper, path))


@lru_cache(maxsize=65536)
def _upper(letter: str) -> str:
    """Return NTFS's capital: one letter stays one, and dotless ``ı`` never becomes ``I``."""
    upper = letter.upper()
    if len(upper) != 1 or (upper.isascii() and not letter.isascii()):
        return letter
    return upper


def fold(text: str) -> str:
    """Return the form in which people search: width, case, kana and wave dash alike.

    It is stored in every row (``検索キー``), so it cannot change without a migration of them all.
    """
    if text.isascii():
        return text.casefold()
    wide = unicodedata.normalize("NFKC", text.translate(_TWINS)).casefold()
    return unicodedata.normalize("NFKC", wide).translate(_KATAKANA_TO_HIRAGANA)


@lru_cache(maxsize=4096)
def _fold_directory(directory: str) -> str:
    return fold(directory)


def search_key(directory: str, name: str) -> str:
    """Return ``検索キー``: directory and original name as people search for them."""
    return f"{_fold_directory(directory)}\\{fold(name)}"


def near_key(name: str) -> str:
    """Return what a mistyped name and the real one have in common."""
    return fold(name).strip().rstrip(". ").replace(" ", "")


def split_unc(path: str) -> tuple[str, ...]:
    """Return the parts of a UNC path: server, share, directories, name."""
    return tuple(part for part in path.split("\\") if part)


def object_key(prefix: str, path: str) -> str:
    """Return the S3 key that repeats the folder structure of a UNC path."""
    return prefix + path.lstrip("\\").replace("\\", "/")


MAX_KEY_BYTES = 1024
"""S3's limit for a key in UTF-8 (``docs/facts.md``, "S3 and Deep Archive")."""
_GENERATION = re.compile(r"_\d{5,8}-\d{6}(_\d+)?\Z")


def generation_key(key: str, stamp: str, counter: int = 1) -> str:
    """Return the key of a further generation: ``test_20261123-183000.txt``.

    ``stamp`` is the original's modification time, not the clock, so that an interrupted
    run and its retry arrive at the same key. ``counter`` tells two contents of one second
    apart. A stem is cut where the key would be longer than S3 takes.
    """
    head, slash, name = key.rpartition("/")
    stem, suffix = _split(name)
    more = f"_{stamp}" + (f"_{counter}" if counter > 1 else "") + suffix
    room = MAX_KEY_BYTES - len(f"{head}{slash}{more}".encode())
    while len(stem) > 1 and len(stem.encode()) > room:
        stem = stem[:-1]
    return f"{head}{slash}{stem}{more}"


def may_be_generation(key: str) -> bool:
    """Return whether ``generation_key`` may have made a key: of another file than its own."""
    stem, _ = _split(key.rpartition("/")[2])
    return _GENERATION.search(stem) is not None


def _split(name: str) -> tuple[str, str]:
    """Return stem and suffix, the latter with its dot; a name that begins with a dot has none."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


@lru_cache(maxsize=4096)
def _encoded(part: str) -> str:
    return quote(part, safe="")


def encode_key(key: str) -> str:
    """Return a key as S3 wants it in an address: percent-encoded but for its slashes."""
    return "/".join(map(_encoded, key.split("/")))


def encode_metadata(path: str) -> str:
    """Return a UNC path as ASCII for user metadata; ``decode_metadata`` reverses it."""
    return "%5C".join(map(_encoded, path.split("\\")))


def decode_metadata(value: str) -> str:
    return unquote(value)


_HIDING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Return ``text`` without anything that could forge a line or turn one around in a log.

    Private-use letters stay: Japanese names hold them as gaiji.
    """
    if text.isprintable():
        return text
    return "".join(
        f"\\u{ord(c):04x}"
        if c in _HIDING or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        else c
        for c in text
    )


def typed(text: str) -> str:
    """Return what somebody typed, fit for a database and a log: one line, no control letters."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
    return "".join(kept).strip()


@lru_cache(maxsize=4096)
def storable(name: str) -> bool:
    """Return whether a name can be part of an S3 key and of a UNC path.

    Control characters break S3's XML listings; lone surrogates stand for bytes that are not
    UTF-8; a backslash, legal on a Linux file system, would read as a separator.
    """
    if name.isprintable():
        return "\\" not in name
    return "\\" not in name and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
