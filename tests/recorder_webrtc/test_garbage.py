"""Anybody can send a datagram to a camera's port: none of them ends its connection, nor is taken for media."""

from __future__ import annotations

import asyncio
import socket
import struct
from random import Random

from aiortc import RTCSessionDescription, VideoStreamTrack

from recorder.whip import WhipEndpoint
from tests.journeys.crowd import COOKIE, garbage
from tests.recorder_webrtc import rig


def stun_with(attribute: int, value: bytes) -> bytes:
    body = struct.pack(">HH", attribute, len(value)) + value + bytes(-len(value) % 4)
    return struct.pack(">HHI12s", 1, len(body), COOKIE, bytes(12)) + body


async def test_datagrams_of_strangers_change_nothing() -> None:
    sink = rig.RememberingSink()
    endpoint = WhipEndpoint(base_url="http://r", token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context))
    pc, offer = await rig.offer_of("video")
    try:
        pc.getTransceivers()[0].sender.replaceTrack(VideoStreamTrack())
        reply = await endpoint.post("wide", "application/sdp", offer.encode(), f"Bearer {rig.TOKEN}")
        await pc.setRemoteDescription(RTCSessionDescription(reply.body.decode(), "answer"))
        await rig.until(lambda: len(sink.packets["video"]) > 5)
        peer = endpoint.peer("wide")
        assert peer is not None
        (endpoint_of_udp,) = peer._transport._ice._protocols
        at = ("127.0.0.1", endpoint_of_udp.local_candidate.port)
        # What aioice's own reader would raise on: attributes too short for what they are.
        broken = [stun_with(kind, value) for kind in (0x0006, 0x0024, 0x802A, 0x0020) for value in (b"", b"\xff")]
        random, seen = Random(3), len(sink.packets["video"])  # noqa: S311
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(20):
                for data in [*garbage(random), *broken]:
                    stranger.sendto(data, at)
                await asyncio.sleep(0.02)
        await rig.until(lambda: len(sink.packets["video"]) > seen + 15)
        assert sink.ends == []
        assert raised == []
        assert peer._transport._ice._queue.qsize() == 0
        numbers = [sequence for sequence, *_ in sink.packets["video"]]
        assert sorted(set(numbers)) == [(numbers[0] + step) & 0xFFFF for step in range(len(set(numbers)))]
    finally:
        await pc.close()
        await endpoint.stop()
