"""What a file is by its first bytes, when it is no list: called by its name, with what to do.

People attach what they have. A file that is refused as "broken" is sent again as it is.
"""

from __future__ import annotations

import re
from zipfile import ZipFile

from core.errors import Code
from core.lists.table import ListUnreadable

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""A file in a zip, or an empty zip."""
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Old binary workbooks, and today's ones when they have a password ([MS-CFB] 2.2)."""

_SAVE_AS = "Excelで開き、「名前を付けて保存」→「Excelブック（.xlsx）」を選んで保存し直してください"
_MAKE_LIST = "Excelで一覧を作り、Excelブック（.xlsx）で保存してください"
_UNPACK = "中の一覧を取り出し、1つずつアップロードしてください"

_OLD = (
    ("EncryptedPackage", "パスワード付きのブックです。パスワードを外して保存し直してください"),
    ("WordDocument", f"Wordの文書（.doc）です。{_MAKE_LIST}"),
    ("PowerPoint Document", f"PowerPointの資料（.ppt）です。{_MAKE_LIST}"),
    ("__properties_version1.0", "メール（.msg）です。添付されている一覧を取り出してください"),
)
"""Streams that tell kinds of old files apart; what has none of them is taken for a workbook."""

_BINARY = (
    (re.compile(rb"\x89PNG\r\n"), f"画像（PNG）です。{_MAKE_LIST}"),
    (re.compile(rb"\xff\xd8\xff"), f"画像（JPEG）です。{_MAKE_LIST}"),
    (re.compile(rb"GIF8[79]a"), f"画像（GIF）です。{_MAKE_LIST}"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), f"画像（BMP）です。{_MAKE_LIST}"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), f"画像（WebP）です。{_MAKE_LIST}"),
    (re.compile(rb"II\*\0|MM\0\*"), f"画像（TIFF）です。{_MAKE_LIST}"),
    (
        re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1|avif)", re.DOTALL),
        f"画像（HEIC）です。{_MAKE_LIST}",
    ),
    (re.compile(rb"L\0\0\0\x01\x14\x02\0"), "ショートカット（.lnk）です。元の一覧を送ってください"),
    (re.compile(rb"\x1f\x8b|7z\xbc\xaf\x27\x1c|Rar!\x1a"), f"圧縮されたファイルです。{_UNPACK}"),
    (
        re.compile(rb"\x09[\x00\x02\x04\x08][\x04\x06\x08]\x00"),
        f"古い形式（.xls）のブックです。{_SAVE_AS}",
    ),
)
"""Files without text."""
_TEXTUAL = (
    (re.compile(rb"%PDF-"), f"PDFです。{_MAKE_LIST}"),
    (re.compile(rb"\{\\rtf"), f"リッチテキスト（.rtf）です。{_MAKE_LIST}"),
    (
        re.compile(
            rb"<(?:!doctype\s+html|html|head|body|table|meta)\b|MIME-Version:", re.IGNORECASE
        ),
        f"Webページとして保存されたものです。{_SAVE_AS}",
    ),
    (re.compile(rb"<\?xml\b"), f"XMLです。{_SAVE_AS}"),
    (re.compile(rb"ID;P[^\r\n]*\r?\n[A-Z];"), f"SYLK（.slk）です。{_SAVE_AS}"),
    (re.compile(rb"TABLE\r?\n0,1\r?\n"), f"DIF（.dif）です。{_SAVE_AS}"),
    (
        re.compile(rb"\[InternetShortcut\]", re.IGNORECASE),
        "ショートカット（.url）です。元の一覧を送ってください",
    ),
)
"""Texts that are no lists."""
_HEAD = 2048
"""Bytes in which a file shows what it is."""


def is_zip(content: bytes) -> bool:
    return content.startswith(ZIP_MAGIC)


def refuse_other_kinds(content: bytes) -> None:
    """Raise ``ListUnreadable`` for a file that is neither a zip nor a text of its own."""
    if content.startswith(OLE_MAGIC):
        raise ListUnreadable(Code.LIST_FORMAT, _old(content))
    for pattern, what in _BINARY:
        if pattern.match(content):
            raise ListUnreadable(Code.LIST_ENCODING, what)
    head = _plain(content[:_HEAD])
    for pattern, what in _TEXTUAL:
        if pattern.match(head):
            raise ListUnreadable(Code.LIST_FORMAT, what)


def _old(content: bytes) -> str:
    for stream, what in _OLD:
        if stream.encode("utf-16-le") in content:
            return what
    return f"古い形式（.xls）のブックです。{_SAVE_AS}"


def _plain(head: bytes) -> bytes:
    """Return the beginning of a text without its mark and the spaces before it."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
        head = head[: len(head) // 2 * 2].decode(codec, "replace").encode("utf-8", "replace")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def refuse_other_zip(archive: ZipFile) -> None:
    """Raise ``ListUnreadable`` for a zip that is no workbook of today's Excel."""
    names = {name.replace("\\", "/").lower() for name in archive.namelist()}
    if any(part.flag_bits & 1 for part in archive.infolist()):
        raise ListUnreadable(
            Code.LIST_FORMAT, f"パスワード付きの圧縮ファイル（ZIP）です。{_UNPACK}"
        )
    what = _zip(names)
    if what:
        raise ListUnreadable(Code.LIST_FORMAT, what)


def _zip(names: set[str]) -> str:
    """Return in Japanese what a zip is; empty when it may be a workbook."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    if "xl/workbook.bin" in names:
        return f"バイナリ形式（.xlsb）のブックです。{_SAVE_AS}"
    if "xl" in folders:
        return ""
    if "[content_types].xml" in names or "_rels/.rels" in names:
        if "word" in folders:
            return f"Wordの文書（.docx）です。{_MAKE_LIST}"
        return f"PowerPointの資料（.pptx）です。{_MAKE_LIST}" if "ppt" in folders else ""
    if "mimetype" in names and "content.xml" in names:
        return f"OpenDocument（.ods など）です。{_SAVE_AS}"
    if "index.zip" in names or any(name.endswith(".iwa") for name in names):
        return (
            "NumbersなどAppleのアプリの文書です。"
            "アプリの「ファイル」→「書き出す」→「Excel」で .xlsx にしてください"
        )
    return f"圧縮ファイル（ZIP）です。{_UNPACK}"
