"""The room node's orders: what begins and ends whole, who is in a take, and what a restart goes on with."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import httpx
import pytest

from evidence_store.errors import Conflict, Unavailable
from evidence_store.key_pools import POOL_SIZE
from evidence_store.sealing import journal
from recorder.feed import Presence
from recorder.key_pool import KeyPool
from recorder.spool import Spool
from recorder.take import Order, State
from tests.house import House, crash, until
from tests.recorder.room import running
from tests.recorder.walked import walk

pytestmark = pytest.mark.usefixtures("quick")


async def test_a_take_from_start_to_stop(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        assert await room.node.begin(order) == 1
        assert spool.recording.exists()
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 3)
        assert room.node.describe()["state"] == "recording"
        assert "not-durable" not in room.node.alarms(time.monotonic_ns())
        closed = await room.node.end()
        assert not spool.recording.exists()
        assert (closed.take, room.node.state) == (1, State.IDLE)
    (take,) = spool.takes()
    assert walk(house, take, order).close is not None


async def test_a_second_start_changes_nothing_of_the_first(house: House, spool: Spool, order: Order) -> None:
    other = house.interview()
    async with running(house, spool) as room:
        await room.node.begin(order)
        with pytest.raises(Conflict):
            await room.node.begin(other)
        assert Order.decode(spool.recording.read_bytes()) == order, "a restart must go on with what is recorded"
        await room.node.end()


async def test_two_starts_at_once_begin_one_take(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        results = await asyncio.gather(*(room.node.begin(order) for _ in range(4)), return_exceptions=True)
        assert sorted(type(each).__name__ for each in results) == ["Conflict"] * 3 + ["int"]
        assert spool.recording.exists()
        await room.node.end()
    assert len(spool.takes()) == 1


async def test_without_a_camera_there_is_a_take_with_a_declared_gap(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        room.node.cameras.meters["wide"].connection = None
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 2)
        assert "camera-lost" in room.node.alarms(time.monotonic_ns())
        await room.node.end()
    (take,) = spool.takes()
    walked = walk(house, take, order)
    assert sorted((gap["track"], gap["reason"]) for gap in walked.gaps) == [(0, "no-connection"), (1, "no-connection")]
    began, *_ = walked.ticks
    assert {"camera": "wide", "code": "camera-lost"} in next(
        event["failed"] for event in began["events"] if event["type"] == "checks-failed"
    )


async def test_a_start_of_the_rooms_own_is_an_interview_of_its_own_and_says_so(house: House, spool: Spool) -> None:
    device = house.device()
    keys = KeyPool(house.room, device.enrolment, device.certificates.root)
    async with running(house, spool, keys) as room:
        with pytest.raises(Unavailable) as refused:
            await room.node.begin_alone()
        assert refused.value.code == "no-key"
        assert room.node.state is State.IDLE
        assert spool.highest_take() == 0
        assert "key-pool-empty" in room.node.alarms(time.monotonic_ns())
        async with house.client() as client:

            async def send(method: str, path: str, body: bytes) -> httpx.Response:
                return (await client.request(method, path, content=body)).raise_for_status()

            await keys.refill(send, asyncio.to_thread)
        assert await room.node.begin_alone() == 1
        with pytest.raises(Conflict):
            await room.node.begin_alone()
        assert keys.count == POOL_SIZE - 1, "a start that is refused spends no key"
        order = Order.decode(spool.recording.read_bytes())
        await room.node.end("room")
    (take,) = spool.takes()
    events = [event for each in walk(house, take, order).ticks for event in each["events"]]
    assert [event for event in events if event["type"] == "order"] == [
        {"act": "start", "by": "room", "emergency": True, "type": "order"},
        {"act": "stop", "by": "room", "type": "order"},
    ]
    assert house.state(order) in ("reserved", "recording", "ended")


async def test_a_stop_while_nothing_is_recorded_is_refused(house: House, spool: Spool) -> None:
    async with running(house, spool) as room:
        with pytest.raises(Conflict):
            await room.node.end()
        assert room.node.state is State.IDLE


async def test_a_restart_goes_on_with_what_was_recorded(house: House, spool: Spool, order: Order) -> None:
    crash(house, spool, order)
    spool.remember_recording(order.encode())
    async with running(house, house.spool()) as room:
        assert room.node.describe()["take"] == 2
        assert room.node.describe()["interview"] == order.interview.hex()
        await room.node.end()


async def test_an_order_on_disk_that_cannot_be_read_is_no_reason_not_to_start(house: House, spool: Spool) -> None:
    spool.recording.write_bytes(b"rot")
    async with running(house, house.spool()) as room:
        assert room.node.state is State.IDLE


async def test_whoever_presses_stop_and_goes_away_has_stopped(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        begun = asyncio.create_task(room.node.begin(order))
        await asyncio.sleep(0)
        begun.cancel()
        await until(lambda: room.node.state is State.RECORDING)
        ended = asyncio.create_task(room.node.end())
        await asyncio.sleep(0)
        ended.cancel()
        await until(lambda: room.node.state is State.IDLE)
        assert not spool.recording.exists()
    (take,) = spool.takes()
    assert take.close.exists()


async def test_who_watched_before_the_start_is_in_the_take(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        cameras = room.node.cameras
        for viewer in ("a" * 32, "b" * 32):
            cameras._told(Presence("joined", viewer, "wide", 5))
            cameras._told(Presence("joined", viewer, "wide", 5))
        cameras._told(Presence("left", "b" * 32, "wide", 6))
        assert room.node._cutter.events == [], "between takes nothing is gathered, or it grows for weeks"
        await room.node.begin(order)
        cameras._told(Presence("joined", "a" * 32, "wide", 5))
        cameras._deserted()
        await room.node.end()
    (take,) = spool.takes()
    events = [event for each in walk(house, take, order).ticks for event in each["events"]]
    seen = [(event["act"], event["viewer"][0]) for event in events if event["type"] == "viewer"]
    assert seen == [("joined", "a"), ("left", "a")]


async def test_a_take_in_a_row_has_each_its_own_number_and_head(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        for number in (1, 2, 3):
            assert await room.node.begin(order) == number
            await room.node.end()
    starts = [journal.decode_envelope(each.start.read_bytes())[0]["previous"] for each in spool.takes()]
    assert [each and each["take"] for each in starts] == [None, 1, 2]


async def test_nothing_on_the_event_loop_asks_the_disk_for_the_rooms_state(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(house, spool) as room:
        await room.node.begin(order)
        await until(lambda: room.node.describe()["spool_free"])

        def hangs(*_: object, **__: object) -> None:
            raise AssertionError("asked the disk")

        with monkeypatch.context() as patched:
            for name in ("open", "listdir", "scandir", "stat", "statvfs"):
                patched.setattr(os, name, hangs)
            patched.setattr(Path, "read_text", hangs)
            described, heartbeat = room.node.describe(), room.node._heartbeat()
        assert described["highest_take"] == 1
        assert heartbeat
        await room.node.end()
