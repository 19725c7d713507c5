"""Reads movie fragments as the recorder lays them out (ISO/IEC 14496-12, 8.8), for what is made of them to be shown.

Pure. What is no such thing is a ValueError, which the caller says in its own words.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ROWS: Final = 0x000701
"""Flags of a track run that has a data offset, and of each sample its duration, size and flags."""
OFFSETS: Final = 0x000800
"""That it has offsets between sending and showing too."""
_NOT_SYNC: Final = 0x00010000  # sample_is_non_sync_sample (8.8.3.1)


@dataclass(frozen=True, slots=True)
class Sample:
    """`decoded`, `shown` and `duration` in the track's timescale, from the take's origin."""

    decoded: int
    shown: int
    duration: int
    flags: int
    data: memoryview

    @property
    def key(self) -> bool:
        return not self.flags & _NOT_SYNC


@dataclass(frozen=True, slots=True)
class Fragment:
    """At least one sample. `head`: its boxes mfhd and tfhd; `whole`: all its bytes."""

    head: tuple[bytes, bytes]
    samples: list[Sample]
    whole: memoryview


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Type and all bytes of each box in a row. Raises ValueError."""
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise ValueError("a box ends in its head")
        size, kind = struct.unpack_from(">I4s", data, position)
        if not 8 <= size <= len(data) - position:
            raise ValueError("a box ends too early")
        yield kind, data[position : position + size]
        position += size


def read_fragments(media: memoryview) -> Iterator[Fragment]:
    """Each fragment (moof and mdat) in a row. Raises ValueError."""
    found, position = list(boxes(media)), 0
    for (kind, moof), (other, data) in zip(found[::2], found[1::2], strict=True):
        if (kind, other) != (b"moof", b"mdat"):
            raise ValueError("not a fragment")
        end = position + len(moof) + len(data)
        try:
            yield _fragment(moof, data, media[position:end])
        except (struct.error, KeyError) as error:
            raise ValueError("not a fragment") from error
        position = end


def _fragment(moof: memoryview, data: memoryview, whole: memoryview) -> Fragment:
    outer = dict(boxes(moof[8:]))
    inner = dict(boxes(outer[b"traf"][8:]))
    (at,) = struct.unpack_from(">12xQ", inner[b"tfdt"])
    run = inner[b"trun"]
    flags, count = struct.unpack_from(">8xII", run)
    if flags & ROWS != ROWS or not count:
        raise ValueError("not a track run of the recorder's")
    row = struct.Struct(">IIIi" if flags & OFFSETS else ">III")
    samples, position = [], 8
    for number in range(count):
        duration, size, sample, *offset = row.unpack_from(run, 20 + number * row.size)
        if size > len(data) - position:
            raise ValueError("a sample ends too early")
        shown = at + (offset[0] if offset else 0)
        samples.append(Sample(at, shown, duration, sample, data[position : position + size]))
        position += size
        at += duration
    return Fragment((bytes(outer[b"mfhd"]), bytes(inner[b"tfhd"])), samples, whole)
