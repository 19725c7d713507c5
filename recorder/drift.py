"""How far a stream has come away from where it is laid, and by how much what follows has to move. Decides only.

No two clocks run alike: over three hours, 200 parts in a million are two seconds. Nothing is dropped, stretched or
thinned for that: when a stream lies 10 ms wrong, a new mapping of its RTP time is declared, and what follows lies up to
10 ms elsewhere. Both mappings are in the evidence, so every unit's own RTP time can be had back exactly.

Two witnesses are asked. The sender's reports tell how its media clock runs on its wall clock, free of what encoding and
network take. The least delay of the last minute tells how it runs on ours; it needs no word of the sender, but a slower
encoder looks like a slower clock. Reports are believed while both agree; when they don't, arrivals are, from then on.
"""

from __future__ import annotations

from .clock import SECOND_NS, Placed, StreamClock

LEFT_ALONE_NS = 10_000_000
"""A place less wrong than this is left as it is."""
STEP_NS = 10_000_000
"""At most so much at once, and never more than half a unit: sounds and pictures keep their order and their length."""
EVERY_NS = SECOND_NS
SETTLED_NS = 30 * SECOND_NS
"""Until then a stream's usual delay is still being learnt."""
AGREED_NS = 25_000_000
"""Reports and arrivals further apart than this do not tell of the same clock."""


class Drift:
    """Watches one place, from its decision on. `offset_ns`: local monotonic time less RTP time, as it was laid."""

    __slots__ = ("_began_ns", "_due_ns", "_guessed", "_offset_ns", "_reports_fit", "_usual_ns")

    def __init__(self, began_ns: int, offset_ns: int, by: Placed) -> None:
        self._began_ns = began_ns
        self._offset_ns = offset_ns
        self._guessed = by is Placed.ARRIVAL
        self._due_ns = began_ns + EVERY_NS
        self._usual_ns: int | None = None
        self._reports_fit = True

    def due(self, now_ns: int) -> bool:
        """Whether it is time to look again."""
        return now_ns >= self._due_ns

    def step_ns(self, clock: StreamClock, origin_ns: int, now_ns: int, most_ns: int | None) -> int:
        """By how much what follows has to lie elsewhere (later: positive), mostly 0. Whoever does it says so: `lies`.

        `most_ns`: half a unit; None where a hole lies before it, into which it can move as far as it has to.
        """
        self._due_ns = now_ns + EVERY_NS
        wrong_ns = self._wrong_ns(clock, origin_ns, now_ns)
        if abs(wrong_ns) < LEFT_ALONE_NS:
            return 0
        if most_ns is not None:
            most_ns = min(most_ns, STEP_NS)
            wrong_ns = max(-most_ns, min(most_ns, wrong_ns))
        return wrong_ns

    def lies(self, offset_ns: int) -> None:
        """The place is another now: local monotonic time less RTP time."""
        self._offset_ns = offset_ns

    def _wrong_ns(self, clock: StreamClock, origin_ns: int, now_ns: int) -> int:
        settled = now_ns - self._began_ns >= SETTLED_NS and not self._guessed
        told_ns, arrived_ns = clock.told_ns(origin_ns, now_ns, follow=settled), clock.delay_ns()
        if arrived_ns is None:
            return 0
        if self._guessed and told_ns is not None:
            # A place from before the first report is wrong by what encoding and network take: the reports tell.
            if abs(told_ns - self._offset_ns) >= LEFT_ALONE_NS:
                return told_ns - self._offset_ns
            self._guessed, self._began_ns, self._usual_ns, settled = False, now_ns, None, False
        if not settled and now_ns - self._began_ns < SETTLED_NS:
            return 0
        if self._usual_ns is None:
            self._usual_ns = arrived_ns - (self._offset_ns if told_ns is None else told_ns)
        by_arrival_ns = arrived_ns - self._usual_ns
        if told_ns is not None and self._reports_fit:
            if abs(told_ns - by_arrival_ns) <= AGREED_NS:
                return told_ns - self._offset_ns
            self._reports_fit = False
        return by_arrival_ns - self._offset_ns
