"""One restore: where its files stand, what can be done now, its files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import streamlit as st

from core.errors import HimuroError
from core.model import RunKind, RunRecord, RunState
from core.restore.model import STAGE_WORDS, Stage, Tier, copy_expires
from core.restore.status import OPEN_STAGES, READY_STAGES, FileStatus, RestoreStatus
from pages import services
from pages.auth import guard
from pages.http.routes import file_address
from pages.restore import placing, status
from pages.widgets import address, view, words
from pages.widgets.confirmation import Act, confirm

_AGAIN = (Stage.EXPIRED, Stage.EXPIRING, Stage.UNREQUESTED, Stage.FAILED)
"""What a new request may help."""
_ORDER = (
    Stage.FAILED,
    Stage.UNREQUESTED,
    Stage.EXPIRED,
    Stage.EXPIRING,
    Stage.READY,
    Stage.REQUESTED,
    Stage.THAWING,
    Stage.PLACED,
)
"""What needs somebody comes first in the table."""
_MAX_SHOWN = 1000
_FILES = ("restore_requests.txt", "restore_errors.txt", "report.csv", "error_log.txt")
_HEADER = ("状況", "ファイル名", "サイズ", "期限", "配置先", "理由", "元のフォルダー")
_WIDTHS = {
    "状況": 120,
    "ファイル名": 230,
    "サイズ": 80,
    "期限": 130,
    "配置先": 280,
    "理由": 220,
}


def render(here: services.Services, run_id: str) -> None:
    """Show a restore that nothing is being done with."""
    guard.require_operator()
    record = here.jobs.record(run_id)
    if record is None:
        view.notice("warning", "この実行は見つかりません。アドレスを確認してください。")
        return
    if record.kind != RunKind.RESTORE:
        view.notice("info", f"これは{words.kind(record.kind)}の実行です。")
        path = address.of_kind(record.kind)
        address.link(path, "アーカイブの画面で見る", ":material/chevron_right:", run=run_id)
        return
    _about(record, here.settings.timezone)
    if record.state is RunState.RUNNING:
        view.notice("info", words.next_step(record))
        _until_it_ends(run_id)
        return
    if record.state is not RunState.WAITING:
        headline = f"{words.STATE_WORDS[record.state]}　{words.next_step(record)}"
        view.notice(view.level(record.state), headline, record.message)
    if record.total_files and record.state is not RunState.REFUSED:
        _now(here, record)
    else:
        view.metrics(words.numbers(record))
    _downloads(here, record)


def _about(record: RunRecord, timezone: ZoneInfo) -> None:
    by = record.request.started_by
    tier = record.tier
    view.facts(
        (
            ("依頼ID", record.request.request_id),
            ("依頼者", record.request.requester),
            ("コメント", record.request.comment),
            ("一覧", "、".join(record.inputs)),
            ("受付", words.moment(record.created_at, timezone)),
            ("実行者", by),
            ("最後の操作", record.last_by if record.last_by != by else ""),
            ("取り出しの種類", words.TIER_WORDS[Tier(tier)] if tier in set(Tier) else tier),
            ("保持日数", f"{record.days}日" if record.days else ""),
        )
    )


@st.fragment(run_every=3.0)
def _until_it_ends(run_id: str) -> None:
    """Draw the page anew when a step in another process has ended."""
    guard.require_operator()
    record = services.current().jobs.record(run_id)
    if record is None or record.state is not RunState.RUNNING:
        st.rerun()


def _now(here: services.Services, record: RunRecord) -> None:
    """Show what S3 says now, and what can be done about it."""
    found = status.of(here, record)
    known = found.value
    if known is None and not found.working:
        view.notice("error", "S3 に状況を問い合わせられませんでした。", found.message)
    if known is None:
        view.metrics(words.numbers(record))
    else:
        status.bar(known)
        _advice(record, known, here.settings.timezone)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "状況を更新する",
            key="refresh",
            icon=":material/refresh:",
            on_click=_look_again,
            args=(record.run_id,),
            disabled=found.working,
        )
        if known:
            _asking(record.run_id, known)
        if found.working:
            status.watch((record.run_id,))
        elif known:
            moment = words.moment(known.at, here.settings.timezone)
            st.caption(f"{moment} の状況です。")
    if known:
        if known.count(*READY_STAGES, Stage.PLACED):
            placing.render(here, record, known)
        _table(here, record, known)


def _asking(run_id: str, known: RestoreStatus) -> None:
    """Offer to ask S3. What was confirmed with the list and never asked for takes one click;
    what was asked for already costs once more, which somebody has to confirm."""
    rest, again = known.count(Stage.UNREQUESTED), known.count(*_AGAIN)
    if rest == again > 0:
        label = f"残りの {words.count(rest)}を要求する"
        if st.button(label, key="rest", type="primary", icon=":material/replay:"):
            try:
                services.current().open_jobs().request_again(run_id, guard.seat())
            except HimuroError as exc:
                view.trouble(exc)
                return
            st.rerun()
    elif again:
        label = "期限切れを" if known.count(Stage.EXPIRED) else "残りを"
        if st.button(f"{label}もう一度要求する", key="again", icon=":material/replay:"):
            confirm("もう一度要求しますか", partial(_confirm_again, run_id), yes="要求する")


def _look_again(run_id: str) -> None:
    guard.require_operator()
    services.current().restores.forget(run_id)


def _advice(record: RunRecord, known: RestoreStatus, timezone: ZoneInfo) -> None:
    """Say what the numbers mean and what to do."""
    ready, waiting = known.count(*READY_STAGES), known.count(*OPEN_STAGES)
    unrequested = known.count(Stage.UNREQUESTED)
    expiring, expired = known.count(Stage.EXPIRING), known.count(Stage.EXPIRED)
    until = words.moment(known.first_expiry, timezone) if known.first_expiry else ""
    if ready:
        limit = f"期限は {until} です。" if until else ""
        view.notice("success", f"{ready:,} 件を取り出せます。{limit}下で配置してください。")
    if expiring:
        view.notice(
            "warning",
            f"{expiring:,} 件は、まもなく期限が切れます（{until}）。先に配置してください。"
            "間に合わないときは、もう一度要求すると期限が延びます。",
        )
    if waiting:
        view.notice("info", f"{waiting:,} 件は取り出し準備中です。{_expected(record, timezone)}")
    if unrequested:
        view.notice(
            "warning",
            f"{unrequested:,} 件は、途中で終わったため、まだ要求していません。"
            "下のボタンで要求するまで、取り出せるようになりません。",
        )
    if expired:
        view.notice(
            "warning", f"{expired:,} 件は期限が切れて読み取れません。もう一度要求できます。"
        )
    if known.count(Stage.FAILED):
        view.notice(
            "error",
            f"{known.count(Stage.FAILED):,} 件は失敗しました。下の表の理由を確認してください。",
        )


def _expected(record: RunRecord, timezone: ZoneInfo) -> str:
    by = record.ready_by
    if by is None:
        return ""
    if by < datetime.now(UTC):
        return (
            f"予定の {words.moment(by, timezone)} を過ぎています。"
            "しばらく待ってから「状況を更新する」を押してください。"
        )
    return f"遅くとも {words.moment(by, timezone)} に取り出せます。"


def _table(here: services.Services, record: RunRecord, known: RestoreStatus) -> None:
    st.markdown(f"**ファイル（{words.count(len(known.files))}）**")
    shown = sorted(known.files, key=lambda file: _ORDER.index(file.stage))[:_MAX_SHOWN]
    if len(shown) < len(known.files):
        st.caption(
            f"最初の{words.count(_MAX_SHOWN)}を表示しています。"
            "すべては結果の一覧（report.csv）にあります。"
        )
    rows = [_row(file, here.settings.timezone) for file in shown]
    # What no file has would only take room.
    used = [n for n in range(len(_HEADER)) if any(row[n] != "" for row in rows)]
    view.table(
        tuple(_HEADER[n] for n in used),
        (tuple(row[n] for n in used) for row in rows),
        widths=_WIDTHS,
        formats={"サイズ": words.size},
        alt="復元するファイル",
        key="files",
    )
    if record.left_out_rows:
        with st.expander(f"対象外の行（{words.count(record.left_out_rows)}）"):
            view.table(
                ("一覧に書かれたもの", "理由"),
                _left_out(here, record.run_id),
                widths={"理由": 500},
                alt="対象外の行",
                key="left-out",
            )


def _left_out(here: services.Services, run_id: str) -> Iterator[tuple[str, str]]:
    for row in here.restores.left_out(run_id)[:_MAX_SHOWN]:
        yield row.text, row.reason


def _row(file: FileStatus, timezone: ZoneInfo) -> tuple[object, ...]:
    """Return one row in the order of ``_HEADER``."""
    item = file.item
    until = words.moment(file.readable_until, timezone) if file.readable_until else ""
    directory = item.path.removesuffix("\\" + item.name)
    word = STAGE_WORDS[file.stage]
    return (word, item.name, item.size, until, file.place, file.reason, directory)


def _confirm_again(run_id: str) -> Act:
    """Draw what is about to be asked for again; returns what does it."""
    here = services.current()
    record = here.jobs.record(run_id)
    known = here.restores.status(run_id).value
    if record is None or known is None:
        st.rerun()
    now, timezone = datetime.now(UTC), here.settings.timezone
    tier = Tier(record.tier) if record.tier in set(Tier) else Tier.BULK
    days = record.days or here.settings.restore_days
    view.metrics(
        (STAGE_WORDS[stage], words.count(number))
        for stage, number in status.counted(known)
        if stage in _AGAIN
    )
    view.facts(
        (
            ("取り出しの種類", words.TIER_WORDS[tier]),
            ("取り出せる時刻（遅くとも）", words.moment(now + tier.wait, timezone)),
            ("読み取れる期限", words.moment(copy_expires(now, days), timezone)),
        )
    )
    st.caption("取り出しには費用がかかります。準備中のものと、配置済みのものは要求しません。")
    return partial(here.open_jobs().request_again, run_id, guard.seat())


def _downloads(here: services.Services, record: RunRecord) -> None:
    with st.container(horizontal=True):
        for name in _FILES:
            if here.jobs.file(record.run_id, name):
                st.link_button(
                    words.file_label(name),
                    file_address(record.run_id, name),
                    icon=":material/download:",
                    key=f"file-{name.partition('.')[0]}",
                )
    address.link(address.RUNS, "実行履歴で詳しく見る", run=record.run_id)
