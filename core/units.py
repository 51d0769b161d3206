"""Numbers in the units that people read."""

from __future__ import annotations


def human_size(size: int) -> str:
    """Return bytes in the unit that people read: ``1.5 MB`` (1 MB = 1,048,576 bytes)."""
    amount = float(size)
    for unit in ("バイト", "KB", "MB", "GB", "TB"):
        if amount < 1024 or unit == "TB":
            return f"{amount:,.0f} {unit}" if unit == "バイト" else f"{amount:,.1f} {unit}"
        amount /= 1024
    raise AssertionError
