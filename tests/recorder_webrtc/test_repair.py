"""Simulated minutes of a bad line: what is asked for again comes in time, from a sender that is slow to listen."""

from __future__ import annotations

import heapq
from collections import deque

import pytest

from recorder.feedback import GIVE_UP_MS, Missing
from recorder.peer import _ASK_AGAIN_S
from tests.bench.lossy_link import Climate, Weather

PICTURES, SOUNDS = 30, 50
NS = 1_000_000_000


def too_late(climate: Climate, seconds: int, seed: int) -> tuple[int, int]:
    """Packets of a 4 Mbit/s picture that were missed, and those of them that did not come within `GIVE_UP_MS`.

    The sender is FFmpeg's WHIP muxer: it reads one datagram of feedback each time that it writes a picture or a sound.
    """
    up, down, missing = Weather(climate, seed), Weather(climate, seed + 1), Missing()
    queue: list[tuple[float, int, str, int, list[int]]] = []
    feedback: deque[list[int]] = deque()
    missed: dict[int, float] = {}
    came: set[int] = set()
    sent, highest, asking, made = 0, -1, False, 0

    def later(at: float | None, what: str, number: int = 0, numbers: list[int] = []) -> None:  # noqa: B006
        nonlocal made
        made += 1
        if at is not None:
            heapq.heappush(queue, (at, made, what, number, numbers))

    later(0.0, "picture")
    later(0.007, "sound")
    while queue:
        now, _, what, number, numbers = heapq.heappop(queue)
        if what in ("picture", "sound"):
            for again in feedback.popleft() if feedback else []:
                later(up.due(now), "packet", again)
            for _ in range((60 if number % PICTURES == 0 else 12) if what == "picture" else 0):
                later(up.due(now), "packet", sent)
                sent += 1
            if now < seconds:
                later(now + 1 / (PICTURES if what == "picture" else SOUNDS), what, number + 1)
        elif what == "request":
            feedback.append(numbers)
        elif what == "packet":
            missed.update(dict.fromkeys(range(highest + 1, number), now))
            if number in missed and now - missed[number] < GIVE_UP_MS / 1000:
                came.add(number)
            highest = max(highest, number)
            if missing.received(number & 0xFFFF, int(now * NS)) and not asking:
                asking = True
                later(now, "ask")
        else:
            if due := missing.due(int(now * NS)):
                whole = [highest - (highest - each & 0xFFFF) for each in due]
                later(down.due(now), "request", 0, whole)
            asking = bool(missing)
            later(now + _ASK_AGAIN_S if asking else None, "ask")
    settled = [number for number in missed if number < sent - 500]  # whoever has ended sends nothing again
    return len(settled), sum(number not in came for number in settled)


@pytest.mark.parametrize("loss", [0.02, 0.05])
def test_nothing_comes_too_late_in_ten_minutes_of_loss_and_delay(loss: float) -> None:
    missed, late = too_late(Climate(loss), 600, seed=1)
    assert missed > 5000
    assert late == 0
