"""Growth is the greatest minute against the one when everything had settled."""

from __future__ import annotations

import os

import pytest

from tests.bench.soak import growth, resident


def test_growth_looks_at_what_came_after_it_had_settled() -> None:
    medians = [50.0, 90.0, 100.0, 101.0, 108.0, 104.0]
    assert growth(medians, 2) == pytest.approx(8.0)
    assert growth(medians[:2], 10) == pytest.approx(0.0)
    assert growth([100.0] * 20 + [120.0], 10) == pytest.approx(20.0)
    assert growth([200.0, 100.0, 90.0, 80.0], 1) == 0.0


def test_resident_is_this_processs_own_memory() -> None:
    before = resident(os.getpid())
    kept = bytearray(b"\1" * (64 << 20))
    assert resident(os.getpid()) - before == pytest.approx(64, abs=16)
    del kept
