"""What a browser can be shown of a picture track that lost packets: whole pictures that rest on whole ones.

A picture with a hole in it is evidence, and is kept. To a browser's decoder it is an error, after which nothing is
shown any more; what is coded as a change of it comes out smeared or is an error too. So the player is given neither:
from where a declared loss begins to the next key frame the last whole picture stands, with its sound, and it is said.
ISO/IEC 14496-12, section 8.8 (movie fragments). Pure: reads and gives bytes.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from statistics import median_low
from typing import Final

from evidence_store.errors import InvalidInput

DAMAGING: Final = frozenset({"loss", "incomplete", "malformed", "spool-full", "spool-failing", "sealer-behind"})
"""Reasons of gaps after which a stream may go on with what rests on what is missing. All others end at a key frame, or
nothing was sent."""

Stretch = tuple[int, int]
"""From one media time to another, in the track's timescale."""
_OFFSETS: Final = 0x000800
_ROWS: Final = 0x000701  # data offset; each sample's duration, size and flags
_NOT_SYNC: Final = 0x00010000
_GREATEST: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Unshown:
    """Of one track: stretches in order, of which none touches another."""

    stretches: tuple[Stretch, ...] = ()

    @classmethod
    def of(cls, gaps: Iterable[Stretch], keys: Iterable[int], end: int) -> Unshown:
        """`gaps` are the damaging ones; `keys` when key frames are shown, `end` where the track ends."""
        keys, found = sorted(keys), list[Stretch]()
        for begin, over in sorted(gaps):
            after = bisect.bisect_left(keys, over)
            until = keys[after] if after < len(keys) else max(end, over)
            if found and begin <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], until)
            elif begin < until:
                found.append((begin, until))
        return cls(tuple(found))

    def before(self, time: int) -> int:
        """How many begin at that time or before it."""
        return bisect.bisect_right(self.stretches, time, key=lambda each: each[0])

    def next(self, time: int, before: int | None) -> int | None:
        """When the first one ends that begins after that time; None if it begins after `before`, or there is none."""
        number = self.before(time)
        if number == len(self.stretches) or (before is not None and self.stretches[number][0] > before):
            return None
        return self.stretches[number][1]

    def hides(self, time: int) -> bool:
        """Whether a picture that is shown at that time is left out."""
        begun = self.before(time)
        return begun > 0 and time < self.stretches[begun - 1][1]


@dataclass(frozen=True, slots=True)
class _Sample:
    decoded: int
    shown: int
    duration: int
    flags: int
    data: memoryview


@dataclass(slots=True)
class _Run:
    """Samples in a row, of one fragment. `head`: boxes that stay as they are (mfhd, tfhd). `whole`: the fragment's
    bytes, as long as this is all of it."""

    head: tuple[bytes, bytes]
    samples: list[_Sample] = field(default_factory=list)
    whole: memoryview | None = None


def whole_pictures(media: bytes | memoryview, unshown: Unshown) -> bytes | memoryview:
    """The fragments (moof and mdat) of a picture track without what is not shown; the picture before it lasts instead.

    Nothing may be left. A fragment that no stretch touches is given as it is. Raises InvalidInput `media-form`.
    """
    if not unshown.stretches:
        return media
    try:
        recorded = list(_runs(memoryview(media)))
    except (struct.error, KeyError, ValueError) as error:
        raise InvalidInput("not a fragment", code="media-form") from error
    runs = list(_kept(recorded, unshown))
    # A stretch may begin where the segment ends, after its last picture.
    end = recorded[-1].samples[-1] if recorded else None
    given: list[_Run] = []
    for run, after in zip_longest(runs, runs[1:]):
        last = max(run.samples, key=lambda each: each.shown)
        before = after.samples[0].shown if after else None
        if after is None and run.samples[-1] is end:
            before = last.shown + 2 * last.duration
        given += _held(run, last, unshown.next(last.shown, before))
    return b"".join(run.whole or _written(run) for run in given)


def _runs(media: memoryview) -> Iterator[_Run]:
    boxes = list(_boxes(media))
    for (kind, moof, begin), (other, data, _) in zip(boxes[::2], boxes[1::2], strict=True):
        if (kind, other) != (b"moof", b"mdat"):
            raise ValueError
        outer = {name: whole for name, whole, _ in _boxes(moof[8:])}
        inner = {name: whole for name, whole, _ in _boxes(outer[b"traf"][8:])}
        (at,) = struct.unpack_from(">12xQ", inner[b"tfdt"])
        table = inner[b"trun"]
        flags, count = struct.unpack_from(">8xII", table)
        if flags & _ROWS != _ROWS or not count:
            raise ValueError
        run = _Run((bytes(outer[b"mfhd"]), bytes(inner[b"tfhd"])))
        row, position = struct.Struct(">IIIi" if flags & _OFFSETS else ">III"), 8
        for number in range(count):
            duration, size, sample, *offset = row.unpack_from(table, 20 + number * row.size)
            if size > len(data) - position:
                raise ValueError
            shown = at + (offset[0] if offset else 0)
            run.samples.append(_Sample(at, shown, duration, sample, data[position : position + size]))
            position += size
            at += duration
        run.whole = media[begin : begin + len(moof) + len(data)]
        yield run


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    """Type, all bytes and place of each box."""
    position = 0
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if not 8 <= size <= len(data) - position:
            raise ValueError
        yield kind, data[position : position + size], position
        position += size


def _kept(runs: list[_Run], unshown: Unshown) -> Iterator[_Run]:
    """What is shown of them; each part lies on one side of every stretch."""
    broken = False
    # A stretch is declared from where the last whole picture would have ended, had the next one come on time. That
    # one may have come a little early. A key frame is whole: it is flagged so only then.
    early = median_low(sample.duration for run in runs for sample in run.samples) // 2 if runs else 0
    for run in runs:
        kept = []
        for sample in run.samples:
            # A picture may be sent after one that it is shown before, and rest on it.
            key = not sample.flags & _NOT_SYNC
            hidden = unshown.hides(sample.shown) or (not key and unshown.hides(sample.shown + early))
            broken = hidden or (broken and not key)
            if not broken:
                kept.append(sample)
        for _, each in groupby(kept, key=lambda sample: unshown.before(sample.shown)):
            part = list(each)
            yield _Run(run.head, part, run.whole if len(part) == len(run.samples) else None)


def _held(run: _Run, last: _Sample, until: int | None) -> Iterator[_Run]:
    """Has the picture of the run that is shown last be shown until then. Others may be sent after it."""
    if until is None:
        yield run
        return
    at = run.samples.index(last)
    held = replace(last, duration=min(until - last.shown, _GREATEST))
    yield _Run(run.head, [*run.samples[:at], held])
    if rest := run.samples[at + 1 :]:
        yield _Run(run.head, rest)


def _written(run: _Run) -> bytes:
    """As the recorder lays a fragment out: offsets between sending and showing are there when one of them is not 0."""
    offsets = any(each.shown != each.decoded for each in run.samples)
    row = struct.Struct(">IIIi" if offsets else ">III")
    table = b"".join(
        row.pack(each.duration, len(each.data), each.flags, *([each.shown - each.decoded] if offsets else []))
        for each in run.samples
    )
    header, track = run.head
    time = struct.pack(">I4sIQ", 20, b"tfdt", 1 << 24, run.samples[0].decoded)
    flags = 1 << 24 | _ROWS | (_OFFSETS if offsets else 0)
    traf = 8 + len(track) + len(time) + 20 + len(table)
    moof = 8 + len(header) + traf
    samples = struct.pack(">I4sIII", 20 + len(table), b"trun", flags, len(run.samples), moof + 8)
    data = [each.data for each in run.samples]
    return b"".join(
        (
            struct.pack(">I4s", moof, b"moof"), header, struct.pack(">I4s", traf, b"traf"), track, time, samples, table,
            struct.pack(">I4s", 8 + sum(map(len, data)), b"mdat"), *data,
        )
    )  # fmt: skip
