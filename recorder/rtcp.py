"""RTCP (RFC 3550, 4585, 5104), as aiortc writes and reads it, under the names that the RFCs have for it."""

from __future__ import annotations

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
    "pack_remb_fci",
]
