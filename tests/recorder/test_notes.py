"""What is written down in the room reaches custody once, signed by the device, and leaves the room then."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from evidence_store.canonical import canonical
from evidence_store.custody import Verb
from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.sealing import journal
from recorder.notes import Notes
from recorder.take import Order
from tests.house import BEGAN, House

WHY = "Barnet var kommet, og systemet svarede ikke"


async def test_a_note_reaches_custody_once_and_leaves_the_room(house: House, order: Order) -> None:
    notes = Notes(house.room, house.device())
    notes.write(f"  {WHY}  ", order.interview, 3, BEGAN)
    (waiting,) = notes._waiting()
    data = waiting.read_bytes()
    async with house.client() as client:

        async def send(method: str, path: str, body: bytes) -> httpx.Response:
            return (await client.request(method, path, content=body)).raise_for_status()

        await notes.deliver(send, asyncio.to_thread)
        assert notes._waiting() == []
        await send("PUT", f"notes/{waiting.stem}", data)
    (entered,) = house.custody(Verb.INTERVIEW_EXPLAINED)
    assert entered.event.reason == WHY
    assert entered.event.interview == order.interview.hex()
    assert entered.event.details["take"] == 3
    assert entered.event.at == BEGAN
    assert house.findings() == {}


@pytest.mark.parametrize(
    ("text", "code"), [("nej", "purpose"), ("x" * 501, "purpose"), ("Barnet 010203-1234", "cpr-number")]
)
def test_what_may_not_be_written_down_is_not(house: House, order: Order, text: str, code: str) -> None:
    notes = Notes(house.room, house.device())
    with pytest.raises(InvalidInput) as refused:
        notes.write(text, order.interview, 1, BEGAN)
    assert refused.value.code == code
    assert notes._waiting() == []


def test_a_note_that_its_device_did_not_sign_is_refused(house: House, order: Order) -> None:
    data = house.device().note("ab" * 16, order.interview, 1, WHY, BEGAN)
    record, signatures = journal.decode_envelope(data)
    with pytest.raises(SignatureInvalid):
        house.store.notes.enter(
            record["id"], canonical({"record": {**record, "text": "Noget andet"}, "signatures": signatures})
        )
    assert house.custody(Verb.INTERVIEW_EXPLAINED) == []


async def test_a_note_that_is_refused_stays_and_holds_up_no_other(house: House, order: Order) -> None:
    notes = Notes(house.room, house.device())
    notes.write("Om noget, der ikke findes", bytes(16), 1, BEGAN)
    notes.write(WHY, order.interview, 1, BEGAN)
    async with house.client() as client:

        async def send(method: str, path: str, body: bytes) -> httpx.Response:
            return (await client.request(method, path, content=body)).raise_for_status()

        await notes.deliver(send, asyncio.to_thread)
    assert len(notes._waiting()) == 1
    assert [each.event.reason for each in house.custody(Verb.INTERVIEW_EXPLAINED)] == [WHY]
