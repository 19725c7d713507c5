"""What was sealed of an interview, held against what its cameras sent, unit for unit.

A simulated camera sends the pictures and sounds of a short clip over and over, in step with UTC. So each unit that was
sealed can be looked up in the clip by its bytes, and what is missing between two of them is known by their places in
it; a hole that no gap record covers is undeclared. Only whole units count: one with a hole in it is in no clip.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from api.wiring import Store
from evidence_store.canonical import parse
from evidence_store.database.schema import InterviewRow
from evidence_store.intake import segments_of
from evidence_store.sealed import takes_of
from evidence_store.sealing.tick import Kind, open_message, place_of
from recorder.box_reader import boxes, parse_fragment
from tests.recorder_media.payloads import lengths, split_annex_b

SECOND = 1_000_000_000
LEEWAY = SECOND // 20
"""What a hole may be longer than the gap that declares it: the one unit of a track that was on its way when a process
died, while another track's had come."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Units of one loop in order, by the hash of their bytes as they are sealed; `step` ns from one to the next."""

    places: Mapping[bytes, Sequence[int]]
    count: int
    step: int

    def place(self, unit: bytes, expected: int | None) -> int | None:
        """Where in the loop, the nearest from `expected` on where there are several alike; None: not of this clip."""
        found = self.places.get(hashlib.sha256(unit).digest())
        if not found:
            return None
        return min(found, key=lambda place: (place - (expected or 0)) % self.count)


def clip_of(path: Path, kind: str) -> Clip:
    """The `video` or `audio` of a clip, as `hardware.camera` has it sent."""
    places: dict[bytes, list[int]] = {}
    with av.open(str(path)) as source:
        seconds = int(source.metadata["comment"].removeprefix("loop_seconds="))
        track = source.streams.video[0] if kind == "video" else source.streams.audio[0]
        rate = 30 if kind == "video" else 50
        count = seconds * rate
        packets = (packet for packet in source.demux(track) if packet.size)
        if kind == "video":
            annex_b = BitStreamFilterContext("h264_mp4toannexb", track)
            units = [lengths(*split_annex_b(bytes(out))) for packet in packets for out in annex_b.filter(packet)]
        else:
            units = [bytes(packet) for packet in packets]
    for place, unit in enumerate(units[:count]):
        places.setdefault(hashlib.sha256(unit).digest(), []).append(place)
    return Clip(places, count, SECOND // rate)


@dataclass(frozen=True, slots=True)
class Unit:
    """`utc`: ns. `place`: in its clip, None where it is damaged."""

    take: int
    utc: int
    place: int | None


@dataclass(frozen=True, slots=True)
class Hole:
    """From the end of a whole unit to the beginning of the next one, ns UTC; `missing` units between."""

    track: str
    begin: int
    end: int
    missing: int


@dataclass(frozen=True, slots=True)
class Declared:
    """A gap of the manifest; `track` None: of all."""

    track: str | None
    begin: int
    end: int
    reason: str


@dataclass(slots=True)
class Account:
    """Of one interview: units sealed whole by track, holes between them, and what of those nobody declared."""

    whole: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    holes: list[Hole] = field(default_factory=list)
    gaps: list[Declared] = field(default_factory=list)
    spans: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    """For each take and track, UTC ns of the beginning of its first whole unit and the end of its last."""

    def missing(self, track: str) -> int:
        return sum(hole.missing for hole in self.holes if hole.track == track)

    @property
    def undeclared(self) -> list[Hole]:
        return [hole for hole in self.holes if uncovered(hole, self.gaps) > LEEWAY]


def uncovered(hole: Hole, gaps: Iterable[Declared]) -> int:
    """The longest stretch of a hole, in ns, that no gap of its track or of all covers."""
    return max((end - begin for begin, end in _stretches(hole, gaps)), default=0)


def _stretches(hole: Hole, gaps: Iterable[Declared]) -> Iterator[tuple[int, int]]:
    at = hole.begin
    of_it = [gap for gap in gaps if gap.track in (None, hole.track) and gap.end > hole.begin and gap.begin < hole.end]
    for gap in sorted(of_it, key=lambda gap: gap.begin):
        if gap.begin > at:
            yield at, gap.begin
        at = max(at, gap.end)
    if at < hole.end:
        yield at, hole.end


def said(hole: Hole, gaps: Iterable[Declared]) -> str:
    """A hole and its undeclared stretches, for whoever looks into it. Seconds."""
    parts = ", ".join(
        f"{(end - begin) / SECOND:.3f} s from its {(begin - hole.begin) / SECOND:.3f}th"
        for begin, end in _stretches(hole, gaps)
    )
    return f"{hole.track}: {hole.missing} missing in {(hole.end - hole.begin) / SECOND:.3f} s, undeclared {parts}"


@dataclass(slots=True)
class Follower:
    """Follows one track through its takes, and sees where units are missing or damaged between two whole ones. Pure."""

    track: str
    clip: Clip
    last: Unit | None = None
    whole: int = 0
    damaged: int = 0

    def see(self, unit: Unit) -> Hole | None:
        if unit.place is None:
            self.damaged += 1
            return None
        self.whole += 1
        last, self.last, clip = self.last, unit, self.clip
        if last is None or last.place is None:
            return None
        begin = last.utc + clip.step
        skipped = (unit.place - last.place - 1) % clip.count
        # A hole longer than the loop shows in time alone.
        laps = round((unit.utc - begin - skipped * clip.step) / (clip.count * clip.step))
        missing = skipped + max(0, laps) * clip.count
        return Hole(self.track, begin, unit.utc, missing) if missing else None


def account(store: Store, interview: str, clips: Mapping[str, Clip]) -> Account:
    """Opens everything that was sealed of an interview, once. `clips`: by track id.

    Raises RuntimeError where there is no manifest yet, Tampered where something does not hold.
    """
    with store.book.reading() as session:
        row = session.get_one(InterviewRow, interview)
        if row.manifest_object is None:
            raise RuntimeError("the interview is not sealed")
        manifest = parse(store.book.vault.get(row.manifest_object, row.manifest_sha256))
        takes = [(take.enrolment, take.n, take.origin_utc) for take in takes_of(session, interview)]
    found = Account(gaps=[_declared(gap) for gap in manifest["gaps"]])
    followers = {track: Follower(track, clip) for track, clip in clips.items()}
    for enrolment, n, origin in takes:
        if origin is None:
            continue
        for track, unit in _units_of_take(store, (enrolment, n), origin, clips):
            if (hole := followers[track].see(unit)) is not None:
                found.holes.append(hole)
            if unit.place is not None:
                begin, _ = found.spans.get((n, track), (unit.utc, 0))
                found.spans[n, track] = (begin, unit.utc + clips[track].step)
    for track, follower in followers.items():
        found.whole[track], found.damaged[track] = follower.whole, follower.damaged
    return found


def _declared(gap: dict[str, Any]) -> Declared:
    return Declared(gap["track"], int(gap["from"]), int(gap["to"]) if gap["to"] is not None else 1 << 63, gap["reason"])


def _units_of_take(
    store: Store, take: tuple[str, int], origin: int, clips: Mapping[str, Clip]
) -> Iterator[tuple[str, Unit]]:
    """Each segment is checked and opened once, for all its tracks: two hours of six cameras are 43,000 otherwise."""
    tracks = {entry.index: entry for entry in store.playback.start(*take).tracks if entry.id in clips}
    with store.book.reading() as session:
        count = len(segments_of(session, *take))
    expected: dict[str, int] = {}
    for number in range(count):
        for index, data in _media(store, take, number):
            if (entry := tracks.get(index)) is None:
                continue
            for time, unit in _samples(data):
                place = clips[entry.id].place(unit, expected.get(entry.id))
                if place is not None:
                    expected[entry.id] = place + 1
                yield entry.id, Unit(take[1], origin + time * SECOND // entry.timescale, place)


def _media(store: Store, take: tuple[str, int], segment: int) -> Iterator[tuple[int, bytes]]:
    """Track and bytes of every fragment of a segment, in order. As `Playback.check_take` opens them."""
    start, keys = store.playback._keys_of(*take, segment)
    try:
        for tick in store.playback._ticks(*take, segment, start):
            for entry, ciphertext in tick.parts():
                if entry["kind"] == Kind.MEDIA.word:
                    data = open_message(keys, place_of(start.start_hash, tick.record, entry), entry, ciphertext)
                    yield entry["track"], data
    finally:
        keys.forget()


def _samples(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Presentation time and bytes of each unit of some fragments in a row."""
    moof = b""
    for kind, payload in boxes(data):
        whole = struct.pack(">I4s", 8 + len(payload), kind) + payload
        if kind == b"moof":
            moof = whole
            continue
        parsed = parse_fragment(moof + whole)
        at = parsed.base_time
        for sample in parsed.samples:
            yield at + sample.offset, sample.data
            at += sample.duration
