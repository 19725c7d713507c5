"""How a measurement is taken and said: ours and the peer's take turns, and medians are compared."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours` and `peer` in `unit`; peer is None where there is none.

    `goal` is the least (or, where less is better, the greatest) `ratio` to reach; without a peer the same of `ours`.
    `held` says whether what has to be true beside the number was true. A run that was `shortened` never reaches the
    goal. `notes` are sentences of what else was seen, for the page.
    """

    name: str
    unit: str
    ours: float
    peer: float | None
    better: Literal["lower", "higher"]
    goal: float
    runs: int
    held: bool = True
    shortened: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None else self.ours / self.peer

    @property
    def reached(self) -> bool:
        measured = self.ours if self.ratio is None else self.ratio
        met = measured >= self.goal if self.better == "higher" else measured <= self.goal
        return met and self.held and not self.shortened

    def record(self) -> dict[str, str | float | int | None]:
        """What `--json` prints."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": round(self.ours, 4),
            "peer": None if self.peer is None else round(self.peer, 4),
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "better": self.better,
            "goal": self.goal,
            "runs": self.runs,
        }

    def __str__(self) -> str:
        """One line for who waits at the terminal."""
        if self.peer is None or self.ratio is None:
            said = f"{number(self.ours)} {self.unit}, goal {self.sign} {number(self.goal)}"
        else:
            said = f"{number(self.ours)} against {number(self.peer)} {self.unit}: {number(self.ratio)} ×, "
            said += f"goal {self.sign} {number(self.goal)} ×"
        end = "shortened: says nothing of the goal" if self.shortened else "reached" if self.reached else "NOT reached"
        return f"{self.name}: {said}, {self.runs} run{'' if self.runs == 1 else 's'}: {end}"

    @property
    def sign(self) -> str:
        return "≥" if self.better == "higher" else "≤"


class Bench(Protocol):
    """A module that measures. `SECONDS` is the length of one run that the goal asks for; 0: it takes what it takes."""

    WHAT: str
    RUNS: int
    SECONDS: float

    def measure(self, runs: int, seconds: float) -> Figure:
        """Starts what it needs and leaves nothing running. Sets `shortened` where `seconds` or `runs` are too few."""


def number(value: float) -> str:
    """Three digits that count: 1234, 12.3, 0.123; whole numbers as they are."""
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


@contextmanager
def one_core() -> Iterator[None]:
    """This process and what it starts have one processor while the block lasts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of `values` that at least `share` (0 to 1) of them do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def take_turns(
    ours: Callable[[], None], peer: Callable[[], None], runs: int, tidy: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Median seconds of each. They take turns, so that what else the machine does meets both; a first turn is free.
    `tidy` removes what a turn left, out of its time."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + runs):
        for measured, work in zip(times, (ours, peer), strict=True):
            began = time.perf_counter()
            work()
            measured.append(time.perf_counter() - began)
            tidy()
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def cheaper(
    name: str, unit: str, ours: Sequence[float], peer: Sequence[float], goal: float, *, shortened: bool
) -> Figure:
    """What both sides spent in turns, where less is better: the medians, and each turn in the notes."""
    notes = tuple(
        f"{who} " + ", ".join(f"{each:.2f}" for each in turns) for who, turns in (("ours", ours), ("peer", peer))
    )
    medians = statistics.median(ours), statistics.median(peer)
    return Figure(name, unit, *medians, "lower", goal, len(ours), shortened=shortened, notes=notes)
