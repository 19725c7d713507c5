"""The room node's orders: what begins and ends whole, what a restart goes on with, and what a dead part brings down."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from evidence_store.canonical import Record
from evidence_store.errors import Conflict, NoSpace, Unavailable
from evidence_store.key_pools import POOL_SIZE
from evidence_store.sealing import journal
from recorder import node as noded
from recorder import recovery, sealing_thread
from recorder.clock import SenderClock
from recorder.cutter import Cutter
from recorder.feed import Presence
from recorder.fragments import Cut
from recorder.key_pool import KeyPool
from recorder.node import RecorderNode
from recorder.peer import Connection
from recorder.sealer import Sealer
from recorder.spool import Spool
from recorder.take import Event, Order, State, following
from recorder.ticker import CameraProfile, RoomProfile
from tests.house import House, crash, record, until
from tests.recorder.test_sealer import walk

PROFILE = RoomProfile("demo", (CameraProfile("wide", "wide-video", "wide-audio"),))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noded, "TEND_SECONDS", 0.05)
    monkeypatch.setattr(noded, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(sealing_thread, "RETRY_SECONDS", 0.02)


class Room:
    """A node whose one camera is said to send; its media does not matter here."""

    def __init__(self, house: House, spool: Spool, keys: KeyPool | None = None) -> None:
        self.failures = 0
        self.client = house.client()
        self.node = RecorderNode(
            PROFILE, house.device(), spool, house.room / "feed", lambda _heartbeat: house.delivery(spool, self.client),
            lambda _camera: None, boot="boot", keys=keys, on_failure=self._failed,
        )  # fmt: skip

    def _failed(self) -> None:
        self.failures += 1

    def camera_sends(self) -> None:
        meter = self.node.cameras.meters["wide"]
        meter.connection = Connection("c1", "wide", "sha-256 AB", "127.0.0.1:5000", {})
        meter.heard_ns = time.monotonic_ns() + 3600 * 10**9


@asynccontextmanager
async def running(house: House, spool: Spool, keys: KeyPool | None = None) -> AsyncIterator[Room]:
    room = Room(house, spool, keys)
    await room.node.start()
    room.camera_sends()
    try:
        yield room
    finally:
        await room.node.stop()
        await room.client.aclose()


def full(*_: object, **__: object) -> None:
    raise NoSpace("stand-in for a full disk", code="spool-full")


def test_every_transition_that_is_not_in_the_table_is_refused() -> None:
    allowed = {(state, event) for state in State for event in Event if possible(state, event)}
    assert allowed == {
        ("idle", "start"), ("starting", "started"), ("starting", "failed"), ("recording", "stop"),
        ("stopping", "closed"),
    }  # fmt: skip


def possible(state: State, event: Event) -> bool:
    try:
        following(state, event)
    except Conflict as error:
        return error.code != f"room-{state}"
    return True


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


async def test_a_stop_halfway_through_a_picture_loses_nothing_that_came(
    house: House, spool: Spool, order: Order
) -> None:
    """The last picture is waited for: a tick that is due meanwhile takes nothing of what the last one has to hold."""
    async with running(house, spool) as room:
        tracks, sender = room.node.cameras.tracks, SenderClock()
        now = time.monotonic_ns()
        for name in ("wide-video", "wide-audio"):
            tracks[name].connect("one", now, sender)
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 1)
        given = 40
        for number in range(given):
            tracks["wide-audio"].take([(number, number * 960, True, 0, b"\xf8\xff\xfe")], True, time.monotonic_ns())
        # The first part of a picture, whose end never comes.
        tracks["wide-video"].take([(0, 0, False, 0, b"\x7c\x85" + bytes(100))], True, time.monotonic_ns())
        await room.node.end()
    (take,) = spool.takes()
    messages = [each for tick in walk(house, take, order).ticks for each in tick["messages"] if each["kind"] == "media"]
    assert sum(each["about"]["samples"] for each in messages if each["track"] == 1) == given


async def test_a_loop_that_is_held_up_while_it_cuts_is_no_step_of_the_clock(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(house, spool) as room:
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 1)
        track = room.node.cameras.tracks["wide-video"]
        cut = track.cut

        def slowly(now_ns: int) -> Cut:
            time.sleep(0.08)
            return cut(now_ns)

        monkeypatch.setattr(track, "cut", slowly)
        before = room.node.describe()["durable_tick"]
        await until(lambda: room.node.describe()["durable_tick"] > before + 3)
        monkeypatch.undo()
        await room.node.end()
    (take,) = spool.takes()
    events = [event for tick in walk(house, take, order).ticks for event in tick["events"]]
    assert [event for event in events if event["type"] == "clock-step"] == []


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


async def test_a_restart_goes_on_with_what_was_recorded(house: House, spool: Spool, order: Order) -> None:
    crash(house, spool, order)
    spool.remember_recording(order.encode())
    async with running(house, house.spool()) as room:
        assert room.node.describe()["take"] == 2
        assert room.node.describe()["interview"] == order.interview.hex()
        await room.node.end()


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


async def test_a_dead_sealing_thread_ends_the_process(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        await room.node.begin(order)
        room.node._tell({"type": "poison", "value": 2**60})
        await until(lambda: room.failures)


@pytest.mark.parametrize("part", ["gather", "_heartbeat"])
async def test_a_dead_task_ends_the_process(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def broken(*_: object) -> Record:
        raise ZeroDivisionError

    async with running(house, spool) as room:
        await room.node.begin(order)
        if part == "gather":
            monkeypatch.setattr(Cutter, part, broken)
        else:
            monkeypatch.setattr(room.node.delivery, part, broken)
            room.node.delivery._spool._highest += 1
        await until(lambda: room.failures)
        monkeypatch.undo()


def test_the_end_of_the_process_is_at_once_whatever_still_runs() -> None:
    """With a thread that hangs in the disk, as to_thread leaves them: an orderly end would wait for it for ever."""
    script = (
        "import asyncio, time, uvloop\n"
        "from recorder.node import end_process\n"
        "async def main():\n"
        "    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)\n"
        "    asyncio.get_running_loop().call_later(0.1, end_process)\n"
        "    await asyncio.sleep(3600)\n"
        "uvloop.run(main())\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, timeout=20, env={**os.environ})
    assert ended.returncode == 70


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


def test_a_closed_take_is_not_reopened_by_the_helper(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order, ticks=1)
    assert recovery.recover(spool, house.device(), 0).closed == []
    assert take.close.exists()
