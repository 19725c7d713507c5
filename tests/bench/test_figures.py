"""What a figure says of its goal, and what `--json` prints of it."""

from __future__ import annotations

import pytest

from tests.bench.figures import Figure, percentile


@pytest.mark.parametrize(
    ("ours", "peer", "better", "goal", "reached"),
    [
        (0.9, 1.0, "lower", 1.0, True),
        (1.1, 1.0, "lower", 1.0, False),
        (1.6, 1.0, "higher", 1.5, True),
        (0.1, None, "lower", 0.15, True),
        (0.2, None, "lower", 0.15, False),
        (0.0, None, "lower", 0.0, True),
    ],
)
def test_goal_is_compared_with_the_ratio_or_where_there_is_no_peer_with_ours(
    ours: float, peer: float | None, better: str, goal: float, reached: bool
) -> None:
    assert Figure("x", "s", ours, peer, better, goal, 7).reached is reached  # type: ignore[arg-type]


def test_a_shortened_run_or_one_that_lost_something_never_reaches_its_goal() -> None:
    assert Figure("x", "s", 0.1, None, "lower", 1.0, 1).reached
    assert not Figure("x", "s", 0.1, None, "lower", 1.0, 1, shortened=True).reached
    assert not Figure("x", "s", 0.1, None, "lower", 1.0, 1, held=False).reached


def test_json_has_these_names_and_null_where_there_is_no_peer() -> None:
    record = Figure("eye", "ms", 96.25, None, "lower", 150, 3, notes=("a sentence",)).record()
    assert record == {
        "name": "eye", "unit": "ms", "ours": 96.25, "peer": None, "ratio": None, "better": "lower", "goal": 150,
        "runs": 3,
    }  # fmt: skip


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(each) for each in range(1, 101)]
    assert percentile(values, 0.95) == 95
    assert percentile(values, 0.99) == 99
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([7.0], 0.95) == 7
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)
