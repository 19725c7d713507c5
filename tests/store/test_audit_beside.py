"""A large ledger is read by a process of its own: it finds what the audit finds alone, and nobody depends on it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, update

from evidence_store.audit import Audit
from evidence_store.audit_report import Finding
from evidence_store.database.schema import (
    CustodyEventRow,
    LedgerCheckpointRow,
    LedgerEntryRow,
    LedgerHeadRow,
    LedgerNodeRow,
)
from evidence_store.ledger import look
from evidence_store.ledger.custody_log import LoggedEvent
from evidence_store.ledger.reader import Reader
from evidence_store.stamps.audit import VERBS
from recorder.spool import Spool
from recorder.take import Order
from tests.bench.ledger_rows import load
from tests.conftest import BOTH_DATABASES
from tests.house import House, record

MORE = 5_000
"""Entries that do not fit into a pipe all at once."""

_begin = Reader.__init__


@pytest.fixture
def old(house: House, spool: Spool, order: Order) -> House:
    """A house with a sealed take and a ledger that has grown."""
    record(house, spool, order, ticks=20)
    for take in spool.takes():
        house.deliver(take)
    assert house.store.sealing.seal(order.interview.hex())
    load(house, MORE, 7)
    return house


def alone(house: House) -> list[Finding]:
    return Audit(house.store.book, house.store.authority).run().findings


def beside(house: House, monkeypatch: pytest.MonkeyPatch, begin: Callable[..., None] = _begin) -> list[Finding]:
    """An audit for which the ledger is large. `begin`: how a reader begins."""
    begun: list[Reader] = []

    def counted(reader: Reader, *given: object) -> None:
        begun.append(reader)
        begin(reader, *given)

    with monkeypatch.context() as changed:
        changed.setattr(Reader, "__init__", counted)
        changed.setattr(look, "LARGE", 0)
        found = alone(house)
    assert [reader.process.poll() is None for reader in begun] == [False]
    return found


def a_body(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.execute(update(LedgerEntryRow).where(LedgerEntryRow.position == MORE // 2).values(body=b"{}"))


def a_row(house: House) -> None:
    with house.store.book.database.writing() as session:
        session.execute(update(CustodyEventRow).where(CustodyEventRow.ledger_position == MORE // 2).values(at=1))


def a_row_that_is_no_event(house: House) -> None:
    with house.store.book.database.writing() as session:
        where = CustodyEventRow.ledger_position == 3
        session.execute(update(CustodyEventRow).where(where).values(details="not even JSON"))


def a_node(house: House) -> None:
    with house.store.book.database.writing() as session:
        highest = session.query(func.max(LedgerNodeRow.coordinate)).scalar()
        session.execute(update(LedgerNodeRow).where(LedgerNodeRow.coordinate == highest).values(hash=bytes(32)))


def a_signature(house: House) -> None:
    with house.store.book.database.writing() as session:
        row = session.query(LedgerCheckpointRow).filter(LedgerCheckpointRow.size > MORE // 2).first()
        assert row is not None
        row.note = row.note[:-9] + (b"AAAA" if row.note[-9:-5] != b"AAAA" else b"BBBB") + row.note[-5:]


@BOTH_DATABASES
def test_what_is_right_is_found_right(old: House, monkeypatch: pytest.MonkeyPatch) -> None:
    found = beside(old, monkeypatch)
    assert all(each.ok for each in found)
    assert found == alone(old)


@pytest.mark.parametrize("defect", [a_body, a_row, a_row_that_is_no_event, a_node, a_signature])
def test_what_is_wrong_is_found_in_the_same_words(
    old: House, defect: Callable[[House], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(old)
    found = beside(old, monkeypatch)
    assert [each.name for each in found if not each.ok]
    assert found == alone(old)


def test_a_reader_killed_at_once_is_done_without(old: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(reader: Reader, *given: object) -> None:
        _begin(reader, *given)  # type: ignore[arg-type]
        reader.process.kill()
        reader.process.wait()

    assert beside(old, monkeypatch, killed) == alone(old)


@pytest.mark.parametrize("events", [1, 1_500, None])
def test_a_reader_killed_on_the_way_is_done_without(
    old: House, events: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many events; after all of them, before the tree."""
    given = Reader.events

    def killed(reader: Reader) -> Iterator[LoggedEvent]:
        for count, event in enumerate(given(reader), start=1):
            yield event
            if count == events:
                break
        reader.process.kill()
        reader.process.wait()
        if events is not None:
            raise EOFError

    with monkeypatch.context() as changed:
        changed.setattr(Reader, "events", killed)
        found = beside(old, monkeypatch)
    assert found == alone(old)


def test_what_comes_in_while_it_runs_is_the_next_ones(
    old: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A house in use: the reader's view of the database is later than the audit's own."""

    def later(reader: Reader, *given: object) -> None:
        old.deliver(record(old, spool, order, ticks=20))
        _begin(reader, *given)  # type: ignore[arg-type]

    assert all(each.ok for each in beside(old, monkeypatch, later))


def test_a_reader_that_cannot_be_begun_is_done_without(old: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "no more processes")

    with monkeypatch.context() as changed:
        changed.setattr(subprocess, "Popen", none)
        changed.setattr(look, "LARGE", 0)
        found = alone(old)
    assert found == alone(old)


def test_a_head_that_is_gone_is_a_finding_and_ends_nothing(old: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with old.store.book.database.writing() as session:
        session.execute(delete(LedgerHeadRow))
    found = beside(old, monkeypatch)
    assert next(each.code for each in found if not each.ok) == "ledger-head-wrong"
    assert found == alone(old)


def test_nothing_in_the_folder_where_it_is_started_is_run(
    old: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "evidence_stick"
    planted.mkdir()
    (planted / "evidence_store.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(planted)
    with Reader(old.store.book.database, VERBS) as reader:
        assert len(list(reader.events())) > 0
        assert reader.rows() > MORE
