"""Attacks on custody and the ledger, by whoever is root in the house, and on what a recorder says of its takes."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from evidence_store.copies.verify import Anchors, verify
from evidence_store.copies.witnessed import check_began
from evidence_store.custody import Verb
from evidence_store.erasure import Erasure
from evidence_store.errors import Unavailable
from evidence_store.keystore import KeyStore
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteVerifier
from evidence_store.ledger.policy import State
from evidence_store.ledger.witness import AddCheckpoint
from evidence_store.ledger.witness_memory import Witness
from evidence_store.sealing.journal import Ending
from evidence_store.sealing.keys import PrivateKey
from tests.attacks.defence import found_out, refused
from tests.attacks.place import WITNESS, Place, expect
from tests.attacks.test_witnesses import package, rewrite
from tests.copies.conftest import Script, Store, source_of
from tests.house import BEGAN, begin, record, tick
from tests.prosecutors import ANNA, BO
from tests.store.test_audit import edit_custody


def state(place: Place) -> State:
    assert place.house.store.witnessing is not None
    return place.house.store.witnessing.known().state


def test_08_administrator_edits_a_custody_row(place: Place) -> None:
    edit_custody(place.house)
    found_out(place.house.findings(), "(custody-row-altered)")


async def test_09_administrator_rewrites_and_re_signs_the_whole_log(place: Place) -> None:
    """Database and vault, under the log's own key: nothing in the house contradicts it."""
    witness = place.watched()
    place.act()
    await place.ask()
    expect(state(place) is State.COVERED, "the witness stands for the true log")
    rewrite(place.house)
    place.reopen()
    expect(not place.house.findings(), "nothing in the house contradicts the other log")
    place.act()
    await place.ask()
    assert state(place) is State.VETOED
    refused(place.act, "ledger-vetoed")
    assert "witness-veto" in place.alarms()
    (known,) = witness.logs()
    assert known.refusal is not None
    assert (known.refusal.code, known.refusal.stands) == ("consistency-proof", True)


def test_10_yesterdays_database_restored(place: Place) -> None:
    house, yesterday = place.house, place.folder / "yesterday"
    house.close()
    database = house.folder / "store" / "vidne.sqlite"
    shutil.copy(database, yesterday)
    house.open()
    place.act(3)
    house.close()
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
    shutil.copy(yesterday, database)
    house.open()
    assert house.store.book.read_only
    refused(place.act, "ledger-read-only")
    found_out(house.findings(), "(ledger-rolled-back)")


def test_11_different_views_shown_to_two_parties(place: Place) -> None:
    """Same keys, same size, same interview; other nonces, so another root. Each package is whole by itself."""
    store = Store(interview_key=PrivateKey.generate())
    views = [source_of(store, [Script(3, {}, [], how=Ending.VOID)], "age1") for _ in range(2)]
    notes = [view.checkpoint or b"" for view in views]
    witness = Witness(place.folder / "prosecution", lambda: BEGAN // 10**9, WITNESS)
    place.ending.append(witness.close)
    origin = Checkpoint.parse(Note.parse(notes[0]).text).origin
    witness.trust(NoteVerifier(origin, store.ledger_key.public_key().public_bytes_raw()))
    line = witness.add_checkpoint(AddCheckpoint(0, (), notes[0]).write())
    size = Checkpoint.parse(Note.parse(notes[1]).text).size
    refused(lambda: witness.add_checkpoint(AddCheckpoint(size, (), notes[1]).write()), "witness-root")
    anchors = Anchors(store.fingerprint, witnesses=(witness.verifier,))
    shown = package(views[0], lambda note: note + line, place.folder / "one")
    hidden = package(views[1], lambda note: note, place.folder / "two")
    pasted = package(views[1], lambda note: note + line, place.folder / "three")
    expect(verify(shown, anchors).ok, "the witness stands for the first")
    expect(verify(hidden, Anchors(store.fingerprint)).ok, "without the witness's key nothing is amiss with the second")
    report = verify(hidden, anchors)
    assert not report.ok
    expect([each.name for each in report.failures] == ["witnesses"], "found by the witness's key")
    assert "cosignature is wrong" in verify(pasted, anchors).failures[0].detail, "one that belongs to the other view"


class Killed(BaseException):
    """The process is gone."""


def test_30_crash_between_act_and_log(place: Place) -> None:
    """An erasure is decided, and the process dies before anything of it is done: what was to be done is in custody
    already, and the next start does it."""
    house, interview = place.house, place.orders[0].interview.hex()

    def killed(self: KeyStore, interview: str) -> None:
        raise Killed

    erasure = Erasure(house.store.book, house.store.keys, 0)
    erasure.request(interview, ANNA, "Sagen er endeligt afsluttet")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(KeyStore, "erase_escrow", killed)
        with pytest.raises(Killed):
            erasure.approve(interview, BO)
    assert [each.event.actor.name for each in house.custody(Verb.ERASURE_APPROVED)] == [BO.display_name]
    found_out(house.findings(), "(seed-not-erased)")
    place.reopen()
    Erasure(house.store.book, house.store.keys, 0).finish()
    assert len(house.custody(Verb.INTERVIEW_ERASED)) == 1
    assert house.findings() == {}


def test_31_a_take_is_hidden(place: Place) -> None:
    """Recorded, never delivered, and the last one: no number is missing between others."""
    house = place.house
    record(house, house.spool(), house.interview())
    highest = house.spool().highest_take()
    expect(highest == 3, "a third take")
    house.store.intake.heartbeat(house.device().heartbeat(highest, None, BEGAN))
    found_out(house.findings(), "take 3 is missing (take-missing)")


async def test_32_a_recording_is_fabricated_later_and_backdated(place: Place) -> None:
    """By a recorder that takes its orders from the store as it should: the start bears a checkpoint of today."""
    witness, house = place.watched(), place.house
    place.act()
    await place.ask()
    assert house.store.witnessing is not None
    with house.store.book.reading() as session:
        note = house.store.witnessing.note_for_start(session) or b""
    order, cosigned = house.interview(), witness.verifier.time_of(Note.parse(note)) or 0
    order = dataclasses.replace(order, checkpoint=note.decode())
    starts = [
        place.start(record(house, house.spool(), order, ticks=1, began=claimed * 10**9))
        for claimed in (cosigned + 5, cosigned - 299, cosigned - 3600)
    ]
    for true in starts[:2]:
        expect(check_began({"take": true}, [witness.verifier]), "it began after the checkpoint, but for its clock")
    refused(lambda: check_began({"take": starts[2]}, [witness.verifier]), "start-backdated")


async def test_35_witness_unreachable_or_says_no(place: Place) -> None:
    place.watched(lag=1)
    place.act()
    await place.ask()
    clock = place.house.store.book.clock
    place.act()
    place.house.store.book.clock = lambda: clock() + 10 * 10**9
    await place.ask(away=True)
    assert "witness-late" in place.alarms()
    assert len(place.house.custody(Verb.WITNESS_LATE)) == 1
    place.act()
    house, spool, order = place.house, place.house.spool(), place.house.interview()
    sealer = begin(house, spool, order)
    rewrite(house)
    await place.ask()
    expect(state(place) is State.VETOED, "the witness says no")
    refused(place.act, "ledger-vetoed")
    for t in range(12):
        sealer.write(tick(t))
    with pytest.raises(Unavailable):
        house.deliver(sealer.folder)
    assert sealer.folder.segments(), "it waits on its recorder"
    sealer.forget()
