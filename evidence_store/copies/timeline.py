"""What of a take the viewing copy shows, and when: spans with media, and the clock. Pure; filled by the survey."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from evidence_store.canonical import Record
from evidence_store.media_time import MediaClock
from evidence_store.sealing.journal import TrackEntry

HOLE_MS: Final = 500
"""Two fragments of a track further apart than this have a hole between them."""
_CLOCK_TICKS: Final = 20


@dataclass(slots=True)
class TrackTimeline:
    """Stretches of media time with media, in milliseconds after the take's origin; holes lie between them."""

    entry: TrackEntry
    epochs: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, begin: int, end: int, epoch: int) -> None:
        if epoch not in self.epochs:
            self.epochs.append(epoch)
        if self.spans and begin - self.spans[-1][1] <= HOLE_MS:
            self.spans[-1] = (self.spans[-1][0], max(end, self.spans[-1][1]))
        else:
            self.spans.append((begin, end))

    def holes(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Stretches of [begin, end] without media that are long enough to be seen."""
        found, at = [], begin
        for first, last in self.spans:
            if first - at > HOLE_MS:
                found.append((at, first))
            at = max(at, last)
        if end - at > HOLE_MS:
            found.append((at, end))
        return found


@dataclass(slots=True)
class TakeTimeline:
    """The media of one take. The origin's UTC is in the `origin` event of the first tick.

    Without one it is the least of (tick's UTC − media time) over the first ticks: a tick is cut after its media
    arrived, so each difference is the origin and a delay, and the least is nearest.
    """

    tracks: dict[int, TrackTimeline]
    origin_utc_ns: int | None = None
    clock: MediaClock = field(default_factory=MediaClock)
    _seen: int = 0
    _told: bool = False

    @classmethod
    def of(cls, tracks: list[TrackEntry]) -> TakeTimeline:
        return cls({entry.index: TrackTimeline(entry) for entry in tracks})

    def tell(self, record: Record) -> None:
        """Takes a tick's record, before its media."""
        self.clock.tell(record)
        for event in record["events"]:
            utc = event.get("utc")
            if event["type"] == "origin" and isinstance(utc, str) and utc.isdecimal():
                self.origin_utc_ns, self._told = int(utc), True

    def add(self, entry: Record, utc_ns: int) -> tuple[int, int]:
        """Takes a media message's record entry; returns its stretch in milliseconds."""
        track = self.tracks[entry["track"]]
        scale = track.entry.timescale
        begin, end = entry["about"]["from"] * 1000 // scale, entry["about"]["to"] * 1000 // scale
        track.add(begin, end, entry["epoch"])
        if not self._told and self._seen < _CLOCK_TICKS * len(self.tracks):
            self._seen += 1
            origin = utc_ns - entry["about"]["to"] * 10**9 // scale
            self.origin_utc_ns = origin if self.origin_utc_ns is None else min(origin, self.origin_utc_ns)
        return begin, end

    @property
    def begin(self) -> int:
        """Milliseconds after the origin; 0 without media."""
        return min((each.spans[0][0] for each in self.tracks.values() if each.spans), default=0)

    @property
    def end(self) -> int:
        return max((each.spans[-1][1] for each in self.tracks.values() if each.spans), default=0)

    def of_kind(self, kind: str) -> list[TrackTimeline]:
        """Tracks of that kind (`video`, `audio`) that have media, in the start record's order."""
        return [each for _, each in sorted(self.tracks.items()) if each.entry.kind == kind and each.spans]

    @property
    def utc_span(self) -> tuple[int, int]:
        """First and last media in UTC nanoseconds; origin 0 without media."""
        return self._utc(self.begin), self._utc(self.end)

    def _utc(self, milliseconds: int) -> int:
        # Of no track in particular: all lie on one timeline.
        moment = self.clock.at(-1, milliseconds, 1000)
        return (self.origin_utc_ns or 0) + milliseconds * 10**6 if moment is None else moment.utc_ns
