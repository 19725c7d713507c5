"""Pictures that are sent in another order than they are shown (B-frames): what is certain, and when to decode.

RTP tells when to show a picture, not when to decode it; a file has to tell both. Pure; times are media times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

from .boxes import VIDEO_TIMESCALE

USUAL_STEP = VIDEO_TIMESCALE // 30
"""How long a picture lasts, until its stream tells."""
_RECENT, _STEPS = 16, 8
_MOST_SEEN = 4  # more pictures than this are not held back, but shown by a sender whose clock went back


class ShownOrder:
    """How many pictures are sent before one that is shown earlier: `depth`, as told or as seen; 0 for sound. `greatest`
    is the last time shown so far, −1 before the first."""

    __slots__ = ("_pending", "_recent", "_reorders", "_span", "_steps", "depth", "greatest")

    def __init__(self, reorders: bool) -> None:
        self._reorders = reorders
        self._span = 0
        self.depth = 0
        self.restart()

    def restart(self) -> None:
        """The order begins anew: with another mapping, no picture is shown before one sent earlier."""
        self.greatest = -1
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._pending: list[int] = []
        self._steps: deque[int] = deque((USUAL_STEP,), _STEPS)

    def step(self, present: int) -> int:
        """How long a picture lasts, going by one that is to be added next and that none is missing before; 0 where it
        does not tell."""
        if self.greatest < 0:
            return 0
        if self.depth and present > self.greatest:
            self._span = max(self._span, present - self.greatest)
            return 0
        if not self.depth:
            return present - self.greatest
        # A picture that others between refer to lies further from those before it: the least of a few counts.
        self._steps.append(min(abs(present - earlier) for earlier in self._recent))
        return min(self._steps)

    def latest_missing(self, present: int, step: int) -> int:
        """The latest that a picture can be shown which was to come before this one and did not: as far ahead of it as
        pictures were seen to step forward, over those that are sent later and shown earlier. `step`: see above."""
        return present + max(self._span, (self.depth + 1) * step) if self.depth else present - 1

    def add(self, present: int, told: int) -> int:
        """A picture was sent: give the time up to which nothing that is sent later can be shown."""
        if self._reorders:
            later = sum(earlier > present for earlier in self._recent) if present < self.greatest else 0
            self.depth = max(self.depth, told, later if later <= _MOST_SEEN else 0)
        self.greatest = max(self.greatest, present)
        self._recent.append(present)
        if not self.depth:
            return present
        heappush(self._pending, present)
        certain = min(self._pending)
        while len(self._pending) > self.depth:
            certain = heappop(self._pending)
        return certain


class DecodingTimes:
    """A picture is decoded when the one as many places before it in the order of showing is shown: never after it is
    shown itself, always later than the one sent before it."""

    __slots__ = ("_first", "_last", "_pending")

    def __init__(self) -> None:
        self._last = -1
        self.restart()

    def restart(self) -> None:
        """The order begins anew."""
        self._first: int | None = None
        self._pending: list[int] = []

    def of(self, shown: Sequence[int], depth: int, step: int) -> list[int]:
        """The decoding times of pictures shown then, in the order sent, and where the last one ends. `step` is how long
        a picture lasts."""
        times = []
        for present in shown:
            self._first = present if self._first is None else self._first
            at = present
            if depth:
                heappush(self._pending, present)
                # Nothing was shown before the first: its followers share what time there is before them.
                at = self._first - (depth + 1 - len(self._pending)) * step
                while len(self._pending) > depth:
                    at = heappop(self._pending)
            self._last = max(self._last + 1, at)
            times.append(self._last)
        end = self._pending[0] if len(self._pending) == depth and depth else times[-1] + step
        return [*times, max(end, times[-1] + 1)]
