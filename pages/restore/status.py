"""What S3 says of a restore, asked in the background, and how it is shown everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.concurrency.background import Lookup
from core.model import RunRecord
from core.restore.model import STAGE_WORDS, Stage
from core.restore.run import MAX_TOGETHER
from core.restore.status import RestoreStatus
from pages import services
from pages.auth import guard
from pages.widgets import words

_RENEWED = "statuses-renewed"
"""By run id, after the end of which step this session has asked anew."""
_CELLS = 60
"""Of a bar."""


def of(here: services.Services, record: RunRecord) -> Lookup[RestoreStatus]:
    """Return what is known; never waits. What is older than the last step is not believed."""
    found = here.restores.status(record.run_id)
    ended = record.finished_at
    # Once for each step: where a clock was set back, the new answer would look old as well.
    renewed = st.session_state.setdefault(_RENEWED, {})
    is_old = found.value and ended and found.value.at <= ended
    if is_old and not found.working and renewed.get(record.run_id) != ended:
        renewed[record.run_id] = ended
        here.restores.forget(record.run_id)
        found = here.restores.status(record.run_id)
    return found


def of_all(
    here: services.Services, records: Sequence[RunRecord]
) -> dict[str, Lookup[RestoreStatus]]:
    """Return the same for several restores, which are one question to S3.

    Of the newest ones, that is, until they have as many files as one question may have:
    of the others nothing is known here.
    """
    asked: list[RunRecord] = []
    files = 0
    for record in records:
        files += record.total_files - record.placed_files
        if asked and files > MAX_TOGETHER:
            break
        asked.append(record)
    here.restores.statuses([record.run_id for record in asked])
    found = {record.run_id: of(here, record) for record in asked}
    nothing: Lookup[RestoreStatus] = Lookup(working=False)
    return {record.run_id: found.get(record.run_id, nothing) for record in records}


@st.fragment(run_every=0.5)
def watch(run_ids: tuple[str, ...]) -> None:
    """Draw the page anew once S3 has answered about one of these restores."""
    guard.require_operator()
    here = services.current()
    if not all(here.restores.status(run_id).working for run_id in run_ids):
        st.rerun()
    st.caption("S3 に状況を問い合わせています …")


def counted(status: RestoreStatus) -> list[tuple[Stage, int]]:
    """Return how many files are in each stage, in the order of a bar, without empty ones."""
    return [(stage, n) for stage in words.STAGE_COLORS if (n := status.count(stage))]


def strip(status: RestoreStatus, cells: int) -> str:
    """Return the stages as one bar of so many cells, in Markdown."""
    stages = counted(status)
    widths = words.portions([number for _, number in stages], cells)
    return "".join(
        f":{words.STAGE_COLORS[stage]}[{'█' * width}]"
        for (stage, _), width in zip(stages, widths, strict=True)
    )


def bar(status: RestoreStatus) -> None:
    """Show the stages as one bar with a legend."""
    total, done = len(status.files), status.count(Stage.PLACED)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(strip(status, _CELLS), width="content")
        st.text(f"配置済み {done:,} / {words.count(total)}（{done / total:.0%}）")
    with st.container(horizontal=True):
        for stage, number in counted(status):
            label = f"{STAGE_WORDS[stage]} {words.count(number)}"
            st.badge(label, color=words.STAGE_COLORS[stage])
