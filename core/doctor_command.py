"""``doctor``: the check-up on a terminal, for people and for monitoring."""

from __future__ import annotations

from collections.abc import Callable

from core import terminal
from core.doctor import examine
from core.findings import Status, in_order, lines, summary, worst
from core.ports import Health
from core.record import utc_now
from core.settings import Settings

EXIT_CODES = {Status.OK: 0, Status.WARNING: 1, Status.FAILED: 3}
"""As for runs: 1 is finished with something to look at, 3 the environment is broken."""


def doctor(
    load: Callable[[], Settings], open_health: Callable[[Settings], Health], *, as_json: bool
) -> int:
    """Check and print each finding as it is known; returns the exit code.

    With ``as_json`` the findings go to standard error, and one object to standard output.
    """
    show = terminal.say if as_json else terminal.put
    found = []
    for finding in examine(load, open_health):
        found.append(finding)
        show(lines(finding))
    state = worst(found)
    terminal.say(summary(found))
    if as_json:
        terminal.show_json(
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
