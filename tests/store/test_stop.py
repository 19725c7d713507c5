"""A stop that the room has carried out before: its answer was lost, or its close found no room.

The room stands in: a real one answers too well to lose an answer on demand.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from api.desk.interviews import InterviewDesk
from api.desk.room import RoomClient
from api.services import Account
from evidence_store.custody import Verb
from evidence_store.database.schema import InterviewRow
from evidence_store.errors import Conflict
from evidence_store.interview import InterviewState
from evidence_store.people import Role
from recorder.spool import Spool
from recorder.take import Order
from tests.house import House, crash

OPERATOR = Account("a" * 32, "operator", "Ida Optager", Role.OPERATOR)


class StoppedRoom:
    """Records `interview` or nothing, and has stopped already."""

    def __init__(self, interview: str | None = None) -> None:
        self.interview = interview

    async def describe(self) -> dict[str, Any]:
        return {"interview": self.interview}

    async def stop(self) -> dict[str, Any]:
        raise Conflict("stop is not possible while idle", code="room-idle")


def desk(house: House, room: StoppedRoom) -> InterviewDesk:
    store = house.store
    return InterviewDesk(store.book, store.authority, store.keys, store.sealing, cast(RoomClient, room), "demo")


async def test_pressing_stop_again_ends_the_interview(house: House, spool: Spool, order: Order) -> None:
    house.deliver(crash(house, spool, order))
    assert house.state(order) == InterviewState.RECORDING
    receipt = await desk(house, StoppedRoom()).stop(order.interview.hex(), OPERATOR)
    assert house.state(order) in (InterviewState.ENDED, InterviewState.SEALED)
    assert [take.number for take in receipt.takes] == [1]
    assert len(house.custody(Verb.INTERVIEW_ENDED)) == 1


async def test_another_interviews_room_is_left_alone(house: House, spool: Spool, order: Order) -> None:
    house.deliver(crash(house, spool, order))
    with pytest.raises(Conflict) as caught:
        await desk(house, StoppedRoom("f" * 32)).stop(order.interview.hex(), OPERATOR)
    assert caught.value.code == "not-recording"
    assert house.state(order) == InterviewState.RECORDING


async def test_an_interview_that_never_began_cannot_be_stopped(house: House, order: Order) -> None:
    with house.store.book.reading() as session:
        assert session.get_one(InterviewRow, order.interview.hex()).state == InterviewState.PLANNED
    with pytest.raises(Conflict) as caught:
        await desk(house, StoppedRoom()).stop(order.interview.hex(), OPERATOR)
    assert caught.value.code == "not-recording"
