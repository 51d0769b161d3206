"""The restores that are open: where their files stand, and the way to each."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import UTC, datetime

import streamlit as st

from core.concurrency.background import Lookup
from core.model import RunKind, RunRecord, RunState
from core.restore.model import STAGE_WORDS, Stage
from core.restore.status import READY_STAGES, RestoreStatus
from pages import services
from pages.auth import guard
from pages.restore import status
from pages.widgets import address, view, words

_MOST = 20
_CELLS = 12
"""Of the bar of one restore."""
_WIDTHS = [1.7, 1.9, 1.5, 1.0, 3.2, 2.5, 1.1]


def render(here: services.Services, records: Sequence[RunRecord], queued: Container[str]) -> None:
    """Show open restores, newest first; ``queued`` are those that wait for their turn."""
    guard.require_operator()
    if not records:
        return
    st.subheader(f"取り出し中の復元（{words.count(len(records))}）", anchor=False)
    shown = records[:_MOST]
    found = status.of_all(here, shown)
    with st.container(key="open-restores", gap=None):
        for record in shown:
            _row(here, record, found[record.run_id], record.run_id in queued)
    if len(records) > _MOST:
        st.caption(f"新しい{words.count(_MOST)}を表示しています。")
        address.link(address.RUNS, "すべての復元を見る", kind=RunKind.RESTORE)
    working = tuple(run_id for run_id, lookup in found.items() if lookup.working)
    if working:
        status.watch(working)


def _row(
    here: services.Services, record: RunRecord, found: Lookup[RestoreStatus], queued: bool
) -> None:
    when, request, requester, files, stages, until, link = st.columns(
        _WIDTHS, vertical_alignment="center"
    )
    when.text(words.moment(record.created_at, here.settings.timezone))
    request.text(record.request.request_id, wrap=False)
    requester.text(record.request.requester, wrap=False)
    files.text(words.count(record.total_files))
    with stages.container(horizontal=True, gap="small"):
        if found.value is None or record.state is not RunState.WAITING:
            view.state_badge(record.state, queued=queued)
        if found.value:
            st.markdown(status.strip(found.value, _CELLS), width="content")
            for stage, number in status.counted(found.value):
                st.badge(f"{STAGE_WORDS[stage]} {number:,}", color=words.STAGE_COLORS[stage])
        elif found.message:
            st.text("S3に問い合わせられません")
    until.text(when_next(here, record, found.value))
    with link:
        address.way_to(record, address.RESTORE, "開く", key=f"open-{record.run_id}")


def when_next(here: services.Services, record: RunRecord, known: RestoreStatus | None) -> str:
    """Return by when something happens, one short line; empty when nothing is known."""
    if known is None:
        return ""
    timezone = here.settings.timezone
    if known.count(*READY_STAGES) and known.first_expiry:
        return f"期限 {words.moment(known.first_expiry, timezone)}"
    if known.count(Stage.REQUESTED, Stage.THAWING) and record.ready_by:
        late = "（過ぎています）" if record.ready_by < datetime.now(UTC) else ""
        return f"遅くとも {words.moment(record.ready_by, timezone)}{late}"
    return ""
