"""How a take may end, and what comes too late for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evidence_store.canonical import Record
from evidence_store.database.schema import SegmentRow
from evidence_store.errors import (
    ChainBroken,
    Conflict,
    InvalidInput,
    SignatureInvalid,
    Tampered,
)
from evidence_store.sealing import journal
from recorder.delivery import objects
from recorder.recovery import recover
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.conftest import BOTH_DATABASES
from tests.house import BEGAN, House, crash, gone_on, record
from tests.store.taken_in import alarms, count, resigned, stored

pytestmark = BOTH_DATABASES


@pytest.mark.parametrize(
    "change",
    [
        lambda close: close.update(head=bytes(32).hex()),
        lambda close: close.update(segments=close["segments"][:-1]),
        lambda close: close.update(last={"i": 0, "t": 3}),
        lambda close: close.update(how="crashed", last={"i": 1, "t": 8}),
        lambda close: close.update(start=bytes(32).hex()),
        lambda close: close.update(how="void"),
        lambda close: close.update(how="crashed", torn={"hash": bytes(32).hex(), "length": 5}),
        lambda close: close.update(how="crashed", torn="all of it"),
        lambda close: close.update(how="crashed", torn={"hash": 5, "length": "x"}),
        lambda close: close.update(how="went home"),
        lambda close: close.update(more="members"),
        lambda close: close.pop("torn"),
    ],
)
def test_a_close_that_disagrees_with_what_was_delivered_is_refused(
    house: House, spool: Spool, order: Order, change: Callable[[Record], object]
) -> None:
    take = record(house, spool, order, ticks=10)
    altered = resigned(house, take, change)
    for kind, path in objects(take)[:-1]:
        house.deliver_one(take, kind, path.read_bytes())
    with pytest.raises((Tampered, InvalidInput)):
        house.deliver_one(take, "close", altered)
    house.deliver(take)
    assert house.findings() == {}


@pytest.mark.parametrize("key", [False, True], ids=["without_it", "by_another_key"])
def test_a_stop_that_the_take_key_did_not_sign_is_refused(house: House, spool: Spool, order: Order, key: bool) -> None:
    take = record(house, spool, order)
    for kind, path in objects(take)[:-1]:
        house.deliver_one(take, kind, path.read_bytes())
    with pytest.raises(SignatureInvalid):
        house.deliver_one(take, "close", resigned(house, take, lambda close: None, key))


def test_a_close_behind_what_was_announced_is_refused_and_told(house: House, spool: Spool, order: Order) -> None:
    """The device's folder is cut back behind what it had delivered, and closed as if it had crashed there."""
    take = crash(house, spool, order, ticks=20)
    house.deliver(take)
    take.segment(2).unlink()
    take.segment(1).unlink()
    recover(spool, house.device(), BEGAN)
    with pytest.raises(ChainBroken) as caught:
        house.deliver_one(take, "close", take.close.read_bytes())
    assert caught.value.code == "close-mismatch"
    assert alarms(house) == ["delivery-refused"]


def test_whole_ticks_that_are_called_a_torn_tail_are_found(house: House, spool: Spool, order: Order) -> None:
    for ticks, keep in ((8, 0), (6, 3), (12, 8)):
        take = crash(house, spool, order, ticks=ticks)
        cut_back(house, take, keep)
        kinds = [kind for kind, _ in objects(take)]
        assert kinds[-2:] == ["tail", "close"]
        for kind, path in objects(take)[:-1]:
            house.deliver_one(take, kind, path.read_bytes())
        with pytest.raises(ChainBroken) as caught:
            house.deliver_one(take, "close", take.close.read_bytes())
        assert caught.value.code == ("tail-mismatch" if keep == 0 else "tail-whole")


def cut_back(house: House, take: TakeFolder, keep: int) -> None:
    """A dishonest recovery: everything behind tick `keep` becomes the tail, and the close says so."""
    from evidence_store import domains
    from evidence_store.sealing import check, segment

    chain, hashes = check.Chain(check.check_start(take.start.read_bytes(), house.store.authority.root)), []
    for path in take.segments():
        data = path.read_bytes()
        header, at = segment.read_header(data)
        kept = [each for each in segment.ticks(data, at) if each.record["t"] < keep]
        whole = kept[-1].offset + kept[-1].size if kept else 0
        if whole < len(data):
            take.tail.write_bytes(data[whole:])
            path.write_bytes(data[:whole])
        if not whole:
            path.unlink()
            continue
        chain.check_segment(data[:whole])
        hashes.append(segment.segment_hash(header, chain.head))
    tail = take.tail.read_bytes() if keep else b"another"
    close = journal.close_record(
        enrolment=take.enrolment, take=take.take, start=chain.start.start_hash,
        last=(chain.index, chain.tick) if chain.tick >= 0 else None, head=chain.head, segments=hashes,
        how=journal.Ending.CRASHED, torn=(domains.sha256(domains.TAIL, tail), len(tail)),
        last_alive_utc_ns=BEGAN, closed_utc_ns=BEGAN,
    )  # fmt: skip
    take.close.write_bytes(journal.sign_close(close, house.device().signers(None)))


def test_ticks_appended_after_the_close_are_refused(house: House, spool: Spool, order: Order) -> None:
    take = gone_on(house, spool, order)
    with pytest.raises(Conflict) as caught:
        house.deliver_one(take, "segments/2", take.segment(2).read_bytes())
    assert caught.value.code == "take-closed"
    with pytest.raises(Conflict):
        house.deliver_one(take, "tail", b"something else")
    assert house.findings() == {}


def test_a_segment_that_is_being_checked_while_the_close_comes_is_not_entered_behind_it(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = crash(house, spool, order, ticks=16)
    late = take.segment(1).read_bytes()
    house.deliver(take)
    take.segment(1).unlink()
    recover(spool, house.device(), BEGAN)
    really = house.store.intake._put

    def slow(name: str, data: bytes, enrolment: str, number: int) -> Any:
        found = really(name, data, enrolment, number)
        if name.endswith("segments/000001"):
            house.deliver_one(take, "close", take.close.read_bytes())
        return found

    monkeypatch.setattr(house.store.intake, "_put", slow)
    with pytest.raises(Conflict):
        house.deliver_one(take, "segments/1", late)
    assert count(house, SegmentRow) == 1
    assert "object-unknown" in next(iter(house.findings().values())), "the stray object in the vault is found"


def test_a_void_number_cannot_get_a_start_afterwards(house: House, spool: Spool, order: Order) -> None:
    device, take = house.device(), record(house, spool, order, ticks=1)
    void = journal.close_record(
        enrolment=take.enrolment, take=1, start=None, last=None, head=None, segments=[], how=journal.Ending.VOID,
        torn=None, last_alive_utc_ns=BEGAN, closed_utc_ns=BEGAN,
    )  # fmt: skip
    house.deliver_one(take, "close", journal.sign_close(void, device.signers(None)))
    with pytest.raises(Conflict):
        house.deliver_one(take, "start", take.start.read_bytes())
    assert "start.json" not in " ".join(stored(house))


def test_a_take_that_comes_after_the_interview_was_sealed_is_an_alarm(house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order, ticks=2))
    assert house.store.sealing.seal(order.interview.hex())
    house.deliver(record(house, spool, order, ticks=2))
    assert alarms(house) == ["take-after-seal"]
