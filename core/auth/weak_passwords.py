"""Passwords that are guessed first: refused, with the reason.

A password is taken apart into what is predictable (a word of ``weak_passwords.txt``, letters in
a row on the keyboard or in the alphabet, a year or a date) and single letters. Each different
piece weighs one, the names of the account and of the product nothing; less than ``_LEAST`` is
too little. ``Password2026!`` is a word, a year and a sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from core.paths.normalization import fold

_LEAST = 5
_MAX_PIECE = 32
"""Letters of a piece that is looked up."""
_PRODUCT = ("himuro", "ひむろ", "氷室", "glacier", "deeparchive", "あーかいぶ", "archive", "fsx")
_LEET = str.maketrans("@4031$57!|", "aaoeissti" + "l")
_ROWS = (
    "1234567890-^", "qwertyuiop[]", "asdfghjkl;:", "zxcvbnm,./", "abcdefghijklmnopqrstuvwxyz",
    "qazwsxedcrfvtgbyhnujm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "1q2w3e4r5t6y7u8i9o0p",
    "a1s2d3f4g5h6j7k8l9", "01234567890123456789",
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん",
    "いろはにほへとちりぬるをわかよたれそつねならむ",
)  # fmt: skip
_MONTH, _DAY = "(?:1[0-2]|0?[1-9])", "(?:[12][0-9]|3[01]|0?[1-9])"
_DATE = re.compile(rf"(?:19|20)[0-9]{{2}}(?:[-/._]?{_MONTH}(?:[-/._]?{_DAY})?)?")


def weakness(password: str, names: Sequence[str] = ()) -> str:
    """Return why a password is guessed first, as the rest of a sentence; empty when it is not.

    ``names`` is what everybody knows of whose it is.
    """
    text = fold(password)
    period = _period(text)
    if period < len(text) and _weight(text[:period], names) < 2 * _LEAST:
        return "同じ並びの繰り返しなので"
    if _weight(text, names) < _LEAST:
        return "よく使われる語、続いた文字、年や日付、アカウントや製品の名前だけでできているので"
    return ""


def _period(text: str) -> int:
    """Return after how many letters a text repeats itself; its length when it does not."""
    return next(
        (n for n in range(1, len(text) // 2 + 1) if text[n:] == text[:-n]),
        len(text),
    )


def _weight(text: str, names: Sequence[str]) -> int:
    known = [fold(name) for name in names if len(name) > 1]
    known += [part for name in known for part in re.split(r"[\W_]+", name) if len(part) > 2]
    return len(set(_pieces(text, (*_PRODUCT, *known))))


def _pieces(text: str, free: Sequence[str]) -> Iterator[str]:
    """Yield the pieces of a text from its beginning, the longest first; ``free`` ones are left
    out."""
    plain, place = text.translate(_LEET), 0
    while place < len(text):
        name = max((n for n in free if text.startswith(n, place)), key=len, default="")
        length = max(
            _word(text, place), _word(plain, place), _row(text, place), _same(text, place),
            _date(text, place),
        )  # fmt: skip
        if name and len(name) >= length:
            place += len(name)
        else:
            yield text[place : place + length]
            place += length


def _word(text: str, place: int) -> int:
    """Return how long the longest listed word is that begins there; 1 without any."""
    listed = _listed()
    longest = min(_MAX_PIECE, len(text) - place)
    return next((n for n in range(longest, 1, -1) if text[place : place + n] in listed), 1)


def _row(text: str, place: int) -> int:
    """Return how many letters stand in a row there, forwards or backwards; 1 for less than 3."""
    best = 1
    for row in _BOTH_WAYS:
        at = row.find(text[place])
        while at >= 0:
            n = 1
            while place + n < len(text) and at + n < len(row) and text[place + n] == row[at + n]:
                n += 1
            best = max(best, n)
            at = row.find(text[place], at + 1)
    return best if best > 2 else 1


_BOTH_WAYS = tuple(each for row in _ROWS for each in (row, row[::-1]))


def _same(text: str, place: int) -> int:
    rest = text[place:]
    return next((n for n, (a, b) in enumerate(pairwise(rest), 1) if a != b), len(rest))


def _date(text: str, place: int) -> int:
    found = _DATE.match(text, place)
    return len(found[0]) if found else 1


@lru_cache(maxsize=1)
def _listed() -> frozenset[str]:
    lines = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
    return frozenset(fold(line) for line in lines if not line.startswith("#"))
