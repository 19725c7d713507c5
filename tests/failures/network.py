"""9, 10: what goes wrong between camera and recorder, with real WHIP clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import av
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

from recorder.aiortc_hooks import MediaTransport
from recorder.peer import Peer
from recorder.take import State
from recorder.whip import WhipEndpoint
from tests.failures.mode import Mode, Place
from tests.house import until
from tests.recorder.room import Room, running
from tests.recorder.walked import walk
from tests.recorder_webrtc import rig


@dataclass(frozen=True, slots=True)
class Walked:
    """Of a whole take: connections in order (made or why ended), gaps of the picture (reason, from, to in seconds from
    the origin), when its media was, and whether the camera could still be reached at the end."""

    recording: bool
    connections: list[str]
    gaps: list[tuple[str, float, float]]
    media: list[tuple[float, float]]
    seconds: float
    reached: bool


def _walked(place: Place, room: Room, order: Any, seconds: float, recording: bool, reached: bool) -> Walked:
    (take,) = room.node._spool.takes()
    ticks = walk(place.house, take, order).ticks
    events = [event for each in ticks for event in each["events"]]
    connections = ["made" if e["connected"] else e["reason"] for e in events if e["type"] == "connection"]
    told = [e for e in events if e["type"] == "gap" and e["track"] == 0]
    found = [(e["reason"], e["media_from"] / 90_000, e["media_to"] / 90_000) for e in told]
    about = [m["about"] for each in ticks for m in each["messages"] if m["kind"] == "media" and m["track"] == 0]
    media = [(each["from"] / 90_000, each["to"] / 90_000) for each in about]
    return Walked(recording, connections, found, media, seconds, reached)


class Line:
    """Between a publisher and the recorder. While it is `dark` nothing goes through, either way."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        ice = pc.getTransceivers()[0].sender.transport.transport
        self.dark = False
        self._send, self._receive = ice._send, ice._recv
        ice._send, ice._recv = self.send, self.receive

    async def send(self, data: bytes) -> None:
        if not self.dark:
            await self._send(data)

    async def receive(self) -> bytes:
        while True:
            data: bytes = await self._receive()
            if not self.dark:
                return data


class Moving(VideoStreamTrack):
    """Thirty pictures a second, small ones: a processor is shared."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(160, 96, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([pts // 3000 % 200 + 20]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


# 9. A drop of 100 to 500 ms ends the recording (LiveKit egress #210, MediaMTX #5411).


async def a_line_that_is_dark_for_100_and_for_500_ms(place: Place) -> Walked:
    spool, order = place.house.spool(), place.house.interview()
    async with running(place.house, spool) as room, _publisher(room) as (pc, line, endpoint):
        room.node.cameras.meters["wide"].heard_ns = 0
        await until(lambda: room.node.cameras.meters["wide"].heard(time.monotonic_ns()))
        await room.node.begin(order)
        began = time.monotonic()
        for dark in (0.1, 0.5):
            await asyncio.sleep(1.0)
            line.dark = True
            await asyncio.sleep(dark)
            line.dark = False
        await asyncio.sleep(1.5)
        recording, seconds = room.node.state is State.RECORDING, time.monotonic() - began
        reached = endpoint.peer("wide") is not None and pc.connectionState == "connected"
        await room.node.end()
    return _walked(place, room, order, seconds, recording, reached)


@contextlib.asynccontextmanager
async def _publisher(room: Room) -> AsyncIterator[tuple[RTCPeerConnection, Line, WhipEndpoint]]:
    endpoint = _endpoint(room, "http://r")
    pc, offer = await rig.offer_of("video")
    pc.getTransceivers()[0].sender.replaceTrack(Moving())
    room.node.cameras.meters["wide"].connection = None
    try:
        reply = await endpoint.post("wide", "application/sdp", offer.encode(), f"Bearer {rig.TOKEN}")
        assert reply.status == 201, reply.body
        line = Line(pc)
        await pc.setRemoteDescription(RTCSessionDescription(reply.body.decode(), "answer"))
        yield pc, line, endpoint
    finally:
        await pc.close()
        await endpoint.stop()


def _endpoint(room: Room, url: str) -> WhipEndpoint:
    endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=room.node.cameras, ice=rig.LOOPBACK)
    room.node._cutter._ask_key_frame = endpoint.key_frame
    return endpoint


def it_is_a_gap_and_nothing_more(found: Walked) -> None:
    assert found.recording
    assert found.reached
    assert found.connections == ["made"]
    assert all(reason in {"loss", "incomplete", "no-media", "no-key-frame"} for reason, _, _ in found.gaps)
    # Most of it is asked for again and comes; what does not is declared.
    holes = [(before[1], after[0]) for before, after in pairwise(found.media) if after[0] - before[1] > 0.1]
    assert [hole for hole in holes if not any(since <= hole[1] and to >= hole[0] for _, since, to in found.gaps)] == []
    assert found.media[-1][1] > found.seconds - 0.7


async def gone_after_300_ms(self: MediaTransport) -> None:
    while time.monotonic_ns() - self._heard_ns < 300_000_000:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.02)
    self._ice._query_consent_task = None
    await self._ice.close()


# 10. A stale session blocks the new one, or kills it when it ends (smelter #1226, Eyevinn/strom #753).


async def a_camera_that_loses_its_power_and_comes_back(place: Place) -> Walked:
    """FFmpeg is killed: no DELETE, no goodbye. Two seconds later another one publishes."""
    clip = rig.make_clip(place.folder / "camera.mp4")
    spool, order = place.house.spool(), place.house.interview()
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with running(place.house, spool) as room:
        meter = room.node.cameras.meters["wide"]
        meter.connection, meter.heard_ns = None, 0
        endpoint = _endpoint(room, url)
        async with rig.serving(rig.whip_routes(endpoint), sock):
            async with rig.camera(f"{url}/whip/wide", clip, loop=True):
                await until(lambda: meter.heard(time.monotonic_ns()))
                await asyncio.sleep(1.2)  # a key frame
                await room.node.begin(order)
                began = time.monotonic()
                await asyncio.sleep(0.5)
            await asyncio.sleep(2.1)
            async with rig.camera(f"{url}/whip/wide", clip, loop=True):
                with contextlib.suppress(TimeoutError):
                    await until(lambda: meter.heard(time.monotonic_ns()), 5.0)
                await asyncio.sleep(1.5)
                peer = endpoint.peer("wide")
                reached = peer is not None and peer.connection is not None and peer.connection == meter.connection
                recording, seconds = room.node.state is State.RECORDING, time.monotonic() - began
                await room.node.end()
            await endpoint.stop()
    return _walked(place, room, order, seconds, recording, reached)


def the_new_one_is_recorded(found: Walked) -> None:
    assert found.recording
    assert found.reached, "the new session is the camera's: it can be asked for key frames, and ended"
    assert found.connections[:3] == ["made", "replaced", "made"]
    assert [reason for reason, _, _ in found.gaps] == ["reconnect"]
    assert found.media[-1][1] > found.seconds - 0.7


def whoever_ends_takes_the_camera_with_it(self: WhipEndpoint, peer: Peer) -> None:
    self._ending.discard(peer)
    self._sessions.pop(peer.camera, None)


M09 = Mode(a_line_that_is_dark_for_100_and_for_500_ms, it_is_a_gap_and_nothing_more)
M10 = Mode(a_camera_that_loses_its_power_and_comes_back, the_new_one_is_recorded)
