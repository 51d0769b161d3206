"""Step 2 of a restore: what was found, how fast and for how long, and the operator's word."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import streamlit as st

from core.config.settings import MAX_RESTORE_DAYS
from core.errors import Severity
from core.jobs.pending_checks import Draft, DraftState
from core.restore.model import RestorePlan, Tier, copy_expires, least_days
from pages import services
from pages.jobs import check
from pages.widgets import view, words
from pages.widgets.confirmation import Act, confirm

_TIER_HELP = {
    Tier.BULK: "いちばん安い方法です。急がないときはこちらを選びます。",
    Tier.STANDARD: "Bulk より早く、費用は高くなります。急ぐときだけ選びます。",
}


def outcome(here: services.Services, draft: Draft) -> None:
    """Show what would be asked for, and let the operator choose and confirm."""
    plan = draft.plan
    if not isinstance(plan, RestorePlan):
        return
    warnings = sum(problem.severity is Severity.WARNING for problem in plan.problems)
    if draft.state is DraftState.REFUSED:
        # This message is the check's own and holds nothing that anybody typed.
        view.notice(
            "error",
            f"復元できません。{draft.message}。{check.what_to_do(plan)}",
        )
    elif plan.left_out:
        view.notice(
            "warning",
            f"復元できます。ただし、{plan.left_out:,} 行は対象外です。"
            "下の表で理由を確認してください。",
        )
    else:
        view.notice("success", "誤りはありません。復元できます。")
    view.metrics(
        (
            ("対象ファイル", words.count(len(plan.items))),
            ("合計サイズ", words.size(plan.total_bytes)),
            ("配置に必要な空き容量", words.size(plan.total_bytes)),
            ("対象外の行", words.count(plan.left_out)),
            ("注意", words.count(warnings)),
        )
    )
    check.hidden_rows(draft, plan)
    ready = draft.state is DraftState.READY
    tier, days = _choice(here, draft.draft_id) if ready else (Tier.BULK, 0)
    with st.container(horizontal=True):
        if ready and st.button("復元を要求する", key="restore", type="primary"):
            show = partial(_confirm, draft.draft_id, tier, days)
            confirm("復元を要求しますか", show, yes="要求する")
        check.ways_on(draft, plan)
    check.problems(plan.problems)
    check.lists(plan.detected)


def _choice(here: services.Services, draft_id: str) -> tuple[Tier, int]:
    """Ask how fast and for how long, and say until when that is."""
    left, right = st.columns([3, 2], gap="large")
    tiers: list[Tier] = list(Tier)
    tier = left.radio(
        "取り出しの種類",
        tiers,
        format_func=lambda tier: words.TIER_WORDS[tier],
        captions=[_TIER_HELP[tier] for tier in Tier],
        key=f"tier-{draft_id}",
    )
    left.caption("Expedited（数分での取り出し）は、S3 Glacier Deep Archive にはありません。")
    least = least_days(tier)
    days = right.number_input(
        f"保持日数（{least}～{MAX_RESTORE_DAYS}。準備の時間も含みます）",
        min_value=least,
        max_value=MAX_RESTORE_DAYS,
        value=max(least, here.settings.restore_days),
        key=f"days-{tier}-{draft_id}",
    )
    with right:
        view.facts(_times(here, tier, days))
    return tier, days


def _times(here: services.Services, tier: Tier, days: int) -> tuple[tuple[str, str], ...]:
    """Return, if it were asked for now, when files are ready and until when they stay so."""
    now, timezone = datetime.now(UTC), here.settings.timezone
    return (
        ("取り出せる時刻（遅くとも）", words.moment(now + tier.wait, timezone)),
        ("読み取れる期限", words.moment(copy_expires(now, days), timezone)),
    )


def _confirm(draft_id: str, tier: Tier, days: int) -> Act:
    """Draw what is about to be asked for; returns what begins the restore."""
    here = services.current()
    draft = here.jobs.draft(draft_id)
    if draft is None or not isinstance(draft.plan, RestorePlan):
        st.rerun()
    plan = draft.plan
    view.metrics(
        (
            ("対象ファイル", words.count(len(plan.items))),
            ("合計サイズ", words.size(plan.total_bytes)),
            ("対象外の行", words.count(plan.left_out)),
        )
    )
    view.facts(
        (
            ("依頼ID", draft.request.request_id),
            ("取り出しの種類", words.TIER_WORDS[tier]),
            ("保持日数", f"{days}日"),
        )
    )
    view.facts(_times(here, tier, days))
    st.caption(
        "S3 に取り出しを要求します。取り出しには費用がかかります。"
        "ファイルの配置は、準備ができた後にこの画面で行います。"
    )
    return partial(here.open_jobs().start_restore, draft_id, tier, days)
