"""What is looked at before a start, and what is wrong with a camera while it is recorded. Pure; time is an argument.

Nothing here keeps a recording from starting. What fails is shown, one press starts all the same, and what failed then
goes into the journal: a recording with a declared gap is better than none, and whoever stands in the room knows more
than a check does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from evidence_store.canonical import Record

HEARD_WITHIN_NS: Final = 2_000_000_000
LOW_SPACE_BYTES: Final = 2 << 30
LOW_SPACE_MINUTES: Final = 120.0
"""An interview takes an hour, and a disk is not made larger in a break."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One camera now. `picture`, `sound`: whether it came just now; None where the room expects none of it."""

    camera: str
    heard: bool
    picture: bool | None
    sound: bool | None

    def lost(self) -> str | None:
        """The code of what is missing, the whole camera before a part of it."""
        if not self.heard:
            return "camera-lost"
        if self.picture is False:
            return "picture-lost"
        return "audio-lost" if self.sound is False else None


def heard_just_now(last_ns: int | None, now_ns: int) -> bool:
    return last_ns is not None and now_ns - last_ns < HEARD_WITHIN_NS


def minutes_left(free_bytes: int, bits_a_second: float) -> float | None:
    """How long the disk lasts at the rate at which cameras send now. None while they send nothing."""
    return free_bytes * 8 / bits_a_second / 60 if bits_a_second > 0 else None


def space_low(free_bytes: int, minutes: float | None) -> bool:
    return free_bytes < LOW_SPACE_BYTES or (minutes is not None and minutes < LOW_SPACE_MINUTES)


def failing(
    cameras: Sequence[Seen],
    *,
    space_is_low: bool,
    clock_set: bool | None,
    delivery_trouble: str | None,
    monitored: bool,
    device_key_away: bool = False,
) -> list[Record]:
    """What is not as it should be before a start: `code`, and `camera` where it is about one.

    `clock_set`: whether the kernel's clock follows a time service, None where that is not asked. `monitored`: whether
    the monitor process is there. `device_key_away`: whether the token that the device signs in (a TPM) does not answer.
    """
    found: list[Record] = [
        {"camera": seen.camera, "code": code} for seen in cameras if (code := seen.lost()) is not None
    ]
    others = (
        ("device-key-away", device_key_away),
        ("spool-low", space_is_low),
        ("clock-not-set", clock_set is False),
        (delivery_trouble or "", delivery_trouble is not None),
        ("monitor-away", not monitored),
    )
    return found + [{"camera": None, "code": code} for code, fails in others if fails]


def alarms_of(cameras: Iterable[Seen]) -> list[str]:
    """Codes of what cameras lack, each once."""
    return sorted({code for seen in cameras if (code := seen.lost()) is not None})


class Standing:
    """Since when each alarm stands, as far as anybody has looked: once a second, and whenever somebody asks."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def seen(self, codes: Iterable[str], utc_ns: int) -> dict[str, int]:
        """What stands now, by code, since when (nanoseconds UTC). What is over begins anew when it comes again."""
        self._since = {code: self._since.get(code, utc_ns) for code in codes}
        return self._since
