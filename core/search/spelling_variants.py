"""Other ways of writing a word, for those who find nothing with theirs."""

from __future__ import annotations

import re

_KANJI = "一-龠々〆"
_OKURIGANA = re.compile(f"(?<=[{_KANJI}])[ぁ-ん]{{1,2}}(?=[{_KANJI}])")
_PIECES = re.compile(f"[{_KANJI}]+|[ぁ-ん]+|[ァ-ヴー]+|[A-Za-z]+|[0-9]+|[^\\s]")
_MAX_PIECES = 4
_SEPARATOR = re.compile(r"[\\/¥￥]")
_TWINS = (
    "斉斎齊齋", "辺邊邉", "高髙", "崎﨑", "浜濱濵", "沢澤", "広廣", "島嶋嶌", "桜櫻", "竜龍",
    "吉𠮷", "富冨", "桧檜", "籠篭", "渕淵", "恵惠", "真眞", "徳德", "瀬瀨", "曽曾", "覧覽",
)  # fmt: skip
"""Letters of names that are each other's old or new form."""
_FOREIGN = {"ヴァ": "バ", "ヴィ": "ビ", "ヴェ": "ベ", "ヴォ": "ボ", "ヴ": "ブ"}
_LONG_SOUND = re.compile("(?<=[ァ-ヴー]{2})ー(?![ァ-ヴー])")


def near(word: str) -> tuple[str, ...]:
    """Return how else a word may have been written, the likeliest first, without itself.

    Of a path its name and the directory around it; of other words those with other forms of
    the same letters, without a long sound at the end and inner okurigana, in pieces, shortened from
    either end, and its longest pieces. None is empty, and none has a single letter.
    """
    plain = word.strip('"“”＂「」『』')
    if _SEPARATOR.search(plain):
        around, _sign, name = re.sub(_SEPARATOR, r"\\", plain).rstrip("\\").rpartition("\\")
        found = [f'"{name}"', f'"{around}"' if around.strip("\\") else ""]
    else:
        pieces = _PIECES.findall(plain)
        half = -(-len(plain) // 2)
        found = [
            *_twins(plain),
            _LONG_SOUND.sub("", plain),
            _foreign(plain),
            _OKURIGANA.sub("", plain),
            " ".join(pieces) if 1 < len(pieces) <= _MAX_PIECES else "",
            plain[:-1],
            plain[:half],
            plain[-half:],
            *sorted(pieces, key=len, reverse=True)[:2],
        ]
    others = dict.fromkeys(other.strip() for other in found)
    return tuple(o for o in others if len(o.strip('"')) > 1 and o not in (word, plain))


def _twins(word: str) -> list[str]:
    found = []
    for group in _TWINS:
        for letter in filter(word.__contains__, group):
            found += [word.replace(letter, other) for other in group if other != letter]
    return found


def _foreign(word: str) -> str:
    for sound, usual in _FOREIGN.items():
        word = word.replace(sound, usual)
    return word
