"""RTP packets as the recording way hands them on: read once, where they come in (RFC 3550, section 5.1)."""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BBHLL")
"""First octet, marker and payload type, sequence number, timestamp, SSRC."""

RtpPacket = tuple[int, int, bool, int, bytes]
"""16-bit sequence number, 32-bit timestamp, marker, where the payload starts, the packet up to the payload's end.

A packet of padding alone still has its number, and no payload. A plain tuple, since one is made for each packet; and no
payload of its own beside the packet: whatever is copied 3,000 times a second pushes something else out of the cache.
"""


def payload_of(packet: RtpPacket) -> bytes:
    """A copy of what follows header and extensions."""
    return packet[4][packet[3] :]


def unpadded(packet: bytes) -> tuple[int, bytes] | None:
    """Where the payload of a packet starts, and the packet without its padding; None when it is not whole."""
    if len(packet) < 12:
        return None
    first = packet[0]
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(packet) < start + 4:
            return None
        start += 4 + 4 * ((packet[start + 2] << 8) | packet[start + 3])
    if first & 0x20:
        packet = bytes((first & ~0x20,)) + packet[1 : len(packet) - packet[-1]]
    return None if start > len(packet) else (start, packet)


def parse_rtp(packet: bytes) -> RtpPacket | None:
    """The packet's parts; None when it is not whole."""
    found = unpadded(packet)
    if found is None:
        return None
    _, second, sequence, timestamp, _ = HEADER.unpack_from(packet)
    return sequence, timestamp, second > 127, *found
