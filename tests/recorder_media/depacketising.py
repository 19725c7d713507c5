"""Plays a script of payloads into a depacketiser, and any nonsense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from recorder.depacketise import AccessUnit, Depacketiser

LOST = None
Script = Sequence[tuple[bytes, int, int] | None]


def play(script: Script, depacketiser: Depacketiser) -> list[AccessUnit]:
    """Each step is (payload, marker, timestamp), or a hole."""
    units = []
    for number, step in enumerate(script):
        if step is None:
            depacketiser.lost()
        else:
            payload, marker, timestamp = step
            units += depacketiser.push(payload, bool(marker), timestamp, number, 1000 + number)
    return units


def nonsense(
    depacketiser: Depacketiser, seeds: Sequence[bytes], begins_key_frame: Callable[[bytes], bool], most: int
) -> None:
    """Payloads cut, altered and shuffled, with holes: none raises, and no unit is larger than `most`."""
    random = Random(7)  # noqa: S311
    for number in range(20_000):
        payload = bytearray(random.choice(seeds)[: random.randrange(1, 60)])
        for _ in range(random.randrange(3)):
            payload[random.randrange(len(payload))] = random.randrange(256)
        begins_key_frame(bytes(payload))
        if random.random() < 0.05:
            depacketiser.lost()
        units = depacketiser.push(bytes(payload), random.random() < 0.3, number // 4, number, number)
        if random.random() < 0.01:
            units += depacketiser.flush()
        assert all(len(unit.data) <= most for unit in units)
