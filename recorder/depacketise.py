"""From RTP payloads to access units: what was sent, byte for byte, and whether all of it came.

H.264 by RFC 6184, packetization modes 0 and 1 (single NAL unit, STAP-A, FU-A); Opus by RFC 7587. Payloads come in
sequence order, holes told by `lost()`. Nothing is decoded, filtered, reordered or repaired: SEI messages may carry a
camera's own signature.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from .rtp import RtpPacket

NAL_SLICE_IDR = 5
NAL_SPS = 7
NAL_PPS = 8
_NAL_AUD = 9
_STAP_A = 24
_FU_A = 28
MAX_UNIT = 16 * 1024 * 1024
_MAX_PREAMBLE = 256 * 1024
_ONE_READING = 64 * 2048  # more than is ever read together
_MAX_OPUS_TICKS = 5760  # 120 ms at 48 kHz, RFC 6716 section 3.1


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture, or one Opus packet.

    `rtp_time` is 32-bit, `arrival_ns` the local monotonic time of its first packet. `data` holds for H.264 each NAL
    unit behind a 4-byte big-endian length, in the order sent, and for Opus the packet. `complete` is True only when
    every packet of it is known to have come: a unit that is not holds what did come, and no more. `key` means that it
    has an IDR slice. `parameter_sets` are the SPS and PPS NAL units inside, which also stay in `data`.
    """

    rtp_time: int
    data: bytes
    key: bool
    complete: bool
    arrival_ns: int
    packets: int
    parameter_sets: tuple[bytes, ...] = ()


@dataclass(slots=True)
class PayloadCounters:
    """Payloads since the stream began. `empty` ones are senders' padding, which is no media."""

    malformed: int = 0
    empty: int = 0
    oversized: int = 0

    @property
    def dropped(self) -> int:
        """Payloads that were not kept: malformed, or beyond the greatest size of a unit."""
        return self.malformed + self.oversized


class Depacketiser(Protocol):
    """Both kinds, seen from the track. No payload makes one raise."""

    counters: PayloadCounters

    def push(
        self, payload: bytes, marker: bool, timestamp: int, sequence: int, arrival_ns: int
    ) -> list[AccessUnit]: ...

    def middle(self, packets: list[RtpPacket], at: int) -> int:
        """Takes packets from `at` on, in order, as long as each is nothing but a middle of what is under construction:
        most packets are. The index of the first one that was not taken."""

    def lost(self) -> None: ...

    def flush(self) -> list[AccessUnit]: ...


class H264Depacketiser:
    """Builds access units; one is complete on the marker bit, or when the timestamp changes, whichever comes first.

    NAL units that come before any slice belong to the picture after them (H.264, 7.4.1.2.3), so a marker on a packet
    of parameter sets alone ends nothing. A NAL unit whose first fragment was lost gets its header back from the FU
    indicator and header; one with a hole holds what came before and after it. Both are in a unit marked incomplete.
    """

    __slots__ = (
        "_arrival_ns",
        "_complete",
        "_data",
        "_fragment_at",
        "_fragment_type",
        "_key",
        "_max_unit",
        "_packets",
        "_picture",
        "_sets",
        "_timestamp",
        "_uncertain",
        "_uses_aud",
        "counters",
    )

    def __init__(self, max_unit: int = MAX_UNIT) -> None:
        self._max_unit = max_unit
        self._uncertain = False
        self._uses_aud = False
        self.counters = PayloadCounters()
        self._timestamp: int | None = None
        self._packets = 0
        self._reset()

    def push(self, payload: bytes, marker: bool, timestamp: int, sequence: int, arrival_ns: int) -> list[AccessUnit]:
        """Take one payload; give the access units that it completes (none, one, or two).

        `sequence` is not looked at: order is what `Reorder` gives.
        """
        if not payload:
            self.counters.empty += 1
            return []
        units: list[AccessUnit] = []
        if timestamp != self._timestamp:
            if self._picture or len(self._data) > _MAX_PREAMBLE:
                units.append(self._finish())
            elif not self._data:
                self._reset()
            self._timestamp = timestamp
        if not self._packets:
            self._arrival_ns = arrival_ns
            self._complete = not self._uncertain or self._surely_first(payload)
        self._uncertain = False
        self._packets += 1
        if len(self._data) + len(payload) > self._max_unit:
            self.counters.oversized += 1
            self._complete = False
        elif not self._append(payload):
            self.counters.malformed += 1
            self._complete = False
        if marker and self._picture:
            units.append(self._finish())
        return units

    def middle(self, packets: list[RtpPacket], at: int) -> int:
        """See `Depacketiser`. Middles are fragments (FU-A) that neither start nor end a NAL unit."""
        data, timestamp = self._data, self._timestamp
        if self._fragment_at < 0 or len(data) > self._max_unit - _ONE_READING:
            return at
        indicator, kind, begun = data[self._fragment_at + 4] & 0xE0 | _FU_A, self._fragment_type, at
        for _, time, marker, payload, _ in packets[at:]:
            if marker or time != timestamp or len(payload) < 3 or payload[0] != indicator or payload[1] != kind:
                break
            data += payload[2:]
            at += 1
        self._packets += at - begun
        return at

    def lost(self) -> None:
        """One packet or more is missing here: the unit under construction is, and the next may be, incomplete."""
        if self._packets:
            self._complete = False
        self._uncertain = True

    def flush(self) -> list[AccessUnit]:
        """Give what is under construction, as incomplete: its end never came."""
        if not self._data:
            self._reset()
            return []
        self._complete = False
        # Should the rest of it come after all, that is no whole unit either.
        self._uncertain = True
        return [self._finish()]

    def _reset(self) -> None:
        self._data = bytearray()
        self._sets: list[bytes] = []
        self._fragment_at = -1
        self._fragment_type = 0
        self._key = False
        self._picture = False
        self._complete = True
        self._packets = 0
        self._arrival_ns = 0

    def _finish(self) -> AccessUnit:
        self._close_fragment()
        unit = AccessUnit(
            rtp_time=self._timestamp or 0,
            data=bytes(self._data),
            key=self._key,
            complete=self._complete,
            arrival_ns=self._arrival_ns,
            packets=self._packets,
            parameter_sets=tuple(self._sets),
        )
        self._reset()
        return unit

    def _surely_first(self, payload: bytes) -> bool:
        """After a hole: does this packet prove that nothing of its unit came before it?"""
        kind = payload[0] & 0x1F
        if kind == _STAP_A and len(payload) > 3:
            kind = payload[3] & 0x1F
        return kind == _NAL_AUD or (kind == NAL_SPS and not self._uses_aud)

    def _append(self, payload: bytes) -> bool:
        kind = payload[0] & 0x1F
        if kind == _FU_A:
            return self._append_fragment(payload)
        self._close_fragment()
        if 1 <= kind <= 23:
            self._append_nal(payload)
            return True
        if kind == _STAP_A:
            return self._append_aggregate(payload)
        return False

    def _append_nal(self, nal: bytes) -> None:
        self._data += struct.pack(">I", len(nal))
        self._data += nal
        self._see(nal[0], nal)
        # F = 1: a gateway on the way says that bits of this one are damaged (RFC 6184, 5.3).
        if nal[0] & 0x80:
            self._complete = False

    def _see(self, header: int, nal: bytes | None) -> None:
        kind = header & 0x1F
        if kind <= NAL_SLICE_IDR:
            self._picture = True
            self._key = self._key or kind == NAL_SLICE_IDR
        elif kind == _NAL_AUD:
            self._uses_aud = True
        elif nal is not None and kind in (NAL_SPS, NAL_PPS):
            self._sets.append(nal)

    def _append_aggregate(self, payload: bytes) -> bool:
        nals = []
        position = 1
        while position < len(payload):
            if position + 2 > len(payload):
                return False
            size = (payload[position] << 8) | payload[position + 1]
            position += 2
            nal = payload[position : position + size]
            position += size
            if not size or len(nal) < size or not 1 <= nal[0] & 0x1F <= 23:
                return False
            nals.append(nal)
        for nal in nals:
            self._append_nal(nal)
        return bool(nals)

    def _append_fragment(self, payload: bytes) -> bool:
        if len(payload) < 2:
            return False
        indicator, fu = payload[0], payload[1]
        kind, start, end = fu & 0x1F, fu & 0x80, fu & 0x40
        if not 1 <= kind <= 23 or (start and end):
            return False
        if start or self._fragment_at < 0 or kind != self._fragment_type:
            self._close_fragment()
            if not start:
                self._complete = False
            self._fragment_at = len(self._data)
            self._fragment_type = kind
            header = (indicator & 0xE0) | kind
            self._data += b"\0\0\0\0"
            self._data.append(header)
            self._see(header, None)
            if header & 0x80:
                self._complete = False
        self._data += memoryview(payload)[2:]
        if end:
            self._end_fragment()
        return True

    def _end_fragment(self) -> None:
        at = self._fragment_at
        struct.pack_into(">I", self._data, at, len(self._data) - at - 4)
        if self._fragment_type in (NAL_SPS, NAL_PPS):
            self._sets.append(bytes(self._data[at + 4 :]))
        self._fragment_at = -1

    def _close_fragment(self) -> None:
        if self._fragment_at >= 0:
            self._complete = False
            self._end_fragment()


class OpusDepacketiser:
    """RFC 7587: each payload is one Opus packet, so nothing is ever under construction."""

    __slots__ = ("counters",)

    def __init__(self) -> None:
        self.counters = PayloadCounters()

    def push(self, payload: bytes, marker: bool, timestamp: int, sequence: int, arrival_ns: int) -> list[AccessUnit]:
        """Take one payload; give its access unit, or none when it breaks RFC 6716 (section 3.4) and was counted."""
        if not payload:
            self.counters.empty += 1
            return []
        if opus_ticks(payload) is None:
            self.counters.malformed += 1
            return []
        return [AccessUnit(timestamp, payload, key=True, complete=True, arrival_ns=arrival_ns, packets=1)]

    def middle(self, packets: list[RtpPacket], at: int) -> int:
        """Nothing is under construction: there is no middle."""
        return at

    def lost(self) -> None:
        """Nothing to mark: a packet came whole or did not come."""

    def flush(self) -> list[AccessUnit]:
        """Give nothing: nothing is under construction."""
        return []


_FRAME_TICKS = (
    *((480, 960, 1920, 2880) * 3),
    *((480, 960) * 2),
    *((120, 240, 480, 960) * 4),
)


def opus_ticks(packet: bytes) -> int | None:
    """Length of an Opus packet in 1/48000 s, from its first two bytes (RFC 6716, 3.1 and 3.2); None when malformed."""
    if not packet:
        return None
    code = packet[0] & 3
    frames = 1 if code == 0 else 2
    if code == 3:
        if len(packet) < 2:
            return None
        frames = packet[1] & 0x3F
    if (code == 1 and not len(packet) & 1) or (code == 2 and len(packet) < 2):
        return None
    ticks = frames * _FRAME_TICKS[packet[0] >> 3]
    return ticks if 0 < ticks <= _MAX_OPUS_TICKS else None
