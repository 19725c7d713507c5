"""The recording way without its sealing, and the live way: on a loop of their own, beside a browser."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.routing import Route

from api.routes.whip import whip_routes
from api.web import static_files
from evidence_store.canonical import Record
from monitor_room.node import MonitorNode, MonitorSettings
from recorder.aiortc_hooks import IceSettings
from recorder.cameras import Cameras
from recorder.fragments import Event, Fragment
from recorder.known_cameras import KnownCameras
from recorder.ticker import CameraProfile, RoomProfile, describe_init
from recorder.whip import WhipEndpoint
from tests.browser.serving import serving

TOKEN, MONITOR_TOKEN = "camera-token-for-tests", "monitor-token-for-tests"
_TICK_S = 0.25
T = TypeVar("T")


@dataclass
class Recording:
    """One camera, recorded from before it comes. `seen`: (seconds since it connected, what the init says)."""

    url: str
    loop: asyncio.AbstractEventLoop
    whip: WhipEndpoint
    cameras: Cameras
    monitor: MonitorNode
    fragments: dict[str, list[Fragment]] = field(default_factory=lambda: {"wide-video": [], "wide-audio": []})
    events: list[Event] = field(default_factory=list)
    seen: list[tuple[float, Record]] = field(default_factory=list)
    connected: float | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, 20), self.loop).result()

    def bitrate(self) -> float:
        """Of the camera, bits a second."""
        return self.cameras.meters["wide"].bitrate

    def end(self) -> None:
        """Stops the take; everything is in `fragments` and `events` afterwards."""
        self.do(self._end())

    async def start(self) -> None:
        """To be watched."""
        await self.cameras.feed.start()
        await self.monitor.start()

    async def stop(self) -> None:
        await self.whip.stop()
        await self.monitor.stop()
        await self.cameras.feed.stop()

    async def watch(self, offer: str) -> str:
        """The monitor's answer to a viewer."""
        reply = await self.monitor.whep.post(
            "wide", "somebody", "application/sdp", offer.encode(), f"Bearer {MONITOR_TOKEN}"
        )
        assert reply.status == 201, reply.body
        return reply.body.decode()

    async def run(self) -> None:
        """As the recorder's ticker does."""
        now = time.monotonic_ns()
        for track in self.cameras.tracks.values():
            track.begin(now, now)
        while True:
            await asyncio.sleep(_TICK_S)
            for meter in self.cameras.meters.values():
                meter.measure(_TICK_S)
            for track in self.cameras.tracks.values():
                if track.wants_key_frame:
                    self.whip.key_frame("wide")
            self._cut()

    async def _end(self) -> None:
        now = time.monotonic_ns()
        for track in self.cameras.tracks.values():
            track.end(now)
        self._cut()

    def _cut(self) -> None:
        now = time.monotonic_ns()
        for name, track in self.cameras.tracks.items():
            cut = track.cut(now)
            self.events += cut.events
            self.fragments[name] += cut.fragments
            for each in cut.fragments:
                if each.init is not None:
                    self.seen.append(
                        (time.monotonic() - (self.connected or time.monotonic()), describe_init(each.init))
                    )

    def told(self, event: Record) -> None:
        if event["type"] == "connection" and event["connected"]:
            self.connected = time.monotonic()


@contextmanager
def recording(folder: Path) -> Iterator[Recording]:
    """A take runs while the block does. Its page is empty: what publishes is the test's own script."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    profile = RoomProfile("room", (CameraProfile("wide", "wide-video", "wide-audio"),))
    cameras = Cameras(
        profile,
        profile.tracks(),
        folder / "feed",
        lambda camera: whip.key_frame(camera),
        lambda event: made.told(event),
        KnownCameras(folder / "cameras.json"),
    )
    whip = WhipEndpoint(base_url="", token_of={"wide": TOKEN}.get, sink=cameras, ice=IceSettings())

    async def page(_request: object) -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>camera</title>")

    app = FastAPI(openapi_url=None)
    # The endpoint lives on the recording's loop, not on the server's.
    app.router.routes += [Route("/", page), *whip_routes(_Elsewhere(whip, loop))]  # type: ignore[arg-type]
    app.mount("/static", static_files())
    with serving(app) as url:
        monitor = MonitorNode(MonitorSettings(folder / "feed", url, MONITOR_TOKEN))
        made = Recording(url, loop, whip, cameras, monitor)
        made.do(made.start())
        ticking = asyncio.run_coroutine_threadsafe(made.run(), loop)
        try:
            yield made
        finally:
            ticking.cancel()
            made.do(made.stop())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


class _Elsewhere:
    """An endpoint on another loop."""

    def __init__(self, whip: WhipEndpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._whip, self._loop = whip, loop

    async def post(self, *arguments: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._whip.post(*arguments), self._loop))

    async def delete(self, *arguments: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._whip.delete(*arguments), self._loop))
