"""The monitor room's process: the feed in, the viewers out, and a clock for leases and reports."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from monitor_room.fanout import Fanout
from monitor_room.roster import Roster
from monitor_room.whep import CAPACITY, WhepEndpoint
from recorder.aiortc_hooks import IceSettings
from recorder.feed import Presence
from recorder.feed_client import FeedClient

_TICK_S = 0.25
_REPORT_EVERY = 4  # ticks

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """`base_url`: how the application reaches this process; `token`: the application's bearer token for it."""

    feed_path: Path
    base_url: str
    token: str
    ice: IceSettings = field(default_factory=IceSettings)
    capacity: int = CAPACITY


class MonitorNode:
    """`start()` in a running loop; `whep` answers the routes; `stop()` ends viewers and tasks, for good."""

    def __init__(self, settings: MonitorSettings) -> None:
        self.fanout = Fanout(self._ask, self._want)
        self.roster = Roster()
        self._feed = FeedClient(settings.feed_path, self.fanout, self._watching)
        self.whep = WhepEndpoint(
            base_url=settings.base_url,
            token=settings.token,
            fanout=self.fanout,
            roster=self.roster,
            ice=settings.ice,
            report=self._feed.presence,
            capacity=settings.capacity,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def fed(self) -> bool:
        """Whether the recorder is within reach."""
        return self._feed.connected

    async def start(self) -> None:
        for name, work in (("monitor-feed", self._feed.run()), ("monitor-clock", self._clock())):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._finished)
            self._tasks.append(task)

    async def wait(self) -> None:
        """Until stopped; raises what a task died of, upon which the process should end and be started again."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()

    async def stop(self) -> None:
        """Leaves are reported before the feed is let go."""
        await self.whep.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _clock(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(_TICK_S)
            turn += 1
            now_ns = time.monotonic_ns()
            self.whep.cut_off(now_ns)
            if turn % _REPORT_EVERY == 0:
                self.fanout.tick(now_ns)
            await self.whep.sweep()

    def _ask(self, track: int) -> None:
        self._feed.key_frame(track)

    def _want(self, track: int, wanted: bool) -> None:
        self._feed.want(track, wanted)

    def _watching(self) -> list[Presence]:
        return [Presence("joined", row.viewer, row.camera, row.since_utc_ns) for row in self.roster.watching()]

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Without its clock no lease ends any more: nobody may go on watching.
            log.error("monitor-task-died", task=task.get_name(), error=repr(error))
            for viewer in self.fanout.viewers():
                viewer.end("monitor-failed")
