"""When a picture or sound was captured, by its sender: the RTP header extension abs-capture-time, where one offers it.

It says for one packet what a sender report says for an instant, so the clock takes it for one. Pure.
"""

from __future__ import annotations

URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
_ONE_BYTE, _TWO_BYTES = 0xBEDE, 0x1000


def capture_ntp(packet: bytes, identifier: int) -> int | None:
    """The capture time (64-bit NTP) in an RTP packet under that extension id; None where it is not, or is malformed.

    One- and two-byte headers (RFC 8285, 4.2 and 4.3). What follows the time, an estimate of another clock, is not
    looked at.
    """
    data = _element(packet, identifier)
    return None if data is None or len(data) not in (8, 16) else int.from_bytes(data[:8], "big")


def _element(packet: bytes, identifier: int) -> bytes | None:
    if len(packet) < 16 or not packet[0] & 0x10:
        return None
    at = 12 + 4 * (packet[0] & 0x0F)
    if len(packet) < at + 4:
        return None
    profile, words = int.from_bytes(packet[at : at + 2], "big"), int.from_bytes(packet[at + 2 : at + 4], "big")
    at, end = at + 4, at + 4 + 4 * words
    one_byte = profile == _ONE_BYTE
    if end > len(packet) or not (one_byte or profile & 0xFFF0 == _TWO_BYTES):
        return None
    while at < end:
        if not packet[at]:
            at += 1  # padding
            continue
        if one_byte:
            found, size, at = packet[at] >> 4, (packet[at] & 0x0F) + 1, at + 1
            if found == 15:
                return None  # the rest is to be ignored
        elif at + 1 < end:
            found, size, at = packet[at], packet[at + 1], at + 2
        else:
            return None
        if at + size > end:
            return None
        if found == identifier:
            return packet[at : at + size]
        at += size
    return None
