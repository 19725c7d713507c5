"""A camera that is another one: on the administrator's page, and confirmed through the recorder's own door."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from api.desk.accounts import DatabaseAccounts
from api.desk.room import RoomClient
from api.routes.room import room_routes
from api.services import Account, KnownCamera
from evidence_store.custody import Verb
from evidence_store.errors import Conflict, NotFound
from evidence_store.people import Role
from hardware.profile import RoomProfile, parse_profile
from recorder.peer import Connection
from recorder.spool import Spool
from recorder.take import Order
from tests.api.conftest import SignedIn
from tests.api.fakes import World
from tests.house import House, until
from tests.recorder.room import Room, running
from tests.recorder.walked import walk

STRANGER = ("10.6.6.6", "sha-256 66:66")
PROFILE = """
room = "demo"
label = "Rum"
house = "Hus"
[[cameras]]
id = "wide"
label = "Vid"
video = true
audio = true
video_codec = "h264"
audio_codec = "opus"
"""


async def test_the_administrator_sees_who_sends_instead_and_confirms_just_that(
    made: World, signed_in: SignedIn
) -> None:
    browser = await signed_in(Role.ADMINISTRATOR)
    made.room.known = KnownCamera("10.0.0.7", "sha-256 AB", datetime(2026, 11, 22, tzinfo=UTC))
    page = (await browser.get("/system")).text
    assert "10.0.0.7" in page
    assert "Det kendte" in page
    assert "Godkend det" not in page
    made.room.known = KnownCamera("10.0.0.7", "sha-256 AB", datetime(2026, 11, 22, tzinfo=UTC), True, STRANGER)
    page = (await browser.get("/system")).text
    for words in ("sha-256 AB", *STRANGER, "Godkend det som Hele rummet"):
        assert words in page
    refused = await browser.post("/system/kameraer/wide", address="10.6.6.7", fingerprint=STRANGER[1])
    assert refused.status_code == 409
    assert "Et andet kamera er kommet til" in refused.text
    assert made.room.confirmed == []
    done = await browser.post("/system/kameraer/wide", address=STRANGER[0], fingerprint=STRANGER[1])
    assert (done.status_code, done.headers["location"]) == (303, "/system")
    assert made.room.confirmed == [("wide", *STRANGER)]


def client(house: House, room: Room, profile: RoomProfile) -> RoomClient:
    app = Starlette(routes=room_routes(room.node, "order", lambda: ""))
    recorder = httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://recorder.test/",
        headers={"Authorization": "Bearer order"},
    )  # fmt: skip
    nobody = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _request: httpx.Response(503)), base_url="http://monitor.test/"
    )
    book = house.store.book
    return RoomClient(recorder, nobody, profile, DatabaseAccounts(book), book)


async def test_what_is_confirmed_is_in_the_take_and_in_custody(house: House, spool: Spool, order: Order) -> None:
    who = Account(house.account, "op", "Sander System", Role.ADMINISTRATOR)
    async with running(house, spool) as room:
        cameras, desk = room.node.cameras, client(house, room, parse_profile(PROFILE, where="test"))
        cameras.connected(Connection("c1", "wide", "sha-256 AB", "10.0.0.7:5000", {}))
        await room.node.begin(order)
        with pytest.raises(NotFound):
            await desk.confirm_camera("wide", *STRANGER, who)
        cameras.connected(Connection("c2", "wide", STRANGER[1], f"{STRANGER[0]}:1", {}))
        state = await desk.state()
        assert "camera-changed" in [each.code for each in state.alarms]
        assert state.cameras[0].known is not None
        assert state.cameras[0].known.stranger == STRANGER
        with pytest.raises(Conflict):
            await desk.confirm_camera("wide", "10.6.6.7", STRANGER[1], who)
        assert house.custody(Verb.CAMERA_CONFIRMED) == []
        await desk.confirm_camera("wide", *STRANGER, who)
        assert "camera-changed" not in [each.code for each in (await desk.state()).alarms]
        file: Path = house.room / "cameras.json"
        await until(lambda: file.exists() and STRANGER[0] in file.read_text())
        await room.node.end()
    (take,) = spool.takes()
    events = [each for tick in walk(house, take, order).ticks for each in tick["events"] if each["type"] == "camera"]
    said = [(each["act"], each["address"]) for each in events]
    assert said == [("enrolled", "10.0.0.7"), ("changed", "10.6.6.6"), ("enrolled", "10.6.6.6")]
    (confirmed,) = house.custody(Verb.CAMERA_CONFIRMED)
    assert confirmed.event.actor.name == "Sander System"
    assert confirmed.event.details == {"address": STRANGER[0], "camera": "wide", "fingerprint": STRANGER[1]}
    house.deliver(take)
    assert len(house.custody(Verb.CAMERA_ENROLLED)) == 2
    (changed,) = house.custody(Verb.CAMERA_CHANGED)
    assert changed.event.details["differs"] == ["address"]
    assert changed.event.details["known"]["address"] == "10.0.0.7"
