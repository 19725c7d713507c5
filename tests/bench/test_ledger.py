"""What is laid down at once is a ledger as the product makes it: it passes an audit, grows, and proves."""

from __future__ import annotations

from pathlib import Path

from evidence_store.custody import Actor, CustodyEvent, Verb
from tests.bench.ledger_rows import load
from tests.house import BEGAN, House


def test_rows_laid_down_are_a_ledger(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    load(house, 700, 1)
    load(house, 301, 100)
    house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    assert house.findings() == {}
    ledger = house.store.book.ledger
    with house.store.book.reading() as session:
        assert ledger.verify_all(session).size == 1_003
        ledger.prove(session, 900)
    house.close()
