"""What a camera is asked for, as it leaves: over the turn of its numbers, and after something went wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from recorder.aiortc_hooks import IceSettings
from recorder.peer import Connection, Peer
from recorder.rtcp import RtcpPacket, TransportFeedback
from recorder.rtp import HEADER
from recorder.sdp import parse_offer
from tests.recorder_webrtc.rig import RememberingSink, offer_of


class Camera:
    """A peer that is given packets by their numbers; `asked`: those it asked for since it was looked at."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self._asked = peer, set[int]()
        self.fails = False
        peer._transport.send_rtcp = self._sent  # type: ignore[method-assign]
        self._payload_type = peer._inbound["video"].codec.payload_type

    def _sent(self, packet: bytes) -> bool:
        if self.fails:
            raise OSError("no such device")
        for report in RtcpPacket.parse(packet):
            if isinstance(report, TransportFeedback):
                self._asked |= {number & 0xFFFF for number in report.lost}
        return True

    def sends(self, *numbers: int) -> None:
        packets = [HEADER.pack(0x80, self._payload_type, number & 0xFFFF, 90_000, 7) + b"x" for number in numbers]
        self.peer._rtp(packets, time.monotonic_ns())

    def asked(self) -> set[int]:
        asked, self._asked = self._asked, set()
        return asked


@pytest.fixture
async def camera() -> AsyncIterator[Camera]:
    pc, offer = await offer_of("video")
    peer = Peer("wide", parse_offer(offer.encode()), RememberingSink(), IceSettings(), lambda _peer: None)
    await peer.answer()
    peer.connection = Connection("c1", "wide", "sha-256 AB", None, {})
    yield Camera(peer)
    await peer.close("stopped")
    await pc.close()


async def test_what_is_lost_around_the_turn_of_the_numbers_is_asked_for_and_so_is_what_comes_after(
    camera: Camera,
) -> None:
    camera.sends(65532, 65533, 65535, 0, 1, 2, 4)
    assert camera.asked() == {65534, 3}
    camera.sends(65534, 3)
    await asyncio.sleep(0.1)
    camera.asked()
    camera.sends(5, 7)
    assert camera.asked() == {6}


async def test_a_request_that_could_not_leave_does_not_end_the_asking(camera: Camera) -> None:
    camera.sends(1, 2)
    camera.fails = True
    with pytest.raises(OSError, match="no such device"):
        camera.sends(4)
    sink = camera.peer._sink
    assert isinstance(sink, RememberingSink)
    assert [packet[0] for packet in sink.packets["video"]] == [1, 2, 4]
    camera.fails = False
    camera.sends(5)
    await asyncio.sleep(0.1)
    assert camera.asked() == {3}
