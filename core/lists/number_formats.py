"""Number formats of Excel: what a number looks like, where that is certain (ECMA-376, 18.8.31).

A name that is a number is what its sender reads in the cell, ``0012`` and not 12. A format
whose look depends on more than the number (the width of the column, the language of Windows)
or that is seldom used is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum, auto

LONGEST_CODE = 255
"""Letters that Excel allows a format; a longer one is forged."""
_LARGEST_GENERAL = 10**11
"""A cell without a format shows 11 digits; larger numbers are rounded."""
_MAX_FRACTION = 8
"""Digits and point of a fraction there: in a column of Excel's usual width more are rounded."""
_LARGEST = 10**15
"""Excel knows 15 digits and shows zeros after them."""

BUILT_IN = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%",
    11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 46: "[h]:mm:ss", 48: "##0.0E+0", 49: "@",
    # Negative numbers look otherwise in other languages.
    37: "#,##0;", 38: "#,##0;", 39: "#,##0.00;", 40: "#,##0.00;",
}  # fmt: skip
BUILT_IN |= dict.fromkeys((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)), "yyyy/mm/dd")
"""Formats that every Excel knows without their code (18.8.30); 27 to 36 and 50 to 58 are the
dates of Japanese, Chinese and Korean ones. What is missing is not certain."""

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|_(?P<space>.)|\[(?P<bracket>[^\[\]]*)\]'
    r"|(?P<general>General|G/標準)|(?P<end>;)|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
"""What is not closed is an ``other`` token, and no format."""
_ELAPSED = re.compile("h+|m+|s+", re.IGNORECASE)
_COLOUR = re.compile("black|blue|cyan|green|magenta|red|white|yellow|[黒青緑赤白黄]", re.IGNORECASE)
_PLAIN = frozenset("-+() ")
"""Shown as they are without quotes."""
_DIGITS = re.compile(r"(?P<whole>[#0,]+)(?:\.(?P<places>0{1,10}))?(?P<percent>%?)")
_WHOLE = re.compile("#*0*")
_GROUPED = re.compile("[#0]+(?:,[#0]{3})+")


class Kind(Enum):
    """What a format makes of a number."""

    NUMBER = auto()
    DATE = auto()
    """A date, a time of day, or both."""
    ELAPSED = auto()
    """Hours, minutes or seconds that do not stop at a day."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class _Section:
    """One of the up to four parts of a format, for one kind of number or for texts."""

    before: str
    body: str
    """``General``, ``@``, placeholders of digits, or empty."""
    after: str


_AS_IS = _Section("", "@", "")
_GENERAL = _Section("", "General", "")


@dataclass(frozen=True, slots=True)
class Style:
    """A format, understood as far as it is certain."""

    kind: Kind
    sections: tuple[_Section | None, ...] = ()
    """Of a ``NUMBER``; None for one that is not certain."""
    texts: _Section | None = _AS_IS
    """What texts look like; None when that is not certain."""

    def number(self, value: float) -> str | None:
        """Return what Excel shows for a finite number; None when that is not certain."""
        if self.kind is not Kind.NUMBER:
            return None
        section, sign = self._section(value)
        if section is None:
            return None
        general = section.body == "General"
        digits = _general(abs(value)) if general else _fixed(abs(value), section.body)
        if digits is None or (value < 0 and not digits.strip("0.,%")):
            # Whether Excel shows a minus before what is rounded to zero is not certain.
            return None
        return f"{sign}{section.before}{digits}{section.after}"

    def _section(self, value: float) -> tuple[_Section | None, str]:
        """Return what is for a number, and the sign that comes before it."""
        count = min(len(self.sections), 3)
        if value < 0 and count > 1:
            return self.sections[1], ""
        if value == 0 and count > 2:
            return self.sections[2], ""
        return self.sections[0], "-" if value < 0 else ""

    def text(self, value: str) -> str | None:
        """Return what Excel shows for a text; None when that is not certain."""
        return None if self.texts is None else f"{self.texts.before}{value}{self.texts.after}"


GENERAL = Style(Kind.NUMBER, (_GENERAL,))
UNKNOWN = Style(Kind.UNKNOWN)
"""Numbers are not certain; texts are as they are in nearly every format."""
FORGED = Style(Kind.UNKNOWN, texts=None)


def style(code: str) -> Style:
    """Return what a format says. Takes time in proportion to the length of the code."""
    if len(code) > LONGEST_CODE:
        return FORGED
    parts: list[list[re.Match[str]]] = [[]]
    for token in _TOKEN.finditer(code):
        if token.lastgroup == "end":
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) > 4:
        return FORGED
    texts = _texts(parts)
    # The first section, for positive numbers, decides whether it is a date.
    kind = _kind(parts[0])
    if kind is not Kind.NUMBER:
        return Style(kind, texts=texts)
    sections = tuple(map(_section, parts))
    if sections == (_AS_IS,):
        # A number in a cell of text is shown as it is.
        sections = (_GENERAL,)
    return Style(kind, sections, texts)


def _texts(parts: list[list[re.Match[str]]]) -> _Section | None:
    """Return what texts look like: by the fourth section, or by the last when it has an @."""
    if len(parts) < 4 and not any(token["other"] == "@" for token in parts[-1]):
        return _AS_IS
    section = _section(parts[-1])
    return section if section is not None and section.body == "@" else None


def _kind(tokens: list[re.Match[str]]) -> Kind:
    if any(t["bracket"] is not None and _ELAPSED.fullmatch(t["bracket"]) for t in tokens):
        return Kind.ELAPSED
    dated = any(t["other"] is not None and t["other"] in "dmyhsDMYHS" for t in tokens)
    return Kind.DATE if dated else Kind.NUMBER


def _section(tokens: list[re.Match[str]]) -> _Section | None:
    """Return a section; None for one whose look is not certain."""
    shown = list(_shown(tokens))
    if None in shown:
        return None
    pieces = [piece for piece in shown if piece is not None]
    places = [n for n, (_, literal) in enumerate(pieces) if not literal]
    first, last = (places[0], places[-1] + 1) if places else (len(pieces), len(pieces))
    body = pieces[first:last]
    if any(literal for _, literal in body):
        return None  # such as 000-0000
    inside = "".join(text for text, _ in body)
    if inside not in ("", "General", "@") and not _digits(inside):
        return None
    before, after = ("".join(text for text, _ in some) for some in (pieces[:first], pieces[last:]))
    return _Section(before, inside, after)


def _shown(tokens: list[re.Match[str]]) -> Iterator[tuple[str, bool] | None]:
    """Yield pieces and whether they are shown as they are; None for what is not certain."""
    for number, token in enumerate(tokens):
        text = token[0]
        match token.lastgroup:
            case "quoted" | "escaped":
                yield token[token.lastgroup], True
            case "space":
                # As wide as a letter: around a name it is not seen.
                if 0 < number < len(tokens) - 1:
                    yield None
            case "general":
                yield "General", False
            case "bracket" if _COLOUR.fullmatch(token["bracket"]):
                pass
            case "other" if text in _PLAIN:
                yield text, True
            case "other" if text in "#0.,%@":
                yield text, False
            case _:
                yield None


def _digits(body: str) -> re.Match[str] | None:
    """Return the parts of placeholders that are certain; None for others."""
    match = _DIGITS.fullmatch(body)
    if match is None:
        return None
    whole = match["whole"]
    if not _WHOLE.fullmatch(whole.replace(",", "")):
        return None
    return match if "," not in whole or _GROUPED.fullmatch(whole) else None


def _general(value: float) -> str | None:
    if value.is_integer():
        return str(int(value)) if value < _LARGEST_GENERAL else None
    text = f"{value:.15g}"
    return text if len(text) <= _MAX_FRACTION and "e" not in text else None


def _fixed(value: float, body: str) -> str | None:
    """Return digits by their placeholders; None when the 15 digits that Excel knows of a
    number are not rounded like the number itself."""
    match = _digits(body)
    if match is None or value >= _LARGEST:
        return None
    places, percent = len(match["places"] or ""), match["percent"]
    known, exact = Decimal(f"{value:.15g}"), Decimal(value)
    unit = Decimal(1).scaleb(-places)
    rounded, other = (
        (number * 100 if percent else number).quantize(unit, ROUND_HALF_UP)
        for number in (known, exact)
    )
    if rounded != other:
        return None
    whole, point, fraction = f"{rounded:f}".partition(".")
    least = match["whole"].count("0")
    if whole == "0" and not least:
        return None  # not shown at all
    whole = whole.zfill(least)
    if "," in match["whole"]:
        whole = _grouped(whole)
    return f"{whole}{point}{fraction}{percent}"


def _grouped(digits: str) -> str:
    head = len(digits) % 3
    groups = [digits[:head]] if head else []
    groups += [digits[n : n + 3] for n in range(head, len(digits), 3)]
    return ",".join(groups)
