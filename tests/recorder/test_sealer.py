"""The sealer and its thread: ticks in order, what a full disk does to a take, and how a take ends all the same."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evidence_store.canonical import Record
from evidence_store.errors import Conflict, InvalidInput, NoSpace
from evidence_store.sealing import check, journal, segment
from evidence_store.sealing.keys import take_wrap_info
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.tick import Kind, Message, open_message, place_of
from recorder import sealing_thread
from recorder.sealer import TICKS_A_SEGMENT, TOGETHER_BYTES, Closed, Durable, Sealer, Tick, together
from recorder.sealing_thread import MAX_WAITING, SealingThread
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, crash, record, tick, until


@dataclass
class Walked:
    """A take as whoever has its files, the root and the interview's key sees it."""

    close: check.Close | None
    ticks: list[Record]
    clear: list[bytes]

    @property
    def gaps(self) -> list[Record]:
        return [event for each in self.ticks for event in each["events"] if event["type"] == "gap"]


def walk(house: House, take: TakeFolder, order: Order) -> Walked:
    """Checks everything: signatures, chain, close, and that every message opens. Raises what it finds."""
    start = check.check_start(take.start.read_bytes(), house.store.authority.root)
    wrap = take_wrap_info(start.enrolment, start.take, start.interview)
    ratchet = Ratchet(start.start_hash, bytearray(house.private_key(order).unwrap(start.wrap, wrap)))
    chain, found = check.Chain(start), Walked(None, [], [])
    for path in take.segments():
        header, ticks = chain.check_segment(path.read_bytes())
        keys = ratchet.keys_of(header.index)
        for each in ticks:
            found.ticks.append(each.record)
            for entry, ciphertext in each.parts():
                place = place_of(start.start_hash, each.record, entry)
                found.clear.append(open_message(keys, place, entry, ciphertext))
    if take.close.exists():
        close = take.close.read_bytes()
        found.close = check.check_close(close, start.device_certificate, start.device_ml_dsa_certificate, chain)
    return found


def test_ticks_in_order_over_segments_check_and_open(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order, ticks=2 * TICKS_A_SEGMENT + 3)
    walked = walk(house, take, order)
    assert [each["t"] for each in walked.ticks] == list(range(2 * TICKS_A_SEGMENT + 4))
    assert [each["i"] for each in walked.ticks] == [t // TICKS_A_SEGMENT for t in range(2 * TICKS_A_SEGMENT + 4)]
    sent = [message.data for t in range(2 * TICKS_A_SEGMENT + 3) for message in tick(t).messages]
    assert walked.clear == sent
    assert walked.close is not None
    assert walked.close.how is journal.Ending.STOPPED


@pytest.mark.parametrize("ticks", [0, 1, TICKS_A_SEGMENT - 1, TICKS_A_SEGMENT, TICKS_A_SEGMENT + 1])
def test_a_close_at_any_place_of_a_segment_agrees_with_its_chain(
    house: House, spool: Spool, order: Order, ticks: int
) -> None:
    walked = walk(house, record(house, spool, order, ticks=ticks), order)
    assert len(walked.ticks) == ticks + 1
    assert walked.close is not None


def test_a_start_names_the_head_of_the_take_before(house: House, spool: Spool, order: Order) -> None:
    first = record(house, spool, order, ticks=3)
    head = journal.decode_envelope(first.close.read_bytes())[0]["head"]
    second = record(house, spool, order, ticks=1)
    assert journal.decode_envelope(second.start.read_bytes())[0]["previous"] == {"head": head, "take": 1}
    for take in (first, second):
        spool.remove(take)
    head = journal.decode_envelope(record(house, spool, order, ticks=1).start.read_bytes())[0]["previous"]
    assert head["take"] == 2, "a take that was removed from the spool is still the one before"


def test_nothing_can_be_written_into_a_closed_take(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order)
    sealer.write(tick(0))
    sealer.close(tick(1))
    with pytest.raises(ValueError, match="closed"):
        sealer.write(tick(2))


def test_the_same_tick_goes_in_when_there_is_space_again(house: House, order: Order) -> None:
    spool = house.spool()
    sealer = begin(house, spool, order)
    for t in range(TICKS_A_SEGMENT):
        sealer.write(tick(t))
    spool.limit_bytes = spool.used_bytes
    for _ in range(3):
        with pytest.raises(NoSpace):
            sealer.write(tick(TICKS_A_SEGMENT))
    spool.limit_bytes = None
    sealer.write(tick(TICKS_A_SEGMENT))
    sealer.close(tick(TICKS_A_SEGMENT + 1))
    assert len(walk(house, sealer.folder, order).ticks) == TICKS_A_SEGMENT + 2


@pytest.fixture
def full_room(tmp_path: Path) -> Iterator[Path]:
    """A room folder on a real disk of 6 MiB."""
    disk = tmp_path / "room"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "vidne-test", disk], capture_output=True).returncode:
        pytest.skip("a real full disk needs the right to mount one; the limit is tested all the same")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_take_is_closed_on_a_really_full_disk(full_room: Path, house: House, order: Order) -> None:
    spool = house.spool()
    assert spool.hold_reserve()
    sealer, t = begin(house, spool, order), 0
    with pytest.raises(NoSpace):  # noqa: PT012 - the disk says when
        while True:
            sealer.write(tick(t, size=200_000))
            t += 1
    assert t > TICKS_A_SEGMENT
    closed = sealer.close(tick(t, size=2_000_000))
    walked = walk(house, sealer.folder, order)
    assert (closed.durable.tick, len(walked.ticks)) == (t, t + 1)
    assert walked.close is not None
    assert walked.close.how is journal.Ending.STOPPED
    assert [(each["reason"], each["from"], each["to"]) for each in walked.gaps] == [
        ("spool-full", str(BEGAN + t * TICK_NS), str(BEGAN + (t + 1) * TICK_NS))
    ]


def test_a_start_on_a_really_full_disk_is_refused_and_its_number_accounted_for(
    full_room: Path, house: House, order: Order
) -> None:
    from recorder.recovery import recover

    spool, device = house.spool(), house.device()
    with pytest.raises(OSError), (full_room / "filler").open("wb", buffering=0) as filler:  # noqa: PT012
        while True:
            filler.write(bytes(4096))
    with pytest.raises(NoSpace):
        begin(house, spool, order, device)
    assert recover(spool, device, BEGAN).left == ([1] if spool.highest_take() else [])
    (full_room / "filler").unlink()
    assert recover(spool, device, BEGAN).left == []
    take = record(house, spool, order, ticks=2)
    assert {each.take for each in spool.takes()} == set(range(1, take.take + 1))
    assert all(each.close.exists() for each in spool.takes())


# The thread


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


def test_of_ticks_that_wait_those_go_together_that_the_segment_takes_and_memory_has_room_for() -> None:
    waiting = [tick(t) for t in range(TICKS_A_SEGMENT + 2)]
    assert together(waiting, TICKS_A_SEGMENT) == TICKS_A_SEGMENT
    assert together(waiting, 3) == 3
    large = [tick(t, size=TOGETHER_BYTES) for t in range(2)]
    assert together(large, TICKS_A_SEGMENT) == 1, "one goes however large it is"
    assert together([], TICKS_A_SEGMENT) == 0


# Catching up: one commit under way while the next ticks are encrypted


@pytest.mark.parametrize("before", [0, 1, TICKS_A_SEGMENT - 1, TICKS_A_SEGMENT])
@pytest.mark.parametrize("count", [1, TICKS_A_SEGMENT, 3 * TICKS_A_SEGMENT + 2])
def test_what_is_caught_up_with_is_the_same_take(
    house: House, spool: Spool, order: Order, before: int, count: int
) -> None:
    sealer = begin(house, spool, order)
    for t in range(before):
        sealer.write(tick(t))
    caught_up = list(sealer.catch_up([tick(t) for t in range(before, before + count)]))
    assert sum(each for each, _ in caught_up) == count
    assert [durable.tick for _, durable in caught_up] == [
        before + sum(each for each, _ in caught_up[: place + 1]) - 1 for place in range(len(caught_up))
    ]
    sealer.close(tick(before + count))
    walked = walk(house, sealer.folder, order)
    assert walked.close is not None
    assert walked.clear == [message.data for t in range(before + count + 1) for message in tick(t).messages]
    assert [each["i"] for each in walked.ticks] == [t // TICKS_A_SEGMENT for t in range(before + count + 1)]


@dataclass
class SlowDisk:
    """What was on the disk, and whether the next ticks were sealed already, while each of the files was committed."""

    files: list[list[str]] = field(default_factory=list)
    sealed_meanwhile: list[bool] = field(default_factory=list)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    seen, sealed, fdatasync, seal = SlowDisk(), threading.Event(), os.fdatasync, Sealer._seal

    def slow(descriptor: int) -> None:
        folder = Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent
        seen.files.append(sorted(each.name for each in folder.glob("*.segment")))
        seen.sealed_meanwhile.append(sealed.wait(timeout=10 if len(seen.files) < 3 else 0))
        fdatasync(descriptor)

    def sealing(sealer: Sealer, ticks: Sequence[Tick], reach: Any, room: Any) -> Any:
        done = seal(sealer, ticks, reach, room)
        if ticks[0].monotonic_ns:
            sealed.set()
        return done

    def committed(sealer: Sealer, done: Any) -> Durable:
        sealed.clear()
        return settle(sealer, done)

    settle = Sealer._settle
    monkeypatch.setattr(os, "fdatasync", slow)
    monkeypatch.setattr(Sealer, "_seal", sealing)
    monkeypatch.setattr(Sealer, "_settle", committed)
    return seen


def test_while_the_disk_takes_some_the_next_are_encrypted_and_no_file_is_begun_before_its_turn(
    house: House, spool: Spool, order: Order, slow_disk: SlowDisk
) -> None:
    """A segment's file says to delivery and recovery that the one before it is whole."""
    sealer = begin(house, spool, order)
    assert len(list(sealer.catch_up([tick(t) for t in range(3 * TICKS_A_SEGMENT)]))) == 3
    names = [f"00000{i}.segment" for i in range(3)]
    assert slow_disk.files == [names[:1], names[:2], names]
    assert slow_disk.sealed_meanwhile == [True, True, False], "behind the last there is nothing to encrypt"
    sealer.close(tick(3 * TICKS_A_SEGMENT))
    assert len(walk(house, sealer.folder, order).ticks) == 3 * TICKS_A_SEGMENT + 1


@pytest.mark.parametrize("refused", range(4))
def test_a_disk_that_refuses_on_the_way_has_taken_what_was_said_and_takes_the_rest_later(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """What was encrypted beyond is forgotten, with its place in the chain; its keys serve again."""
    sealer, waiting = begin(house, spool, order), [tick(t) for t in range(3 * TICKS_A_SEGMENT + 2)]
    fdatasync, commits = os.fdatasync, itertools.count()

    def failing(descriptor: int) -> None:
        if next(commits) == refused:
            raise OSError(errno.EIO, "stand-in for a disk that fails")
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing)
    done = 0
    with pytest.raises(OSError, match="disk that fails"):  # noqa: PT012 - the disk says when
        for count, _ in sealer.catch_up(waiting):
            done += count
    assert done == refused * TICKS_A_SEGMENT
    assert len(walk(house, sealer.folder, order).ticks) == done, "nothing of the rest is there"
    if refused % 2:
        sealer.write(waiting[done])
        done += 1
    assert sum(count for count, _ in sealer.catch_up(waiting[done:])) == len(waiting) - done
    sealer.close(tick(len(waiting)))
    walked = walk(house, sealer.folder, order)
    assert walked.close is not None
    assert walked.clear == [message.data for t in range(len(waiting) + 1) for message in tick(t).messages]
    assert sealer._keys == {}


def test_ticks_lost_behind_those_that_the_disk_refused_leave_a_take_that_closes(
    house: House, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encrypted twice ahead, refused, given up: the chain goes from what is durable straight to the close."""
    spool = house.spool()
    sealer = begin(house, spool, order)
    sealer.write(tick(0))
    spool.limit_bytes = spool.used_bytes
    with pytest.raises(NoSpace):
        list(sealer.catch_up([tick(t) for t in range(1, 3 * TICKS_A_SEGMENT)]))
    spool.limit_bytes = None
    sealer.close(tick(3 * TICKS_A_SEGMENT))
    walked = walk(house, sealer.folder, order)
    assert [each["t"] for each in walked.ticks] == [0, 1]
    assert walked.close is not None


def test_who_stops_listening_leaves_nothing_half_written_and_no_key(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order)
    catching_up = sealer.catch_up([tick(t) for t in range(3 * TICKS_A_SEGMENT)])
    next(catching_up)
    held = list(sealer._keys.values())
    catching_up.close()
    assert len(walk(house, sealer.folder, order).ticks) == 2 * TICKS_A_SEGMENT, "the one under way landed"
    sealer.forget()
    assert held
    assert not any(any(keys._buffer) for keys in held)


def test_a_tick_that_cannot_be_sealed_is_said_once_what_is_under_way_has_landed(
    house: House, spool: Spool, order: Order
) -> None:
    sealer, told = begin(house, spool, order), 0
    poison = Tick([Message(Kind.MEDIA, 0, 0, b"x", 1, {"too large": 2**60})], [], TICK_NS, BEGAN)
    with pytest.raises(InvalidInput):  # noqa: PT012 - what is said before it counts
        for count, _ in sealer.catch_up([*(tick(t) for t in range(TICKS_A_SEGMENT)), poison]):
            told += count
    assert told == len(walk(house, sealer.folder, order).ticks) == TICKS_A_SEGMENT


def test_without_a_thread_to_be_had_each_commit_is_waited_for(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sealer, waiting = begin(house, spool, order), [tick(t) for t in range(2 * TICKS_A_SEGMENT + 1)]
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        assert sum(count for count, _ in sealer.catch_up(waiting)) == len(waiting)
    sealer.close(tick(len(waiting)))
    walked = walk(house, sealer.folder, order)
    assert walked.close is not None
    assert len(walked.ticks) == len(waiting) + 1


def test_a_file_that_does_not_close_well_keeps_what_is_in_it(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file system over a network can answer: all of it was synced before."""
    close = os.close

    def closing(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        close(descriptor)
        if name.endswith(".segment"):
            raise OSError(errno.EIO, "stand-in for a file system that fails at the close")

    sealer = begin(house, spool, order)
    monkeypatch.setattr(os, "close", closing)
    for t in range(TICKS_A_SEGMENT + 2):
        sealer.write(tick(t))
    assert sum(count for count, _ in sealer.catch_up([tick(t) for t in range(TICKS_A_SEGMENT + 2, 30)])) == 20
    sealer.close(tick(30))
    monkeypatch.undo()
    walked = walk(house, sealer.folder, order)
    assert walked.close is not None
    assert walked.clear == [message.data for t in range(31) for message in tick(t).messages]


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


def test_a_crash_helper_really_leaves_an_open_take(house: House, spool: Spool, order: Order) -> None:
    take = crash(house, spool, order, ticks=3)
    assert walk(house, take, order).close is None
