"""A house to act in: its rooms, its people, its cameras, and clips whose every byte is known."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar
from unittest.mock import patch
from urllib.parse import urlencode

import av
import httpx
from av.bitstream import BitStreamFilterContext

import hardware.camera
from api.drill.house import House
from api.drill.visitor import Visitor
from api.processes.supervisor import Program
from api.settings import Secrets
from hardware.camera import CameraSettings, Report, run_camera
from hardware.simulated_room import Recipe
from tests.recorder_media.payloads import split_annex_b

SEI_TEXT = "VIDNE-NO-CLEAR-MEDIA-4f2c9653"
SMALL = Recipe(width=640, height=360, bitrate=500_000, sei=SEI_TEXT)

ONE_CAMERA = """
room = "journey"
label = "Afhøringsrum 2"
house = "Børnehus Prøve"

[[cameras]]
id = "wide"
label = "Vid"
video = true
audio = true
video_codec = "h264"
audio_codec = "opus"
"""
SECOND_CAMERA = """
[[cameras]]
id = "close"
label = "Nær"
video = true
audio = false
video_codec = "h264"
"""

T = TypeVar("T")

Picture = tuple[int, list[bytes]]
"""Time in 1/90000 s, NAL units."""
Sound = tuple[int, bytes]
"""Time in 1/48000 s, one Opus packet."""


def unreadable(clip: Path, into: Path) -> Path:
    """The clip's picture alone, with noise in every slice behind its header: no decoder can make a picture of it."""
    data = bytearray(clip.read_bytes())
    random = Random(5)  # noqa: S311
    with av.open(str(clip)) as source:
        packets = source.demux(source.streams.video[0])
        places = [(packet.pos, packet.size) for packet in packets if packet.pos is not None and packet.size]
    for at, size in places:
        end = at + size
        while at < end:
            length = int.from_bytes(data[at : at + 4], "big")
            kind = data[at + 4] & 0x1F
            if kind in (1, 5):
                noise = slice(at + 4 + 12, at + 4 + length)
                data[noise] = bytes(random.choices(range(4, 256), k=noise.stop - noise.start))
            at += 4 + length
    broken = into / "whole.mp4"
    broken.write_bytes(data)
    target = into / "unreadable.mp4"
    with av.open(str(broken)) as source, av.open(str(target), "w") as out:
        out.metadata["comment"] = source.metadata["comment"]
        track = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = track
                out.mux(packet)
    return target


def pictures_of(clip: Path) -> list[list[bytes]]:
    """NAL units of each picture of a clip, through `h264_mp4toannexb`."""
    with av.open(str(clip)) as source:
        track = source.streams.video[0]
        to_byte_stream = BitStreamFilterContext("h264_mp4toannexb", track)
        filtered = [out for packet in source.demux(track) if packet.size for out in to_byte_stream.filter(packet)]
    return [split_annex_b(bytes(each)) for each in filtered]


def sounds_of(clip: Path) -> list[bytes]:
    with av.open(str(clip)) as source:
        return [bytes(packet) for packet in source.demux(source.streams.audio[0]) if packet.size]


@dataclass(slots=True)
class Sent:
    """What a camera's FFmpeg was given to send, from its handshake to its end."""

    pictures: list[Picture] = field(default_factory=list)
    sounds: list[Sound] = field(default_factory=list)


class Camera:
    """A camera of the room, run in this process, which remembers every byte that its FFmpeg was given."""

    def __init__(self, house: House, name: str, clip: Path) -> None:
        token = Secrets(house.settings.run_folder).token(f"camera-{name}")
        self.name = name
        self._settings = CameraSettings(name, f"{house.settings.recorder_url}/whip/{name}", token, clip)
        self._stop = asyncio.Event()
        self.reports: list[Report] = []
        self.given: dict[int, bytearray] = {}

    async def run(self) -> None:
        """Within `remembering`; in a task of its own."""
        _THIS_CAMERA.set(self)
        await run_camera(self._settings, self._stop, self.reports.append)

    def stop(self) -> None:
        self._stop.set()

    def sent(self) -> Sent:
        """Of its last connection."""
        found = Sent()
        with av.open(io.BytesIO(bytes(list(self.given.values())[-1])), "r", format="nut") as source:
            for packet in source.demux():
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    if packet.stream.type == "video":
                        found.pictures.append(
                            (round(packet.pts * packet.time_base * 90_000), split_annex_b(bytes(packet)))
                        )
                    else:
                        found.sounds.append((round(packet.pts * packet.time_base * 48_000), bytes(packet)))
        return found


_THIS_CAMERA: ContextVar[Camera] = ContextVar("camera")


@contextmanager
def remembering() -> Iterator[None]:
    """While this lasts, what cameras of this process write to their FFmpeg is remembered."""
    write = hardware.camera._write

    def remember(ffmpeg: asyncio.subprocess.Process, data: bytes) -> int:
        _THIS_CAMERA.get().given.setdefault(ffmpeg.pid, bytearray()).extend(data)
        return write(ffmpeg, data)

    with patch.object(hardware.camera, "_write", remember):
        yield


def camera_program(house: House, name: str, clip: Path) -> Program:
    """The same camera as a process of its own."""
    folder = house.settings.run_folder
    Secrets(folder).token(f"camera-{name}")
    endpoint = f"{house.settings.recorder_url}/whip/{name}"
    token = str(folder / f"camera-{name}.token")
    arguments = ["camera", "--name", name, "--endpoint", endpoint, "--token-file", token, "--clip", str(clip)]
    return Program(f"camera-{name}", arguments, {})


@dataclass(frozen=True, slots=True)
class People:
    operator: Visitor
    staff: Visitor
    prosecutor: Visitor
    administrator: Visitor


@asynccontextmanager
async def people_of(house: House) -> AsyncIterator[People]:
    """Everybody, signed in."""
    await house.answers()
    operator, staff, prosecutor, administrator = (house.visitor() for _ in range(4))
    async with operator, staff, prosecutor, administrator:
        everybody = People(operator, staff, prosecutor, administrator)
        for visitor, name in zip(
            (operator, staff, prosecutor, administrator), ("operator", "barnehus", "anklager", "admin"), strict=True
        ):
            await house.admit(visitor, name)
        yield everybody


@asynccontextmanager
async def filmed_house(house: House, clip: Path) -> AsyncIterator[tuple[House, People]]:
    """The house with its people, once its camera sends this clip."""
    async with house, people_of(house) as people:
        house.start(camera_program(house, "wide", clip))
        async with asyncio.timeout(40):
            await house.cameras_send()
            await asyncio.sleep(1.2)
        yield house, people


async def post(visitor: Visitor, path: str, form_page: str, **fields: str) -> httpx.Response:
    """A form sent from its page; whatever comes of it."""
    headers = {
        "Accept": "text/html",
        "Content-Type": "application/x-www-form-urlencoded",
        "Vidne-CSRF": await visitor.csrf(form_page),
    }
    return await visitor.send("POST", path, urlencode(fields).encode(), headers)


async def prepare(operator: Visitor, case_number: str, child: int = 1) -> str:
    """A new interview; its id."""
    page = await operator.submit("/afhoering", "/afhoering", case_number=case_number, child_ordinal=str(child))
    return page.rsplit("/", 1)[1]


async def start(house: House, operator: Visitor, interview: str) -> int:
    """Starts it and waits for its first durable tick; the take's number."""
    page = f"/afhoering/{interview}"
    await operator.submit(f"{page}/start", page)
    described = await until(house.room, lambda room: room.get("durable_tick") is not None)
    return int(described["take"])


async def stop(operator: Visitor, interview: str) -> None:
    page = f"/afhoering/{interview}"
    await operator.submit(f"{page}/stop", page)


async def until(look: Callable[[], Awaitable[T]], right: Callable[[T], bool], within: float = 20.0) -> T:
    """Looks again and again; what was seen when it was right. Fails with what was seen last."""
    deadline = time.monotonic() + within
    while True:
        seen = await look()
        if right(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {within} s; last seen: {seen}"
        await asyncio.sleep(0.1)
