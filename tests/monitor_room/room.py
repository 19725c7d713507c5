"""A room of real parts in one process: WHIP, the recorder's feed over its socket, the monitor, WHEP; on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from api.routes.whep import whep_routes
from api.routes.whip import whip_routes
from monitor_room.node import MonitorNode, MonitorSettings
from recorder.feed import Presence
from recorder.feed_server import FeedServer
from recorder.peer import Connection
from recorder.rtp import RtpPacket
from recorder.sdp import Kind
from recorder.whip import WhipEndpoint
from tests.recorder_webrtc import rig

MONITOR_TOKEN = "monitor-token"
BEARER = f"Bearer {MONITOR_TOKEN}"


class FeedingSink(rig.RememberingSink):
    """What the recorder's node does with the feed."""

    def __init__(self, feed: FeedServer) -> None:
        super().__init__()
        self.feed = feed
        self.indices: dict[Kind, int] = {}

    def connected(self, connection: Connection) -> None:
        super().connected(connection)
        self.indices = self.feed.announce(connection.camera, connection.codecs)

    def rtp(
        self, connection: Connection, kind: Kind, packets: list[RtpPacket], in_order: bool, arrival_ns: int
    ) -> None:
        super().rtp(connection, kind, packets, in_order, arrival_ns)
        self.feed.send(self.indices[kind], [packet[4] for packet in packets], arrival_ns)

    def sender_report(self, connection: Connection, kind: Kind, ntp: int, rtp: int, arrival_ns: int) -> None:
        super().sender_report(connection, kind, ntp, rtp, arrival_ns)
        self.feed.report(self.indices[kind], ntp, rtp, arrival_ns)

    def disconnected(self, connection: Connection, reason: str) -> None:
        super().disconnected(connection, reason)
        self.feed.withdraw(connection.camera)


@dataclass
class Room:
    node: MonitorNode
    whip: WhipEndpoint
    sink: FeedingSink
    url: str
    """Of both processes, which here share one server."""
    presences: list[Presence] = field(default_factory=list)
    key_frames: list[tuple[str, Kind]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def open_room(folder: Path) -> AsyncIterator[Room]:
    """Cameras publish at `url`/whip/wide and viewers watch at `url`/whep/wide, with rig.TOKEN and MONITOR_TOKEN."""
    presences: list[Presence] = []
    key_frames: list[tuple[str, Kind]] = []
    feed = FeedServer(
        folder / "feed", key_frame=lambda camera, kind: key_frames.append((camera, kind)), presence=presences.append
    )
    await feed.start()
    sink = FeedingSink(feed)
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    whip = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    node = MonitorNode(MonitorSettings(folder / "feed", url, MONITOR_TOKEN))
    await node.start()
    async with rig.serving([*whip_routes(whip), *whep_routes(node.whep)], sock):
        yield Room(node, whip, sink, url, presences, key_frames)
        await node.stop()
        await whip.stop()
    await feed.stop()
