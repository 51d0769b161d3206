"""Workbooks part by part, so that a test may say what Excel or a forger would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from xml.sax.saxutils import escape, quoteattr
from zipfile import ZIP_DEFLATED, ZipFile

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
HEADINGS = ("ディレクトリパス", "ファイル名")
SHEET, BOOK = "xl/worksheets/sheet1.xml", "xl/workbook.xml"
RELATIONS = "xl/_rels/workbook.xml.rels"


def cell(value: str | float, style: int = 0) -> str:
    """Return a cell without a place; what follows another stands right of it."""
    if isinstance(value, str):
        return f'<c s="{style}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c s="{style}"><v>{value!r}</v></c>'


def row(*cells: str | float, line: int | None = None, more: str = "") -> str:
    """Return a row of texts, numbers and whole cells (``<c …``)."""
    number = "" if line is None else f' r="{line}"'
    inside = "".join(c if isinstance(c, str) and c.startswith("<c") else cell(c) for c in cells)
    return f"<row{number}{more}>{inside}</row>"


def sheet(rows: Iterable[str], before: str = "", after: str = "") -> str:
    return (
        f'<worksheet xmlns="{MAIN}">{before}<sheetData>{"".join(rows)}</sheetData>'
        f"{after}</worksheet>"
    )


def styles(codes: Sequence[str | int]) -> str:
    """Return the styles part; the cell formats, from 1 on, are numbers that Excel knows or
    codes of one's own."""
    own = "".join(
        f'<numFmt numFmtId="{200 + i}" formatCode={quoteattr(code)}/>'
        for i, code in enumerate(codes)
        if isinstance(code, str)
    )
    numbers = [200 + i if isinstance(code, str) else code for i, code in enumerate(codes)]
    cells = "".join(f'<xf numFmtId="{number}"/>' for number in (0, *numbers))
    inside = f"<numFmts>{own}</numFmts><cellXfs>{cells}</cellXfs>"
    return f'<styleSheet xmlns="{MAIN}">{inside}</styleSheet>'


def relations(*entries: tuple[str, str, str]) -> str:
    inside = "".join(
        f'<Relationship Id="{id_}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for id_, kind, target in entries
    )
    return f'<Relationships xmlns="{PACKAGE}">{inside}</Relationships>'


def parts(
    *sheets: str, codes: Sequence[str | int] = (), states: Sequence[str] = ()
) -> dict[str, str]:
    """Return the parts of a workbook; ``states``: of its sheets, visible when left out."""
    numbered = list(enumerate(sheets, 1))
    shown = [*states, *["visible"] * (len(sheets) - len(states))]
    named = "".join(
        f'<sheet name="シート{n}" sheetId="{n}" state="{shown[n - 1]}" r:id="rId{n}"/>'
        for n, _ in numbered
    )
    return {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(("rId1", "officeDocument", BOOK)),
        RELATIONS: relations(
            *((f"rId{n}", "worksheet", f"worksheets/sheet{n}.xml") for n, _ in numbered),
            ("rIdS", "styles", "styles.xml"),
        ),
        BOOK: f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{named}</sheets></workbook>',
        "xl/styles.xml": styles(codes),
        **{f"xl/worksheets/sheet{n}.xml": xml for n, xml in numbered},
    }


def packed(written: dict[str, str]) -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, xml in written.items():
            archive.writestr(name, f'<?xml version="1.0"?>{xml}'.encode())
    return stream.getvalue()


def book(*sheets: str, codes: Sequence[str | int] = (), states: Sequence[str] = ()) -> bytes:
    return packed(parts(*sheets, codes=codes, states=states))
