"""An interview in a house of real processes, with cameras of this process: what was sent is known."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from api.drill.house import House, loopback_settings
from api.drill.visitor import Visitor
from api.settings import Secrets
from api.wiring import Store, open_store
from evidence_store.database.schema import InterviewRow
from hardware.camera import CameraSettings, Report, State, run_camera
from tests.bench.lossy_link import Line
from tests.bench.sealed import Account, Clip, account, clip_of

CASE_NUMBER = "0100-83986-00003-26"
WITHIN = 60.0

T = TypeVar("T")


class Camera:
    """A simulated camera in a task of this process; FFmpeg is its child."""

    def __init__(self, name: str, clip: Path, endpoint: str, token: str) -> None:
        self._settings = CameraSettings(name, endpoint, token, clip)
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(run_camera(self._settings, self._stop, self._tell))
        self.interruptions: list[str] = []
        """Why it had to try again, each time."""

    def _tell(self, report: Report) -> None:
        if report.state is State.WAITING and report.end is not None:
            self.interruptions.append(report.end.value)

    async def stop(self) -> None:
        self._stop.set()
        await self._task


@dataclass(slots=True)
class Stalls:
    """How long this process, which is camera and line, was kept from its work: what a measurement must not blame the
    recorder for. `greatest` in seconds, `over` 50 ms counted."""

    greatest: float = 0.0
    over: int = 0

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            late = time.monotonic() - before - 0.01
            self.greatest = max(self.greatest, late)
            self.over += late > 0.05


@dataclass
class Interview:
    """A running recording. `clips`: what each camera sends, by camera."""

    house: House
    line: Line
    operator: Visitor
    cameras: dict[str, Camera]
    clips: Mapping[str, Path]
    stalls: Stalls
    id: str = ""

    async def start(self) -> None:
        """Everybody is there; the recording begins and its first tick is durable."""
        async with asyncio.timeout(WITHIN):
            await self.house.cameras_send()
            await asyncio.sleep(1.2)  # a key frame of each is in memory
            page = await self.operator.submit("/afhoering", "/afhoering", case_number=CASE_NUMBER, child_ordinal="1")
            self.id = page.rsplit("/", 1)[1]
            await self.operator.submit(f"{page}/start", page)
            await until(self.house.room, lambda room: room.get("durable_tick") is not None)

    async def look(self) -> None:
        """The operator is there still: after an hour of nothing a session ends. Their page's live view does it too."""
        await self.operator.page(f"/afhoering/{self.id}")

    async def stop(self) -> None:
        """Cameras, then the recording; returns once it is sealed."""
        await asyncio.gather(*(camera.stop() for camera in self.cameras.values()))
        await until(self.house.room, lambda room: bool(room) and not any(c["connected"] for c in room["cameras"]))
        await asyncio.sleep(0.3)  # the tick that holds the last packets
        page = f"/afhoering/{self.id}"
        await self.operator.submit(f"{page}/stop", page)
        store = self.store()
        await until(lambda: asyncio.to_thread(_sealed, store, self.id), bool)

    def said_of_the_machine(self) -> str:
        """What the measurement itself suffered, so that nobody blames the recorder for it."""
        ends = Counter(end for camera in self.cameras.values() for end in camera.interruptions)
        told = ", ".join(f"{end} {count} ×" for end, count in ends.items()) or "never"
        stalls = self.stalls
        return (
            f"cameras and line were 50 ms late {stalls.over} times, at most {1000 * stalls.greatest:.0f} ms; "
            f"cameras were interrupted: {told}"
        )

    def store(self) -> Store:
        return open_store(self.house.settings)

    def account(self) -> Account:
        """What was sealed against what the cameras sent; blocks. After `stop`."""
        return account(self.store(), self.id, self.clips_by_track())

    def clips_by_track(self) -> dict[str, Clip]:
        tracks = [track for camera in self.house.settings.room_profile().cameras for track in camera.tracks]
        return {track.id: clip_of(self.clips[track.camera], track.media) for track in tracks}


def _sealed(store: Store, interview: str) -> bool:
    with store.book.reading() as session:
        return session.get_one(InterviewRow, interview).manifest_object is not None


@asynccontextmanager
async def interview(data: Path, clips: Mapping[str, Path], line: Line | None = None) -> AsyncIterator[Interview]:
    """A house in `data` with one camera for each of `clips`, each with picture and sound, all behind `line`; nothing
    runs any more when the block is left."""
    profile = data / "room.toml"
    profile.write_text(room_profile([*clips]))
    house = House(loopback_settings(data / "house", str(profile)), data / "house.log")
    house.settings.data.mkdir(mode=0o700)
    line = line or Line("")
    line.recorder_url = house.settings.recorder_url
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(house)
        url = await stack.enter_async_context(line.open())
        operator = await stack.enter_async_context(house.visitor())
        async with asyncio.timeout(WITHIN):
            await house.answers()
            await house.admit(operator, "operator")
        secrets = Secrets(house.settings.run_folder)
        cameras = {
            name: Camera(name, clip, f"{url}/whip/{name}", secrets.token(f"camera-{name}"))
            for name, clip in clips.items()
        }
        try:
            yield Interview(house, line, operator, cameras, clips, stalls)
        finally:
            watching.cancel()
            await asyncio.gather(*(camera.stop() for camera in cameras.values()))


def room_profile(cameras: list[str]) -> str:
    lines = ['room = "bench"', 'label = "Afhøringsrum"', 'house = "Børnehus Prøve"']
    for name in cameras:
        lines += ["", "[[cameras]]", f'id = "{name}"', f'label = "{name}"', "video = true", "audio = true"]
        lines += ['video_codec = "h264"', 'audio_codec = "opus"']
    return "\n".join(lines) + "\n"


async def until(look: Callable[[], Awaitable[T]], right: Callable[[T], bool], within: float = WITHIN) -> T:
    """Looks again and again; what was seen when it was right. Raises TimeoutError."""
    deadline = time.monotonic() + within
    while not right(seen := await look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within} s; last seen: {seen}")
        await asyncio.sleep(0.05)
    return seen
