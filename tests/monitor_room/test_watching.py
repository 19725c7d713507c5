"""The whole live way with real parts: FFmpeg → WHIP → feed → monitor → WHEP → an aiortc viewer, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.rtp import RtcpSrPacket
from aiortc.rtp import RtpPacket as AiortcPacket

from recorder.h264 import begins_key_frame
from recorder.rtp import payload_of
from recorder.whip import Reply
from tests.monitor_room.room import BEARER, Room, open_room
from tests.recorder_webrtc import rig


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path) as opened:
        yield opened


class Watcher:
    """A real viewer that keeps packets undecoded; `lossy` drops every tenth video packet the first time it comes."""

    def __init__(self, pc: RTCPeerConnection, lossy: bool) -> None:
        self.pc, self.lossy = pc, lossy
        self.packets: dict[str, list[AiortcPacket]] = {"video": [], "audio": []}
        self.reports: dict[str, list[tuple[int, int]]] = {"video": [], "audio": []}
        self.first_ns = 0
        self.seen: set[int] = set()
        self.dropped = 0
        self.video_format = -1
        for transceiver in pc.getTransceivers():
            self._listen(transceiver.kind, transceiver.receiver)
        self._ice = pc.getTransceivers()[0].receiver.transport.transport
        self._receive, self._ice._recv = self._ice._recv, self._lose

    async def _lose(self) -> bytes:
        """What the wire gives, without what it loses: before SRTP, which would take a second copy for a replay."""
        while True:
            data: bytes = await self._receive()
            number = int.from_bytes(data[2:4], "big")
            video = 127 < data[0] < 192 and data[1] & 0x7F == self.video_format and number not in self.seen
            if not (self.lossy and video and number % 10 == 0 and len(self.packets["video"]) > 20):
                return data
            self.seen.add(number)
            self.dropped += 1

    def _listen(self, kind: str, receiver: Any) -> None:
        handle_rtp, handle_rtcp = receiver._handle_rtp_packet, receiver._handle_rtcp_packet

        async def rtp(packet: AiortcPacket, arrival_time_ms: int) -> None:
            self.first_ns = self.first_ns or time.monotonic_ns()
            self.packets[kind].append(packet)
            await handle_rtp(packet, arrival_time_ms)

        async def rtcp(packet: object) -> None:
            if isinstance(packet, RtcpSrPacket):
                self.reports[kind].append((packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp))
            await handle_rtcp(packet)

        receiver._handle_rtp_packet, receiver._handle_rtcp_packet = rtp, rtcp

    def receiver(self, kind: str) -> RTCRtpReceiver:
        return next(t.receiver for t in self.pc.getTransceivers() if t.kind == kind)


@contextlib.asynccontextmanager
async def watching(
    room: Room, viewer: str = "account-1", *, lossy: bool = False
) -> AsyncIterator[tuple[Watcher, Reply]]:
    pc, offer = await rig.offer_of("video", "audio", direction="recvonly")
    try:
        reply = await room.node.whep.post("wide", viewer, "application/sdp", offer.encode(), BEARER)
        assert reply.status == 201, reply.body
        watcher = Watcher(pc, lossy)
        watcher.video_format = int(reply.body.decode().partition("m=video ")[2].split("\r")[0].split(" ")[2])
        await pc.setRemoteDescription(RTCSessionDescription(reply.body.decode(), "answer"))
        yield watcher, reply
    finally:
        await pc.close()


async def live(room: Room) -> None:
    await rig.until(lambda: "video" in room.node.fanout.codecs("wide"))


def session_of(reply: Reply) -> str:
    return reply.headers["Location"].rpartition("/")[2]


async def test_picture_and_sound_on_the_cameras_clock(room: Room, clip: Path) -> None:
    async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
        await live(room)
        await rig.until(lambda: len(room.sink.packets["video"]) > 40)
        began_ns = time.monotonic_ns()
        async with watching(room) as (watcher, reply):
            assert "a=sendonly" in reply.body.decode()
            await rig.until(lambda: len(watcher.packets["video"]) > 60 and len(watcher.packets["audio"]) > 60)
            assert (watcher.first_ns - began_ns) / 1e9 < 1.0
            await rig.until(lambda: watcher.reports["video"] and watcher.reports["audio"])
            joined = room.presences[0]
            assert (joined.event, joined.viewer, joined.camera) == ("joined", "account-1", "wide")
            listed = room.node.whep.viewers(BEARER)
            assert b'"viewer": "account-1"' in listed.body

            begin = [watcher.packets["video"][n].payload for n in range(3)]
            assert any(begins_key_frame(payload) for payload in begin)
            sent = [payload_of(packet) for packet in room.sink.packets["video"]]
            got = [packet.payload for packet in watcher.packets["video"]]
            start = sent.index(got[0])
            assert got == sent[start : start + len(got)]
            for kind in ("video", "audio"):
                numbers = [packet.sequence_number for packet in watcher.packets[kind]]
                assert numbers == [(numbers[0] + n) & 0xFFFF for n in range(len(numbers))]
            stamps = [packet.timestamp for packet in watcher.packets["video"]]
            assert all(((b - a) & 0xFFFFFFFF) < 90_000 for a, b in pairwise(stamps))

            # Both media's reports lie on the lines that the camera's own reports draw: lip sync is the camera's.
            for kind, rate in (("video", 90_000), ("audio", 48_000)):
                camera_ntp, camera_rtp = room.sink.reports[kind][0]  # type: ignore[index]
                viewer_ntp, viewer_rtp = watcher.reports[kind][-1]
                by_ntp = (viewer_ntp - camera_ntp) / (1 << 32)
                by_rtp = ((viewer_rtp - camera_rtp + (1 << 31)) % (1 << 32) - (1 << 31)) / rate
                assert by_ntp == pytest.approx(by_rtp, abs=0.01)

            await watcher.receiver("video")._send_rtcp_pli(watcher.packets["video"][0].ssrc)
            await rig.until(lambda: ("wide", "video") in room.key_frames)
            ended = await room.node.whep.delete("wide", session_of(reply), BEARER)
            assert ended.status == 200
            await rig.until(lambda: [p.event for p in room.presences] == ["joined", "left"])
            assert room.node.roster.watching() == []


async def test_a_viewer_that_loses_packets_gets_them_again_and_loses_alone(room: Room, clip: Path) -> None:
    async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
        await live(room)
        async with watching(room) as (calm, _), watching(room, "account-2", lossy=True) as (lossy, _):
            await rig.until(lambda: lossy.dropped >= 5)
            lossy.lossy = False  # else the newest may have come, and one lost just before it be on its way
            await asyncio.sleep(0.4)
            assert rig.without_holes([packet.sequence_number for packet in lossy.packets["video"]])
            assert len(calm.packets["video"]) == len({packet.sequence_number for packet in calm.packets["video"]})


async def test_the_picture_goes_on_when_the_camera_comes_back(room: Room, clip: Path) -> None:
    async with watching_after_start(room, clip) as watcher:
        before = len(watcher.packets["video"])
        await asyncio.sleep(2.1)
        async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
            await rig.until(lambda: len(watcher.packets["video"]) > before + 30)
        assert [end[1] for end in room.sink.ends] == ["replaced"]
        for kind, rate in (("video", 90_000), ("audio", 48_000)):
            packets = watcher.packets[kind]
            numbers = [packet.sequence_number for packet in packets]
            assert numbers == [(numbers[0] + n) & 0xFFFF for n in range(len(numbers))]
            jumps = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(packets)]
            assert max(jumps) < 8 * rate
            assert len({packet.ssrc for packet in packets}) == 1


@contextlib.asynccontextmanager
async def watching_after_start(room: Room, clip: Path) -> AsyncIterator[Watcher]:
    """A viewer whose camera has just been killed."""
    async with contextlib.AsyncExitStack() as stack:
        async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
            await live(room)
            watcher, _ = await stack.enter_async_context(watching(room))
            await rig.until(lambda: len(watcher.packets["video"]) > 20)
        yield watcher


async def test_a_lease_that_runs_out_cuts_the_picture(room: Room, clip: Path) -> None:
    async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
        await live(room)
        async with watching(room) as (watcher, reply):
            await rig.until(lambda: len(watcher.packets["video"]) > 5)
            session = session_of(reply)
            assert room.node.whep.renew("wide", session, BEARER).status == 204
            room.node.whep.cut_off(time.monotonic_ns() + 14_000_000_000)
            assert room.node.roster.watching() != []
            room.node.whep.cut_off(time.monotonic_ns() + 16_000_000_000)
            assert room.node.roster.watching() == []
            await asyncio.sleep(0.2)  # what was already in the socket
            count = len(watcher.packets["video"])
            await asyncio.sleep(0.3)
            assert len(watcher.packets["video"]) == count
            assert room.node.whep.renew("wide", session, BEARER).status == 404
            await rig.until(lambda: [p.event for p in room.presences] == ["joined", "left"])


async def test_a_player_that_answers_our_offer_is_shown_the_picture(room: Room, clip: Path) -> None:
    sound, without = await rig.offer_of("audio", direction="recvonly")
    await sound.close()
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
        await live(room)
        made = await room.node.whep.post(
            "wide", "account-1", "application/sdp", without.encode(), BEARER, "application/sdp"
        )
        assert (made.status, made.headers["Content-Type"].partition(";")[0]) == (406, "application/sdp")
        await pc.setRemoteDescription(RTCSessionDescription(made.body.decode(), "offer"))
        watcher = Watcher(pc, lossy=False)
        await pc.setLocalDescription(await pc.createAnswer())
        answer = pc.localDescription.sdp.encode()
        done = await room.node.whep.patch("wide", session_of(made), "application/sdp", answer, BEARER, None)
        assert done.status == 204, done.body
        await rig.until(lambda: len(watcher.packets["video"]) > 60 and len(watcher.packets["audio"]) > 60)
        assert [row.viewer for row in room.node.roster.watching()] == ["account-1"]
    await pc.close()
