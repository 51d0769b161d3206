"""Any text as Markdown that shows it letter by letter: for labels, which know nothing else."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"[!-/:-@\[-`{-~]")
"""All that CommonMark lets a backslash stand before."""
_TOGETHER = re.compile(r"([:<>=~-])")
"""Streamlit makes emojis and arrows of what is left after Markdown: ``:ice:``, ``->``, ``--``."""
_APART = "\u2060"
"""Cannot be seen, and no line is broken at it."""


def literally(text: str) -> str:
    """Return Markdown that is read as ``text``, in one line."""
    line = " ".join(text.splitlines())
    return _TOGETHER.sub(rf"\1{_APART}", _SIGNS.sub(r"\\\g<0>", line))
