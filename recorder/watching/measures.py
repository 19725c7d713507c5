"""What a picture's cells and a sound's samples say, as a few numbers. Pure: no decoder, no clock.

A picture comes as a grid of COLUMNS × ROWS cells, each the mean luma of its place, 0 to 255.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from operator import mul
from typing import Final

from recorder.watching.kinds import LONGEST_PAUSE_NS, SECOND_NS, STILL_CHANGE

COLUMNS, ROWS = 96, 54
CELLS = COLUMNS * ROWS
_BRIGHTEST = CELLS // 20
_CHANGED_CELLS = 5
_FULL_SCALE = 32_700
_WINDOW_NS = SECOND_NS // 2
_SOUND_WINDOWS = 6
_RATE_WINDOW_NS = 3 * SECOND_NS
_RATE_LEAST_NS = 2 * SECOND_NS
_JUMP_NS = 10 * SECOND_NS
_SAMPLED: Final = 5  # odd, so that both channels of stereo are
_RATE_EVERY_NS = SECOND_NS // 4


@dataclass(frozen=True, slots=True)
class Picture:
    """`mean`, `deviation` (standard), `brightest` (what one cell in twenty reaches): luma, 0 to 255.

    `change`: what at least five cells have changed by since `still_since_ns`, when the picture last was another one.
    """

    mean: int
    deviation: int
    brightest: int
    change: int
    still_since_ns: int


class Pictures:
    """Measures one camera's pictures, and remembers the one since which nothing has moved."""

    __slots__ = ("_before", "_since_ns")

    def __init__(self) -> None:
        self._before: bytes | None = None
        self._since_ns = 0

    def measure(self, grid: bytes, at_ns: int) -> Picture:
        """`grid`: CELLS octets, row by row."""
        counts = Counter(grid)
        mean = sum(value * count for value, count in counts.items()) / CELLS
        square = sum((value - mean) ** 2 * count for value, count in counts.items()) / CELLS
        left, brightest = _BRIGHTEST, 0
        for brightest in sorted(counts, reverse=True):
            left -= counts[brightest]
            if left <= 0:
                break
        change = 255 if self._before is None else _change(self._before, grid)
        if change > STILL_CHANGE:
            # Compared with the picture it all began with, not the one before: what creeps moves too.
            self._before, self._since_ns = grid, at_ns
        return Picture(round(mean), round(math.sqrt(square)), brightest, change, self._since_ns)


def _change(before: bytes, now: bytes) -> int:
    return sorted([abs(one - other) for one, other in zip(before, now, strict=True)])[-_CHANGED_CELLS]


@dataclass(frozen=True, slots=True)
class Sound:
    """`peak`: greatest sample of the last half second, 0 to 32768; `level`: its loudness, tenths of dBFS;
    `clipped`: samples at full scale, of 1000, over the last three seconds."""

    peak: int
    level: int
    clipped: int


class Sounds:
    """Measures one microphone, half a second at a time."""

    __slots__ = ("_clipped", "_energy", "_length_ns", "_past", "_peak", "_samples")

    def __init__(self) -> None:
        self._past: deque[tuple[int, int]] = deque(maxlen=_SOUND_WINDOWS)
        self._start()

    def _start(self) -> None:
        self._peak, self._clipped, self._energy = 0, 0, 0
        self._samples, self._length_ns = 0, 0

    def measure(self, samples: array[int], length_ns: int) -> Sound | None:
        """`samples`: 16 bits, channels mixed in any order; `length_ns`: how long they sound. A Sound each half second.

        One sample in five is looked at: speech and noise fill the spectrum, so all measures are the same.
        """
        some = samples[::_SAMPLED]
        peak = max(max(some, default=0), -min(some, default=0))
        if peak >= _FULL_SCALE:
            self._clipped += sum(1 for value in some if not -_FULL_SCALE < value < _FULL_SCALE)
        self._peak = max(self._peak, peak)
        self._energy += sum(map(mul, some, some))
        self._samples += len(some)
        self._length_ns += length_ns
        if self._length_ns < _WINDOW_NS or not self._samples:
            return None
        self._past.append((self._clipped, self._samples))
        clipped, heard = (sum(column) for column in zip(*self._past, strict=True))
        sound = Sound(self._peak, _decibels(self._energy / self._samples), 1000 * clipped // heard)
        self._start()
        return sound


def _decibels(power: float) -> int:
    return round(100 * math.log10(max(power, 1e-3) / 32768**2))


@dataclass(frozen=True, slots=True)
class Rate:
    """`hundred`: pictures in 100 s, over the last three seconds of the camera's own time; `paused`: one was missing
    for 0.7 s or longer."""

    hundred: int
    paused: bool


class Rates:
    """Measures how many pictures a second come, by their RTP time."""

    __slots__ = ("_clock_rate", "_looked", "_stamps")

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._stamps: deque[int] = deque(maxlen=1024)
        self._looked: int | None = None

    def restart(self) -> None:
        """What comes next does not follow on what came before."""
        self._stamps.clear()

    def measure(self, rtp: int) -> Rate | None:
        """One picture, at an RTP time unwrapped to more than 32 bits. A Rate four times a second, after two seconds."""
        stamps = self._stamps
        if stamps and self._ns(abs(rtp - stamps[-1])) > _JUMP_NS:
            self.restart()
        stamps.append(rtp)
        if self._looked is not None and self._ns(abs(rtp - self._looked)) < _RATE_EVERY_NS:
            return None
        self._looked = rtp
        newest = max(stamps)
        while self._ns(newest - stamps[0]) > _RATE_WINDOW_NS:
            stamps.popleft()
        ordered = sorted(stamps)
        span = self._ns(ordered[-1] - ordered[0])
        if span < _RATE_LEAST_NS:
            return None
        pause = max(after - before for before, after in pairwise(ordered))
        return Rate(round(100 * (len(ordered) - 1) * SECOND_NS / span), self._ns(pause) >= LONGEST_PAUSE_NS)

    def _ns(self, ticks: int) -> int:
        return ticks * SECOND_NS // self._clock_rate


class Unwrapped:
    """RTP times of 32 bits made to go on: each the nearest to the one before."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before: int | None = None

    def __call__(self, rtp: int) -> int:
        if self._before is not None:
            rtp = self._before + ((rtp - self._before + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        self._before = rtp
        return rtp
