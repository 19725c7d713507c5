"""The sealer: ticks in order, what a full disk does to a take, and how a take ends all the same."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from evidence_store.errors import NoSpace
from evidence_store.sealing import journal
from recorder.sealer import TICKS_A_SEGMENT
from recorder.spool import Spool
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, crash, record, tick
from tests.recorder.walked import walk


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


def test_a_crash_helper_really_leaves_an_open_take(house: House, spool: Spool, order: Order) -> None:
    take = crash(house, spool, order, ticks=3)
    assert walk(house, take, order).close is None
