"""Other ways of writing a word, for those who find nothing with theirs."""

from __future__ import annotations

import re

_KANJI = "一-龠々〆"
_OKURIGANA = re.compile(f"(?<=[{_KANJI}])[ぁ-ん]{{1,2}}(?=[{_KANJI}])")
_PIECES = re.compile(f"[{_KANJI}]+|[ぁ-ん]+|[ァ-ヴー]+|[A-Za-z]+|[0-9]+|[^\\s]")
_TWINS = (
    "斉斎齊齋", "辺邊邉", "高髙", "崎﨑", "浜濱濵", "沢澤", "広廣", "島嶋嶌", "桜櫻", "竜龍",
    "吉𠮷", "富冨", "桧檜", "籠篭", "渕淵", "恵惠", "真眞", "徳德", "瀬瀨", "曽曾", "覧覽",
)  # fmt: skip
"""Letters of names that are each other's old or new form."""
_FOREIGN = {"ヴァ": "バ", "ヴィ": "ビ", "ヴェ": "ベ", "ヴォ": "ボ", "ヴ": "ブ"}
_LONG_SOUND = re.compile("(?<=[ァ-ヴ])ー")


def near(word: str) -> tuple[str, ...]:
    """Return how else a word may have been written, the likeliest first, without itself.

    Of a path its name and the directory around it; of other words those with other forms of
    the same letters, without long sounds and inner okurigana, in pieces, shortened from
    either end, and its longest pieces. None is empty, and none has a single letter.
    """
    plain = word.strip('"“”＂「」『』')
    if parts := [part for part in re.split(r"[\\/¥￥]", plain) if part][:-1]:
        name = re.split(r"[\\/¥￥]", plain.rstrip("\\/¥￥"))[-1]
        found = [f'"{name}"', f'"{plain[: plain.rindex(name)][:-1]}"'] if parts else []
    else:
        pieces = _PIECES.findall(plain)
        half = -(-len(plain) // 2)
        found = [
            *_twins(plain),
            _LONG_SOUND.sub("", plain),
            _foreign(plain),
            _OKURIGANA.sub("", plain),
            " ".join(pieces) if 1 < len(pieces) <= 4 else plain,
            plain[:-1],
            plain[:half],
            plain[-half:],
            *sorted(pieces, key=len, reverse=True)[:2],
        ]
    return tuple(
        w for w in dict.fromkeys(found) if len(w.strip('"')) > 1 and w not in (word, plain)
    )


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
