"""Numbers in the units that people read."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.units import human_size
from pages.widgets import words

UNITS = ("バイト", "KB", "MB", "GB", "TB")
BORDERS = [1024**power * count for power in range(1, 5) for count in (1, 1024)]
SIZES = st.one_of(
    st.integers(0, 2**70),
    st.builds(lambda border, off: border + off, st.sampled_from(BORDERS), st.integers(-60, 60)),
    st.builds(lambda border, part: border - border // part, st.sampled_from(BORDERS),
              st.integers(1000, 100_000)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 バイト"),
        (1, "1 バイト"),
        (1023, "1,023 バイト"),
        (1024, "1.0 KB"),
        (1075, "1.0 KB"),
        (1076, "1.1 KB"),
        (1024**2 - 52, "1,023.9 KB"),
        (1024**2 - 51, "1.0 MB"),
        (1024**2 - 1, "1.0 MB"),
        (1024**3 - 1, "1.0 GB"),
        (1024**4 - 1, "1.0 TB"),
        (1024**5 - 1, "1,024.0 TB"),
        (3 * 1024**5, "3,072.0 TB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert human_size(number) == text


def meant(text: str) -> Fraction:
    """Return how many bytes a text names."""
    number, unit = text.split(" ")
    return Fraction(number.replace(",", "")) * int(1024 ** UNITS.index(unit))


@given(SIZES, SIZES)
@example(1024**2 - 1, 1024**2)
def test_a_larger_size_never_looks_smaller_and_no_number_reaches_the_next_unit(
    one: int, other: int
) -> None:
    smaller, larger = (human_size(size) for size in sorted((one, other)))
    assert meant(smaller) <= meant(larger)
    for size, text in ((one, human_size(one)), (other, human_size(other))):
        number, unit = text.split(" ")
        assert unit == "TB" or Fraction(number.replace(",", "")) < 1024
        # Not off by more than half of the last digit that is shown.
        assert abs(meant(text) - size) * 20 <= 1024 ** UNITS.index(unit)


def test_the_pages_show_what_the_commands_show() -> None:
    assert words.size(1024**2 - 1) == human_size(1024**2 - 1) == "1.0 MB"
