"""A lossy link from a real aiortc publisher: everything is asked for again, retransmissions are unwrapped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

from recorder.rtp import payload_of
from recorder.sdp import parse_offer
from recorder.whip import WhipEndpoint
from tests.recorder_webrtc import rig


class LossyLink:
    """Drops every fifth packet of one payload type that is sent, until mended; retransmissions (another type) pass."""

    def __init__(self, pc: RTCPeerConnection, payload_type: int) -> None:
        ice = pc.getTransceivers()[0].sender.transport.transport
        self._send, self._payload_type = ice._send, payload_type
        self.seen = self.dropped = 0
        self.mended = False
        ice._send = self.send

    async def send(self, data: bytes) -> None:
        if 127 < data[0] < 192 and data[1] & 0x7F == self._payload_type:
            self.seen += 1
            if self.seen % 5 == 0 and not self.mended:
                self.dropped += 1
                return
        await self._send(data)


@pytest.fixture
async def publisher() -> AsyncIterator[tuple[RTCPeerConnection, LossyLink, rig.RememberingSink, WhipEndpoint]]:
    sink = rig.RememberingSink()
    endpoint = WhipEndpoint(base_url="http://r", token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    pc, offer = await rig.offer_of("video")
    pc.getTransceivers()[0].sender.replaceTrack(VideoStreamTrack())
    reply = await endpoint.post("wide", "application/sdp", offer.encode(), f"Bearer {rig.TOKEN}")
    assert reply.status == 201, reply.body
    codec = parse_offer(offer.encode()).publisher()[0].codec
    link = LossyLink(pc, codec.payload_type)
    await pc.setRemoteDescription(RTCSessionDescription(reply.body.decode(), "answer"))
    yield pc, link, sink, endpoint
    await pc.close()
    await endpoint.stop()


async def test_lost_packets_come_back_and_key_frames_on_request(
    publisher: tuple[RTCPeerConnection, LossyLink, rig.RememberingSink, WhipEndpoint],
) -> None:
    _, link, sink, endpoint = publisher
    await rig.until(lambda: link.dropped >= 8)
    link.mended = True  # else the newest packet may have come, and the one lost just before it be on its way
    await asyncio.sleep(0.3)
    packets = sink.packets["video"]
    assert len({packet[4][8:12] for packet in packets}) == 1, "retransmissions keep the camera's own source number"
    assert len({packet[4][1] & 0x7F for packet in packets}) == 1
    assert rig.without_holes([packet[0] for packet in packets])
    peer = endpoint.peer("wide")
    assert peer is not None
    assert peer.lost == 0

    def key_frames() -> int:
        return sum(
            unit[0] & 0x1F == 7
            for unit in rig.depacketised([payload_of(packet) for packet in sink.packets["video"][-5:]])
        )

    await rig.until(lambda: not key_frames())
    peer.key_frame()
    await rig.until(key_frames, 3)
