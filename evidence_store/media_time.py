"""When a moment of a take's media was in UTC, and how sure that is: from the journal's signed events alone. Pure.

Media time is the recorder's monotonic time from the take's origin, as near as `mapping` events say; each tick ties the
monotonic clock to UTC anew, so that a step of the recorder's wall clock is seen where it happened.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Final

from evidence_store.canonical import Record

FOLLOWED_NS: Final = 10_000_000
"""How far a stream may lie from where it should before the recorder moves what follows (recorder/drift.py)."""
_SAME_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """Nanoseconds since 1970. `uncertainty_ns`: either way, beside what the network took at the least.

    `sender_utc_ns` is the camera's own word, which nobody vouches for; None where it has given none.
    """

    utc_ns: int
    uncertainty_ns: int
    sender_utc_ns: int | None


@dataclass(frozen=True, slots=True)
class _Mapping:
    media: int
    uncertainty_ns: int
    sender_utc_ns: int | None


@dataclass(slots=True)
class MediaClock:
    """Filled tick by tick, in order; what is malformed in an event is as if it were not there."""

    _origin_ns: int | None = None
    _ticks: list[tuple[int, int]] = field(default_factory=list)
    """(monotonic, UTC − monotonic) where the latter has changed; few in an ordinary take."""
    _mappings: dict[int, list[_Mapping]] = field(default_factory=dict)

    def tell(self, record: Record) -> None:
        """Takes one tick's record."""
        for event in record["events"]:
            monotonic, utc = _digits(event.get("monotonic")), _digits(event.get("utc"))
            if event["type"] == "origin" and monotonic is not None and utc is not None:
                self._origin_ns = monotonic
                self._ticks = [(monotonic, utc - monotonic)]
            elif event["type"] == "mapping":
                self._map(event)
        monotonic, utc = _digits(record.get("monotonic")), _digits(record.get("utc"))
        if monotonic is None or utc is None or self._origin_ns is None:
            return
        if abs(utc - monotonic - self._ticks[-1][1]) > _SAME_NS:
            self._ticks.append((monotonic, utc - monotonic))

    def at(self, track: int, media: int, timescale: int) -> Moment | None:
        """`media` in the track's timescale. None before the origin is known."""
        if self._origin_ns is None:
            return None
        local_ns = self._origin_ns + media * 10**9 // timescale
        after = bisect.bisect_right(self._ticks, local_ns, key=lambda each: each[0])
        offset_ns = self._ticks[max(0, after - 1)][1]
        # A step lies somewhere between two ticks: the one that shows it is the first after it.
        stepped_ns = 0
        if after < len(self._ticks) and self._ticks[after][0] - local_ns < 250_000_000:
            stepped_ns = abs(self._ticks[after][1] - offset_ns)
        mapping = self._mapping(track, media)
        uncertainty_ns, sender_utc_ns = FOLLOWED_NS + stepped_ns, None
        if mapping is not None:
            uncertainty_ns += mapping.uncertainty_ns
            if mapping.sender_utc_ns is not None:
                sender_utc_ns = mapping.sender_utc_ns + (media - mapping.media) * 10**9 // timescale
        return Moment(local_ns + offset_ns, uncertainty_ns, sender_utc_ns)

    def _map(self, event: Record) -> None:
        media, uncertainty_ns = event.get("media_time"), event.get("uncertainty_ns")
        if type(event.get("track")) is int and type(media) is int and type(uncertainty_ns) is int:
            found = _Mapping(media, uncertainty_ns, _digits(event.get("sender_utc_ns")))
            self._mappings.setdefault(event["track"], []).append(found)

    def _mapping(self, track: int, media: int) -> _Mapping | None:
        found = self._mappings.get(track, [])
        after = bisect.bisect_right(found, media, key=lambda each: each.media)
        return found[max(0, after - 1)] if found else None


def _digits(value: object) -> int | None:
    """A moment as events write it: a decimal string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    return None
