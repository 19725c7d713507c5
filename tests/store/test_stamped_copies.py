"""From a delivered take to a checked copy with its stamps: store, copy desk and checker, by a real authority."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyrage
import pytest

from api.desk.copies import CopyDesk
from api.services import Account, CopyState
from evidence_store.copies.stamps_before import check_before
from evidence_store.copies.verify import Anchors, verify
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, StampRow
from evidence_store.errors import ChainBroken, OutOfReach, SignatureInvalid
from evidence_store.kept import KeptVault
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.people import Role
from evidence_store.sealing.check import Start, check_start
from evidence_store.stamps.asking import request
from evidence_store.stamps.carried import Before
from evidence_store.stamps.collected import stamps_of
from evidence_store.stamps.lost import declare
from recorder.spool import TakeFolder
from recorder.take import Order
from tests import second_verifier
from tests.house import House
from tests.lying_vault import LyingVault
from tests.stamping import DAY_NS, ask, obtained, quiet, recorded, stamped_house
from tests.time_authority import TimeAuthority


@pytest.fixture
def house(tmp_path: Path, authority: TimeAuthority) -> Iterator[House]:
    made = stamped_house(tmp_path / "house", authority)
    yield made
    made.close()


def unpacked(age_file: Path, key: pyrage.x25519.Identity, folder: Path) -> None:
    pyrage.decrypt_file(str(age_file), str(folder / "copy.tar"), [key])
    subprocess.run(["tar", "xf", "copy.tar"], cwd=folder, check=True, timeout=30)


def script(house: House, bag: Path, fingerprint: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "verify.sh", house.store.authority.fingerprint],
        cwd=bag, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/bin:/bin", "AUTHORITIES": fingerprint, "FFPROBE": "/bin/true"},
    )  # fmt: skip
    return done.returncode, done.stdout


async def copied(house: House, order: Order, folder: Path) -> Path:
    """A copy of the interview by the desk, opened and unpacked."""
    key = pyrage.x25519.Identity.generate()
    age_file = await sealed_copy(house, order, folder, str(key.to_public()))
    unpacked(age_file, key, folder)
    return folder / f"vidne-kopi-{age_file.name.partition('.')[0]}"


async def sealed_copy(house: House, order: Order, folder: Path, recipient: str) -> Path:
    """The age file that the desk makes for whoever holds the key of `recipient`."""
    store = house.store
    desk = CopyDesk(store.book, store.authority, store.keys, folder / "copies", "Børnehus", lambda: False)
    by = Account(house.account, "op", "Ida Optager", Role.OPERATOR)
    copy = desk.request(order.interview.hex(), by, "Til prøve", recipient)
    await asyncio.to_thread(desk.make_next)
    assert desk.status(copy).state is CopyState.READY, desk.status(copy).error
    return folder / "copies" / f"{copy}.tar.age"


async def test_a_copy_carries_every_stamp_of_its_interview_and_no_other(
    house: House, authority: TimeAuthority, tmp_path: Path
) -> None:
    recorded(house, house.interview())
    assert await ask(house, authority) == 5
    order = house.interview()
    recorded(house, order)
    assert await ask(house, authority) == 4
    bag = await copied(house, order, tmp_path)
    (fingerprint,) = house.store.stamps.authorities
    report = verify(bag, Anchors(house.store.authority.fingerprint, time_authorities=(fingerprint,)))
    assert report.ok, report.failures
    said = next(each.detail for each in report.checks if each.name == "time")
    assert said.startswith("5 stamps: 5 by 'Test time authority root'")
    code, words = script(house, bag, fingerprint)
    assert words.count(".json fandtes 20") == 3, words
    assert words.count("beviskæden før optagelsen fandtes 20") == 1
    assert code == 0, words
    assert "take 2 began after 20" in said
    for each in ("tsr", "txt", "json", "tlog-proof"):
        (path,) = (bag / "evidence/stamps").glob(f"before-*-2.{each}")
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        if each in ("tsr", "txt"):
            assert "FEJL  tidsstemplet evidence/stamps/before-" in script(house, bag, fingerprint)[1]
        assert "time" in {check.name for check in verify(bag, Anchors(house.store.authority.fingerprint)).failures}
        path.write_bytes(data)


async def test_32_a_recording_that_is_dated_back_contradicts_the_stamp_before_it_in_the_copy_alone(
    house: House, authority: TimeAuthority, tmp_path: Path
) -> None:
    recorded(house, house.interview())
    await ask(house, authority)
    order = house.interview()
    recorded(house, order, began=quiet(time.time_ns() - DAY_NS))
    report = verify(await copied(house, order, tmp_path), Anchors(house.store.authority.fingerprint))
    (failed,) = report.failures
    assert failed.name == "time"
    assert "before a stamp that it follows" in failed.detail


def start_of(house: House, take: TakeFolder) -> Start:
    data = house.store.book.vault.get(f"takes/{take.enrolment.hex()}/{take.take:06d}/start.json")
    return check_start(data, house.store.authority.root)


async def test_a_stamp_before_a_take_is_proven_in_that_takes_own_checkpoint(
    house: House, authority: TimeAuthority
) -> None:
    recorded(house, house.interview())
    await ask(house, authority)
    second = house.interview()
    starts = [start_of(house, recorded(house, second)), start_of(house, recorded(house, house.interview()))]
    ledger, known = house.store.authority.ledger, next(iter(house.store.stamps.authorities.values()))
    with house.store.book.reading() as session:
        (before,) = stamps_of(session, house.store.book.vault, house.store.book.ledger, second.interview.hex()).before
    assert abs(check_before(before, starts[0], ledger, known) - time.time_ns()) < DAY_NS
    with pytest.raises(ChainBroken, match="not proven in the checkpoint"):
        check_before(before, starts[1], ledger, known)
    with pytest.raises(ChainBroken, match="not that of the stamp"):
        check_before(dataclasses.replace(before, response=before.response + b" "), starts[0], ledger, known)


async def test_a_store_that_enters_a_stamp_of_its_own_is_not_believed(house: House, authority: TimeAuthority) -> None:
    """It holds the ledger's key, and says that a stamp was obtained that no authority gave."""
    book = house.store.book
    recorded(house, house.interview())
    with book.reading() as session:
        note = book.ledger.latest_checkpoint(session)
    assert note is not None
    forged = TimeAuthority(authority.folder / "forged", authority.name)
    response = forged.reply(request(note).der)
    size = Checkpoint.open(note, book.ledger.verifier).size
    ((fingerprint, known),) = house.store.stamps.authorities.items()
    details = {
        "about": f"ledger/checkpoints/{size:012d}", "authority": fingerprint,
        "stamp": hashlib.sha256(response).hexdigest(), "what": "checkpoint",
    }  # fmt: skip
    event = CustodyEvent(Verb.STAMP_OBTAINED, time.time_ns(), Actor.store(), details=details)
    book.record(event)
    order = house.interview()
    take = recorded(house, order)
    start = start_of(house, take)
    with book.reading() as session:
        index = session.query(CustodyEventRow).filter_by(id=event.id).one().ledger_position
        proof = book.ledger.prove_in(session, index, start.record["checkpoint"].encode()).write()
    lie = Before(take.enrolment.hex(), take.take, fingerprint, response, note, event.body(), proof)
    with pytest.raises(SignatureInvalid, match="no authority that is known"):
        check_before(lie, start, house.store.authority.ledger, known)


async def test_a_stamp_that_every_vault_lost_is_declared_and_withholds_no_copy(
    house: House, authority: TimeAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = house.interview()
    recorded(house, order)
    await ask(house, authority)
    store, interview = house.store, order.interview.hex()
    gone = next(each for each in obtained(house) if each["what"] == "close")
    (house.vault / str(gone["object"])).unlink()
    (fingerprint,) = store.stamps.authorities
    anchors = Anchors(store.authority.fingerprint, time_authorities=(fingerprint,))
    bag = await copied(house, order, tmp_path / "first")
    report = verify(bag, anchors)
    assert report.ok, report.failures
    said = next(each.detail for each in report.checks if each.name == "time")
    assert f"DECLARED LOSS: 1 stamps that the store had are lost, and the ledger says so ({gone['about']})" in said
    (declared,) = house.custody(Verb.STAMP_LOST)
    assert declared.event.details["stamp"] == gone["stamp"]
    page = (Path(__file__).parents[2] / "docs/formats/stamp.md").read_text()
    *_, sample = re.findall(r"^```json\n(.*?)\n```", page, re.MULTILINE)
    assert set(declared.event.details) == set(json.loads(sample))
    # The invented sound has no init, so that no originals can be looked at.
    monkeypatch.setattr(second_verifier, "check_ranges", lambda *_: None)
    assert "1 stamps are declared lost" in second_verifier.verify(bag, store.authority.fingerprint)
    # Once is enough; and what is missing without a declaration is refused by both.
    assert declare(store.book, interview) == 0
    listed = bag / "evidence/stamps/stamps.txt"
    first = next(line.split()[0] for line in listed.read_text().splitlines()[1:] if "/start-" in line)
    changed = listed.read_text().splitlines(keepends=True)
    listed.write_text("".join(line for line in changed if first not in line))
    (bag / first).unlink()
    assert not next(each.ok for each in verify(bag, anchors).checks if each.name == "time")
    monkeypatch.setattr(second_verifier, "check_bag", lambda *_: None)
    with pytest.raises(ValueError, match="stamps are not those that are here"):
        second_verifier.verify(bag, store.authority.fingerprint)


async def test_a_row_that_was_edited_has_no_stamp_declared_lost(
    house: House, authority: TimeAuthority, tmp_path: Path
) -> None:
    """Which object a stamp is follows from the ledger: one that contradicts is in the copy, whatever a row says."""
    order = house.interview()
    recorded(house, order, began=quiet(time.time_ns() + DAY_NS))
    await ask(house, authority)
    book = house.store.book
    contradicting = [each for each in obtained(house) if "claim" in cast(list[str], each["contradicts"])]
    assert contradicting
    with book.database.writing() as session:
        for row in session.query(StampRow):
            row.object_name = "stamps/x"
    assert declare(book, order.interview.hex()) == 0
    report = verify(await copied(house, order, tmp_path), Anchors(house.store.authority.fingerprint))
    assert [each.code for each in report.failures if each.name == "time"] == ["time-contradiction"]
    assert house.custody(Verb.STAMP_LOST) == []


async def test_a_stamp_that_contradicts_does_so_when_it_is_lost(
    house: House, authority: TimeAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = house.interview()
    recorded(house, order, began=quiet(time.time_ns() + DAY_NS))
    await ask(house, authority)
    for each in obtained(house):
        if "claim" in cast(list[str], each["contradicts"]):
            (house.vault / str(each["object"])).unlink()
    bag = await copied(house, order, tmp_path)
    assert house.custody(Verb.STAMP_LOST)
    report = verify(bag, Anchors(house.store.authority.fingerprint))
    assert [each.code for each in report.failures if each.name == "time"] == ["time-contradiction"]
    monkeypatch.setattr(second_verifier, "check_ranges", lambda *_: None)
    with pytest.raises(ValueError, match="stamps are not those that are here"):
        second_verifier.verify(bag, house.store.authority.fingerprint)


async def test_nothing_is_declared_lost_while_a_vault_does_not_answer(house: House, authority: TimeAuthority) -> None:
    order = house.interview()
    recorded(house, order)
    await ask(house, authority)
    book, away = house.store.book, LyingVault()
    gone = obtained(house)[0]
    (house.vault / str(gone["object"])).unlink()
    book.vault = KeptVault(book.vault.holdings, [*book.vault.vaults, away])
    away.away = True
    with pytest.raises(OutOfReach):
        declare(book, order.interview.hex())
    assert house.custody(Verb.STAMP_LOST) == []
