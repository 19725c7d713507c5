"""Real parts for the tests: FFmpeg as a camera, a small HTTP server, a sink that remembers, an offering client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg
import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from starlette.applications import Starlette
from starlette.routing import Route

from api.routes.whip import whip_routes as whip_routes
from recorder.aiortc_hooks import IceSettings
from recorder.datagrams import SLOT, Slots
from recorder.peer import Connection
from recorder.rtp import RtpPacket
from recorder.sdp import Kind
from recorder.whip import Reply

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
TOKEN = "camera-token-for-tests"
LOOPBACK = IceSettings()


def make_clip(path: Path, seconds: int = 3) -> Path:
    """A small moving picture with a tone, a key frame each second."""
    picture = "testsrc2=size=320x180:rate=25"
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi"]
    command += ["-i", "sine=frequency=440:sample_rate=48000", "-t", str(seconds), "-c:v", "libx264"]
    command += ["-profile:v", "baseline", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "0"]
    command += ["-b:v", "600k", "-c:a", "libopus", "-ac", "2", "-b:a", "48k", str(path)]
    subprocess.run(command, check=True)
    return path


def nal_units(clip: Path) -> list[bytes]:
    """All NAL units of the clip's picture, as FFmpeg's own Annex B writer gives them."""
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-i", str(clip), "-c:v", "copy", "-an", "-f", "h264", "-"]
    stream = subprocess.run(command, check=True, capture_output=True).stdout
    return [unit.rstrip(b"\0") for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]


def depacketised(payloads: list[bytes]) -> list[bytes]:
    """NAL units of RFC 6184 payloads that are complete and in order: single, STAP-A, FU-A."""
    units: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == 24:
            at = 1
            while at < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                units.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
        elif kind == 28:
            if payload[1] & 0x80:
                units.append(bytes([(payload[0] & 0xE0) | (payload[1] & 0x1F)]))
            units[-1] += payload[2:]
        else:
            units.append(payload)
    return [unit.rstrip(b"\0") for unit in units]


@dataclass
class RememberingSink:
    connections: list[Connection] = field(default_factory=list)
    packets: dict[Kind, list[RtpPacket]] = field(default_factory=lambda: {"video": [], "audio": []})
    raw: list[bytes] = field(default_factory=list)
    reports: dict[Kind, list[tuple[int, int]]] = field(default_factory=lambda: {"video": [], "audio": []})
    ends: list[tuple[str, str]] = field(default_factory=list)

    def connected(self, connection: Connection) -> None:
        self.connections.append(connection)

    def rtp(
        self, connection: Connection, kind: Kind, packets: list[RtpPacket], in_order: bool, arrival_ns: int
    ) -> None:
        self.packets[kind] += packets
        self.raw += [packet[4] for packet in packets]

    def sender_report(self, connection: Connection, kind: Kind, ntp: int, rtp: int, arrival_ns: int) -> None:
        self.reports[kind].append((ntp, rtp))

    def disconnected(self, connection: Connection, reason: str) -> None:
        self.ends.append((connection.camera, reason))


def free_socket() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@contextlib.asynccontextmanager
async def serving(routes: list[Route], sock: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([sock]))
    await until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def camera(
    url: str, clip: Path, *, loop: bool = False, token: str = TOKEN
) -> AsyncIterator[asyncio.subprocess.Process]:
    """FFmpeg publishing the clip in real time; ended by its own process id."""
    repeat = ["-stream_loop", "-1"] if loop else []
    process = await asyncio.create_subprocess_exec(
        *[FFMPEG, "-hide_banner", "-loglevel", "error", "-re", *repeat, "-i", str(clip), "-c", "copy"],
        *["-authorization", token, "-f", "whip", url],
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for what must come true, and fails when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        await asyncio.sleep(0.02)


def without_holes(numbers: Sequence[int]) -> bool:
    """Whether sequence numbers (16 bits, in any order, some twice) leave none out, over their turn to 0 too."""
    places = {(number - numbers[0] + 0x8000) & 0xFFFF for number in numbers}
    return max(places) - min(places) + 1 == len(places)


async def offer_of(*kinds: str, direction: str = "sendonly", h264: bool = True) -> tuple[RTCPeerConnection, str]:
    """An aiortc client and its offer."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        transceiver = pc.addTransceiver(kind, direction=direction)
        if kind == "video" and not h264:
            vp8 = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/VP8"]
            transceiver.setCodecPreferences(vp8)
    await pc.setLocalDescription(await pc.createOffer())
    return pc, pc.localDescription.sdp


def code_of(reply: Reply) -> str:
    assert reply.headers["Content-Type"] == "application/problem+json"
    return str(json.loads(reply.body)["code"])


def taken(slots: Slots, count: int) -> list[bytes]:
    """Datagrams that a reading found, copied out of their slots."""
    return [bytes(slots.octets[i * SLOT : i * SLOT + slots.lengths[i]]) for i in range(count)]
