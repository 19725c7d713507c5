"""One journey from camera to evidence copy that several tests look back on, and the drills last."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyrage
import pytest
import pytest_asyncio

from api.drill.house import House, loopback_settings
from api.drill.package import unpack
from api.drill.viewer import watch
from api.wiring import open_store
from hardware.simulated_room import Recipe, make_clip
from tests.journeys.clear_media import OpenFiles, clear_files
from tests.journeys.stage import (
    ONE_CAMERA,
    SECOND_CAMERA,
    SMALL,
    Camera,
    People,
    Sent,
    people_of,
    post,
    prepare,
    remembering,
    start,
    stop,
    unreadable,
    until,
)

CASE_NUMBER = "0100-83986-00007-26"
RECORDED_AT_LEAST = 6.0
PURPOSE, VIEWING_PURPOSE = "Prøve af beviskopi", "Prøve af gennemsyn"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: a whole drill; runs after everything else")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@dataclass(frozen=True, slots=True)
class Journey:
    """What happened, and where it lies. The house still runs, its cameras do not.

    `replies`: answers to bad input while the recording ran. `played`: bytes of every init and segment that the web
    application gave out, by track.
    """

    house: House
    people: People
    interview: str
    clips: Mapping[str, Path]
    sent: Mapping[str, Sent]
    replies: Mapping[str, httpx.Response]
    room_while_recording: Mapping[str, object]
    room_before_stop: Mapping[str, object]
    open_files: OpenFiles
    clear_while_recording: list[str]
    clear_while_copying: list[str]
    played: Mapping[str, bytes]
    package: Path
    places: tuple[Path, ...]
    fingerprint: str


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small picture with sound and an SEI pattern, and a picture that no decoder can read."""
    folder = tmp_path_factory.mktemp("clips")
    silent = make_clip(Recipe(width=640, height=360, bitrate=300_000, scene="close", audio=False), folder)
    return {"wide": make_clip(SMALL, folder), "close": unreadable(silent, folder)}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def journey(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]) -> AsyncIterator[Journey]:
    data, temporary = tmp_path_factory.mktemp("house"), tmp_path_factory.mktemp("house-tmp")
    outside = tmp_path_factory.mktemp("outside")
    profile = outside / "room.toml"
    profile.write_text(ONE_CAMERA + SECOND_CAMERA)
    house = House(loopback_settings(data, str(profile)), data / "house.log", environment={"TMPDIR": str(temporary)})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(house)
        people = await stack.enter_async_context(people_of(house))
        yield await _travel(house, people, clips, (data, temporary), outside)


async def _travel(
    house: House, people: People, clips: dict[str, Path], places: tuple[Path, ...], outside: Path
) -> Journey:
    files = OpenFiles()
    pids = [house.pid(name) for name in ("recorder", "monitor", "watch", "web")]
    cameras = [Camera(house, name, clip) for name, clip in clips.items()]
    with remembering():
        running = [asyncio.create_task(camera.run()) for camera in cameras]
        async with asyncio.timeout(60):
            await house.cameras_send()
            await asyncio.sleep(1.2)  # a key frame of each is in memory
            interview = await prepare(people.operator, CASE_NUMBER)
            await start(house, people.operator, interview)
            began = time.monotonic()
            replies = await _bad_input(house, people)
            await watch(people.staff, "journey", "wide", 1.0, video=True)
            await asyncio.to_thread(files.look, pids)
            clear = await asyncio.to_thread(clear_files, places)
            await asyncio.sleep(max(0.0, began + RECORDED_AT_LEAST - time.monotonic()))
            room = await house.room()
            for camera in cameras:
                camera.stop()
            await asyncio.gather(*running)
            gone = await until(house.room, lambda now: not any(each["connected"] for each in now["cameras"]))
    await asyncio.sleep(0.3)  # the tick that holds the last packets
    await stop(people.operator, interview)
    store = open_store(house.settings)
    await until(lambda: people.prosecutor.page(f"/sager/{interview}"), lambda page: f"/sager/{interview}/kopi" in page)
    await post(people.prosecutor, "/sager", "/sager", case_number=CASE_NUMBER)
    played = await _play(people, interview)
    key = pyrage.x25519.Identity.generate()
    key_file, age_file = outside / "key", outside / "copy.tar.age"
    key_file.write_text(f"{key}\n")
    form = f"/sager/{interview}/kopi"
    page = await people.prosecutor.submit(form, form, purpose=PURPOSE, recipient=str(key.to_public()))
    async with asyncio.timeout(60):
        while await people.prosecutor.download(f"{page}/hent", age_file) is None:
            await asyncio.to_thread(files.look, pids)
            await asyncio.sleep(0.1)
    clear_then = await asyncio.to_thread(clear_files, places)
    folder = outside / "unpacked"
    folder.mkdir()
    package = await asyncio.to_thread(unpack, age_file, key_file, folder)
    return Journey(
        house=house,
        people=people,
        interview=interview,
        clips=clips,
        sent={camera.name: camera.sent() for camera in cameras},
        replies=replies,
        room_while_recording=room,
        room_before_stop=gone,
        open_files=files,
        clear_while_recording=clear,
        clear_while_copying=clear_then,
        played=played,
        package=package,
        places=places,
        fingerprint=store.authority.fingerprint,
    )


async def _play(people: People, interview: str) -> dict[str, bytes]:
    """A viewing, as the player makes it: the index, then every init and segment."""
    case = f"/sager/{interview}"
    viewing = await people.prosecutor.submit(f"{case}/gennemsyn", case, purpose=VIEWING_PURPOSE)
    index = (await people.prosecutor.send("GET", f"{viewing}/indeks")).json()
    played: dict[str, bytes] = {}
    for take in index:
        for track in take["tracks"]:
            base = f"{viewing}/{take['ordinal']}/{track['id']}"
            paths = [f"{base}/init/{epoch}" for epoch in track["inits"]]
            paths += [f"{base}/{segment['number']}" for segment in track["segments"]]
            for path in paths:
                reply = await people.prosecutor.send("GET", path)
                assert reply.status_code == 200
                played[track["id"]] = played.get(track["id"], b"") + reply.content
    return played


async def _bad_input(house: House, people: People) -> dict[str, httpx.Response]:
    """What goes wrong at recorder and monitor room while the recording runs."""
    whip = f"{house.settings.recorder_url}/whip/wide"
    token = (house.settings.run_folder / "camera-wide.token").read_text().strip()
    other = (house.settings.run_folder / "camera-close.token").read_text().strip()
    offer = OFFER.encode()
    found = {}
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
        for name, bearer, body in (
            ("whip: no token", None, offer),
            ("whip: wrong token", "x" * 43, offer),
            ("whip: another camera's token", other, offer),
            ("whip: malformed", token, b"v=0\r\nthis is not SDP\r\n"),
            ("whip: not text", token, bytes(range(256))),
            ("whip: empty", token, b""),
            ("whip: oversized", token, OFFER.encode() + b"a=x:" + b"y" * 2_000_000),
            ("whip: a second publisher", token, offer),
        ):
            headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
            found[name] = await client.post(whip, content=body, headers=headers)
        found["whip: not SDP"] = await client.post(whip, json={}, headers={"Authorization": f"Bearer {token}"})
        found["room: wrong token"] = await client.post(
            f"{house.settings.recorder_url}/room/stop", headers={"Authorization": f"Bearer {token}"}
        )
    for name, visitor, body in (
        ("live: malformed", people.staff, b"v=0\r\nthis is not SDP\r\n"),
        ("live: not SDP at all", people.staff, b"\x00\x01\x02"),
        ("live: oversized", people.staff, OFFER.encode() + b"a=x:" + b"y" * 100_000),
        ("live: wrong role", people.administrator, offer),
    ):
        page = "/monitorrum" if visitor is people.staff else "/system"
        headers = {"Content-Type": "application/sdp", "Vidne-CSRF": await visitor.csrf(page)}
        found[name] = await visitor.send("POST", "/live/journey/wide", body, headers)
    another = await prepare(people.operator, re.sub("00007", "00008", CASE_NUMBER))
    page = f"/afhoering/{another}"
    found["room: busy"] = await post(people.operator, f"{page}/start", page)
    return found


OFFER = "\r\n".join(
    [
        "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=ice-options:trickle",
        "m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 127.0.0.1", "a=mid:0", "a=sendonly", "a=rtcp-mux",
        "a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=setup:actpass",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f", "",
    ]
)  # fmt: skip
