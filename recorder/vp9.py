"""VP9 over RTP (RFC 9628): frames without their descriptors; several spatial layers of a picture as one superframe."""

from __future__ import annotations

from typing import NamedTuple

from .depacketise import Assembler

_I, _P, _L, _F, _B, _E, _V = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02
_MOST_FRAMES = 8  # in a superframe (VP9 bitstream specification, annex B)
KEY_HEADER = 16
"""Octets that hold a key frame's header up to its size, whatever its profile."""


class Descriptor(NamedTuple):
    """Of a payload: where the frame's own octets begin, whether its frame begins and ends here, its spatial layer."""

    at: int
    begins: bool
    ends: bool
    layer: int
    predicted: bool


def read_descriptor(payload: bytes) -> Descriptor | None:
    """Read a payload's descriptor (RFC 9628, 4.2); None when it does not fit or nothing follows it."""
    try:
        return _descriptor(payload)
    except IndexError:
        return None


def _descriptor(payload: bytes) -> Descriptor | None:
    first, at, layer = payload[0], 1, 0
    if first & _I:
        at += 2 if payload[at] & 0x80 else 1
    if first & _L:
        layer = payload[at] >> 1 & 7
        at += 1 if first & _F else 2
    if first & _F and first & _P:
        for _ in range(3):
            at += 1
            if not payload[at - 1] & 1:
                break
    if first & _V:
        structure = payload[at]
        at += 1
        if structure & 0x10:
            at += 4 * ((structure >> 5) + 1)
        if structure & 0x08:
            pictures = payload[at]
            at += 1
            for _ in range(pictures):
                at += 1 + (payload[at] >> 2 & 3)
    if at >= len(payload):
        return None
    return Descriptor(at, bool(first & _B), bool(first & _E), layer, bool(first & _P))


def begins_key_frame(payload: bytes) -> bool:
    """Whether a payload holds the start of a key frame's lowest layer."""
    read = read_descriptor(payload) if payload else None
    return read is not None and read.begins and not read.layer and not read.predicted and is_key(payload[read.at])


def is_key(first: int) -> bool:
    """Whether a frame of this first octet is a key frame (bitstream specification, 6.2 and 7.2)."""
    if first & 0x30 == 0x30:  # profile 3 has one reserved bit more
        return first & 0xC6 == 0x80
    return first & 0xCC == 0x80


class Vp9Depacketiser(Assembler):
    """Builds pictures: the frames of one timestamp.

    More than one frame is kept as a file holds it: one after the other, with an index behind them (bitstream
    specification, annex B), which the payload format leaves out.
    """

    __slots__ = ("_begun", "_open", "_sizes")

    def _reset(self) -> None:
        super()._reset()
        self._begun = False
        self._open = False
        self._sizes: list[int] = []

    def _surely_first(self, payload: bytes) -> bool:
        read = read_descriptor(payload)
        return read is not None and read.begins and not read.layer

    def _append(self, payload: bytes) -> bool:
        read = read_descriptor(payload)
        if read is None:
            return False
        if read.begins == self._open:
            self._complete = False
        if read.begins or not self._open:
            self._sizes.append(0)
        if not self._picture:
            self._begun = read.begins and not read.layer
        self._picture = True
        self._data += memoryview(payload)[read.at :]
        self._sizes[-1] += len(payload) - read.at
        self._open = not read.ends
        return True

    def _close(self) -> None:
        if self._open:
            self._complete = False
        data = self._data
        if self._begun and is_key(data[0]):
            self._key = True
            self._sets.append(bytes(data[:KEY_HEADER]))
        if 1 < len(self._sizes) <= _MOST_FRAMES:
            octets = (max(self._sizes).bit_length() + 7) // 8
            mark = bytes((0xC0 | (octets - 1) << 3 | (len(self._sizes) - 1),))
            data += mark + b"".join(size.to_bytes(octets, "little") for size in self._sizes) + mark
