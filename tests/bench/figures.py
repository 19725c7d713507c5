"""How a measurement is taken and said: ours and the peer's take turns, and medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours` and `peer` in `unit`; `goal` is the least (or, where less is better, the greatest) `ratio` to reach."""

    name: str
    unit: str
    ours: float
    peer: float
    better: str
    goal: float
    runs: int

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def reached(self) -> bool:
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal

    def record(self) -> dict[str, str | float | int]:
        """What `--json` prints."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": round(self.ours, 1),
            "peer": round(self.peer, 1),
            "ratio": round(self.ratio, 3),
            "better": self.better,
            "goal": self.goal,
            "runs": self.runs,
        }


def take_turns(ours: Callable[[], None], peer: Callable[[], None], runs: int) -> tuple[float, float]:
    """Median seconds of each. They take turns, so that what else the machine does meets both; a first turn is free."""
    ours()
    peer()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for measured, work in zip(times, (ours, peer), strict=True):
            began = time.perf_counter()
            work()
            measured.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])
