"""``/``: the archive list, for everyone. All that is asked stands in the address."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from core.errors import ListError
from core.model import SearchPage, SearchQuery
from core.ports import Catalogue
from pages import services
from pages.search import asked, filters, folders, nothing, overview, table
from pages.search.asked import Asked
from pages.widgets import address, view, words


@view.explained
def render() -> None:
    _page(services.current())


def _page(here: services.Services) -> None:
    # Streamlit knows a fragment by its place: a click in one that has moved meanwhile, because
    # something above came or went, would show nothing.
    above, below = st.container(), st.container()
    wanted = asked.current()
    with above:
        _head(wanted)
        if wanted.view == asked.FOLDERS:
            folders.render(here, wanted.folder)
            return
        found = _found(here, wanted)
    if found is not None:
        with below:
            table.rows(wanted, *found)


def _found(here: services.Services, wanted: Asked) -> tuple[SearchQuery, SearchPage, str] | None:
    """Show everything above the rows; return the search, its page and the number of hits in
    words, None when there are none."""
    today = datetime.now(here.settings.timezone).date()
    filters.render(wanted, today)
    try:
        query = wanted.query(here.settings.timezone, today)
        with st.spinner("検索しています…"):
            number, found = _search(here.catalogue, query, wanted.page)
    except ListError as exc:
        view.notice("warning", "検索の条件を直してください。", str(exc))
        return None
    if found.entries:
        if not wanted.restricted:
            overview.render(here)
        hits, remark = _hits(here, query, found)
        table.above(wanted, hits, remark, found, number)
        return query, found, hits
    if wanted.restricted:
        nothing.render(here.catalogue, wanted.typed, here.settings.timezone, today)
    else:
        view.notice("info", "アーカイブされたファイルはまだありません。")
    return None


def _hits(here: services.Services, query: SearchQuery, found: SearchPage) -> tuple[str, str]:
    """Return in words how many hits there are, and a remark.

    Where counting them takes too long, the sums by folder may know it.
    """
    if not found.over:
        return words.count(found.total), ""
    numbers = here.summary.ask().value
    total = numbers.count(query) if numbers else None
    if numbers is None or total is None or total < found.total:
        return f"{words.count(found.total)}以上", ""
    as_of = words.time_of_day(numbers.as_of, here.settings.timezone)
    return words.count(total), f"、件数は {as_of} 時点"


def _head(wanted: Asked) -> None:
    title, switch = st.columns([4, 1], vertical_alignment="center")
    title.title("アーカイブ一覧", anchor=False)
    with switch.container(horizontal=True, horizontal_alignment="right"):
        address.follow("list-kind", wanted.view)
        st.segmented_control(
            "見方",
            ["", asked.FOLDERS],
            required=True,
            key="list-kind",
            format_func=lambda view: "フォルダー" if view else "一覧",
            label_visibility="collapsed",
            on_change=_looked,
        )


def _looked() -> None:
    address.put(view=st.session_state["list-kind"] or "")


def _search(catalogue: Catalogue, query: SearchQuery, page: int) -> tuple[int, SearchPage]:
    """Return a page and its number; the last one when there are not that many."""
    found = catalogue.search(query, page=page, per_page=table.PER_PAGE)
    last = table.last_page(found)
    if page > last and not found.entries:
        return last, catalogue.search(query, page=last, per_page=table.PER_PAGE)
    return page, found
