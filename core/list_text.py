"""CSV, TSV and plain text: bytes → records, whatever Excel or an editor made of them."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from io import StringIO

from core.errors import Code
from core.list_table import IsHeader, ListUnreadable, Record, Table, filled, tidied

_BOMS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8 (BOM)"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_NOT_CP932 = frozenset("\x80\xa0\uf8f0\uf8f1\uf8f2\uf8f3")
"""What Python makes of bytes that CP932 does not use; no Windows program writes them."""
_DELIMITERS = ",\t;"
_TOO_WIDE = '見出しより列が多い行です。「,」を含むパスや名前は、前後を「"」で囲んでください'


def read_text(content: bytes, is_header: IsHeader, limit: int) -> Table:
    """Return the records of a text list, at most ``limit`` of them.

    Raises ``ListUnreadable``: ``LIST_ENCODING`` or ``LIST_TOO_LARGE``.
    """
    text, encoding = decode(content)
    lines = list(StringIO(text, newline=""))
    header, delimiter = _find_header(lines, is_header)
    if header is None:
        # One path a line, and a path may hold commas; nothing on a Windows server holds a tab.
        plain = (tidied(n, line.rstrip("\r\n").split("\t")) for n, line in enumerate(lines, 1))
        return Table(encoding, None, filled(plain, limit))
    if delimiter:
        body = _split(lines, delimiter, width=len(header.cells))
    else:
        # A single heading: there is nothing to split, so commas need no quotes.
        body = (tidied(n, (line.rstrip("\r\n"),)) for n, line in enumerate(lines, 1))
    return Table(encoding, header, filled((r for r in body if r.line > header.line), limit))


def decode(content: bytes) -> tuple[str, str]:
    """Return the text and the label of its encoding; raises ``ListUnreadable``.

    A byte order mark decides. Without one strict UTF-8 comes before CP932, because Japanese
    text in CP932 is hardly ever valid UTF-8 while the reverse often passes.
    """
    if content.startswith(codecs.BOM_UTF32_LE):
        raise ListUnreadable(Code.LIST_ENCODING, "UTF-32には対応していません")
    for bom, codec, label in _BOMS:
        if content.startswith(bom):
            return _decode_marked(content[len(bom) :], codec, label), label
    if content.count(0) * 20 > len(content):
        raise ListUnreadable(Code.LIST_ENCODING, "UTF-16（BOMなし）または文書ではないファイルです")
    try:
        return content.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("cp932")
    except UnicodeDecodeError as exc:
        raise ListUnreadable(Code.LIST_ENCODING, "UTF-8でもCP932でもありません") from exc
    if not _NOT_CP932.isdisjoint(text):
        raise ListUnreadable(Code.LIST_ENCODING, "UTF-8でもCP932でもありません")
    return text, "CP932"


def _decode_marked(content: bytes, codec: str, label: str) -> str:
    # A Windows name may hold half of a surrogate pair: that is one row's fault, not the list's.
    errors = "strict" if codec == "utf-8" else "surrogatepass"
    try:
        return content.decode(codec, errors)
    except UnicodeDecodeError as exc:
        raise ListUnreadable(Code.LIST_ENCODING, f"{label}として読み取れません") from exc


def _find_header(lines: list[str], is_header: IsHeader) -> tuple[Record | None, str]:
    """Return the header and the delimiter that shows it; "" when it has a single heading."""
    single: Record | None = None
    for delimiter in _DELIMITERS:
        records = _split(lines, delimiter)
        first = next((r for r in records if r.fault or any(r.cells)), None)
        if first is None or first.fault or not is_header(first.cells):
            continue
        if len(first.cells) > 1:
            return first, delimiter
        # Its end is where the next record begins: a quoted heading may span lines.
        single = first._replace(line=next((r.line for r in records), len(lines) + 1) - 1)
    return single, ""


def _split(lines: list[str], delimiter: str, width: int | None = None) -> Iterator[Record]:
    """Yield the records of delimited text; more filled cells than ``width`` are a fault.

    A comma that nobody quoted would cut a path short, and the rest might exist as well.
    """
    # strict: otherwise a quote that is never closed swallows the lines after it in silence.
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 1
    while True:
        try:
            record = tidied(line, next(reader))
        except StopIteration:
            return
        except csv.Error:
            yield Record(line, (lines[line - 1].strip(),), '引用符（"）の対応が取れていません')
        else:
            if width and any(record.cells[width:]):
                yield Record(line, (delimiter.join(map(str, record.cells)),), _TOO_WIDE)
            else:
                yield record
        line = reader.line_num + 1
