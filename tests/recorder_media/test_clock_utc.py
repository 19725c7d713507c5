"""The UTC of any media time, from the journal's events alone, against the time at which each unit was really made."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from evidence_store.canonical import Record
from evidence_store.media_time import MediaClock
from evidence_store.sealing.journal import TrackEntry
from recorder import cutter
from recorder import node as noded
from recorder.clock import SECOND_NS
from recorder.spool import Spool
from recorder.take import Order
from recorder.ticker import track_event
from tests.house import House, until
from tests.recorder.room import running
from tests.recorder.walked import walk

from .senders import MS, T0, UNIX_NS
from .test_clock_three_hours import laid
from .two_clocks import HOUR_NS, Camera, picture, sound

ENTRIES = (
    TrackEntry(0, "wide-video", "wide", "video", 90_000),
    TrackEntry(1, "wide-audio", "wide", "audio", 48_000),
)


def journal_of(camera: Camera, length_ns: int, utc_at: Callable[[int], int]) -> MediaClock:
    """As the ticks tell it; `utc_at(true_ns)` is the recorder's own wall clock."""
    clock = MediaClock()
    events: list[Record] = [{"type": "origin", "monotonic": str(T0), "utc": str(utc_at(0))}]
    for entry, medium in zip(ENTRIES, camera.media, strict=True):
        events += [track_event(entry, event, UNIX_NS) for event in medium.events]
    for true_ns in range(SECOND_NS // 4, length_ns, SECOND_NS // 4):
        clock.tell({"events": events, "monotonic": str(T0 + true_ns), "utc": str(utc_at(true_ns))})
        events = []
    return clock


@pytest.mark.parametrize("ppm", [200, -200])
def test_utc_of_every_unit_of_three_hours(ppm: int) -> None:
    """The recorder's own clock is set 800 ms back after two hours: what is shown then is what it showed then."""
    length_ns, step_at = 3 * HOUR_NS, 2 * HOUR_NS

    def utc_at(true_ns: int) -> int:
        return UNIX_NS + true_ns - (800 * MS if true_ns >= step_at else 0)

    camera = Camera([picture(ppm), sound(-ppm)], wall_ppm=0, seed=21)
    camera.run(length_ns)
    clock = journal_of(camera, length_ns, utc_at)
    for entry, medium in zip(ENTRIES, camera.media, strict=True):
        for (true_ns, _), lies_ns in zip(medium.sent, laid(medium), strict=True):
            moment = clock.at(entry.index, lies_ns * entry.timescale // SECOND_NS, entry.timescale)
            assert moment is not None
            error = abs(moment.utc_ns - utc_at(true_ns))
            assert error <= (50 * MS if abs(true_ns - step_at) > SECOND_NS else 850 * MS)
            if moment.sender_utc_ns is None:
                assert true_ns < 120 * SECOND_NS, "of a mapping from before its first report"
            else:
                assert abs(moment.sender_utc_ns - UNIX_NS - true_ns) <= 50 * MS


def test_what_it_does_not_know_it_does_not_say() -> None:
    clock = MediaClock()
    assert clock.at(0, 90_000, 90_000) is None
    clock.tell({"events": [{"type": "origin", "monotonic": "x", "utc": None}], "monotonic": "1", "utc": "2"})
    assert clock.at(0, 90_000, 90_000) is None
    clock.tell({"events": [{"type": "origin", "monotonic": "1000", "utc": "5000"}], "monotonic": "1000", "utc": "5000"})
    moment = clock.at(0, 90_000, 90_000)
    assert moment is not None
    assert (moment.utc_ns, moment.uncertainty_ns, moment.sender_utc_ns) == (5000 + SECOND_NS, 10 * MS, None)


def test_a_step_of_the_recorders_clock_widens_what_lies_in_its_tick() -> None:
    clock = MediaClock()
    clock.tell({"events": [{"type": "origin", "monotonic": "0", "utc": "0"}], "monotonic": "0", "utc": "0"})
    for tick in range(1, 20):
        at = tick * SECOND_NS // 4
        clock.tell({"events": [], "monotonic": str(at), "utc": str(at + (SECOND_NS if tick >= 10 else 0))})
    before, within, after = (clock.at(0, media, 1000) for media in (1000, 2400, 3000))
    assert before is not None
    assert within is not None
    assert after is not None
    assert (before.utc_ns, before.uncertainty_ns) == (SECOND_NS, 10 * MS)
    assert within.uncertainty_ns == SECOND_NS + 10 * MS
    assert (after.utc_ns, after.uncertainty_ns) == (4 * SECOND_NS, 10 * MS)


async def test_a_clock_that_is_led_away_in_small_steps_is_told_too(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 ms a tick, each less than what is told at once: together they are seconds."""
    monkeypatch.setattr(noded, "TICK_SECONDS", 0.05)
    led_ns = 0

    def time_ns() -> int:
        nonlocal led_ns
        led_ns += 20 * MS
        return time.time_ns() + led_ns

    async with running(house, spool) as room:
        clocks = SimpleNamespace(time_ns=time_ns, monotonic_ns=time.monotonic_ns, monotonic=time.monotonic)
        for each in (noded, cutter):
            monkeypatch.setattr(each, "time", clocks)
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 20)
        await room.node.end()
    (take,) = spool.takes()
    ticks = walk(house, take, order).ticks
    steps = [event for tick in ticks for event in tick["events"] if event["type"] == "clock-step"]
    away = [int(tick["utc"]) - int(tick["monotonic"]) for tick in ticks]
    told = sum(int(step["to"]) - int(step["from"]) for step in steps)
    assert told == pytest.approx(away[-1] - away[0], abs=60 * MS)
    clock = MediaClock()
    for tick in ticks:
        clock.tell(tick)
    last = ticks[-1]
    length_ns = int(last["monotonic"]) - int(clock._origin_ns or 0)
    end, before = (clock.at(0, media_ms, 1000) for media_ms in (-(-length_ns // MS), length_ns // MS - 1))
    assert end is not None
    assert before is not None
    assert abs(end.utc_ns - int(last["utc"])) <= 2 * MS
    # Just before a tick, its clock may be of that tick already or of the one before: by how much is said.
    assert abs(before.utc_ns - int(last["utc"])) <= before.uncertainty_ns
