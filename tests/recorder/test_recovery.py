"""What a crash leaves, and what the next boot makes of it: nothing durable is lost, and every number is closed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence_store import domains
from evidence_store.errors import NoSpace
from evidence_store.sealing import check, journal, segment
from evidence_store.sealing.tick import Kind, Message
from recorder import recovery
from recorder.recovery import recover
from recorder.sealer import TICKS_A_SEGMENT, Tick
from recorder.spool import Spool, TakeFolder, write_durably
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, crash, record
from tests.recorder.walked import walk

LATER = BEGAN + 60 * 10**9


def test_a_file_cut_off_at_every_byte_keeps_every_whole_tick(house: House, order: Order) -> None:
    """Two files, of which the second, with one small tick and the beginning of another, is cut at each of its bytes."""
    device, spool = house.device(), house.spool()
    sealer = begin(house, spool, order, device)
    for t in range(TICKS_A_SEGMENT + 2):
        sealer.write(Tick([Message(Kind.MEDIA, 0, 0, b"x", 1, {})], [], t * TICK_NS, BEGAN + t * TICK_NS))
    sealer.forget()
    take = sealer.folder
    start = check.check_start(take.start.read_bytes(), house.store.authority.root)
    whole = [path.read_bytes() for path in take.segments()]
    _, at = segment.read_header(whole[1])
    ends = [each.offset + each.size for each in segment.ticks(whole[1], at)]
    for cut in range(ends[0] + 100):
        for path in take.path.iterdir():
            if path != take.start:
                path.unlink()
        take.segment(0).write_bytes(whole[0])
        take.segment(1).write_bytes(whole[1][:cut])
        (found,) = recover(spool, device, LATER).closed
        kept = max([end for end in ends if end <= cut], default=0)
        assert found.torn_bytes == cut - kept
        chain = check.Chain(start)
        for path in take.segments():
            chain.check_segment(path.read_bytes())
        assert chain.tick == TICKS_A_SEGMENT - 1 + sum(end <= cut for end in ends)
        close = check.check_close(
            take.close.read_bytes(), device.certificates.device, device.certificates.device_ml_dsa, chain
        )
        assert close.how is journal.Ending.CRASHED
        tail = take.tail.read_bytes() if take.tail.exists() else None
        assert tail == (whole[1][kept:cut] or None), "nothing is thrown away"
        check.check_torn(close.record, tail, chain)


def test_a_first_file_cut_off_before_its_first_tick(house: House, spool: Spool, order: Order) -> None:
    device = house.device()
    for size in (0, 1, 50, 400):
        take = crash(house, spool, order, ticks=1)
        take.segment(0).write_bytes(take.segment(0).read_bytes()[:size])
        (found,) = recover(spool, device, LATER).closed
        assert (found.how, found.torn_bytes) == (journal.Ending.CRASHED, size)
        assert take.segments() == []
        assert journal.decode_envelope(take.close.read_bytes())[0]["last"] is None


@pytest.mark.parametrize("garbage", [b"\x00" * 4096, b"tick" + b"\xff" * 400], ids=["zeros", "a_frame_too_large"])
def test_what_a_power_cut_left_behind_the_last_tick_is_kept_aside(
    house: House, spool: Spool, order: Order, garbage: bytes
) -> None:
    take = crash(house, spool, order, ticks=3)
    with take.segment(0).open("ab") as file:
        file.write(garbage)
    (found,) = recover(spool, house.device(), LATER).closed
    assert found.torn_bytes == len(garbage)
    record = journal.decode_envelope(take.close.read_bytes())[0]
    assert record["torn"] == {"hash": domains.sha256(domains.TAIL, garbage).hex(), "length": len(garbage)}
    assert record["last"] == {"i": 0, "t": 2}


def test_times_in_the_close_are_the_last_ticks_and_the_boots(house: House, spool: Spool, order: Order) -> None:
    take = crash(house, spool, order, ticks=5)
    recover(spool, house.device(), LATER)
    record = journal.decode_envelope(take.close.read_bytes())[0]
    assert (record["last_alive"], record["closed"]) == (str(BEGAN + 5 * 250_000_000), str(LATER))


class Dying:
    """Kills the recovery at its n-th durable step (write, rename, cut, unlink), as a power cut would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.steps, self.at = 0, at

        def dying(really: Callable[..., object]) -> Callable[..., object]:
            def step(*given: object, **more: object) -> object:
                self.steps += 1
                if self.steps == self.at:
                    raise KeyboardInterrupt
                return really(*given, **more)

            return step

        for where, name in ((os, "fsync"), (os, "ftruncate"), (Path, "rename"), (Path, "unlink")):
            monkeypatch.setattr(where, name, dying(getattr(where, name)))


@pytest.mark.parametrize("torn", [b"", b"half a frame"], ids=["nothing_torn", "something_torn"])
@pytest.mark.parametrize("first", [False, True], ids=["in_a_segment", "in_a_segments_first_frame"])
def test_a_recovery_that_dies_at_any_step_is_finished_by_the_next(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, torn: bytes, first: bool
) -> None:
    device, at = house.device(), 0
    while True:
        at += 1
        take = crash(house, spool, order, ticks=TICKS_A_SEGMENT if first else 3)
        with take.segment(1 if first else 0).open("ab") as file:
            file.write(torn)
        with monkeypatch.context() as patched:
            dying = Dying(patched, at)
            with contextlib.suppress(KeyboardInterrupt):
                recover(spool, device, LATER)
        recover(house.spool(), device, LATER)
        walked = walk(house, take, order)
        assert walked.close is not None
        assert len(walked.ticks) == (TICKS_A_SEGMENT if first else 3)
        named = walked.close.record["torn"]
        assert (named["length"] if named else 0) == len(torn)
        if dying.steps < at:
            break
    assert at > 3, "no step was ever reached"


def test_a_number_without_a_folder_and_a_folder_without_a_start_are_void(
    house: House, spool: Spool, order: Order
) -> None:
    device = house.device()
    spool.new_take(device.enrolment)
    spool.new_take(device.enrolment).path.rmdir()
    closed = recover(house.spool(), device, LATER).closed
    assert [(each.take.take, each.how) for each in closed] == [(1, journal.Ending.VOID), (2, journal.Ending.VOID)]
    for each in closed:
        check.check_close(
            each.take.close.read_bytes(), device.certificates.device, device.certificates.device_ml_dsa, None
        )
    assert record(house, house.spool(), order, ticks=1).take == 3


def test_a_second_boot_changes_nothing(house: House, spool: Spool, order: Order) -> None:
    device, take = house.device(), crash(house, spool, order)
    recover(spool, device, LATER)
    close = take.close.read_bytes()
    assert recover(spool, device, LATER + 1).closed == []
    assert take.close.read_bytes() == close


def spoil_start(take: TakeFolder) -> None:
    take.start.write_bytes(b"rot")


def spoil_header(take: TakeFolder) -> None:
    data = bytearray(take.segment(0).read_bytes())
    data[30] ^= 1
    take.segment(0).write_bytes(data)


@pytest.mark.parametrize("spoil", [spoil_start, spoil_header])
def test_a_take_whose_files_rotted_holds_back_no_other_and_is_named(
    house: House, spool: Spool, order: Order, spoil: Callable[[TakeFolder], None]
) -> None:
    device = house.device()
    rotten, sound = crash(house, spool, order), crash(house, spool, order)
    spoil(rotten)
    found = recover(spool, device, LATER)
    assert [each.take.take for each in found.closed] == [sound.take]
    assert found.left == [rotten.take]
    assert not rotten.close.exists()


def test_a_full_disk_is_closed_from_the_reserve_and_else_left_and_named(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, take = house.device(), crash(house, spool, order)
    spool.hold_reserve()
    really = write_durably

    def full(path: Path, data: bytes) -> None:
        """Stands in for a disk on which nothing is free but the reserve."""
        if (spool.folder / "reserve").exists() or never:
            raise NoSpace("stand-in", code="spool-full")
        really(path, data)

    monkeypatch.setattr(recovery, "write_durably", full)
    never = True
    found = recover(spool, device, LATER)
    assert (found.closed, found.left, found.full) == ([], [take.take], True)
    never = False
    spool.hold_reserve()
    found = recover(spool, device, LATER)
    assert ([each.take.take for each in found.closed], found.left, found.full) == ([take.take], [], False)


@pytest.mark.parametrize("torn", [b"", b"half a frame"], ids=["nothing_torn", "something_torn"])
def test_what_recovery_made_is_taken_in_by_the_store(house: House, spool: Spool, order: Order, torn: bytes) -> None:
    take = crash(house, spool, order, ticks=11)
    with take.segments()[-1].open("ab") as file:
        file.write(torn)
    recover(spool, house.device(), LATER)
    spool.new_take(house.device().enrolment)
    recover(spool, house.device(), LATER)
    expected = ["start", "segments/0", "segments/1", *(["tail"] if torn else []), "close"]
    assert house.deliver(take) == expected
    (void,) = [each for each in spool.takes() if each.take == 2]
    assert house.deliver(void) == ["close"]
    assert house.findings() == {}


def test_a_closed_take_is_not_reopened_by_the_helper(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order, ticks=1)
    assert recovery.recover(spool, house.device(), 0).closed == []
    assert take.close.exists()
