"""A parser of arguments that complains in Japanese and leaves the end to its caller."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from core.cli import output
from core.errors import ListError

_SENTENCES = (
    (r"the following arguments are required: (.*)", r"必要な指定がありません: \1"),
    (r"unrecognized arguments: (.*)", r"知らない指定です: \1"),
    (r"argument (.*): expected (?:one|at least one) argument", r"\1 に値がありません"),
    (r"argument (.*): invalid int value: (.*)", r"\1 は整数で指定してください（現在: \2）"),
    (
        r"argument (.*): invalid choice: (.*) \(choose from (.*)\)",
        r"\1 は次のどれかにしてください: \3（現在: \2）",
    ),
)
"""What argparse says, and what a reader of Japanese understands."""


class Parser(argparse.ArgumentParser):
    """Raises ``ListError`` where argparse would end the process.

    Options are not abbreviated: what is short today may stand for two of them tomorrow.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        output.say(self.format_usage().rstrip())
        raise ListError(japanese(message))


def japanese(message: str) -> str:
    """Return a message of argparse in Japanese; one that is not known stands in brackets."""
    for pattern, sentence in _SENTENCES:
        match = re.fullmatch(pattern, message, re.DOTALL)
        if match:
            return f"{match.expand(sentence)}。"
    return f"コマンドの指定を読み取れません（{message}）。"
