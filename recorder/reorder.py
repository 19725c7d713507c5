"""Puts one RTP stream's packets back in order, and says which ones never came.

Decides only. Reading sockets and sending NACKs is the shell's work; time is an argument. Each track has its own, so a
hole in a picture never holds up the sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

PATIENCE_NS = 200_000_000
WINDOW = 1024
_MISORDER = 2048

Packet = TypeVar("Packet")


@dataclass(frozen=True, slots=True)
class Lost:
    """`count` packets from 16-bit sequence number `first` on were given up."""

    first: int
    count: int


@dataclass(slots=True)
class ReorderCounters:
    """Packets, since the stream began. `recovered` ones filled a hole that had already been seen."""

    lost: int = 0
    late: int = 0
    duplicates: int = 0
    recovered: int = 0


class Reorder(Generic[Packet]):
    """Releases packets in sequence order (RFC 3550, 5.1: 16 bits that wrap).

    A hole is waited for at most `patience_ns` from the moment it shows, and at most while the packets held behind it
    span `window` sequence numbers. So at most `window` packets are ever held.
    """

    __slots__ = ("_held", "_highest", "_hole_ns", "_next", "_patience_ns", "_probation", "_window", "counters")

    def __init__(self, patience_ns: int = PATIENCE_NS, window: int = WINDOW) -> None:
        self._patience_ns = patience_ns
        self._window = window
        self._next: int | None = None
        self._highest = 0
        self._held: dict[int, tuple[int, Packet]] = {}
        self._hole_ns = 0
        self._probation: tuple[int, Packet] | None = None
        self.counters = ReorderCounters()

    def push(self, sequence: int, packet: Packet, now_ns: int) -> list[Packet | Lost]:
        """Take one packet; give what can now be passed on, in order."""
        expected = self._next
        if expected is None:
            self._next = sequence + 1
            return [packet]
        ahead = ((sequence - expected + 0x8000) & 0xFFFF) - 0x8000
        if ahead == 0 and not self._held and self._probation is None:
            self._next = expected + 1
            return [packet]
        if ahead < 0:
            return self._behind(sequence, expected, ahead, packet, now_ns)
        self._probation = None
        number = expected + ahead
        if number in self._held:
            self.counters.duplicates += 1
            return self.expire(now_ns)
        if not self._held:
            self._hole_ns = now_ns
            self._highest = number
        elif number < self._highest:
            self.counters.recovered += 1
        else:
            self._highest = number
        self._held[number] = (now_ns, packet)
        events: list[Packet | Lost] = []
        if ahead == 0:
            self._release(events)
        while self._held and self._highest - self._expected() >= self._window:
            self._give_up(events)
        if self._held:
            events.extend(self.expire(now_ns))
        return events

    def went_on(self, first: int, count: int) -> bool:
        """Whether these many packets in order are just what is waited for: then they need not be pushed."""
        expected = self._next
        if expected is None or self._held or self._probation is not None or first != expected & 0xFFFF:
            return False
        self._next = expected + count
        return True

    def expire(self, now_ns: int) -> list[Packet | Lost]:
        """Give up every hole that was waited for long enough."""
        events: list[Packet | Lost] = []
        while self._held and now_ns - self._hole_ns >= self._patience_ns:
            self._give_up(events)
        return events

    def flush(self) -> list[Packet | Lost]:
        """Give up every hole at once: nothing more will come."""
        events: list[Packet | Lost] = []
        while self._held:
            self._give_up(events)
        return events

    def _expected(self) -> int:
        return self._next if self._next is not None else 0

    def _behind(self, sequence: int, expected: int, ahead: int, packet: Packet, now_ns: int) -> list[Packet | Lost]:
        if ahead >= -_MISORDER:
            self.counters.late += 1
            return self.expire(now_ns) if self._held else []
        # So far back is no misordering: after an outage of more than 2^15 packets, or a sender that started over, the
        # numbers look old for ever. Two in a row say that it is so (RFC 3550, A.1).
        probation, self._probation = self._probation, (sequence, packet)
        if probation is None or (probation[0] + 1) & 0xFFFF != sequence:
            self.counters.late += 1
            return self.expire(now_ns) if self._held else []
        self._probation = None
        self.counters.late -= 1
        events = self.flush()
        position = self._expected()
        count = (probation[0] - position) & 0xFFFF
        self.counters.lost += count
        events.extend((Lost(position & 0xFFFF, count), probation[1], packet))
        self._next = position + count + 2
        return events

    def _release(self, events: list[Packet | Lost]) -> None:
        number = self._expected()
        while number in self._held:
            events.append(self._held.pop(number)[1])
            number += 1
        self._next = number
        if self._held:
            # What is held lies behind the next hole, so that hole showed when the first of it came.
            self._hole_ns = min(arrival_ns for arrival_ns, _ in self._held.values())

    def _give_up(self, events: list[Packet | Lost]) -> None:
        position = self._expected()
        first = min(self._held)
        if first > position:
            self.counters.lost += first - position
            events.append(Lost(position & 0xFFFF, first - position))
        self._next = first
        self._release(events)
