"""``doctor``: the check-up on a terminal, for people and for monitoring."""

from __future__ import annotations

from collections.abc import Callable

from core.cli import output
from core.clock import utc_now
from core.config.settings import Settings
from core.health.checks import examine
from core.health.findings import Status, in_order, lines, summary, worst
from core.health.ports import Health

EXIT_CODES = {Status.OK: 0, Status.WARNING: 1, Status.FAILED: 3}
"""1: finished, with something to look at; 3: the environment is broken (``docs/contract.md``,
"Exit codes")."""


def doctor(
    load: Callable[[], Settings], open_health: Callable[[Settings], Health], *, as_json: bool
) -> int:
    """Check and print each finding as it is known; returns the exit code.

    With ``as_json`` the findings go to standard error, and one object to standard output.
    """
    show = output.say if as_json else output.put
    found = []
    for finding in examine(load, open_health):
        found.append(finding)
        show(lines(finding))
    state = worst(found)
    output.say(summary(found))
    if as_json:
        output.show_json(
            {
                "state": state.value,
                "checked_at": utc_now().isoformat(timespec="seconds"),
                "findings": [
                    {
                        "name": finding.name,
                        "title": finding.title,
                        "status": finding.status.value,
                        "what": finding.what,
                        "remedy": finding.remedy,
                    }
                    for finding in in_order(found)
                ],
            }
        )
    return EXIT_CODES[state]
