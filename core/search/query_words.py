"""What people type into the search field → texts that have to occur in ``検索キー``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.model import MARKER_SUFFIX
from core.paths.normalization import fold

_TOKEN = re.compile(
    r'"([^"]*)"'  # a phrase, or a path from Explorer's "copy as path"
    r"|(?<!\S)(?:[“”＂]([^“”＂]+)[“”＂]|「([^」]+)」|『([^』]+)』)(?!\S)"
    r'|[^\s"]+'
)
_UNSEEN = "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
"""Comes along when a path is copied: Windows' own security dialog puts U+202A before it."""
_DEVICE = re.compile(r"\A[\\/]{2}[?.][\\/]unc[\\/]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing that has to occur: in any of these ways, each of them all of its texts."""

    ways: tuple[tuple[str, ...], ...]
    """Texts as ``fold`` returns them, none of them empty."""


def wanted(words: str) -> list[Wanted]:
    """Return what was typed as things that must all occur in a row's ``検索キー``.

    Words are separated by spaces. What stands in ``"…"`` is one text, spaces included. Other
    quotation marks (``“…”`` ``「…」`` ``『…』``) are legal letters of names as well: there the
    text between them has to occur, or each word with its mark. A pasted path, with backslashes,
    slashes or yen signs, also of a marker, occurs as it is.
    """
    found = []
    for token in _TOKEN.finditer(words):
        if (phrase := token[1]) is not None:
            ways = _spellings(phrase)
        elif marked := token[2] or token[3] or token[4]:
            ways = _spellings(marked)
            if len(marked.split()) > 1:
                ways.append(tuple(map(fold, token[0].split())))
        else:
            ways = _spellings(token[0])
        if ways:
            found.append(Wanted(tuple(ways)))
    return found


def typed_words(words: str) -> list[str]:
    """Return the words one by one as they were typed, quotation marks included."""
    return [token[0] for token in _TOKEN.finditer(words) if wanted(token[0])]


def _spellings(text: str) -> list[tuple[str, ...]]:
    """Return the ways in which a text may stand in a search key; none for an empty one.

    People paste what they see in the folder, which is the marker's name. A slash may be a
    separator, or the full-width one of a name, which folds into it; so may a yen sign.
    """
    folded = _DEVICE.sub(r"\\\\", fold(text.strip().strip(_UNSEEN).strip()), count=1)
    folded = folded.removesuffix(MARKER_SUFFIX) or folded
    with_slashes = folded.replace("/", "\\")
    spellings = (folded, with_slashes, with_slashes.replace("\u00a5", "\\"))
    return [(spelling,) for spelling in dict.fromkeys(spellings) if spelling]
