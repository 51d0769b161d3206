"""Which browser a ``User-Agent`` header names, in words that people know.

The header is written by whoever sends it: only words of this module come out, whatever is in it.
"""

from __future__ import annotations

_MAX_LETTERS = 512
"""Of the header; real ones have some 120."""

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("Trident/", "Internet Explorer"),
)
"""The first that is found counts: Edge calls itself Chrome and Safari as well."""
_SYSTEMS = (
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)
UNKNOWN = "不明なブラウザー"


def in_words(user_agent: str) -> str:
    """Return ``Chrome（Windows）`` for a browser that is known, else ``UNKNOWN``."""
    text = user_agent[:_MAX_LETTERS]
    browser = next((name for part, name in _BROWSERS if part in text), "")
    system = next((name for part, name in _SYSTEMS if part in text), "")
    if not browser:
        return UNKNOWN
    return f"{browser}（{system}）" if system else browser
