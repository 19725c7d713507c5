"""VP8 as WebM (Matroska): what was recorded as fragmented MP4, which few players and no browser take VP8 from.

Frames go over byte for byte; nothing is decoded. RFC 8794 (EBML), RFC 9559 (Matroska). Pure: reads and gives bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from evidence_store.errors import InvalidInput
from evidence_store.fragments import Sample, boxes, read_fragments

CODEC: Final = "vp08"
"""How the codec's name (RFC 6381) of an init begins that is given as WebM."""
_TICKS: Final = 1000  # Matroska's own, a second: TimestampScale is 1 ms
_SCALE_NS: Final = 1_000_000
_UNKNOWN: Final = b"\x01" + b"\xff" * 7
_KEY: Final = 0x80
_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


@dataclass(frozen=True, slots=True)
class Picture:
    """What an init says: size in pixels, ticks a second."""

    width: int
    height: int
    timescale: int


@dataclass(frozen=True, slots=True)
class Frame:
    """`time` in milliseconds after the take's origin, `duration` in milliseconds."""

    time: int
    key: bool
    data: bytes
    duration: int


def read_init(init: bytes) -> Picture:
    """Raises InvalidInput `webm-form` unless it is the init of a VP8 track."""
    try:
        found: dict[bytes, memoryview] = {}
        todo = [memoryview(init)]
        while todo:
            for kind, whole in boxes(todo.pop()):
                found[kind] = whole[8:]
                if kind in _CONTAINERS:
                    todo.append(whole[8:])
        (timescale,) = struct.unpack_from(">12xI", found[b"mdhd"])
        ((kind, entry),) = boxes(found[b"stsd"][8:])
        width, height = struct.unpack_from(">HH", entry, 32)
    except (struct.error, KeyError, ValueError) as error:
        raise InvalidInput("not an initialisation", code="webm-form") from error
    if kind != CODEC.encode() or not timescale:
        raise InvalidInput("not an initialisation of VP8", code="webm-form")
    return Picture(width, height, timescale)


def read_media(media: bytes, timescale: int) -> Iterator[list[Frame]]:
    """The frames of each fragment (moof and mdat) in a row. Raises InvalidInput `webm-form`."""
    try:
        for fragment in read_fragments(memoryview(media)):
            yield [_frame(sample, timescale) for sample in fragment.samples]
    except ValueError as error:
        raise InvalidInput("not a fragment", code="webm-form") from error


def _frame(sample: Sample, timescale: int) -> Frame:
    time = _milliseconds(sample.shown, timescale)
    lasts = _milliseconds(sample.shown + sample.duration, timescale) - time
    return Frame(time, sample.key, bytes(sample.data), lasts)


def _milliseconds(time: int, timescale: int) -> int:
    return (time * _TICKS + timescale // 2) // timescale


def beginning(picture: Picture) -> bytes:
    """What comes before clusters that have no end yet: as an initialisation for a browser's player."""
    return _HEADER + _SEGMENT + _UNKNOWN + _information(None) + _tracks(picture)


def is_webm(data: bytes | memoryview) -> bool:
    """Whether these are bytes of `beginning` or `cluster`."""
    return data[:4] in (_HEADER[:4], _CLUSTER)


def cluster(frames: list[Frame], *, lasting: bool = False) -> bytes:
    """The frames of a fragment, at most 32 s. Raises InvalidInput `webm-form` for a longer one, or for none.

    `lasting`: how long the last one lasts is said, for a player that may not have the next one for a while.
    """
    try:
        first = frames[0].time
        blocks = [
            _element(b"\xa3", struct.pack(">BhB", 0x81, frame.time - first, _KEY if frame.key else 0), frame.data)
            for frame in frames
        ]
        if lasting:
            blocks[-1] = _lasting(frames[-1], first)
    except (struct.error, IndexError) as error:
        raise InvalidInput("not a fragment", code="webm-form") from error
    return _element(_CLUSTER, _number(b"\xe7", first), *blocks)


def _lasting(frame: Frame, first: int) -> bytes:
    """A block group (RFC 9559, 5.1.3.5): the block, its duration, and that it refers to another unless it is a key."""
    block = _element(b"\xa1", struct.pack(">BhB", 0x81, frame.time - first, 0), frame.data)
    refers = b"" if frame.key else _element(b"\xfb", b"\xff")
    return _element(b"\xa0", block, _number(b"\x9b", max(1, frame.duration)), refers)


@dataclass(slots=True)
class WebmFile:
    """A whole file of one original, to seek in: `read` gives its init and media messages in order, each time it is
    called. Read once to be laid out, then by each `chunks`. Raises InvalidInput `webm-form`, and what `read` raises."""

    read: Callable[[], Iterator[bytes]]
    _head: bytes = b""
    _tail: bytes = b""
    _picture: Picture = field(init=False)

    def __post_init__(self) -> None:
        messages = self.read()
        self._picture = read_init(next(messages, b""))
        keys, size, end = [], 0, 0
        for message in messages:
            for frames in read_media(message, self._picture.timescale):
                if any(frame.key for frame in frames):
                    keys.append((frames[0].time, size))
                size += len(cluster(frames))
                end = frames[-1].time
        information, tracks = _information(float(end)), _tracks(self._picture)
        # Positions count from after the segment's own head (RFC 9559, 16); this one has a fixed length.
        seek_length = len(_seek(0))
        before = seek_length + len(information) + len(tracks)
        self._tail = _element(b"\x1c\x53\xbb\x6b", *(_cue(time, before + at) for time, at in keys)) if keys else b""
        segment = (before + size + len(self._tail)) | 1 << 56
        head = _HEADER + _SEGMENT + segment.to_bytes(8, "big")
        self._head = head + _seek(before + size) + information + tracks

    def chunks(self) -> Iterator[bytes]:
        """The file's bytes."""
        yield self._head
        messages = self.read()
        next(messages)
        for message in messages:
            for frames in read_media(message, self._picture.timescale):
                yield cluster(frames)
        yield self._tail


def _element(identifier: bytes, *parts: bytes) -> bytes:
    size = sum(map(len, parts))
    octets = max(1, -(-(size + 1).bit_length() // 7))
    return identifier + (size | 1 << 7 * octets).to_bytes(octets, "big") + b"".join(parts)


def _number(identifier: bytes, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, -(-value.bit_length() // 8)), "big"))


def _information(milliseconds: float | None) -> bytes:
    duration = b"" if milliseconds is None else _element(b"\x44\x89", struct.pack(">d", milliseconds))
    names = _element(b"\x4d\x80", b"Vidne") + _element(b"\x57\x41", b"Vidne")
    return _element(b"\x15\x49\xa9\x66", _number(b"\x2a\xd7\xb1", _SCALE_NS), duration, names)


def _tracks(picture: Picture) -> bytes:
    size = _element(b"\xe0", _number(b"\xb0", picture.width), _number(b"\xba", picture.height))
    entry = _element(
        b"\xae",
        _number(b"\xd7", 1),
        _number(b"\x73\xc5", 1),
        _number(b"\x83", 1),
        _number(b"\x9c", 0),
        _element(b"\x86", b"V_VP8"),
        size,
    )
    return _element(b"\x16\x54\xae\x6b", entry)


def _seek(cues: int) -> bytes:
    position = _element(b"\x53\xac", cues.to_bytes(8, "big"))
    return _element(b"\x11\x4d\x9b\x74", _element(b"\x4d\xbb", _element(b"\x53\xab", b"\x1c\x53\xbb\x6b"), position))


def _cue(time: int, position: int) -> bytes:
    place = _element(b"\xb7", _number(b"\xf7", 1), _number(b"\xf1", position))
    return _element(b"\xbb", _number(b"\xb3", time), place)


_CLUSTER: Final = b"\x1f\x43\xb6\x75"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_HEADER: Final = _element(
    b"\x1a\x45\xdf\xa3",
    _number(b"\x42\x86", 1),
    _number(b"\x42\xf7", 1),
    _number(b"\x42\xf2", 4),
    _number(b"\x42\xf3", 8),
    _element(b"\x42\x82", b"webm"),
    _number(b"\x42\x87", 4),
    _number(b"\x42\x85", 2),
)
