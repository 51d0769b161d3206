r"""UNC paths as people type and paste them.

One form comes out, ``\\server\share\folder\name``; what cannot be meant as that is refused
with what is needed instead. Whether it lies in a share of ours is not asked here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from core.errors import Code, ItemError
from core.paths.normalization import identity, split_unc

EDGE = (
    " \t\r\n\v\f\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u202f"
    "\u205f\u2060\u2066\u2067\u2068\u2069\u3000\ufeff"
)
"""What is ignored around a cell: spaces of every width, and what nobody sees. Windows' own
security dialog puts U+202A before the paths that are copied from it."""

_SEPARATORS = "\\/\u00a5\uffe5\uff3c\uff0f"
r"""What people type for the two leading backslashes: ``\`` ``/`` and, with a Japanese
keyboard, the yen sign, its full-width form, and full-width backslash and slash."""

_ILLEGAL = re.compile('[<>:"|?*]')
"""Letters that no Windows name can hold (Microsoft, "Naming Files, Paths, and Namespaces")."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SUSPECT = re.compile('[\x00-\x1f\x7f-\x9f<>:"|?*\ud800-\udfff]')
_PARENT = re.compile(r"(?:^|\\)\s*\.{1,2}\s*(?:\\|$)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[\\/]")
_DRIVE = re.compile(r"[A-Za-z]:")
_PATH_LIKE = re.compile(f"[{re.escape(_SEPARATORS)}]|{_DRIVE.pattern}[\\\\/]|{_URL.pattern}")

_NEEDED = "\\\\サーバー名\\共有名 から始まるパスが必要です"


def tidy(cell: str) -> str:
    """Return a cell without what surrounds the text, Windows' "copy as path" quotes included."""
    text = cell.strip(EDGE)
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].strip(EDGE)
    return text


def _unquoted(cell: str) -> str:
    text = cell.strip(EDGE)
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else cell


def is_path_like(text: str) -> bool:
    """Return whether a tidy text is meant as an absolute path or an address, right or wrong."""
    return _PATH_LIKE.match(text) is not None


def as_written(directory: str, name: str) -> str:
    """Return two tidy cells as the one path they mean, letters and separators as typed."""
    if not name or not directory or _is_unc(name):
        return name or directory
    return f"{directory}{name}" if directory[-1] in "\\/" else f"{directory}\\{name}"


def join(directory: str, name: str = "", *, strict: bool = True) -> str:
    r"""Return the UNC path that two tidy cells mean; ``name`` may be empty.

    A name may hold separators (``sub\a.txt``), or be a whole UNC path below the directory.
    ``strict`` refuses the letters that Windows does. Raises ``ItemError`` with
    ``PATH_SYNTAX``, ``PATH_PARENT`` or ``NAME_NOT_STORABLE``.
    """
    if _is_unc(name):
        path = _unc(name, strict)
        if directory and not _within(path, _unc(directory, strict)):
            raise ItemError(
                Code.PATH_SYNTAX, "ファイル名の列に、ディレクトリパスの外のパスが書かれています"
            )
        return path
    if not directory:
        raise ItemError(
            Code.PATH_SYNTAX,
            "ディレクトリパスが空です。セルの結合は解除し、すべての行に書いてください",
        )
    base = _unc(directory, strict)
    if not name:
        return base
    relative = name.replace("/", "\\")
    _refuse_bad(relative, strict)
    parts = split_unc(relative)
    if not parts:
        raise ItemError(Code.PATH_SYNTAX, "ファイル名が区切り文字だけです")
    return "\\".join((base, *parts))


def exactly(directory: str, name: str) -> str:
    """Return what ``join`` does for two cells as they stand in the file, spaces untouched.

    Only what stands before the first separator is never part of a name.
    """
    directory, name = _unquoted(directory).lstrip(EDGE), _unquoted(name)
    if _is_unc(name.lstrip(EDGE)):
        directory, name = name.lstrip(EDGE), ""
    parts = split_unc(_device_unc(_backslashes(directory)))
    below = split_unc(name.replace("/", "\\")) if name.strip(EDGE) else ()
    return "\\\\" + "\\".join((*parts, *below))


def comes_back(path: str) -> bool:
    """Return whether a line of a path list that holds ``path`` means it again."""
    if _PARENT.search(path) or _PARENT.search(path.rstrip(EDGE)):
        return False
    return path.rpartition("\\")[2].strip(EDGE) != ""


def _is_unc(text: str) -> bool:
    return len(text) > 2 and text[0] in _SEPARATORS and text[1] in _SEPARATORS


def _within(path: str, directory: str) -> bool:
    return f"{identity(path)}\\".startswith(f"{identity(directory)}\\")


@lru_cache(maxsize=4096)
def _unc(text: str, strict: bool) -> str:
    plain = _device_unc(_backslashes(text))
    if not plain.startswith("\\\\"):
        raise ItemError(Code.PATH_SYNTAX, _what_instead(plain))
    plain = plain.rstrip("\\" + EDGE)
    _refuse_bad(plain, strict)
    parts = split_unc(plain)
    if len(parts) < 2:
        raise ItemError(Code.PATH_SYNTAX, f"共有名がありません。{_NEEDED}")
    return "\\\\" + "\\".join(parts)


def _backslashes(text: str) -> str:
    """Return ``text`` with backslashes for separators.

    A yen sign or a full-width slash separates only in a path that begins with two of its
    kind: elsewhere it is a legal letter of a name (``￥100.txt``).
    """
    if _is_unc(text):
        for sign in set(text[:2]):
            text = text.replace(sign, "\\")
    return text.replace("/", "\\")


def _device_unc(plain: str) -> str:
    r"""Return ``\\?\UNC\server\share`` as ``\\server\share``; anything else as it is."""
    if plain[:8].upper() == "\\\\?\\UNC\\":
        return "\\\\" + plain[8:]
    return plain[4:] if plain.startswith(("\\\\?\\", "\\\\.\\")) else plain


def _what_instead(plain: str) -> str:
    if _URL.match(plain):
        return f"URLは使えません。{_NEEDED}"
    if _DRIVE.match(plain):
        return f"ドライブ名（Z: など）は使えません。{_NEEDED}"
    return _NEEDED


def _refuse_bad(plain: str, strict: bool) -> None:
    """Raise ``ItemError`` when a path with backslashes holds what no list of ours can, or,
    if ``strict``, no Windows path."""
    if _PARENT.search(plain):
        raise ItemError(Code.PATH_PARENT)
    if not _SUSPECT.search(plain):
        return
    if "\n" in plain or "\r" in plain:
        raise ItemError(
            Code.PATH_SYNTAX, "セルの中に改行があります。1行に1つのパスを書いてください"
        )
    if _CONTROL.search(plain):
        raise ItemError(Code.PATH_SYNTAX, "タブなどの制御文字が含まれています")
    if _SURROGATE.search(plain):
        raise ItemError(Code.NAME_NOT_STORABLE, "壊れた文字が含まれています")
    if strict:
        raise ItemError(Code.PATH_SYNTAX, forbidden(plain))


def forbidden(path: str) -> str:
    """Return in Japanese which letters of a path Windows does not allow, and what they may have
    been meant for; empty when there are none."""
    illegal = "".join(dict.fromkeys(_ILLEGAL.findall(path)))
    if not illegal:
        return ""
    what = f"名前に使えない文字「{illegal}」が含まれています"
    if "*" in illegal or "?" in illegal:
        what += (
            "。「*」や「?」でまとめて指定することはできません。"
            "ファイルを1つずつ書くか、フォルダーを書いてください"
        )
    if "?" in illegal:
        # Excel writes a question mark for every letter that CP932 does not have.
        what += (
            "。保存のときに文字が失われたのなら、"
            "元の一覧を「CSV UTF-8（コンマ区切り）」で保存し直してください"
        )
    return what
