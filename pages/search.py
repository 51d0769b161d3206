"""``/``: the archive list, newest first, for everyone."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import streamlit as st

from core.model import Entry, SearchPage, SearchQuery
from core.ports import Catalogue
from pages.common import services, view, words
from pages.finding import folders, overview

PER_PAGE = 100
_MOST_LETTERS = 200
_HEADER = (
    "アーカイブ日時",
    "ディレクトリパス",
    "ファイル名",
    "サイズ",
    "依頼ID",
    "依頼者",
    "コメント",
)
_WIDTHS = {
    "アーカイブ日時": 140,
    "ディレクトリパス": 330,
    "ファイル名": 290,
    "サイズ": 100,
    "依頼ID": 130,
    "依頼者": 110,
}


@view.explained
def render() -> None:
    st.title("アーカイブ一覧", anchor=False)
    here = services.current()
    if st.query_params.get("view") == "folders":
        folders.render(here, st.query_params.get("folder", ""))
        return
    words_typed = st.text_input(
        "検索",
        key="q",
        bind="query-params",
        type="search",
        live="600ms",
        placeholder="ファイル名やフォルダー名の一部（空白で区切ると、すべてを含むもの）",
        label_visibility="collapsed",
        on_change=_first_page,
    )
    query = SearchQuery(words=(words_typed or "").strip()[:_MOST_LETTERS])
    number, found = _search(here.catalogue, query, _page_wanted())
    if not found.total:
        _nothing(query)
        return
    if query == SearchQuery():
        overview.render(here)
    _above(found, number)
    timezone = here.settings.timezone
    view.table(
        _HEADER,
        (_row(entry, timezone) for entry in found.entries),
        widths=_WIDTHS,
        formats={"サイズ": words.size},
        most_height=510,
        alt="アーカイブ一覧",
        key="archive-list",
    )


def _row(entry: Entry, timezone: ZoneInfo) -> tuple[object, ...]:
    """Return one row in the order of ``_HEADER``."""
    return (
        words.moment(entry.archived_at, timezone),
        entry.directory,
        entry.name,
        entry.size,
        entry.request_id,
        entry.requester,
        entry.comment,
    )


def _first_page() -> None:
    """Another search begins at its first page."""
    st.session_state["page"] = 1


def _page_wanted() -> int:
    """Return the page number of the session, or of the address somebody sent."""
    wanted = st.session_state.get("page") or st.query_params.get("page", "")
    text = str(wanted)
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 8 else 1


def _search(catalogue: Catalogue, query: SearchQuery, page: int) -> tuple[int, SearchPage]:
    """Return a page and its number; the last one when there are not that many."""
    found = catalogue.search(query, page=page, per_page=PER_PAGE)
    last = _pages(found.total)
    if page > last:
        return last, catalogue.search(query, page=last, per_page=PER_PAGE)
    return page, found


def _pages(total: int) -> int:
    return max(1, -(-total // PER_PAGE))


def _above(found: SearchPage, number: int) -> None:
    """The number of hits, which of them are shown, and the way to the others."""
    first = (number - 1) * PER_PAGE + 1
    last = first + len(found.entries) - 1
    left, right = st.columns([1, 1], vertical_alignment="center")
    more = "以上" if found.over else ""
    left.text(f"{words.count(found.total)}{more}（{first:,}～{last:,}件目を表示、新しい順）")
    if _pages(found.total) > 1:
        st.session_state["page"] = number
        pages = _pages(found.total)
        with right.container(horizontal=True, horizontal_alignment="right"):
            width = view.pagination_width(pages)
            st.pagination(pages, width=width, key="page", bind="query-params")


def _nothing(query: SearchQuery) -> None:
    if query.words:
        view.notice("info", "該当するファイルはありません。", "")
        st.markdown(
            "- 言葉を減らすか、短くしてみてください。\n"
            "- 空白で区切った言葉は、すべてを含むものだけが見つかります。\n"
            "- 全角と半角、大文字と小文字、ひらがなとカタカナの違いは気にしなくて構いません。"
        )
    else:
        view.notice("info", "アーカイブされたファイルはまだありません。")
