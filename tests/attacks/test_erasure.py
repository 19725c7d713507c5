"""28: retention runs out under a hold; then released, and erased by two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from api.desk.copies import CopyDesk
from api.services import Account
from evidence_store.custody import Verb
from evidence_store.database.schema import CopyRow, KeyWrapRow
from evidence_store.erasure import Erasure
from evidence_store.keystore import Escrow, KeyStore
from evidence_store.playback import Playback
from evidence_store.sealing.keys import PrivateKey
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.attacks.keys import WHY, refusal
from tests.house import BEGAN, House, record
from tests.prosecutors import ANNA, BO, enter_prosecutors
from tests.store.taken_in import stored


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


@dataclass
class Kept:
    """A sealed interview among others, and what held its seed."""

    house: House
    order: Order
    take: TakeFolder
    others: list[tuple[Order, TakeFolder]]
    holding: dict[str, bytes]

    @property
    def id(self) -> str:
        return self.order.interview.hex()

    def erasure(self, days: int = 0) -> Erasure:
        return Erasure(self.house.store.book, self.house.store.keys, days, self.house.store.playback.forget)

    def erase(self) -> None:
        self.erasure().request(self.id, ANNA, WHY)
        self.erasure().approve(self.id, BO)

    def plays(self, take: TakeFolder) -> bytes:
        return bytes(self.house.store.playback.media(take.enrolment.hex(), take.take, 0, 0, 0))

    def found(self) -> set[str]:
        """Which of what held the seed is in any file of the house, the database's log included."""
        files = [path.read_bytes() for path in self.house.folder.rglob("*") if path.is_file()]
        return {name for name, secret in self.holding.items() if any(secret in data for data in files)}


@pytest.fixture
def kept(house: House) -> Iterator[Kept]:
    enter_prosecutors(house)
    spool, made = house.spool(), []
    for at in range(3):
        order = house.interview()
        take = record(house, spool, order, ticks=9, began=BEGAN + at * 60 * 10**9)
        house.deliver(take)
        assert house.store.sealing.seal(order.interview.hex())
        made.append((order, take))
    order, take = made.pop(1)
    with house.store.book.reading() as session:
        wrapped = session.get_one(KeyWrapRow, order.interview.hex()).wrapped_seed
    assert wrapped is not None
    seed = house.private_key(order).seed
    deposit = (house.folder / "escrow" / f"{order.interview.hex()}.seed").read_bytes()
    holding = {"seed": seed, "seed in words": seed.hex().encode(), "wrap": wrapped, "deposit": deposit[-200:]}
    yield Kept(house, order, take, made, holding)
    house.close()


def test_28_a_hold_wins_over_time_and_over_two_people(kept: Kept) -> None:
    erasure = kept.erasure()
    hold = erasure.hold(kept.id, BO, "Anke")
    assert refusal(lambda: erasure.request(kept.id, ANNA, WHY)) == "erasure-held"
    second = erasure.hold(kept.id, ANNA, "Klage")
    erasure.release(kept.id, hold, ANNA, "Anken er hævet")
    assert refusal(lambda: erasure.request(kept.id, ANNA, WHY)) == "erasure-held"
    assert refusal(lambda: erasure.release(kept.id, hold, ANNA, "igen")) == "hold-released"
    erasure.release(kept.id, second, BO, "Klagen er afgjort")
    erasure.request(kept.id, ANNA, WHY)
    erasure.hold(kept.id, BO, "Genoptagelse")
    assert refusal(lambda: erasure.approve(kept.id, BO)) == "erasure-held"
    assert kept.plays(kept.take)
    assert kept.found() == {"wrap", "deposit"}
    assert [each.event.reason for each in kept.house.custody(Verb.INTERVIEW_HELD)] == ["Anke", "Klage", "Genoptagelse"]
    assert len(kept.house.custody(Verb.INTERVIEW_RELEASED)) == 2
    assert kept.house.custody(Verb.INTERVIEW_ERASED) == []


def test_28_nobody_erases_before_the_time_alone_or_what_is_not_sealed(kept: Kept) -> None:
    early, erasure = kept.erasure(days=3650), kept.erasure()
    assert refusal(lambda: early.request(kept.id, ANNA, WHY)) == "erasure-early"
    planned = kept.house.interview().interview.hex()
    assert refusal(lambda: erasure.request(planned, ANNA, WHY)) == "not-sealed"
    assert refusal(lambda: erasure.approve(kept.id, BO)) == "erasure-not-requested"
    erasure.request(kept.id, ANNA, WHY)
    assert refusal(lambda: erasure.request(kept.id, BO, WHY)) == "erasure-requested"
    assert refusal(lambda: erasure.approve(kept.id, ANNA)) == "erasure-same-person"
    assert refusal(lambda: early.approve(kept.id, BO)) == "erasure-early"
    erasure.withdraw(kept.id, BO)
    assert refusal(lambda: erasure.approve(kept.id, BO)) == "erasure-not-requested"
    assert kept.plays(kept.take)
    assert kept.house.findings() == {}


def test_28_erased_by_two_nothing_opens_it_and_all_else_stands(kept: Kept) -> None:
    house, before = kept.house, stored(kept.house)
    assert kept.plays(kept.take), "its first secret is in playback's memory now"
    assert kept.found() == {"wrap", "deposit"}, "the search sees what must be there"
    manifest = [each.event.details for each in house.custody(Verb.INTERVIEW_SEALED)]
    kept.erase()

    assert not any(each.start.interview.hex() == kept.id for each in house.store.playback._open.values())
    assert kept.found() == set()
    assert refusal(lambda: kept.plays(kept.take)) == "erased"
    assert refusal(lambda: house.private_key(kept.order)) == "erased"
    recovery = PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes())
    assert refusal(lambda: Escrow(house.folder / "escrow").recover(kept.id, recovery)) == "escrow"

    (erased,) = house.custody(Verb.INTERVIEW_ERASED)
    assert erased.event.actor.name == BO.display_name
    assert erased.event.reason == WHY
    assert erased.event.details == {
        "approved_by": {"id": BO.id, "name": BO.display_name, "role": "prosecutor"},
        "requested_by": {"id": ANNA.id, "name": ANNA.display_name, "role": "prosecutor"},
    }
    assert {name: data for name, data in stored(house).items() if name in before} == before
    assert [each.event.details for each in house.custody(Verb.INTERVIEW_SEALED)] == manifest
    assert house.findings() == {}
    for order, take in kept.others:
        assert b"picture 0" in kept.plays(take)
        assert house.private_key(order)
    house.close()
    house.open()
    assert house.findings() == {}
    assert kept.found() == set()
    erasure = kept.erasure()
    for work in (
        lambda: erasure.hold(kept.id, ANNA, "for sent"), lambda: erasure.request(kept.id, ANNA, WHY),
        lambda: erasure.approve(kept.id, BO),
    ):  # fmt: skip
        assert refusal(work) == "erased"


def test_28_another_process_that_has_it_open_gives_nothing_out(kept: Kept) -> None:
    """Playback in a second replica, which nobody told."""
    store = kept.house.store
    other = Playback(store.book, store.authority, store.keys)
    where = (kept.take.enrolment.hex(), kept.take.take, 0, 0, 0)
    assert other.media(*where)
    opened = next(iter(other._open.values()))
    kept.erase()
    assert refusal(lambda: other.media(*where)) == "erased"
    assert other._open == {}
    assert bytes(opened.secret) == bytes(32)


@pytest.mark.parametrize("where", ["before escrow", "before the wrap"])
def test_28_a_crash_on_the_way_is_carried_out_by_the_next_start(
    kept: Kept, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    erase = KeyStore.erase_escrow

    def killed(self: KeyStore, interview: str) -> None:
        if where == "before the wrap":
            erase(self, interview)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(KeyStore, "erase_escrow", killed)
        with pytest.raises(Killed):
            kept.erase()
    assert refusal(lambda: kept.plays(kept.take)) == "erased", "from the decision on, nobody sees it"
    assert "is here after its erasure" in kept.house.findings()["erasures"]
    kept.house.close()
    kept.house.open()
    kept.erasure().finish()
    kept.erasure().finish()
    assert kept.found() == set()
    assert kept.house.findings() == {}
    assert len(kept.house.custody(Verb.INTERVIEW_ERASED)) == 1
    assert len(kept.house.custody(Verb.ERASURE_APPROVED)) == 1


def test_28_the_audit_finds_a_key_that_went_without_two_people(kept: Kept) -> None:
    """An administrator with the database in hand."""
    with kept.house.store.book.database.writing() as session:
        session.get_one(KeyWrapRow, kept.id).wrapped_seed = None
    assert "nobody erased it" in kept.house.findings()["erasures"]


def test_28_copies_are_waited_for_before_and_removed_after(kept: Kept) -> None:
    """A copy that is being made has the key in memory; one that lies here is media all the same."""
    house, folder = kept.house, kept.house.folder / "copies"
    store = house.store
    desk = CopyDesk(store.book, store.authority, store.keys, folder, "Børnehus", lambda: False)
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    anna = Account(ANNA.id, ANNA.username, ANNA.display_name, ANNA.role)
    copy = desk.request(kept.id, anna, "Fremlæggelse", recipient)
    erasure = Erasure(store.book, store.keys, 0, lambda _: desk.forget_erased())
    assert refusal(lambda: erasure.request(kept.id, ANNA, WHY)) == "erasure-copying"
    with store.book.database.writing() as session:
        row = session.get_one(CopyRow, copy)
        row.state, row.finished_at, row.sha256 = "ready", 1, bytes(32)
    (folder / f"{copy}.tar.age").write_bytes(b"media for somebody")
    erasure.request(kept.id, ANNA, WHY)
    erasure.approve(kept.id, BO)
    assert list(folder.iterdir()) == []
    assert refusal(lambda: desk.stream(copy, anna)) == "copy-not-ready"
    assert refusal(lambda: desk.request(kept.id, anna, "Fremlæggelse", recipient)) == "erased"
