"""Attacks that only a witness in another organisation finds, against a real `vidne witness` process (docs/attacks.md).

Whoever attacks here is root in the house: database, vault and every key are theirs. The witness is not.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest
from sqlalchemy import delete, select, update

from evidence_store.copies.package import prepare
from evidence_store.copies.source import CopySource
from evidence_store.copies.verify import Anchors, verify
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import (
    AlarmRow,
    CosignatureRow,
    CustodyEventRow,
    LedgerCheckpointRow,
    LedgerEntryRow,
    LedgerHeadRow,
    LedgerNodeRow,
    VaultObjectRow,
    WitnessRow,
)
from evidence_store.errors import Unavailable
from evidence_store.ledger import custody_log, merkle
from evidence_store.ledger.policy import State
from evidence_store.ledger.proof import Proof
from evidence_store.sealing.journal import Ending
from evidence_store.sealing.keys import PrivateKey
from tests.copies.conftest import Script, Store, source_of
from tests.house import BEGAN, House, begin, record, tick
from tests.witnesses import WitnessProcess, ask, witnessed

UNUSED = "age1"
"""A recipient that is set when the package is made."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "house")
    yield made
    made.close()


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    made = WitnessProcess(tmp_path / "prosecution")
    yield made
    made.kill()


def act(house: House, count: int = 1) -> None:
    for _ in range(count):
        house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))


def alarms(house: House) -> list[str]:
    with house.store.book.reading() as session:
        return list(session.scalars(select(AlarmRow.code).where(AlarmRow.cleared_at.is_(None))))


def state(house: House) -> State:
    assert house.store.witnessing is not None
    return house.store.witnessing.known().state


def covered(house: House) -> int:
    assert house.store.witnessing is not None
    return house.store.witnessing.known().covered


def refused(house: House) -> str:
    """What an act of a person is answered."""
    with pytest.raises(Unavailable) as caught:
        act(house)
    return caught.value.code


def rewrite(house: House) -> None:
    """Every entry made anew under the log's own key, one of them with other words; everything signed in order."""
    book, rows = house.store.book, select(CustodyEventRow).order_by(CustodyEventRow.ledger_position)
    with book.reading() as session:
        events = [each.event for each in map(custody_log._logged, session.scalars(rows))]
    events[1] = dataclasses.replace(events[1], at=events[1].at + 1)
    with book.database.writing() as session:
        for table in (WitnessRow, CosignatureRow, CustodyEventRow, LedgerCheckpointRow, LedgerNodeRow, LedgerEntryRow):
            session.execute(delete(table))
        session.execute(delete(VaultObjectRow).where(VaultObjectRow.name.startswith("ledger/")))
        session.execute(update(LedgerHeadRow).values(size=0, root=merkle.EMPTY_ROOT))
    shutil.rmtree(house.vault / "ledger")
    for event in events:
        book.record(event)


async def test_10_yesterdays_database_with_yesterdays_vault_is_vetoed_before_anything_is_entered(
    house: House, witness: WitnessProcess, tmp_path: Path
) -> None:
    witnessed(house, [witness])
    act(house, 3)
    await ask(house)
    house.close()
    yesterday = tmp_path / "yesterday"
    shutil.copytree(house.folder / "store", yesterday)
    house.open()
    act(house, 4)
    await ask(house)
    today = tmp_path / "today"
    house.close()
    shutil.move(house.folder / "store", today)
    shutil.copytree(yesterday, house.folder / "store")
    house.open()
    assert not house.store.book.read_only, "database and vault agree with each other"
    await ask(house)
    assert state(house) is State.VETOED
    assert refused(house) == "ledger-vetoed"
    house.close()
    house.open()
    assert refused(house) == "ledger-vetoed", "after a restart too, the witness asked or not"
    assert "ledger-rolled-back" in house.findings()["witnesses"]
    # The newest there is, put back: the witness says yes, and it is entered that it had said no.
    house.close()
    shutil.rmtree(house.folder / "store")
    shutil.move(today, house.folder / "store")
    house.open()
    await ask(house)
    assert (state(house), covered(house)) == (State.COVERED, 7)
    act(house)


async def test_10_whoever_goes_on_in_yesterdays_database_meets_the_same_no(
    house: House, witness: WitnessProcess, tmp_path: Path
) -> None:
    """More is entered than was lost, before any witness answers: the sizes say nothing then, the roots do."""
    witnessed(house, [witness])
    act(house, 3)
    house.close()
    shutil.copytree(house.folder / "store", tmp_path / "yesterday")
    house.open()
    act(house, 2)
    await ask(house)
    house.close()
    shutil.rmtree(house.folder / "store")
    shutil.copytree(tmp_path / "yesterday", house.folder / "store")
    house.open()
    act(house, 9)
    await ask(house)
    assert state(house) is State.VETOED
    assert refused(house) == "ledger-vetoed"


async def test_35_a_witness_that_is_away_stops_nothing_and_the_lag_is_declared(
    house: House, witness: WitnessProcess
) -> None:
    witnessed(house, [witness], lag=1)
    act(house)
    await ask(house)
    witness.kill()
    clock = house.store.book.clock
    act(house, 2)
    await ask(house)
    assert (state(house), alarms(house)) == (State.COVERED, []), "not late yet"
    house.store.book.clock = lambda: clock() + 10 * 10**9
    await ask(house)
    assert (state(house), alarms(house), covered(house)) == (State.LAGGING, ["witness-late"], 1)
    act(house)
    (late,) = house.custody(Verb.WITNESS_LATE)
    assert late.event.details == {"covered": "1", "witness": witness.name}
    await ask(house)
    assert len(house.custody(Verb.WITNESS_LATE)) == 1, "declared once"
    witness.start()
    await ask(house)
    assert alarms(house) == []
    assert len(house.custody(Verb.WITNESS_BACK)) == 1
    await ask(house)
    assert state(house) is State.COVERED


async def test_35_a_veto_stops_acts_and_no_recording(house: House, witness: WitnessProcess) -> None:
    witnessed(house, [witness])
    order, spool = house.interview(), house.spool()
    house.deliver(record(house, spool, order))
    await ask(house)
    sealer = begin(house, spool, order)
    rewrite(house)
    await ask(house)
    assert refused(house) == "ledger-vetoed"
    for t in range(12):
        sealer.write(tick(t))
    with pytest.raises(Unavailable):
        house.deliver(sealer.folder)
    assert sealer.folder.path.exists(), "it waits on its recorder"
    assert sealer.folder.segment(0).exists()
    sealer.forget()


async def test_35_one_witness_of_two_that_says_no_is_enough(
    house: House, witness: WitnessProcess, tmp_path: Path
) -> None:
    """The second one is new: it has seen nothing, and cosigns what it is shown."""
    witnessed(house, [witness])
    act(house, 4)
    await ask(house)
    rewrite(house)
    second = WitnessProcess(tmp_path / "second", "boernehus.example/w2")
    try:
        witness.kill()
        witnessed(house, [witness, second])
        await ask(house)
        assert (state(house), covered(house)) == (State.VETOED, 4)
        assert refused(house) == "ledger-vetoed"
    finally:
        second.kill()


# Two views of one ledger, shown to two parties


def package(source: CopySource, cosign: Callable[[bytes], bytes], folder: Path) -> Path:
    """The copy's tar file, every note in it as `cosign` gives it back."""
    identity = pyrage.x25519.Identity.generate()
    shown = dataclasses.replace(
        source,
        recipient=dataclasses.replace(source.recipient, age_public_key=str(identity.to_public())),
        custody=[dataclasses.replace(each, proof=_with(each.proof, cosign)) for each in source.custody],
        checkpoint=cosign(source.checkpoint or b""),
    )
    folder.mkdir()
    sealed = io.BytesIO()
    with prepare(shown, scratch=folder) as prepared:
        prepared.write(sealed)
    tar = folder / "copy.tar"
    tar.write_bytes(pyrage.decrypt(sealed.getvalue(), [identity]))
    return tar


def _with(proof: bytes, cosign: Callable[[bytes], bytes]) -> bytes:
    parsed = Proof.parse(proof)
    return dataclasses.replace(parsed, checkpoint=cosign(parsed.checkpoint)).write()


def test_11_a_package_with_two_histories_of_one_size_is_refused(tmp_path: Path) -> None:
    store = Store(interview_key=PrivateKey.generate())
    one, two = (source_of(store, [Script(3, {}, [], how=Ending.VOID)], UNUSED) for _ in range(2))
    mixed = package(dataclasses.replace(one, checkpoint=two.checkpoint), lambda note: note, tmp_path / "mixed")
    (failure,) = verify(mixed, Anchors(store.fingerprint)).failures
    assert (failure.name, failure.detail) == ("custody", "the latest checkpoint is older than a proof's, or beside it")
