"""A disk that fills up, before, during and after a take: told early, declared, and made good when there is room."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from evidence_store.errors import Conflict, NoSpace
from evidence_store.sealing import journal
from recorder import recovery, sealing_thread
from recorder.sealer import Sealer
from recorder.spool import Spool
from recorder.take import Order, State
from tests.house import House, crash, until
from tests.recorder.room import full, running
from tests.recorder.walked import walk

pytestmark = pytest.mark.usefixtures("quick")


async def test_a_disk_that_will_be_full_soon_is_told_in_minutes(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        meter, left = room.node.cameras.meters["wide"], 3_000_000_000
        spool.limit_bytes = spool.used_bytes + left

        def low_while_it_sends() -> bool:
            meter.octets += 200_000
            return (room.node.describe()["spool_minutes"] or 1000) < 120

        await until(lambda: room.node.describe()["spool_free"] == left)
        assert "spool-low" not in room.node.alarms(time.monotonic_ns()), "three gigabytes are enough for nothing"
        await until(low_while_it_sends)
        assert room.node.readiness.minutes_left() == pytest.approx(left * 8 / meter.bitrate / 60)
        assert "spool-low" in room.node.alarms(time.monotonic_ns())
        assert {"camera": None, "code": "spool-low"} in room.node.describe()["checks"]
        await room.node.begin(order)
        await room.node.end()
    (take,) = spool.takes()
    events = [event for each in walk(house, take, order).ticks for event in each["events"]]
    (failed,) = [event["failed"] for event in events if event["type"] == "checks-failed"]
    assert {"camera": None, "code": "spool-low"} in failed


async def test_a_camera_that_cannot_be_remembered_costs_nothing(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new camera on a full disk: what it is known by waits, and the recorder lives."""
    asked: list[bytes] = []

    def refused(data: bytes) -> None:
        asked.append(data)
        raise NoSpace("stand-in for a full disk", code="spool-full")

    async with running(house, spool) as room:
        await room.node.begin(order)
        monkeypatch.setattr(room.node._known, "save", refused)
        monkeypatch.setattr(room.node._known, "unsaved", lambda: b"{}")
        await until(lambda: len(asked) > 2)
        assert room.node.state is State.RECORDING
        monkeypatch.undo()
        await room.node.end()
    assert len(spool.takes()) == 1


async def test_a_start_that_fails_half_way_leaves_the_room_idle_and_its_number_closed(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(house, spool) as room:
        with monkeypatch.context() as patched:
            patched.setattr("recorder.sealer.write_durably", full)
            with pytest.raises(NoSpace):
                await room.node.begin(order)
        assert room.node.state is State.IDLE
        assert not spool.recording.exists(), "what never began must not begin by itself at the next boot"
        assert "spool-full" in room.node.alarms(time.monotonic_ns())
        assert await room.node.begin(order) == 2
        await room.node.end()
        await until(lambda: all(each.acknowledged(each.close) for each in spool.takes()))
    how = [journal.decode_envelope(each.close.read_bytes())[0]["how"] for each in spool.takes()]
    assert how == ["void", "stopped"]
    assert house.findings() == {}


async def test_a_full_spool_is_an_alarm_a_declared_gap_and_no_end(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing_thread, "MAX_WAITING", 4)
    async with running(house, spool) as room:
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 2)
        before = room.node.describe()["durable_tick"]
        spool.limit_bytes = spool.used_bytes
        await until(lambda: room.node._cutter.refused is not None)
        assert "spool-full" in room.node.alarms(time.monotonic_ns())
        await asyncio.sleep(0.2)
        spool.limit_bytes = None
        await until(lambda: room.node._cutter.refused is None)
        await room.node.end()
        assert "spool-full" not in room.node.alarms(time.monotonic_ns())
    (take,) = spool.takes()
    walked = walk(house, take, order)
    (gap,) = [each for each in walked.gaps if each["track"] is None]
    assert gap["reason"] == "spool-full"
    utcs = [int(each["utc"]) for each in walked.ticks]
    assert len(walked.ticks) > before + 4
    assert int(gap["from"]) in utcs, "the gap begins with the last tick that was kept"
    hole = next(pair for pair in itertools.pairwise(utcs) if pair[0] == int(gap["from"]))
    assert hole[0] < int(gap["to"]) <= hole[1]


async def test_a_stop_without_room_for_the_close_is_made_good_when_there_is_room(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(house, spool) as room:
        await room.node.begin(order)
        await until(lambda: room.node.describe()["durable_tick"])
        with monkeypatch.context() as patched:
            patched.setattr(Sealer, "close", full)
            patched.setattr(recovery, "write_durably", full)
            with pytest.raises(NoSpace):
                await room.node.end()
            assert room.node.state is State.IDLE
            assert not spool.recording.exists(), "nobody wants it to go on at the next boot"
            await until(lambda: "take-left-open" in room.node.alarms(time.monotonic_ns()))
        (take,) = spool.takes()
        await until(take.close.exists)
        await until(lambda: "take-left-open" not in room.node.alarms(time.monotonic_ns()))
    assert room.failures == 0
    walked = walk(house, take, order)
    assert walked.close is not None
    assert walked.close.how is journal.Ending.CRASHED


async def test_a_restart_on_a_full_disk_serves_and_goes_on_when_there_is_room(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = crash(house, spool, order)
    spool.remember_recording(order.encode())
    with monkeypatch.context() as patched:
        patched.setattr("recorder.sealer.write_durably", full)
        patched.setattr(recovery, "write_durably", full)
        context = running(house, house.spool())
        room = await context.__aenter__()
        alarms = room.node.alarms(time.monotonic_ns())
        assert {"take-left-open", "not-durable", "spool-full"} <= set(alarms)
        assert room.node.describe()["interview"] == order.interview.hex()
    try:
        await until(lambda: room.node.state is State.RECORDING)
        assert take.close.exists()
        await room.node.end()
    finally:
        await context.__aexit__(None, None, None)


async def test_a_stop_ends_what_a_full_disk_kept_from_going_on(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.remember_recording(order.encode())
    monkeypatch.setattr("recorder.sealer.write_durably", full)
    async with running(house, house.spool()) as room:
        async with asyncio.timeout(10):
            while spool.recording.exists():
                # Refused while it is just being tried again.
                with pytest.raises(Conflict):
                    await room.node.end()
        assert room.node.describe()["interview"] is None
