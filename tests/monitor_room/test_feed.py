"""The feed drops rather than waits, says again what is live, and cuts off a monitor that talks nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recorder.feed import FeedTrack, Presence
from recorder.feed_client import FeedClient
from recorder.feed_server import FeedServer
from recorder.sdp import Codec, Kind
from tests.recorder_webrtc.rig import until

CODECS: dict[Kind, Codec] = {
    "video": Codec("video", "H264", 96, 90_000, None, "packetization-mode=1;profile-level-id=640c1f"),
    "audio": Codec("audio", "opus", 111, 48_000, 2, "useinbandfec=1"),
}


@dataclass
class Heard:
    live: list[dict[int, FeedTrack]] = field(default_factory=list)
    read: list[tuple[int, bytes, int]] = field(default_factory=list)
    reports: list[tuple[int, int, int, int]] = field(default_factory=list)

    def tracks(self, tracks: Mapping[int, FeedTrack]) -> None:
        self.live.append(dict(tracks))

    def packets(self, track: int, packets: list[bytes], arrival_ns: int) -> None:
        self.read += [(track, packet, arrival_ns) for packet in packets]

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        self.reports.append((track, ntp, rtp, arrival_ns))


@dataclass
class Asked:
    key_frames: list[tuple[str, Kind]] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)

    def server(self, path: Path) -> FeedServer:
        return FeedServer(path, key_frame=lambda *what: self.key_frames.append(what), presence=self.presences.append)


@contextlib.asynccontextmanager
async def running(client: FeedClient) -> AsyncIterator[None]:
    task = asyncio.create_task(client.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_everything_said_arrives_and_survives_a_new_recorder(tmp_path: Path) -> None:
    heard, asked, path = Heard(), Asked(), tmp_path / "feed"
    first = asked.server(path)
    await first.start()
    assert path.stat().st_mode & 0o777 == 0o600
    index = first.announce("wide", CODECS)
    watching = Presence("joined", "account-0", "close", 5)
    client = FeedClient(path, heard, lambda: [watching])
    async with running(client):
        await until(lambda: heard.live)
        assert {(t.camera, t.kind, t.codec.fmtp) for t in heard.live[0].values()} == {
            ("wide", kind, codec.fmtp) for kind, codec in CODECS.items()
        }
        first.send(index["video"], [b"\x80before"], 6)
        client.want(index["video"], True)
        client.want(index["audio"], True)
        await until(lambda: heard.read and first.wanted)
        first.send(index["video"], [b"\x80packet", b"\x80another"], 7)
        first.send(index["audio"], [b"\x80sound"], 8)
        first.report(index["audio"], 1 << 63, 5, 8)
        client.key_frame(index["video"])
        client.presence(Presence("joined", "account-1", "wide", 1_700_000_000_000_000_001))
        await until(lambda: heard.reports and len(asked.presences) == 2)
        video, audio = index["video"], index["audio"]
        await until(lambda: len(heard.read) == 4)
        kept, *live = heard.read
        assert kept[:2] == (video, b"\x80before"), "what came before it was wanted comes first"
        assert live == [(video, b"\x80packet", 7), (video, b"\x80another", 7), (audio, b"\x80sound", 8)]
        assert heard.reports == [(index["audio"], 1 << 63, 5, 8)]
        assert asked.key_frames == [("wide", "video")]
        assert asked.presences == [watching, Presence("joined", "account-1", "wide", 1_700_000_000_000_000_001)]

        await first.stop()
        await until(lambda: heard.live[-1] == {})
        client.presence(Presence("left", "account-1", "wide", 9))
        second = asked.server(path)
        await second.start()
        await until(lambda: len(asked.presences) == 4)
        assert asked.presences[2:] == [watching, Presence("left", "account-1", "wide", 9)]
        await second.stop()


async def test_a_monitor_that_does_not_read_costs_nothing_but_itself(tmp_path: Path) -> None:
    server = Asked().server(tmp_path / "feed")
    await server.start()
    index = server.announce("wide", CODECS)["video"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, str(tmp_path / "feed"))
        await asyncio.get_running_loop().sock_sendall(deaf, bytes((20,)) + index.to_bytes(2, "big") + bytes(8) + b"\1")
        await until(lambda: server.wanted)
        for _ in range(20_000):
            server.send(index, [bytes(1200)], 0)
        await until(lambda: server.dropped > 100)
    await server.stop()


@pytest.mark.parametrize(
    "message",
    [
        b"\x63",
        b"\x63" + bytes(10),
        b"\x11" + bytes(10) + b"{",
        b"\x11" + bytes(10) + b"[]",
        b"\x11" + bytes(10) + b"{}",
    ],
    ids=["truncated", "unknown_type", "not_json", "not_an_object", "nothing_in_it"],
)
async def test_nonsense_is_cut_off(tmp_path: Path, message: bytes) -> None:
    asked = Asked()
    server = asked.server(tmp_path / "feed")
    await server.start()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
        odd.setblocking(False)
        await loop.sock_connect(odd, str(tmp_path / "feed"))
        assert (await loop.sock_recv(odd, 4096)).endswith(b'{"tracks": []}')
        odd.send(message)
        assert await asyncio.wait_for(loop.sock_recv(odd, 4096), 2) == b""
    assert asked.presences == []
    await server.stop()
