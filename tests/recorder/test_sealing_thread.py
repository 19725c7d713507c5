"""The thread that seals: every tick in its order, a disk that is full, and whoever asked and went away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from evidence_store.canonical import Record
from evidence_store.errors import Conflict, InvalidInput, NoSpace
from evidence_store.sealing import segment
from evidence_store.sealing.tick import Kind, Message
from recorder import sealing_thread
from recorder.sealer import Closed, Durable, Sealer, Tick
from recorder.sealing_thread import MAX_WAITING, SealingThread
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, tick, until
from tests.recorder.walked import walk


@dataclass
class Heard:
    durable: list[Durable] = field(default_factory=list)
    disk: list[str | None] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)


@asynccontextmanager
async def running(heard: Heard) -> AsyncIterator[SealingThread]:
    thread = SealingThread(
        asyncio.get_running_loop(),
        lambda durable, _ended: heard.durable.append(durable),
        heard.disk.append,
        heard.failed.append,
    )
    try:
        yield thread
    finally:
        await asyncio.to_thread(thread.end)


@asynccontextmanager
async def sealing(
    heard: Heard, house: House, spool: Spool, order: Order
) -> AsyncIterator[tuple[SealingThread, Sealer]]:
    """A thread with a take whose first tick is durable."""
    async with running(heard) as thread:
        sealer = await thread.begin(lambda: begin(house, spool, order))
        thread.offer(tick(0))
        await until(lambda: heard.durable)
        yield thread, sealer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_thread, "RETRY_SECONDS", 0.02)


async def test_every_tick_offered_is_sealed_in_order(house: House, spool: Spool, order: Order) -> None:
    heard = Heard()
    async with running(heard) as thread:
        sealer = await thread.begin(lambda: begin(house, spool, order))
        assert all(thread.offer(tick(t)) for t in range(20))
        closed = await thread.close(tick(20))
    assert isinstance(closed, Closed)
    assert len(walk(house, sealer.folder, order).ticks) == 21
    told = [each.tick for each in heard.durable]
    assert (told[0], told[-1], told) == (0, 19, sorted(set(told)))


async def test_what_waited_for_the_disk_is_made_durable_together_and_no_further_than_its_segment(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    settle = Sealer._settle

    def counted(sealer: Sealer, sealed: Any) -> Durable:
        commits.append(sealed.count)
        return settle(sealer, sealed)

    heard = Heard()
    monkeypatch.setattr(Sealer, "_settle", counted)
    async with sealing(heard, house, spool, order) as (thread, sealer):
        spool.limit_bytes = spool.used_bytes
        for t in range(1, 20):
            thread.offer(tick(t))
        await until(lambda: heard.disk[-1] == "spool-full")
        spool.limit_bytes = None
        await until(lambda: heard.durable[-1].tick == 19)
        await thread.close(tick(20))
    assert commits == [1, 1, 6, 8, 4, 1], "alone as long as the disk has just failed, then to each segment's end"
    walked = walk(house, sealer.folder, order)
    assert [each["t"] for each in walked.ticks] == list(range(21))
    assert [len(ticks) for ticks in _ticks_of(sealer.folder)] == [8, 8, 5]


def _ticks_of(take: TakeFolder) -> list[list[segment.Tick]]:
    found = []
    for path in take.segments():
        data = path.read_bytes()
        found.append(list(segment.ticks(data, segment.read_header(data)[1])))
    return found


async def test_of_ticks_that_fit_one_by_one_none_is_lost_because_they_waited_together(
    house: House, spool: Spool, order: Order
) -> None:
    """The disk takes two or three more ticks, five wait, and somebody presses stop."""
    heard = Heard()
    async with sealing(heard, house, spool, order) as (thread, sealer):
        ((first,),) = _ticks_of(sealer.folder)
        spool.limit_bytes = spool.used_bytes + 2 * first.size + first.size // 2
        with thread._wake:
            thread._ticks.extend(tick(t) for t in range(1, 6))
        closed = await thread.close(tick(6))
    last = closed.durable.tick
    assert last in (3, 4), "those that fit, and the close"
    (gap,) = walk(house, sealer.folder, order).gaps
    assert (gap["from"], gap["to"]) == (str(BEGAN + last * TICK_NS), str(BEGAN + 6 * TICK_NS))


async def test_a_full_queue_refuses_and_what_waits_is_sealed_when_there_is_space(
    house: House, spool: Spool, order: Order
) -> None:
    heard = Heard()
    async with sealing(heard, house, spool, order) as (thread, sealer):
        spool.limit_bytes = spool.used_bytes
        taken = [thread.offer(tick(t)) for t in range(1, MAX_WAITING + 4)]
        assert taken == [True] * MAX_WAITING + [False] * 3
        await until(lambda: "spool-full" in heard.disk)
        assert len(heard.durable) == 1
        assert len(walk(house, sealer.folder, order).ticks) == 1, "what was sealed stays sealed"
        spool.limit_bytes = None
        await until(lambda: heard.durable[-1].tick == MAX_WAITING)
        assert heard.disk[-1] is None, "the alarm ends when the disk writes again"
        await thread.close(tick(MAX_WAITING + 1))
    walked = walk(house, sealer.folder, order)
    assert [each["t"] for each in walked.ticks] == list(range(MAX_WAITING + 2))


async def test_a_stop_on_a_full_disk_declares_what_waited_and_closes(house: House, spool: Spool, order: Order) -> None:
    heard, events = Heard(), [{"type": "viewer", "act": "left", "viewer": "b" * 32, "utc": "1", "camera": "wide"}]
    async with running(heard) as thread:
        sealer = await thread.begin(lambda: begin(house, spool, order))
        for t in range(4):
            thread.offer(tick(t))
        await until(lambda: heard.durable and heard.durable[-1].tick == 3)
        spool.limit_bytes = spool.used_bytes
        for t in range(4, 9):
            thread.offer(tick(t, events if t == 6 else ()))
        closed = await thread.close(tick(9))
    walked = walk(house, sealer.folder, order)
    assert (closed.durable.tick, len(walked.ticks)) == (4, 5)
    assert [(each["reason"], each["from"], each["to"]) for each in walked.gaps] == [
        ("spool-full", str(BEGAN + 4 * TICK_NS), str(BEGAN + 9 * TICK_NS))
    ], "from the last durable tick to the last that was lost"
    assert events[0] in walked.ticks[-1]["events"], "the media is lost, what happened is not"
    assert walked.close is not None


async def test_a_close_that_finds_no_room_at_all_leaves_the_thread_ready(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()

    def full(*_: object, **__: object) -> None:
        raise NoSpace("stand-in for a disk without even the reserve", code="spool-full")

    async with running(heard) as thread:
        first = await thread.begin(lambda: begin(house, spool, order))
        with monkeypatch.context() as patched:
            patched.setattr(Sealer, "close", full)
            with pytest.raises(NoSpace):
                await thread.close(tick(0))
        second = await thread.begin(lambda: begin(house, spool, order))
        await thread.close(tick(0))
    assert not first.folder.close.exists()
    assert second.folder.close.exists()
    assert heard.failed == []


async def test_a_close_without_a_take_is_answered(house: House) -> None:
    async with running(Heard()) as thread:
        async with asyncio.timeout(5):
            with pytest.raises(Conflict):
                await thread.close(tick(0))


@pytest.mark.parametrize(
    "poison", [{"too large": 2**60}, {"what is this": object()}], ids=["no_canonical_form", "no_json"]
)
async def test_a_tick_that_cannot_be_sealed_ends_the_recorder_instead_of_its_silence(
    house: House, spool: Spool, order: Order, poison: Record
) -> None:
    heard = Heard()
    async with running(heard) as thread:
        await thread.begin(lambda: begin(house, spool, order))
        thread.offer(tick(0))
        thread.offer(Tick([Message(Kind.MEDIA, 0, 0, b"x", 1, poison)], [], TICK_NS, BEGAN))
        await until(lambda: heard.failed)
    assert isinstance(heard.failed[0], InvalidInput)
    assert len(heard.durable) == 1


async def test_whoever_asked_may_go_away_without_harm(house: House, spool: Spool, order: Order) -> None:
    heard = Heard()
    async with running(heard) as thread:
        begun = thread.begin(lambda: begin(house, spool, order))
        begun.cancel()
        sealer = await thread.begin(lambda: begin(house, spool, order))
        thread.offer(tick(0))
        closing = thread.close(tick(1))
        closing.cancel()
        await until(sealer.folder.close.exists)
        again = await thread.begin(lambda: begin(house, spool, order))
        await thread.close(tick(0))
    assert heard.failed == []
    assert again.folder.close.exists()


async def test_the_thread_ends_with_a_take_open_and_its_keys_forgotten(
    house: House, spool: Spool, order: Order
) -> None:
    async with running(Heard()) as thread:
        sealer = await thread.begin(lambda: begin(house, spool, order))
        thread.offer(tick(0))
    assert bytes(sealer._ratchet._secret) == bytes(32)
    assert sealer._take_key is None
    assert not sealer.folder.close.exists()
