"""How old a shown picture is, from what the page kept of it."""

from __future__ import annotations

import pytest

from hardware.picture_clock import picture_clock_cells
from tests.bench.eye import HANDED_OVER_EARLY, read

NOON = 1_795_312_800.0  # a whole loop: picture 0 is due


def row(index: int) -> list[int]:
    return [value for value in picture_clock_cells(index) for _ in range(4)]


def test_age_runs_from_the_hand_over_of_a_picture_to_when_it_is_visible() -> None:
    epoch_ms = (NOON - 100) * 1000
    shown = [(epoch_ms, 100_080.0, row(0)), (epoch_ms - 0.9, 100_180.0, row(3)), (epoch_ms, 100_200.0, [90] * 96)]
    seen = read(shown, skipped=4)
    assert seen.ages_ms == pytest.approx([80 + 1000 * HANDED_OVER_EARLY] * 2, abs=0.01)
    assert (seen.unreadable, seen.skipped) == (1, 4)
