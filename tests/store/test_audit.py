"""The audit finds what was taken away, put in, turned back or rewritten by whoever holds database and vault."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from sqlalchemy import delete, select, text

from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import (
    CustodyEventRow,
    DeviceRow,
    InterviewRow,
    LedgerCheckpointRow,
    SegmentRow,
    TakeRow,
    VaultObjectRow,
)  # fmt: skip
from evidence_store.errors import Tampered, Unavailable
from recorder.recovery import recover
from recorder.spool import Spool
from recorder.take import Order
from tests.house import BEGAN, House, crash, record


@pytest.fixture
def three(house: House, spool: Spool, order: Order) -> House:
    """Three takes of one interview: crashed, crashed, stopped; sealed."""
    for _ in range(2):
        crash(house, spool, order, ticks=20)
        recover(spool, house.device(), BEGAN)
    record(house, spool, order, ticks=20)
    for take in spool.takes():
        house.deliver(take)
    assert house.store.sealing.seal(order.interview.hex())
    assert house.findings() == {}
    return house


def folder(house: House, number: int) -> str:
    return f"takes/{house.device().enrolment.hex()}/{number:06d}"


def forget_take(house: House, number: int, rows: bool = True, files: bool = True) -> None:
    if files:
        shutil.rmtree(house.vault / folder(house, number))
    if rows:
        with house.store.book.database.writing() as session:
            session.execute(delete(SegmentRow).where(SegmentRow.n == number))
            session.execute(delete(TakeRow).where(TakeRow.n == number))


def forget_device(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in (SegmentRow, TakeRow, DeviceRow):
            session.execute(delete(table))
    shutil.rmtree(house.vault / "takes")


def lower_the_number(house: House) -> None:
    """The last take is removed everywhere, and the device's highest number with it; the ledger has named it."""
    forget_take(house, 3)
    with house.store.book.database.writing() as session:
        session.get_one(DeviceRow, house.device().enrolment.hex()).n_highest = 2


def reopen_take(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.get_one(TakeRow, (house.device().enrolment.hex(), 1)).state = "open"


def delete_segment(house: House) -> None:
    (house.vault / folder(house, 1) / "segments/000001").unlink()


def delete_segment_everywhere(house: House) -> None:
    delete_segment(house)
    with house.store.book.database.writing() as session:
        session.delete(session.get_one(SegmentRow, (house.device().enrolment.hex(), 1, 1)))


def delete_last_segment_everywhere(house: House) -> None:
    (house.vault / folder(house, 1) / "segments/000002").unlink()
    with house.store.book.database.writing() as session:
        session.delete(session.get_one(SegmentRow, (house.device().enrolment.hex(), 1, 2)))


def flip_segment(house: House) -> None:
    path = house.vault / folder(house, 1) / "segments/000001"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def put_something_in(house: House) -> None:
    (house.vault / folder(house, 1) / "tail").write_bytes(b"something that nobody closed over")


def put_a_segment_in(house: House) -> None:
    shutil.copy(house.vault / folder(house, 1) / "segments/000001", house.vault / folder(house, 1) / "segments/000003")


def swap_closes(house: House) -> None:
    """In the vault, and in what the database says of it."""
    names = [f"{folder(house, n)}/close.json" for n in (1, 2)]
    with house.store.book.database.writing() as session:
        rows = [session.get_one(VaultObjectRow, name) for name in names]
        rows[0].sha256, rows[1].sha256 = rows[1].sha256, rows[0].sha256
    one, two = (house.vault / name for name in names)
    first, second = one.read_bytes(), two.read_bytes()
    for path, data in ((one, second), (two, first)):
        path.chmod(0o600)
        path.write_bytes(data)


def edit_custody(house: House) -> None:
    with house.store.book.database.writing() as session:
        row = session.query(CustodyEventRow).filter_by(verb=Verb.TAKE_STARTED.value).first()
        assert row is not None
        row.at += 1


def spoil_custody(house: House) -> None:
    with house.store.book.database.writing() as session:
        row = session.query(CustodyEventRow).filter_by(verb=Verb.TAKE_STARTED.value).first()
        assert row is not None
        row.details = "not even JSON"


def delete_custody(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.query(CustodyEventRow).filter_by(verb=Verb.TAKE_STARTED.value).delete()


def edit_ledger_body(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.execute(text("UPDATE ledger_entry SET body = x'7b7d' WHERE position = 1"))


def delete_ledger_end(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.execute(
            text("DELETE FROM custody_event WHERE ledger_position = (SELECT MAX(position) FROM ledger_entry)")
        )
        session.execute(text("DELETE FROM ledger_entry WHERE position = (SELECT MAX(position) FROM ledger_entry)"))


def edit_manifest_hash(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.query(InterviewRow).update({"manifest_sha256": bytes(32)})


def move_take(house: House) -> None:
    """A take is moved out of the interview: the manifest still lists it."""
    other = house.interview()
    with house.store.book.database.writing() as session:
        take = session.get_one(TakeRow, (house.device().enrolment.hex(), 3))
        take.interview_id = other.interview.hex()


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        (lambda house: forget_take(house, 2), "take-missing"),
        (lambda house: forget_take(house, 2, files=False), "take-missing"),
        (lambda house: forget_take(house, 2, rows=False), "object"),
        (lambda house: forget_take(house, 3), "take-missing"),
        (lower_the_number, "take-missing"),
        (forget_device, "device-unknown"),
        (reopen_take, "take-open"),
        (delete_segment, "object"),
        (delete_segment_everywhere, "segment-missing"),
        (delete_last_segment_everywhere, "close-mismatch"),
        (flip_segment, "object-altered"),
        (put_something_in, "tail-mismatch"),
        (put_a_segment_in, "object-unknown"),
        (swap_closes, "close-mismatch"),
        (edit_custody, "custody-row-altered"),
        (spoil_custody, "custody-row-altered"),
        (delete_custody, "custody"),
        (edit_ledger_body, "ledger-entry-altered"),
        (delete_ledger_end, "ledger-"),
        (edit_manifest_hash, "object-altered"),
        (move_take, "manifest-mismatch"),
    ],
)
def test_a_touched_store_is_found_out(three: House, defect: Callable[[House], None], found: str) -> None:
    defect(three)
    assert any(f"({found}" in detail for detail in three.findings().values()), three.findings()


def test_a_last_take_that_only_a_heartbeat_ever_named_is_missing(three: House) -> None:
    three.store.intake.heartbeat(three.device().heartbeat(4, None, BEGAN))
    assert "take 4 is missing" in next(iter(three.findings().values()))


def test_yesterdays_database_is_found_out_and_nothing_is_entered_into_it(
    house: House, spool: Spool, order: Order
) -> None:
    house.deliver(record(house, spool, order))
    database, kept = house.folder / "store" / "vidne.sqlite", house.folder / "yesterday"
    house.close()
    shutil.copy(database, kept)
    house.open()
    later = record(house, spool, order)
    house.deliver(later)
    house.close()
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
    shutil.copy(kept, database)
    house.open()
    assert "ledger-rolled-back" in house.findings()["checkpoints"]
    with pytest.raises(Unavailable) as caught:
        house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    assert caught.value.code == "ledger-read-only"
    with pytest.raises(Unavailable):
        house.deliver(record(house, spool, order))
    assert (house.vault / folder(house, 1)).is_dir(), "what is there can still be looked at"


@pytest.mark.parametrize("note", [b"no note", None])
def test_a_last_checkpoint_that_is_none_stops_entries_and_not_the_audit(
    house: House, spool: Spool, order: Order, note: bytes | None
) -> None:
    """Whoever edits one row must not keep anybody from finding it."""
    house.deliver(record(house, spool, order))
    with house.store.book.database.writing() as session:
        last = session.scalars(select(LedgerCheckpointRow).order_by(LedgerCheckpointRow.size.desc()).limit(1)).one()
        last.note = note or last.note[:-8] + b"AAAAAAA\n"
    house.close()
    house.open()
    assert "ledger" in house.findings()
    with pytest.raises(Unavailable) as caught:
        house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    assert caught.value.code == "ledger-read-only"


def test_a_database_turned_back_under_a_running_store_is_found_out_at_the_first_entry(
    house: House, spool: Spool, order: Order
) -> None:
    """Other events in place of those that the vault remembers, up to the same size."""
    book = house.store.book
    book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    house.close()
    database, kept = house.folder / "store" / "vidne.sqlite", house.folder / "yesterday"
    shutil.copy(database, kept)
    house.open()
    house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    house.close()
    shutil.copy(kept, database)
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
    # Not opened anew: the process has looked at the vault's memory when it started, and does not know.
    event = CustodyEvent(Verb.LEDGER_VIEWED, BEGAN + 1, Actor.store())
    with pytest.raises(Tampered) as caught:
        house.store.book.record(event)
    assert caught.value.code == "ledger-rewritten"
    with pytest.raises(Unavailable):
        house.store.book.record(event)


def test_a_store_that_is_used_the_whole_time_is_never_suspected(three: House, spool: Spool) -> None:
    """An audit beside deliveries: what comes in meanwhile is not taken for something forgotten."""
    import threading

    order, stop = three.interview(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            three.deliver(record(three, spool, order, ticks=9))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        found = [three.findings() for _ in range(6)]
    finally:
        stop.set()
        worker.join()
    assert found == [{}] * 6
