"""Fragmented MP4, written by hand: libav can't be told to cut by the clock.

One track a file: an initialisation (ftyp, moov) once for each set of decoder parameters, then fragments (moof, mdat),
each any number of samples. ISO/IEC 14496-12 (boxes), 23000-19 (CMAF), and Opus in ISOBMFF. A picture's sample entry
is built beside its codec's headers: `h264_setup`, `h265_setup`, `vpx_setup`, `av1_setup`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from evidence_store.errors import InvalidInput

from .decoder_setup import Setup

VIDEO_TIMESCALE = 90_000
AUDIO_TIMESCALE = 48_000
TRACK = 1
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UND = 0x55C4  # ISO 639-2 "und", packed (14496-12, 8.4.2.3)
SYNC = 0x02000000  # depends on no other sample
NOT_SYNC = 0x01010000  # depends on others, and is no sync sample
DEFAULT_BASE_IS_MOOF = 0x020000
# data offset; for each sample duration, size, flags
TRUN_FLAGS = 0x000001 | 0x000100 | 0x000200 | 0x000400
TRUN_OFFSETS = 0x000800


@dataclass(frozen=True, slots=True)
class Sample:
    """One access unit in a fragment. `duration` and `offset` (presentation less decoding time) in the timescale."""

    data: bytes
    duration: int
    sync: bool
    offset: int = 0


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of a four-byte type around its parts."""
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box that begins with a version and 24 bits of flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def visual_entry(kind: bytes, width: int, height: int, *parts: bytes) -> bytes:
    """A sample entry of a picture (14496-12, 12.1.3) around its configuration box."""
    return box(
        kind,
        struct.pack(">6xH16xHHIII", 1, width, height, 0x480000, 0x480000, 0),
        struct.pack(">H32sHh", 1, b"", 24, -1),
        *parts,
    )


def opus(channels: int) -> Setup:
    """The setup of Opus sound of 1 or 2 channels.

    Pre-skip is 0: nothing of what was sent is hidden from the ear. Raises InvalidInput `bad-channels`.
    """
    if channels not in (1, 2):
        raise InvalidInput("Opus without a channel mapping has 1 or 2 channels", code="bad-channels")
    entry = box(
        b"Opus",
        struct.pack(">6xH8xHH4xI", 1, channels, 16, 48_000 << 16),
        box(b"dOps", struct.pack(">BBHIhB", 0, channels, 0, 48_000, 0, 0)),
    )
    return Setup("opus", entry)


def initialisation(setup: Setup, timescale: int) -> bytes:
    """The initialisation of a track: of a picture where the setup has a size, else of sound."""
    if setup.width:
        return _init(b"vide", b"Picture", full_box(b"vmhd", 0, 1, bytes(8)), setup, timescale)
    # A decoder that starts here needs 80 ms before it is itself again: 4 packets of 20 ms (Opus in ISOBMFF, 4.3.6.2).
    roll = full_box(b"sgpd", 2, 0, b"roll", struct.pack(">IIIh", 2, 1, 1, -4))
    return _init(b"soun", b"Sound", full_box(b"smhd", 0, 0, bytes(4)), setup, timescale, roll)


def _init(
    handler: bytes,
    name: bytes,
    media_header: bytes,
    setup: Setup,
    timescale: int,
    groups: bytes = b"",
) -> bytes:
    sound = handler == b"soun"
    tables = b"".join(
        (
            full_box(b"stsd", 0, 0, struct.pack(">I", 1), setup.entry),
            full_box(b"stts", 0, 0, bytes(4)),
            full_box(b"stsc", 0, 0, bytes(4)),
            full_box(b"stsz", 0, 0, bytes(8)),
            full_box(b"stco", 0, 0, bytes(4)),
            groups,
        )
    )
    references = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    media = box(
        b"mdia",
        full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, timescale, 0, _UND, 0)),
        full_box(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, handler), name, b"\0"),
        box(b"minf", media_header, references, box(b"stbl", tables)),
    )
    track_header = full_box(
        b"tkhd",
        0,
        3,
        struct.pack(">IIIII8xhhhH", 0, 0, TRACK, 0, 0, 0, 0, 0x0100 if sound else 0, 0),
        _MATRIX,
        struct.pack(">II", setup.width << 16, setup.height << 16),
    )
    movie_header = full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">IIIIIH10x", 0, 0, timescale, 0, 0x10000, 0x0100),
        _MATRIX,
        bytes(24),
        struct.pack(">I", TRACK + 1),
    )
    defaults = full_box(b"trex", 0, 0, struct.pack(">IIIII", TRACK, 1, 0, 0, SYNC if sound else NOT_SYNC))
    return box(b"ftyp", b"iso6", struct.pack(">I", 0), b"iso6cmfcmp41") + box(
        b"moov", movie_header, box(b"trak", track_header, media), box(b"mvex", defaults)
    )


def fragment(sequence: int, base_time: int, samples: Sequence[Sample]) -> bytes:
    """One moof and mdat. `sequence` counts from 1; `base_time` is the first sample's decoding time in the timescale.

    The same arguments give the same bytes. Raises InvalidInput `bad-fragment` when a field can't hold its value.
    """
    if not samples:
        raise InvalidInput("a fragment needs a sample", code="bad-fragment")
    offsets = any(sample.offset for sample in samples)
    size = sum(len(sample.data) for sample in samples)
    rows = bytearray()
    try:
        for sample in samples:
            flags = SYNC if sample.sync else NOT_SYNC
            rows += struct.pack(">III", sample.duration, len(sample.data), flags)
            if offsets:
                rows += struct.pack(">i", sample.offset)
        header = full_box(b"mfhd", 0, 0, struct.pack(">I", sequence))
        track = full_box(b"tfhd", 0, DEFAULT_BASE_IS_MOOF, struct.pack(">I", TRACK))
        time = full_box(b"tfdt", 1, 0, struct.pack(">Q", base_time))
        # moof, traf and trun headers (8 + 8 + 12), count and data offset (4 + 4), then mdat's own header.
        data_offset = len(header) + len(track) + len(time) + len(rows) + 28 + 8 + 8
        head = struct.pack(">II", len(samples), data_offset)
        run = full_box(b"trun", 1, TRUN_FLAGS | (TRUN_OFFSETS if offsets else 0), head, bytes(rows))
        moof = box(b"moof", header, box(b"traf", track, time, run))
        return b"".join((moof, struct.pack(">I4s", 8 + size, b"mdat"), *(sample.data for sample in samples)))
    except struct.error as error:
        raise InvalidInput(f"a fragment can't hold this: {error}", code="bad-fragment") from error
