"""RTP packets as the recording way hands them on: read once, where they come in (RFC 3550, section 5.1)."""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BBHLL")
"""First octet, marker and payload type, sequence number, timestamp, SSRC."""

RtpPacket = tuple[int, int, bool, bytes, bytes]
"""16-bit sequence number, 32-bit timestamp, marker, payload, whole packet.

The payload is without header, extensions and padding: b"" for a packet of padding alone, which still has its number.
A plain tuple, since one is made for each packet.
"""


def payload_of(packet: bytes) -> bytes | None:
    """What follows header and extensions, without padding; None when the packet is not whole."""
    if len(packet) < 12:
        return None
    first = packet[0]
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(packet) < start + 4:
            return None
        start += 4 + 4 * ((packet[start + 2] << 8) | packet[start + 3])
    end = len(packet) - packet[-1] if first & 0x20 else len(packet)
    return None if start > end else packet[start:end]


def parse_rtp(packet: bytes) -> RtpPacket | None:
    """The packet's parts; None when it is not whole."""
    payload = payload_of(packet)
    if payload is None:
        return None
    _, second, sequence, timestamp, _ = HEADER.unpack_from(packet)
    return sequence, timestamp, second > 127, payload, packet
