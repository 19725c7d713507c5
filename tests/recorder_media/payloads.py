"""A tiny sender for tests: NAL units to RTP payloads, Annex B and length-prefixed forms, headers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from recorder.track import Track

AUD, SEI = b"\x09\xf0", b"\x06\x05\x03abc\x80"
SPS = bytes.fromhex("6742c01ed900a02ff97011000003000100000300320f162e48")
PPS = bytes.fromhex("68cb83cb20")
SPS_HD = bytes.fromhex("67641028acb80f0044fcb80880000003008000001902")
PPS_HD = bytes.fromhex("68ee0f2c8b")
IDR = b"\x65\x88" + bytes(range(1, 250))
SLICE = b"\x41\x9a" + bytes(range(1, 200))


@dataclass(frozen=True, slots=True)
class Packet:
    sequence: int
    timestamp: int
    marker: bool
    payload: bytes

    def numbered(self, sequence: int) -> Packet:
        return replace(self, sequence=sequence & 0xFFFF)


def lengths(*nals: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(nal)) + nal for nal in nals)


def split_lengths(data: bytes) -> list[bytes]:
    nals, position = [], 0
    while position < len(data):
        (size,) = struct.unpack_from(">I", data, position)
        nals.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    assert position == len(data)
    return nals


def split_annex_b(data: bytes) -> list[bytes]:
    return [nal.rstrip(b"\0") for nal in data.split(b"\0\0\1") if nal.rstrip(b"\0")]


def stap(*nals: bytes) -> bytes:
    return b"\x78" + b"".join(struct.pack(">H", len(nal)) + nal for nal in nals)


def fragments(nal: bytes, size: int) -> list[bytes]:
    body, indicator, kind = nal[1:], (nal[0] & 0xE0) | 28, nal[0] & 0x1F
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert len(pieces) > 1
    return [
        bytes((indicator, kind | (0x80 if not at else 0) | (0x40 if at == len(pieces) - 1 else 0))) + piece
        for at, piece in enumerate(pieces)
    ]


def packetise(units: Iterable[tuple[int, list[bytes]]], first: int = 0, size: int = 1100) -> Iterator[Packet]:
    """(32-bit RTP time, NAL units) of each picture, as RFC 6184 mode 1: small aggregated, large fragmented."""
    sequence = first
    for timestamp, nals in units:
        payloads: list[bytes] = []
        small: list[bytes] = []
        for nal in [*nals, b""]:
            if nal and sum(map(len, small)) + len(nal) < size - 64:
                small.append(nal)
                continue
            if small:
                payloads.append(stap(*small) if len(small) > 1 else small[0])
            small = [nal] if nal and len(nal) < size else []
            if len(nal) >= size:
                payloads += fragments(nal, size)
        for at, payload in enumerate(payloads):
            yield Packet(sequence & 0xFFFF, timestamp & 0xFFFFFFFF, at == len(payloads) - 1, payload)
            sequence += 1


def split_obus(data: bytes) -> list[bytes]:
    """Each OBU of a temporal unit as RTP carries it: without its size, which all of these have."""
    obus, position = [], 0
    while position < len(data):
        header, at = data[position], position + 1
        assert header & 0x82 == 2
        extension = data[at : at + 1] if header & 4 else b""
        at += len(extension)
        size = shift = 0
        while True:
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        assert at + size <= len(data)
        obus.append(bytes((header & ~2,)) + extension + data[at : at + size])
        position = at + size
    return obus


def give(track: Track, packet: Packet, payload: bytes, arrival_ns: int) -> None:
    """One packet, as if it had been read alone."""
    track.take([(packet.sequence, packet.timestamp, packet.marker, 0, payload)], False, arrival_ns)
