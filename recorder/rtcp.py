"""RTCP (RFC 3550, 4585, 5104), as aiortc writes and reads it, under the names that the RFCs have for it.

Requests to send again are written here: aiortc raises on numbers that turn over, or are not in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from aiortc.rtp import RtcpByePacket as Bye
from aiortc.rtp import RtcpPacket, pack_remb_fci
from aiortc.rtp import RtcpPsfbPacket as PayloadFeedback
from aiortc.rtp import RtcpReceiverInfo as ReceptionReport
from aiortc.rtp import RtcpRrPacket as ReceiverReport
from aiortc.rtp import RtcpRtpfbPacket as TransportFeedback
from aiortc.rtp import RtcpSdesPacket as SourceDescription
from aiortc.rtp import RtcpSenderInfo as SenderInfo
from aiortc.rtp import RtcpSourceInfo as SourceInfo
from aiortc.rtp import RtcpSrPacket as SenderReport

__all__ = [
    "Bye",
    "PayloadFeedback",
    "ReceiverReport",
    "ReceptionReport",
    "RtcpPacket",
    "SenderInfo",
    "SenderReport",
    "SourceDescription",
    "SourceInfo",
    "TransportFeedback",
    "generic_nack",
    "pack_remb_fci",
]

NACK = 1
"""The format of transport-layer feedback that asks for packets (RFC 4585, section 6.2.1)."""
_RTPFB = 205


def generic_nack(ssrc: int, media_ssrc: int, sequences: Iterable[int]) -> bytes:
    """A request for these packets, 16-bit numbers in any order, by a number and the 16 that may follow it."""
    entries: list[list[int]] = []
    for sequence in sequences:
        ahead = (sequence - entries[-1][0]) & 0xFFFF if entries else 0
        if 1 <= ahead <= 16:
            entries[-1][1] |= 1 << (ahead - 1)
        else:
            entries.append([sequence, 0])
    head = struct.pack("!BBHLL", 0x80 | NACK, _RTPFB, 2 + len(entries), ssrc, media_ssrc)
    return head + b"".join(struct.pack("!HH", *entry) for entry in entries)
