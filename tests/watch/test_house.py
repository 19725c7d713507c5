"""A real house whose camera goes black and silent: the operator reads of it, and the sealed journal keeps it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from api.drill.house import House, loopback_settings
from evidence_store.canonical import Record
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import check
from recorder.spool import Spool
from tests.journeys.stage import ONE_CAMERA, camera_program, people_of, prepare, start, stop, until
from tests.watch.film import WHILE, make_film

CASE_NUMBER = "0100-83986-00021-26"


def journal_of(house: House, take: int) -> list[Record]:
    """Every event of a take, out of its sealed ticks, each signature and hash of the chain checked."""
    (folder,) = [each for each in Spool(house.settings.room_folder, None).takes() if each.take == take]
    root = (house.settings.store_folder / "keys" / "root.pem").read_bytes()
    chain = check.Chain(check.check_start(folder.start.read_bytes(), certs.from_pem(root)))
    records = [tick.record for path in folder.segments() for tick in chain.check_segment(path.read_bytes())[1]]
    return [event for record in records for event in record["events"]]


@pytest.mark.timeout(300)
async def test_black_and_silence_reach_the_operator_and_the_sealed_journal(tmp_path: Path) -> None:
    profile, data = tmp_path / "room.toml", tmp_path / "data"
    profile.write_text(ONE_CAMERA.replace("video_codec", "frame_rate = 30\nvideo_codec"))
    film = make_film(tmp_path / "film.mp4", f",drawbox=c=black:t=fill:{WHILE}", f",volume=0:{WHILE}")
    settings = loopback_settings(data, str(profile))
    async with House(settings, tmp_path / "house.log") as house, people_of(house) as people:
        house.start(camera_program(house, "wide", film))
        await house.cameras_send()
        interview = await prepare(people.operator, CASE_NUMBER)
        take = await start(house, people.operator, interview)

        async def observed() -> set[str]:
            return {each["kind"] for each in (await house.room()).get("observed", [])}

        assert await until(observed, lambda kinds: kinds >= {"black", "silence"}, within=60)
        page = await people.operator.page(f"/rum/afhoering?interview={interview}")
        assert "Billedet er sort." in page
        assert "Der er ingen lyd fra mikrofonen." in page
        assert "(Vid)" in page
        await until(observed, lambda kinds: not kinds & {"black", "silence"}, within=60)

        watch = house.pid("watch")
        assert os.sched_getscheduler(watch) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, watch) == 19
        status = await asyncio.to_thread(Path(f"/proc/{watch}/status").read_text)
        assert "NoNewPrivs:\t1\n" in status
        assert "Seccomp:\t2\n" in status
        os.kill(watch, signal.SIGSTOP)
        stopped = await until(house.room, lambda room: "watch-down" in room.get("alarms", []), within=40)
        assert (stopped["state"], stopped["durable"]) == ("recording", True), "the recording does not notice"
        assert stopped["feed_dropped"] == 0, "nor do viewers"
        os.kill(watch, signal.SIGKILL)

        async def another() -> bool:
            return house.pid("watch") != watch

        await until(another, bool)
        assert await until(observed, lambda kinds: kinds >= {"black", "silence"}, within=60), "a new watch sees again"
        assert "watch-down" not in (await house.room())["alarms"]
        await stop(people.operator, interview)
        assert await until(
            lambda: people.prosecutor.page(f"/sager/{interview}"), lambda page: "Billedet er sort." in page
        ), "on the prosecutor's timeline"
        events = [event for event in await asyncio.to_thread(journal_of, house, take) if event["type"] == "observation"]
    black = [event for event in events if event["kind"] == "black"]
    assert [event["act"] for event in black][:3] == ["began", "ended", "began"]
    assert {event["camera"] for event in events} == {"wide"}
    seconds = (int(black[1]["to"]) - int(black[0]["from"])) / 1e9
    assert seconds == pytest.approx(6.0, abs=1.2), "as long as the film is black"
    assert {event["kind"] for event in events} <= {"black", "silence", "audio-lost", "camera-lost"}
