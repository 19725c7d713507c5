"""A recorder's node in a house without cameras: what its tests share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from evidence_store.errors import NoSpace
from recorder.key_pool import KeyPool
from recorder.node import RecorderNode
from recorder.peer import Connection
from recorder.spool import Spool
from recorder.ticker import CameraProfile, RoomProfile
from tests.house import House

PROFILE = RoomProfile("demo", (CameraProfile("wide", "wide-video", "wide-audio"),))


class Room:
    """A node whose one camera is said to send; its media does not matter here."""

    def __init__(self, house: House, spool: Spool, keys: KeyPool | None, profile: RoomProfile) -> None:
        self.failures = 0
        self.client = house.client()
        self.node = RecorderNode(
            profile, house.device(), spool, house.room / "feed", lambda _heartbeat: house.delivery(spool, self.client),
            lambda _camera: None, boot="boot", keys=keys, on_failure=self._failed,
        )  # fmt: skip

    def _failed(self) -> None:
        self.failures += 1

    def camera_sends(self) -> None:
        meter = self.node.cameras.meters["wide"]
        meter.connection = Connection("c1", "wide", "sha-256 AB", "127.0.0.1:5000", {})
        meter.heard_ns = time.monotonic_ns() + 3600 * 10**9


@asynccontextmanager
async def running(
    house: House, spool: Spool, keys: KeyPool | None = None, profile: RoomProfile = PROFILE
) -> AsyncIterator[Room]:
    room = Room(house, spool, keys, profile)
    await room.node.start()
    room.camera_sends()
    try:
        yield room
    finally:
        await room.node.stop()
        await room.client.aclose()


def full(*_: object, **__: object) -> None:
    raise NoSpace("stand-in for a full disk", code="spool-full")
