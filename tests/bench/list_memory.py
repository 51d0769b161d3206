"""The memory that a console takes for one upload, at its worst: each form of list, in a console
of its own, sent by a real browser.

Idle is what the console takes when somebody has signed in and the form stands there; the peak is
the kernel's own (VmHWM), over upload, check, the page with what was found, and its download.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from playwright.sync_api import Browser

from core.lists.table import MAX_BYTES
from tests.bench.measure import BenchError
from tests.bench.report import Row, note
from tests.support.books import HEADINGS, MAIN, RELATIONS, SHEET, parts, relations, row, sheet
from tests.support.servers.browser import Installation, chromium, installation, screen, served
from tests.support.share import UNC

MAX_MB = 200
"""1,000,000 bytes each, above the idle console."""
_ROWS = 199_990
_MINUTES = 10 * 60_000
_ENDED = re.compile("実行できます|要求できます|誤りがあるため|確認できませんでした|一致する")
_STRINGS = "xl/sharedStrings.xml"
_TITLES = "ディレクトリパス,ファイル名\r\n"


@dataclass(frozen=True, slots=True)
class _Case:
    what: str
    files: Callable[[Path], list[tuple[str, bytes]]]
    """Name and content of what is sent; given the share."""
    page: str = "/archive"


def memory(directory: Path, _rounds: int) -> list[Row]:
    """Return a line for each form, and whether all of them stay below the limit."""
    most, rows = 0.0, []
    with installation(directory, files=5, restores=True) as here, chromium() as browser:
        for case in _CASES:
            idle, peak, said = _measured(here, browser, case)
            most = max(most, peak - idle)
            note(f"list memory, {case.what}: {peak - idle:.0f} MB above {idle:.0f} ({said})")
            rows.append(Row("list memory", case.what, f"{peak - idle:.0f} MB", rounds=said))
    return [*rows, Row("list memory", f"below {MAX_MB} MB", f"{most:.0f} MB", most < MAX_MB)]


def _measured(here: Installation, browser: Browser, case: _Case) -> tuple[float, float, str]:
    """Return the idle console's megabytes, the most it took, and what the page said."""
    lists = []
    for name, content in case.files(here.share.root):
        path = here.root / name
        path.write_bytes(content)
        lists.append(path)
    if any(path.stat().st_size > MAX_BYTES for path in lists):
        raise BenchError(f"{case.what} is larger than a list may be")
    with served(here) as console, screen(browser, console.url) as window:
        assert console.process
        window.open(case.page)
        window.settle()
        process = Path(f"/proc/{console.process.pid}")
        (process / "clear_refs").write_text("5")  # the peak begins anew
        idle = _megabytes(process, "VmRSS")
        window.page.set_default_timeout(_MINUTES)
        window.submit(lists, "REQ-1", "山田")
        found = window.page.get_by_text(_ENDED).first
        found.wait_for(timeout=_MINUTES)
        said = found.inner_text().splitlines()[0][:40]
        window.settle()
        link = window.page.get_by_role("link", name=re.compile("ダウンロード（CSV）"))
        if link.count():
            with window.page.expect_download(timeout=_MINUTES) as started:
                link.first.click()
            started.value.path()
        return idle, _megabytes(process, "VmHWM"), said


def _megabytes(process: Path, name: str) -> float:
    (value,) = re.findall(rf"^{name}:\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
    return int(value) * 1024 / 1e6


# What is sent


def _text(name: str, line: str, codec: str, titles: str = _TITLES) -> list[tuple[str, bytes]]:
    """Return a list of that many lines, or as many as a list may have bytes."""
    mark, plain = ("\ufeff", "utf-16-le") if codec == "utf-16" else ("", codec)
    content = (mark + titles).encode(plain)
    room = (MAX_BYTES - len(content)) // len(line.format(_ROWS).encode(plain))
    lines = "".join(line.format(n) for n in range(min(_ROWS, room)))
    return [(name, content + lines.encode(plain.removesuffix("-sig")))]


def _existing(share: Path) -> list[tuple[str, bytes]]:
    """Every row names a file that is there."""
    place = share / "多数"
    place.mkdir()
    for number in range(_ROWS):
        (place / f"{number:06}{'名' * 22}").touch()
    return _text("existing.csv", f"{UNC}\\多数,{{0:06}}{'名' * 22}\r\n", "utf-8-sig")


def _beside(_share: Path) -> list[tuple[str, bytes]]:
    """As many files of that directory that do not exist."""
    return _text("beside.csv", f"{UNC}\\多数,{{0:06}}{'写' * 22}\r\n", "utf-8-sig")


def _directory(_share: Path) -> list[tuple[str, bytes]]:
    """The same files, by their folder."""
    return [("folder.csv", f"{_TITLES}{UNC}\\多数,\r\n".encode())]


def _book(
    lines: Iterable[str], strings: Iterable[str] = (), after: Iterable[str] = ()
) -> list[tuple[str, bytes]]:
    written = parts(sheet([]))
    written[RELATIONS] = written[RELATIONS].replace(
        "</Relationships>",
        relations(("rIdX", "sharedStrings", "sharedStrings.xml")).partition(">")[2],
    )
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED, compresslevel=6) as archive:
        for name, xml in written.items():
            if name not in (SHEET, _STRINGS):
                archive.writestr(name, xml)
        for name, open_, pieces, close in (
            (_STRINGS, f'<sst xmlns="{MAIN}">', strings, "</sst>"),
            (
                SHEET,
                f'<worksheet xmlns="{MAIN}"><sheetData>{row(*HEADINGS)}',
                lines,
                "</sheetData>",
            ),
        ):
            with archive.open(name, "w") as part:
                part.write(open_.encode())
                for piece in pieces:
                    part.write(piece.encode())
                part.write(close.encode())
                if name == SHEET:
                    part.write(f"{''.join(after)}</worksheet>".encode())
    return [("book.xlsx", stream.getvalue())]


def _distinct(_share: Path) -> list[tuple[str, bytes]]:
    """Two shared strings a row, each of them its own."""
    texts = (f"<si><t>{UNC}\\{n:06}{'名' * 40}</t></si><si><t>{n:x}</t></si>" for n in range(_ROWS))
    cells = '<row><c t="s"><v>{}</v></c><c t="s"><v>{}</v></c></row>'
    return _book((cells.format(2 * n, 2 * n + 1) for n in range(_ROWS)), texts)


def _one_long(_share: Path) -> list[tuple[str, bytes]]:
    """One long shared string in 20,000 rows."""
    used = '<row><c t="str"><v>\\\\s\\d</v></c><c t="s"><v>0</v></c></row>'
    return _book([used] * 20_000, [f"<si><t>{'漢' * 32_000}</t></si>"])


def _merged(_share: Path) -> list[tuple[str, bytes]]:
    """Every row is covered by a merge of its own."""
    cells = f'<row r="{{0}}"><c r="A{{0}}" t="str"><v>{UNC}\\{{0}}</v></c></row>'
    merges = (f'<mergeCell ref="A{n}:B{_ROWS}"/>' for n in range(2, _ROWS - 10))
    after = ["<mergeCells>", *merges, "</mergeCells>"]
    return _book((cells.format(n) for n in range(2, _ROWS)), after=after)


def _blank(_share: Path) -> list[tuple[str, bytes]]:
    """A million rows of five cells with a format and nothing in them."""
    cells = "".join(f'<c r="{letter}{{0}}" s="0"/>' for letter in "ABCDE")
    return _book(f'<row r="{n}">{cells.format(n)}</row>' for n in range(2, 1_000_000))


def _several(_share: Path) -> list[tuple[str, bytes]]:
    """Four lists at once, 200,000 rows together, and each padded to what one may have."""
    sent = []
    for number in range(4):
        lines = "".join(f"{UNC}\\{number}-{n:05},{'名' * 20}\r\n" for n in range(_ROWS // 4))
        content = (_TITLES + lines).encode()
        sent.append((f"several{number}.csv", content))
    return sent


_EXPORTED = (
    "アーカイブ日時,ディレクトリパス,アーカイブファイル名,ファイルサイズ,依頼ID,依頼者,S3キー\r\n"
)
_MISSING = f"{UNC}\\{{0:06}},{'名' * 22}\r\n"
_CASES = (
    _Case("CSV, UTF-8: no file exists", lambda _: _text("u8.csv", _MISSING, "utf-8-sig")),
    _Case("CSV, UTF-16: no file exists", lambda _: _text("u16.csv", _MISSING, "utf-16")),
    _Case("CSV, CP932: no file exists", lambda _: _text("sjis.csv", _MISSING, "cp932")),
    _Case(
        "CSV: no path is one",
        lambda _: _text("drive.csv", f"Z:\\{{0:06}},{'名' * 24}\r\n", "utf-8"),
    ),
    _Case("CSV: all the same", lambda _: _text("same.csv", f"{UNC}\\a,{'名' * 20}\r\n", "utf-8")),
    _Case(
        "CSV: one quoted field of 18 MB",
        lambda _: [("quote.csv", (_TITLES + '"' + "a" * 18_000_000 + '",').encode())],
    ),
    _Case("CSV: zero bytes", lambda _: _text("zero.csv", f"{UNC}\\\0{{0}},x\r\n", "utf-8")),
    _Case(
        "TSV: no file exists",
        lambda _: _text("t.tsv", _MISSING.replace(",", "\t"), "utf-8", _TITLES.replace(",", "\t")),
    ),
    _Case(
        "error file list",
        lambda _: _text("paths.txt", f"{UNC}\\{{0:06}}\\{'名' * 22}\r\n", "utf-8-sig", ""),
    ),
    _Case("four lists at once", _several),
    _Case("xlsx: no file exists", _distinct),
    _Case("xlsx: one string in 20,000 rows", _one_long),
    _Case("xlsx: every row merged", _merged),
    _Case("xlsx: a million blank rows", _blank),
    _Case("CSV: 200,000 files that exist", _existing),
    _Case("CSV: their folder", _directory),
    _Case("CSV: as many that are missing there", _beside),
    _Case(
        "restore list, exported columns",
        lambda _: _text(
            "restore.csv",
            f"2026-10-05 10:15:00,{UNC}\\{{0:06}},名_archived.txt,1,R,山,fsx01/share/{{0:06}}\r\n",
            "utf-8-sig",
            _EXPORTED,
        ),
        page="/restore",
    ),
)
