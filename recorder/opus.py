"""Opus over RTP (RFC 7587): each payload is one Opus packet (RFC 6716)."""

from __future__ import annotations

from .depacketise import AccessUnit, PayloadCounters
from .rtp import RtpPacket

_MAX_OPUS_TICKS = 5760  # 120 ms at 48 kHz, RFC 6716 section 3.1


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

    @property
    def between_units(self) -> bool:
        """A packet is a unit."""
        return True

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
