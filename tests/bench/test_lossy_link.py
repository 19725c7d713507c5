"""The bad line is as bad as it says, and the same each time."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest

from tests.bench.lossy_link import Climate, Weather


def fates(climate: Climate, count: int = 50_000, seed: int = 7) -> list[float | None]:
    weather = Weather(climate, seed)
    return [weather.due(at * 0.002) for at in range(count)]


@pytest.mark.parametrize("loss", [0.01, 0.02, 0.05])
def test_loses_what_it_says_half_of_it_in_bursts(loss: float) -> None:
    lost = [due is None for due in fates(Climate(loss), 400_000)]
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.1)
    runs = [len(list(run)) for each, run in groupby(lost) if each]
    assert sum(run for run in runs if run > 1) / sum(runs) == pytest.approx(0.5, abs=0.1)
    assert max(runs) * 0.002 > 2 * Climate().burst


def test_delays_within_bounds_and_puts_only_the_chosen_behind_others() -> None:
    climate = Climate(loss=0.0, reordered=0.01)
    out = [(due, at) for at, due in enumerate(fates(climate)) if due is not None]
    waits = [due - at * 0.002 for due, at in out]
    assert min(waits) >= climate.delay
    assert max(waits) <= climate.delay + climate.jitter + climate.lag
    order = [at for _, at in sorted(out)]
    overtaken = sum(at < before for before, at in pairwise(order))
    assert 0.004 < overtaken / len(out) <= 0.01


def test_is_the_same_each_time() -> None:
    assert fates(Climate(0.05)) == fates(Climate(0.05))
    assert fates(Climate(0.05), seed=8) != fates(Climate(0.05))
