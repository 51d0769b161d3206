"""Lists as people send them, damaged at random: nothing is raised, no line is lost.

``HIMURO_MUTATIONS`` says how many; the same number gives the same lists.
"""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Callable
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import pytest

from core.errors import Code
from core.lists.parser import parse
from core.model import HiddenRows, ListKind, ListSource, ParsedList
from tests.support.books import HEADINGS, cell, packed, parts, relations, row, sheet

MUTATIONS = int(os.environ.get("HIMURO_MUTATIONS", "200"))
TOKYO = ZoneInfo("Asia/Tokyo")
D = r"\\fsx01\share"
MAX_SECONDS = 10
"""Of processor time for one list: a list that takes hours would be noticed, a busy machine not."""
MAX_GROWTH = 200 * 1024
"""KiB that the whole test may add to the memory of its process."""


def filtered() -> str:
    hidden = [row(D, f"隠れ{n}.txt", more=' hidden="1"') for n in (1, 2)]
    return sheet([row(*HEADINGS), row(D, "見える.txt"), *hidden])


def numbered() -> dict[str, str]:
    cells = [cell(12, 1), cell(1.1, 2), cell(7, 3), cell(46300.5, 4), cell("x", 5)]
    codes: list[str | int] = ["0000", 2, '"A"000', "yyyy/mm/dd;@", '@".txt"', "[" * 300]
    return parts(sheet([row(*HEADINGS), *(row(D, c) for c in cells)]), codes=codes)


def shared() -> dict[str, str]:
    """As Excel writes texts, with the readings of Japanese Excel."""
    texts = [*HEADINGS, D, "見積.xlsx", "a_x0041_b", "\\\\fsx01\\share\\c"]
    strings = "".join(f'<si><t>{t}</t><rPh sb="0" eb="1"><t>ミ</t></rPh></si>' for t in texts)
    rows = "".join(
        f'<row r="{n}"><c r="A{n}" t="s"><v>{a}</v></c><c r="B{n}" t="s"><v>{b}</v></c></row>'
        for n, (a, b) in enumerate(((0, 1), (2, 3), (2, 4)), 1)
    )
    written = parts(sheet([rows], after='<mergeCells><mergeCell ref="B2:B3"/></mergeCells>'))
    main = written["xl/workbook.xml"].partition('xmlns="')[2].partition('"')[0]
    written["xl/sharedStrings.xml"] = f'<sst xmlns="{main}">{strings}</sst>'
    written["xl/_rels/workbook.xml.rels"] = relations(
        ("rId1", "worksheet", "worksheets/sheet1.xml"),
        ("rIdS", "styles", "styles.xml"),
        ("rIdX", "sharedStrings", "sharedStrings.xml"),
    )
    return written


MERGED = sheet(
    [row(*HEADINGS), row(f"{D}\\a", "議事録.docx"), row(f"{D}\\b"), row(f"{D}\\c")],
    after='<mergeCells><mergeCell ref="B2:B4"/></mergeCells>',
)
PATHS = sheet([row(f"{D}\\b\\y.txt"), row(f"{D}\\c\\z.txt")])
BOOKS = [
    parts(filtered()),
    parts(MERGED),
    parts(sheet([row(*HEADINGS), row(D, "x.txt")]), PATHS, states=("visible", "hidden")),
    parts(PATHS, PATHS),
    numbered(),
    shared(),
]
QUOTED = [f"{D},資料{n}.txt" for n in range(1, 30)]
QUOTED[4] = QUOTED[4].replace("資料", '"資料')
TEXTS = [
    ("ディレクトリパス,ファイル名\r\n" + "\r\n".join(QUOTED)).encode("cp932"),
    f"PK,ディレクトリパス,ファイル名\r\n1,{D},x.txt\r\n".encode("cp932"),
    f"sep=;\r\nディレクトリパス;ファイル名\r\n{D};x.txt\r\n".encode("cp932"),
    f"{D}\\a\\f1.txt,\r\n{D}\\a\\f2.txt,\r\n".encode(),
    f'\ufeffディレクトリパス,復元対象ファイル名,備考\n{D},a.txt,"至急\n12/1まで"\n'.encode(),
    f"ディレクトリパス\tファイル名\n{D}\tx.txt\n".encode("utf-16"),
]
SIGNS = ['"', ",", ";", "\t", "\r", "\n", "\x00", "\x85", "\\", "_x000D_", "あ", "<", "&", "[", "0"]


def mutated_bytes(content: bytes, luck: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(luck.randint(1, 6)):
        at = luck.randrange(len(data) + 1)
        match luck.randrange(4):
            case 0:
                data[at : at + luck.randint(1, 8)] = b""
            case 1:
                data[at:at] = luck.choice(SIGNS).encode() * luck.choice((1, 1, 2, 300))
            case 2:
                data[at : at + 4] = luck.randbytes(luck.randint(0, 6))
            case _:
                other = luck.randrange(len(data) + 1)
                data[at:at] = data[other : other + luck.randint(1, 60)]
    return bytes(data)


def mutated_parts(written: dict[str, str], luck: random.Random) -> bytes:
    """Damage one part, or leave it out, in a package that is sound."""
    name = luck.choice(sorted(written))
    changed = dict(written)
    if luck.random() < 0.1:
        del changed[name]
        return packed(changed)
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for part, xml in changed.items():
            data = xml.encode()
            archive.writestr(part, mutated_bytes(data, luck) if part == name else data)
    return stream.getvalue()


def mutated_cells(written: dict[str, str], luck: random.Random) -> bytes:
    """Swap attributes and values that are as such sound."""
    swaps = [
        ('s="', f's="{luck.randrange(8)}" x="'), ('t="inlineStr"', 't="str"'), ("<v>", "<v>-"),
        ("<row", '<row hidden="1"'), ("<row", f'<row r="{luck.randrange(9)}"'), ("B2", "A1"),
        ("<c ", f'<c r="{luck.choice("ABCZ")}{luck.randrange(5)}" '), ("<v>", "<v>1e"),
        ('state="visible"', 'state="hidden"'), ("</is>", "</is><f>1</f>"), ("0000", "[h]"),
        ("<sheetData>", '<cols><col min="1" max="2" hidden="1"/></cols><sheetData>'),
        ("ファイル名", luck.choice(("備考", "ディレクトリパス", "対象ファイル名"))),
    ]  # fmt: skip
    changed = dict(written)
    for old, new in luck.sample(swaps, 3):
        for name, xml in changed.items():
            if old in xml and luck.random() < 0.7:
                changed[name] = xml.replace(old, new, luck.choice((1, -1)))
    return packed(changed)


def mutated(luck: random.Random) -> bytes:
    ways: list[Callable[[], bytes]] = [
        lambda: mutated_bytes(luck.choice(TEXTS), luck),
        lambda: mutated_bytes(packed(luck.choice(BOOKS)), luck),
        lambda: mutated_parts(luck.choice(BOOKS), luck),
        lambda: mutated_cells(luck.choice(BOOKS), luck),
    ]
    return luck.choice(ways)()


def test_the_lists_are_sound_before_they_are_damaged() -> None:
    """Otherwise nothing but refusals would be looked at."""
    for content in (*map(packed, BOOKS), *TEXTS):
        for choice in HiddenRows:
            assert parse([ListSource("x", content)], ListKind.RESTORE, TOKYO, choice).detected


@pytest.mark.parametrize("part", range(4))
def test_damaged_lists(part: int) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(part, MUTATIONS, 4):
        luck = random.Random(number)  # noqa: S311 - to be repeated, not to be secret
        content = mutated(luck)
        kind, choice = luck.choice(list(ListKind)), luck.choice(list(HiddenRows))
        before = resource.getrusage(resource.RUSAGE_SELF)
        parsed = parse([ListSource("x", content)], kind, TOKYO, choice)
        after = resource.getrusage(resource.RUSAGE_SELF)
        accounted(number, content, parsed, choice)
        assert after.ru_utime - before.ru_utime < MAX_SECONDS, number
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < MAX_GROWTH


def accounted(number: int, content: bytes, parsed: ParsedList, choice: HiddenRows) -> None:
    """Check that each line of a list is a row, named in a problem, or blank."""
    refused = [p for p in parsed.problems if p.line is None or not parsed.detected]
    assert parsed.rows or parsed.problems, number
    assert not {(r.source, r.line) for r in parsed.rows} & {
        (p.source, p.line) for p in parsed.problems
    }, number
    assert all(r.path.startswith("\\\\") for r in parsed.rows), number
    asked = any(p.code is Code.ROWS_HIDDEN for p in parsed.problems)
    assert not asked or choice is HiddenRows.ASK, number
    if content.startswith(b"PK\x03\x04") or not parsed.detected:
        assert parsed.detected or refused, number
        return
    # Text: each line that begins with a path below the headings.
    told = {r.line for r in parsed.rows} | {p.line for p in parsed.problems}
    encoding = {"CP932": "cp932", "UTF-16": "utf-16"}.get(parsed.detected[0].encoding, "utf-8-sig")
    text = content.decode(encoding, "surrogatepass" if encoding == "utf-16" else "strict")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((n for n, line in enumerate(lines, 1) if "ディレクトリパス" in line), 0)
    for line, words in enumerate(lines, 1):
        if line > first and words.startswith(D):
            assert line in told, (number, line, words)
