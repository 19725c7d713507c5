"""Holes, gap events and the manifest's gaps against each other (docs/formats/package.md#checking, step 9). Pure.

A hole in a track's media is explained by a gap event of that track, or of all tracks, and by nothing else; the
manifest has every event as it was declared, what each crash left out, and no gap besides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from evidence_store.canonical import Record
from evidence_store.copies.timeline import HOLE_MS
from evidence_store.errors import ChainBroken
from evidence_store.sealing.journal import Ending, TrackEntry

LATER: Final = 8
"""A hole may be declared up to this many ticks after the media is back: that is when it is understood."""

Listed = tuple[int, str | None, str, str, str | None]
"""A gap as the manifest lists it: take, track id, reason, from, to."""


@dataclass(slots=True)
class Holes:
    """Takes a take's records in order. `declared`: its gap events as the manifest has to list them."""

    take: int
    tracks: dict[int, TrackEntry]
    declared: set[Listed] = field(default_factory=set)
    undeclared: list[str] = field(default_factory=list)
    _ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    _told: dict[int | None, int] = field(default_factory=dict)
    _pending: list[tuple[int, int, str]] = field(default_factory=list)

    def tell(self, tick: int, events: list[Record]) -> None:
        """A tick's events, before its media. Raises ChainBroken `record-form` for a gap of no known track."""
        for event in events:
            if event["type"] == "gap":
                track = event.get("track")
                if track is not None and track not in self.tracks:
                    raise ChainBroken(f"tick {tick} has a gap of no known track", code="record-form")
                name = None if track is None else self.tracks[track].id
                self.declared.add((self.take, name, event["reason"], event["from"], event["to"]))
                self._told[track] = tick
                self._pending = [each for each in self._pending if track not in (None, each[1])]
        self.undeclared += [where for since, _, where in self._pending if tick > since + LATER]
        self._pending = [each for each in self._pending if tick <= each[0] + LATER]

    def media(self, tick: int, track: TrackEntry, begin: int, end: int) -> None:
        """One message of media, in milliseconds after the take's origin."""
        before, before_tick = self._ends.get(track.index, (begin, tick))
        told = max(self._told.get(track.index, -1), self._told.get(None, -1))
        if begin - before > HOLE_MS and told < before_tick:
            where = f"track {track.id}, second {before / 1000:.3f} to {begin / 1000:.3f}"
            self._pending.append((tick, track.index, where))
        self._ends[track.index] = (max(before, end), tick)

    def finish(self) -> None:
        self.undeclared += [where for _, _, where in self._pending]
        self._pending.clear()


def check_listed(manifest: Record, declared: set[Listed]) -> None:
    """The manifest's gaps are exactly the declared ones and what crashes left out.

    Raises ChainBroken `gap-undeclared` for one that the manifest is silent about, `manifest-mismatch` for one too many.
    """
    listed = {(gap["take"], gap["track"], gap["reason"], gap["from"], gap["to"]) for gap in manifest["gaps"]}
    if missing := declared - listed:
        raise ChainBroken(f"{len(missing)} declared gaps are not in the manifest", code="gap-undeclared")
    crashed = [entry for entry in manifest["takes"] if entry["how"] == Ending.CRASHED]
    numbers = {entry["take"] for entry in crashed}
    if any(gap[0] not in numbers or gap[2] != Ending.CRASHED for gap in listed - declared):
        raise ChainBroken("the manifest has a gap of no event and no crash", code="manifest-mismatch")
    for entry in crashed:
        begins = [gap[3] for gap in listed if gap[:3] == (entry["take"], None, Ending.CRASHED)]
        if not begins or entry["last_media"] not in (None, *begins):
            raise ChainBroken(f"what the crash of take {entry['take']} left out is no gap", code="gap-undeclared")
