"""The room with nothing else there: started, watched, killed, stopped by its own page, and found again afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from api.drill.house import House, loopback_settings
from api.drill.viewer import watch
from api.drill.visitor import Visitor
from api.wiring import open_store
from evidence_store.audit import Audit
from evidence_store.custody import ActorKind, Verb
from evidence_store.database.schema import InterviewRow
from evidence_store.identifiers import parse_interview_id
from evidence_store.key_pools import POOL_SIZE
from evidence_store.ledger import custody_log
from tests.journeys.stage import ONE_CAMERA, People, camera_program, people_of, post, prepare, start, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CASE_NUMBER = "0100-83986-00041-26"
WHY = "Systemet svarede ikke, og barnet var kommet"


class Guest(Visitor):
    """Somebody at the room's own page, by its code."""

    async def enter(self, code: str) -> httpx.Response:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.send("POST", "/kode", f"code={code}".encode(), form)

    async def csrf(self, page: str) -> str:
        return await super().csrf("/")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]
) -> AsyncIterator[tuple[House, People]]:
    data = tmp_path_factory.mktemp("alone-house")
    profile = tmp_path_factory.mktemp("profile") / "room.toml"
    profile.write_text(ONE_CAMERA)
    house = House(loopback_settings(data, str(profile)), data / "house.log")
    async with house, people_of(house) as people:
        house.start(camera_program(house, "wide", clips["wide"]))
        async with asyncio.timeout(60):
            await house.cameras_send()
            await asyncio.sleep(1.2)
        yield house, people


async def test_the_room_alone(stage: tuple[House, People]) -> None:
    house, people = stage
    await until(house.room, lambda room: room["keys"] == POOL_SIZE)
    await house.kill("web")
    async with Guest(house.settings.recorder_url) as guest:
        await _nobody_gets_in_without_the_code(guest)
        assert (await guest.enter(house.settings.room_code().lower())).status_code == 303
        await until(lambda: guest.page("/tilstand"), lambda page: "Lageret svarer ikke" in page)
        page = await guest.page("/")
        assert "Optag alligevel" in page
        assert await guest.submit("/start", "/") == "/"
        room = await until(house.room, lambda room: room["durable"])
        interview = room["interview"]
        assert room["keys"] == POOL_SIZE - 1
        assert "Billede og lyd er forseglet" in await guest.page("/tilstand")
        seen = await watch(guest, "journey", "wide", 1.0, video=True)
        assert seen.pictures > 10

        os.kill(house.pid("recorder"), signal.SIGKILL)
        room = await until(house.room, lambda now: now.get("take") == room["take"] + 1 and now["durable"])
        assert room["interview"] == interview
        await until(house.room, lambda now: now["cameras"][0]["picture"] and now["cameras"][0]["sound"])
        assert "Bemærkningen er gemt" in (await post(guest, "/begrundelse", "/", reason=WHY)).text
        assert await guest.submit("/stop", "/") == "/kvittering"
        receipt = await guest.page("/kvittering")
        assert (await house.room())["state"] == "idle"

        house.bring_back("web")
        await house.answers()
        await until(house.room, lambda now: now["undelivered"] == 0 and not now["alarms"] and now["keys"] == POOL_SIZE)
        heads = await _stored_whole(house, interview)
        assert re.sub(r"\s|<[^>]+>", "", receipt).count(heads[-1]) == 1

        # The next start has a key of its own.
        await guest.submit("/start", "/")
        again = await until(house.room, lambda now: now["durable"])
        assert again["interview"] != interview
        await guest.submit("/stop", "/")
    await _somebody_says_whose_it_was(people, interview)
    log = (house.settings.data / "house.log").read_text()
    assert house.settings.room_code() not in log
    assert WHY not in log


async def _nobody_gets_in_without_the_code(guest: Guest) -> None:
    for path in ("/tilstand", "/kvittering"):
        assert (await guest.send("GET", path)).status_code == 401
    for path in ("/start", "/stop", "/begrundelse", "/live/journey/wide"):
        reply = await guest.send("POST", path, b"csrf=x")
        assert reply.status_code == 303
        assert reply.headers["location"] == "/"
    reply = await guest.enter("K7QF-2MXD")
    assert reply.status_code == 401
    assert "Forkert kode" in reply.text
    assert "set-cookie" not in reply.headers


async def _stored_whole(house: House, interview: str) -> list[str]:
    """Everything is in the store, in custody, and nobody's yet; the takes' heads."""

    def look() -> list[str] | None:
        store = open_store(house.settings)
        try:
            with store.book.reading() as session:
                row = session.get_one(InterviewRow, interview)
                if row.state != "sealed":
                    return None
                assert row.case_number is None
                logged = [each.event for each in custody_log.of_interview(session, parse_interview_id(interview))]
            said = {each.verb: each for each in logged}
            begun, failed = said[Verb.INTERVIEW_STARTED], said[Verb.CHECKS_OVERRIDDEN]
            assert begun.actor.kind is ActorKind.MACHINE
            assert begun.details["emergency"] is True
            assert {"camera": None, "code": "store-out-of-reach"} in failed.details["failed"]
            assert said[Verb.INTERVIEW_EXPLAINED].reason == WHY
            assert said[Verb.INTERVIEW_ENDED].details["by"] == "room"
            assert said[Verb.VIEWER_JOINED].actor.id.startswith("monitor:")
            assert Verb.GAP in said or len([each for each in logged if each.verb is Verb.TAKE_CLOSED]) == 2
            report = Audit(store.book, store.authority).run()
            assert report.ok, [each for each in report.findings if not each.ok]
            closed = [each for each in logged if each.verb is Verb.TAKE_CLOSED]
            return [str(each.details["head"]) for each in sorted(closed, key=lambda each: each.details["take"])]
        finally:
            store.book.database.close()

    found = await until(lambda: asyncio.to_thread(look), lambda found: found is not None)
    assert found is not None
    return found


async def _somebody_says_whose_it_was(people: People, interview: str) -> None:
    assert "Nødoptagelse uden journalnummer" in await people.operator.page("/afhoering")
    search = await post(people.prosecutor, "/sager", "/sager", case_number=CASE_NUMBER)
    assert interview not in search.text
    form = f"/afhoering/{interview}/journalnummer"
    await people.operator.submit(form, form, case_number=CASE_NUMBER, child_ordinal="1")
    search = await post(people.prosecutor, "/sager", "/sager", case_number=CASE_NUMBER)
    assert interview in search.text
    case = f"/sager/{interview}"
    viewing = await people.prosecutor.submit(f"{case}/gennemsyn", case, purpose="Prøve af nødoptagelse")
    index = (await people.prosecutor.send("GET", f"{viewing}/indeks")).json()
    assert len(index) == 2
    custody = await people.prosecutor.page(f"{case}/beviskaede")
    assert "Knyttet til journalnummer" in custody
    assert WHY in custody


async def test_a_web_application_that_hangs_and_a_database_that_is_locked_cost_nothing(
    stage: tuple[House, People],
) -> None:
    """The network swallows everything: connections are made, and nobody answers. Then somebody holds the database."""
    house, people = stage
    interview = await prepare(people.operator, "0100-83986-00042-26")
    take = await start(house, people.operator, interview)
    pid = house.pid("web")
    os.kill(pid, signal.SIGSTOP)
    try:
        oldest = await _watched(house, take, 5.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert oldest < 1.5
    database = house.settings.store_folder / "vidne.sqlite"
    held = await asyncio.create_subprocess_exec(
        "python3", "-c",
        "import sqlite3, sys, time\n"
        f"held = sqlite3.connect({str(database)!r}, timeout=30)\n"
        "held.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True)\n"
        "time.sleep(5)",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert held.stdout is not None
    assert await held.stdout.readline() == b"held\n"
    assert await _watched(house, take, 4.0) < 1.5
    await held.wait()
    await until(house.room, lambda now: now["undelivered"] <= 1 and not now["alarms"], within=40)
    page = f"/afhoering/{interview}"
    await people.operator.submit(f"{page}/stop", page)
    await until(house.room, lambda now: now["undelivered"] == 0)
    store = open_store(house.settings)
    with store.book.reading() as session:
        assert session.get_one(InterviewRow, interview).state == "sealed"
        gaps = [
            each.event.details
            for each in custody_log.of_interview(session, parse_interview_id(interview))
            if each.event.verb is Verb.GAP
        ]
    store.book.database.close()
    assert gaps == []


async def _watched(house: House, take: int, seconds: float) -> float:
    """The age of the newest durable tick, at its greatest, while the recording is looked at for so long."""
    oldest = 0.0
    for _ in range(int(seconds / 0.2)):
        room = await house.room()
        assert (room["state"], room["take"], room["durable"]) == ("recording", take, True)
        oldest = max(oldest, room["durable_age"])
        await asyncio.sleep(0.2)
    return oldest


async def test_ten_megabytes_that_are_no_offer_cost_nothing(stage: tuple[House, People]) -> None:
    house, people = stage
    interview = await prepare(people.operator, "0100-83986-00043-26")
    take = await start(house, people.operator, interview)
    token = (house.settings.run_folder / "camera-wide.token").read_text().strip()
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    body = b"v=0\r\n" + b"a=x:" + b"y" * 10_000_000
    async with httpx.AsyncClient(base_url=house.settings.recorder_url, trust_env=False, timeout=20.0) as client:
        replies = asyncio.gather(
            *(client.post("/whip/wide", content=body, headers=headers) for _ in range(4)), return_exceptions=True
        )
        oldest = await _watched(house, take, 2.0)
        for reply in await replies:
            # Refused as too large, or cut off before all of it was read.
            assert isinstance(reply, httpx.TransportError) or (
                isinstance(reply, httpx.Response) and reply.status_code == 413
            )
    assert oldest < 1.5
    page = f"/afhoering/{interview}"
    await people.operator.submit(f"{page}/stop", page)
