"""The lines of a text in whatever encoding it has, a piece at a time."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.errors import Code
from core.lists.table import MAX_LINES, ListUnreadable

LONGEST_LINE = 131_072
"""Characters; of a longer line no more than that is kept."""
_BLOCK = 64 * 1024
"""Bytes that are decoded at a time."""
_BREAK = re.compile("\r\n|\r|\n")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8 (BOM)"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_NOT_CP932 = frozenset("\x80\xa0\uf8f0\uf8f1\uf8f2\uf8f3")
"""What Python makes of bytes that CP932 does not use; no Windows program writes them."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How bytes are to be read."""

    label: str
    """What the operator is shown: ``UTF-8``, ``UTF-8 (BOM)``, ``CP932`` or ``UTF-16``."""
    codec: str
    mark: int = 0
    """Bytes of the byte order mark."""

    def blocks(self, content: bytes) -> Iterator[str]:
        """Yield the text in pieces; raises ``UnicodeDecodeError``."""
        # A Windows name may hold half of a surrogate pair: that is one row's fault.
        errors = "surrogatepass" if self.codec.startswith("utf-16") else "strict"
        decode = codecs.getincrementaldecoder(self.codec)(errors).decode
        for start in range(self.mark, len(content), _BLOCK):
            end = start + _BLOCK
            yield decode(content[start:end], end >= len(content))


def encoding(content: bytes) -> Encoding:
    """Return the encoding that all of a text fits; raises ``ListUnreadable``.

    A byte order mark decides. Without one strict UTF-8 comes before CP932, because Japanese
    text in CP932 is hardly ever valid UTF-8 while the reverse often passes.
    """
    if content.startswith(codecs.BOM_UTF32_LE):
        raise ListUnreadable(Code.LIST_ENCODING, "UTF-32には対応していません")
    for bom, codec, label in _BOMS:
        if content.startswith(bom):
            marked = Encoding(label, codec, len(bom))
            if not _fits(content, marked):
                raise ListUnreadable(Code.LIST_ENCODING, f"{label}として読み取れません")
            return marked
    if content.count(0) * 20 > len(content):
        raise ListUnreadable(Code.LIST_ENCODING, "UTF-16（BOMなし）または文書ではないファイルです")
    for plain in (Encoding("UTF-8", "utf-8"), Encoding("CP932", "cp932")):
        if _fits(content, plain):
            return plain
    raise ListUnreadable(Code.LIST_ENCODING, "UTF-8でもCP932でもありません")


def _fits(content: bytes, plain: Encoding) -> bool:
    try:
        for block in plain.blocks(content):
            if plain.codec == "cp932" and not _NOT_CP932.isdisjoint(block):
                return False
    except UnicodeDecodeError:
        return False
    return True


class Lines:
    """The lines of a text from the first to the last, with a look at those that come next."""

    def __init__(self, content: bytes, plain: Encoding) -> None:
        self._source = _split(plain.blocks(content))
        self._next: deque[str] = deque()
        self._fetched = 0
        self.number = 1
        """1-based, of the next line."""

    def ahead(self, distance: int = 0) -> str | None:
        """Return a line that comes next, 0 for the very next one, without its end; None after
        the last. Raises ``ListUnreadable`` when there are too many, blank ones included."""
        while len(self._next) <= distance:
            line = next(self._source, None)
            if line is None:
                return None
            self._count()
            self._next.append(line)
        return self._next[distance]

    def _count(self) -> None:
        self._fetched += 1
        if self._fetched > MAX_LINES:
            raise ListUnreadable(
                Code.LIST_TOO_LARGE,
                f"{MAX_LINES:,}行を超えています。空の行も数えます。空の行を削除してください",
            )

    def take(self, count: int = 1) -> None:
        """Go on by some lines that were looked at."""
        for _ in range(count):
            self._next.popleft()
        self.number += count

    def skip(self, unwanted: Callable[[str], bool]) -> None:
        """Go on to the first line that is wanted, or to the end."""
        waiting = self._next
        while not waiting or unwanted(waiting[0]):
            if waiting:
                waiting.popleft()
                self.number += 1
                continue
            # One after the other, because there may be a million of them.
            for line in self._source:
                self._count()
                if not unwanted(line):
                    waiting.append(line)
                    return
                self.number += 1
            return


def _split(blocks: Iterator[str]) -> Iterator[str]:
    """Yield lines without their ends; ``\\r``, ``\\n`` and both together end one."""
    rest: list[str] = []
    size = 0
    returned = ""
    for block in blocks:
        block = returned + block  # noqa: PLW2901
        # The other half of the line's end may be in the next block.
        returned = "\r" if block.endswith("\r") else ""
        first, *others = _BREAK.split(block[: len(block) - len(returned)])
        if size <= LONGEST_LINE:
            rest.append(first)
            size += len(first)
        if not others:
            continue
        yield "".join(rest)[: LONGEST_LINE + 1]
        *whole, last = others
        yield from whole
        rest, size = [last], len(last)
    if returned or size:
        yield "".join(rest)[: LONGEST_LINE + 1]
