"""Reads back what `boxes` writes, strictly: what would not be written again bit for bit is refused.

For tests and for checks of our own files, never for files of others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from evidence_store.errors import InvalidInput

from .av1_setup import read_av1c
from .boxes import NOT_SYNC, SYNC, TRUN_OFFSETS, Sample, fragment, initialisation, opus
from .decoder_setup import Setup
from .h264_setup import read_avcc
from .h265_setup import read_hvcc
from .vpx_setup import read_vpcc

_MOOF_MAX = 64 * 1024 * 1024
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


@dataclass(frozen=True, slots=True)
class ParsedFragment:
    """What `fragment` was given."""

    sequence: int
    base_time: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class ParsedInit:
    """What `initialisation` was given."""

    setup: Setup
    timescale: int


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give (type, payload) of each box in a row. Raises InvalidInput `bad-box` at one that does not fit."""
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise InvalidInput("box header ends too early", code="bad-box")
        size, kind = struct.unpack_from(">I4s", data, position)
        if not 8 <= size <= len(data) - position:
            raise InvalidInput("box ends too early", code="bad-box")
        yield kind, data[position + 8 : position + size]
        position += size


def parse_fragment(data: bytes) -> ParsedFragment:
    """Read exactly one fragment. Raises InvalidInput `bad-fragment` or `bad-box`."""
    try:
        parsed = _fragment(data)
    except (struct.error, KeyError, ValueError) as error:
        raise InvalidInput("not a fragment of ours", code="bad-fragment") from error
    if fragment(parsed.sequence, parsed.base_time, parsed.samples) != data:
        raise InvalidInput("not a fragment of ours", code="bad-fragment")
    return parsed


def _fragment(data: bytes) -> ParsedFragment:
    (_, moof), (_, media) = boxes(data)
    if len(moof) > _MOOF_MAX:
        raise ValueError
    outer = dict(boxes(moof))
    inner = dict(boxes(outer[b"traf"]))
    run = inner[b"trun"]
    flags, count = struct.unpack_from(">II", run)
    row = ">IIIi" if flags & TRUN_OFFSETS else ">III"
    if len(run) != 12 + count * struct.calcsize(row):
        raise ValueError
    samples = []
    position = 0
    for duration, size, sample_flags, *offset in struct.iter_unpack(row, run[12:]):
        if sample_flags not in (SYNC, NOT_SYNC) or size > len(media) - position:
            raise ValueError
        samples.append(
            Sample(media[position : position + size], duration, sample_flags == SYNC, offset[0] if offset else 0)
        )
        position += size
    (sequence,) = struct.unpack(">4xI", outer[b"mfhd"])
    (base_time,) = struct.unpack(">4xQ", inner[b"tfdt"])
    return ParsedFragment(sequence, base_time, tuple(samples))


def parse_init(data: bytes) -> ParsedInit:
    """Read exactly one initialisation. Raises InvalidInput `bad-init`, `bad-box` or `bad-parameter-set`."""
    try:
        parsed = _parse_init(data)
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise InvalidInput("not an initialisation of ours", code="bad-init") from error
    if initialisation(parsed.setup, parsed.timescale) != data:
        raise InvalidInput("not an initialisation of ours", code="bad-init")
    return parsed


def _parse_init(data: bytes) -> ParsedInit:
    found: dict[bytes, bytes] = {}
    todo = [data]
    while todo:
        for kind, payload in boxes(todo.pop()):
            found[kind] = payload
            if kind in _CONTAINERS:
                todo.append(payload)
    (timescale,) = struct.unpack_from(">12xI", found[b"mdhd"])
    ((kind, entry),) = boxes(found[b"stsd"][8:])
    return ParsedInit(_setup(kind, entry), timescale)


def _setup(kind: bytes, entry: bytes) -> Setup:
    if kind == b"Opus":
        return opus(entry[16] << 8 | entry[17])
    ((name, extra),) = boxes(entry[78:])
    if (kind, name) == (b"avc1", b"avcC"):
        return read_avcc(extra)
    if (kind, name) == (b"hev1", b"hvcC"):
        return read_hvcc(extra)
    if (kind, name) == (b"av01", b"av1C"):
        return read_av1c(extra)
    if name == b"vpcC":
        return read_vpcc(kind, extra, *struct.unpack_from(">HH", entry, 24))
    raise ValueError
