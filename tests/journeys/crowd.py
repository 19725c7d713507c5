"""What viewers, and whoever reaches the machine's ports, can do to a house: all of it at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpPsfbPacket, RtcpRtpfbPacket

from api.drill.house import House
from api.drill.visitor import Visitor
from api.settings import Secrets

HUGE = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + b"a=x:" + b"y" * 10_000_000
COOKIE = 0x2112A442


def udp_ports(pid: int) -> list[int]:
    """The UDP ports on which a process listens now, by the kernel's word."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
            if found:
                inodes.add(found[1])
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes]


def garbage(random: Random) -> list[bytes]:
    """One of each kind that such a port has to take: nothing, noise, and what looks like STUN, DTLS, RTP and RTCP."""
    stun = struct.pack(">HHI12s", 0x0001, 0, COOKIE, random.randbytes(12))
    username = struct.pack(">HH12s", 0x0006, 12, b"nobody:known")
    with_user = struct.pack(">HHI12s", 0x0001, len(username), COOKIE, random.randbytes(12)) + username
    hello = struct.pack(">B2s2s6sH", 22, b"\xfe\xfd", b"\0\0", random.randbytes(6), 200) + random.randbytes(200)
    goodbye = struct.pack(">B2s2s6sH2s", 21, b"\xfe\xfd", b"\0\0", bytes(6), 2, b"\x01\x00")
    return [
        b"", b"\0", b"\x80", random.randbytes(1), random.randbytes(random.randrange(2, 1500)), random.randbytes(60_000),
        stun, stun[:-1], with_user, stun[:2] + b"\xff\xff" + stun[4:], b"\x01\x01" + stun[2:], b"\x01\x11" + stun[2:],
        hello, goodbye, b"\x17\xfe\xfd" + random.randbytes(90), b"\x14", b"\x3f" * 1400, b"\x40" * 100, b"\xff" * 900,
        b"\x80\x60" + random.randbytes(1198), b"\x80\xc8" + random.randbytes(60), b"\xbf\xff" + random.randbytes(4),
        b"\x80\x60" + random.randbytes(40_000),
    ]  # fmt: skip


async def datagrams(ports: list[int], seconds: float, each_second: int) -> int:
    """Garbage to all of these ports, so many datagrams a second to each. How many were sent."""
    random, sent = Random(7), 0  # noqa: S311
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        for _ in range(round(seconds * 50)):
            kinds = garbage(random)
            for port in ports:
                for data in random.choices(kinds, k=each_second // 50):
                    with contextlib.suppress(OSError):
                        sent += sock.sendto(data, ("127.0.0.1", port)) >= 0
            await asyncio.sleep(0.02)
    return sent


@dataclass
class Watcher:
    """A viewer that is let in, and what it has done since."""

    pc: RTCPeerConnection
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    frames: int = 0

    @property
    def _dtls(self) -> Any:
        return self.pc.getTransceivers()[0].receiver.transport

    @property
    def _sources(self) -> list[int]:
        return [each.source for one in self.pc.getTransceivers() for each in one.receiver.getSynchronizationSources()]

    async def storm(self, rounds: int) -> None:
        """Asks for a key frame and for five hundred packets again, a hundred times a second."""
        for turn in range(rounds):
            for source in self._sources:
                wish = RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=source)
                again = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=source)
                again.lost = [turn * 500 % 65_000 + step for step in range(500)]
                # The last one's length is a lie; only who holds the keys can get that far.
                for packet in (bytes(wish), bytes(again), b"\x9f\xcd\xff\xff" + bytes(again)[4:]):
                    with contextlib.suppress(ConnectionError):
                        await self._dtls._send_rtp(packet)
            await asyncio.sleep(0.01)

    def stall(self) -> None:
        """Reads nothing any more, and does not say so."""
        for protocol in self._dtls.transport._connection._protocols:
            # The public call refuses a descriptor that a transport owns.
            protocol.transport._loop._remove_reader(protocol.transport.get_extra_info("socket").fileno())

    def die(self) -> None:
        """Gone at once, without a word."""
        for protocol in self._dtls.transport._connection._protocols:
            protocol.transport.abort()


@contextlib.asynccontextmanager
async def watching(visitor: Visitor, camera: str) -> AsyncIterator[Watcher]:
    """Let in through the web application, and connected."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    watcher = Watcher(pc)

    async def read(track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                await track.recv()
                watcher.frames += 1

    pc.on("track", lambda track: watcher.readers.append(asyncio.create_task(read(track))))
    pc.addTransceiver("video", direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    try:
        reply = await join(visitor, camera, pc.localDescription.sdp.encode(), await visitor.csrf("/monitorrum"))
        assert reply.status_code == 201, reply.text
        await pc.setRemoteDescription(RTCSessionDescription(reply.text, "answer"))
        yield watcher
    finally:
        await pc.close()
        await asyncio.gather(*watcher.readers, return_exceptions=True)


async def join(visitor: Visitor, camera: str, offer: bytes, csrf: str) -> httpx.Response:
    headers = {"Content-Type": "application/sdp", "Vidne-CSRF": csrf}
    return await visitor.send("POST", f"/live/journey/{camera}", offer, headers)


async def joins_at_once(visitor: Visitor, count: int) -> Counter[int]:
    """So many at one moment, of whom none ever connects. How they were answered."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("video", direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    offer, csrf = pc.localDescription.sdp.encode(), await visitor.csrf("/monitorrum")
    try:
        cameras = ("wide", "close")
        replies = await asyncio.gather(*(join(visitor, cameras[n % 2], offer, csrf) for n in range(count)))
        return Counter(reply.status_code for reply in replies)
    finally:
        await pc.close()


async def huge_offers(house: House, visitor: Visitor) -> dict[str, int]:
    """10 MB of SDP at every door, with and without a right to knock. How it was answered; 0: hung up on."""
    secrets = Secrets(house.settings.run_folder)
    doors = {
        "live": (f"{house.settings.api_url}/live/journey/wide", None),
        "monitor, a stranger": (f"{house.settings.monitor_url}/whep/wide", "nobody"),
        "monitor": (f"{house.settings.monitor_url}/whep/wide", secrets.token("monitor")),
        "recorder, a stranger": (f"{house.settings.recorder_url}/whip/wide", "nobody"),
        "recorder, a camera": (f"{house.settings.recorder_url}/whip/close", secrets.token("camera-close")),
    }
    found: dict[str, int] = {}
    csrf = await visitor.csrf("/monitorrum")
    async with httpx.AsyncClient(trust_env=False, timeout=20.0) as client:
        for name, (url, token) in doors.items():
            headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {token}"} if token else {})
            found[name] = await _answered(client.post(url, content=HUGE, headers=headers))
        found["live, signed in"] = await _answered(join(visitor, "wide", HUGE, csrf))
    return found


async def _answered(request: Awaitable[httpx.Response]) -> int:
    try:
        return (await request).status_code
    except httpx.TransportError:
        return 0


@contextlib.asynccontextmanager
async def half_requests(ports: list[int], count: int) -> AsyncIterator[None]:
    """So many connections to each of these ports that begin a request, and neither end it nor read."""
    writers = []
    for port in ports:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /whep/wide HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nv=0")
            writers.append(writer)
    try:
        yield
    finally:
        for writer in writers:
            writer.transport.abort()
