"""From tracks to ticks, in a running node: nothing that came is lost at a stop, and the clock is read whole."""

from __future__ import annotations

import time

import pytest

from recorder.clock import SenderClock
from recorder.fragments import Cut
from recorder.spool import Spool
from recorder.take import Order
from tests.house import House, until
from tests.recorder.room import running
from tests.recorder.walked import walk

pytestmark = pytest.mark.usefixtures("quick")


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
