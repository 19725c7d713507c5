"""What a stalled disk left waiting: one commit under way while the next ticks are encrypted."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evidence_store.errors import InvalidInput, NoSpace
from evidence_store.sealing.tick import Kind, Message
from recorder.sealer import TICKS_A_SEGMENT, TOGETHER_BYTES, Durable, Sealer, Tick, together
from recorder.spool import Spool
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, tick
from tests.recorder.walked import walk


def test_of_ticks_that_wait_those_go_together_that_the_segment_takes_and_memory_has_room_for() -> None:
    waiting = [tick(t) for t in range(TICKS_A_SEGMENT + 2)]
    assert together(waiting, TICKS_A_SEGMENT) == TICKS_A_SEGMENT
    assert together(waiting, 3) == 3
    large = [tick(t, size=TOGETHER_BYTES) for t in range(2)]
    assert together(large, TICKS_A_SEGMENT) == 1, "one goes however large it is"
    assert together([], TICKS_A_SEGMENT) == 0


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
