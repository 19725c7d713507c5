"""Bringing a vault what it lacks, reading everything, and mending one copy from the other; in a house with two."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from evidence_store import kept, scrub
from evidence_store.audit import Audit
from evidence_store.audit_report import Finding
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AlarmRow, ScrubRow
from evidence_store.errors import ChainBroken, OutOfReach, Unavailable
from evidence_store.kept import KeptVault
from evidence_store.ledger.book import checkpoint_name
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.scrub import BEHIND, BEHIND_AFTER_NS, FIRST, LOST, Scrub
from evidence_store.vault.disk import DiskVault
from evidence_store.vault.vault import ListedObject
from recorder.spool import Spool
from recorder.take import Order
from tests.conftest import BOTH_DATABASES
from tests.house import BEGAN, House, record
from tests.lying_vault import LyingVault

pytestmark = BOTH_DATABASES

SECOND = "takes/{}/000001/segments/000001"


class Two:
    """A house whose second vault can be told to lie. `now` is what its clock says."""

    def __init__(self, house: House) -> None:
        self.house, self.second, self.now = house, LyingVault("another"), BEGAN
        (first,) = house.store.book.vault.vaults
        assert isinstance(first, DiskVault)
        self.first = first
        house.store.book.clock = lambda: self.now
        self.vault = house.store.book.vault = KeptVault(house.store.book.vault.holdings, [first, self.second])
        self.vault.contradicts = house.store.book.is_contradicted
        self.vault.holdings._clock = lambda: self.now
        self.scrub = Scrub(house.store.book, self.vault)
        # The checkpoints of the house's beginning.
        while self.scrub.bring().after is not None:
            pass

    def on_disk(self, name: str) -> Path:
        return self.house.vault / name

    def damage_first(self, name: str) -> None:
        path = self.on_disk(name)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)

    def standing(self) -> list[str]:
        with self.house.store.book.reading() as session:
            return list(session.scalars(select(AlarmRow.code).where(AlarmRow.cleared_at.is_(None))))

    def read_everything(self) -> ScrubRow:
        number = self.scrub.begin()
        while not self.scrub.read_on(number).ended:
            pass
        with self.house.store.book.reading() as session:
            return session.get_one(ScrubRow, number)


@pytest.fixture
def two(house: House) -> Two:
    return Two(house)


def name_of(house: House) -> str:
    return SECOND.format(house.device().enrolment.hex())


def test_an_interview_is_sealed_when_both_hold_it(two: Two, house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order)
    two.second.away = True
    house.deliver(take)
    assert not house.store.sealing.seal(order.interview.hex())
    two.scrub.bring()
    assert not house.store.sealing.seal(order.interview.hex())
    two.second.away = False
    brought = two.scrub.bring()
    assert (brought.failed, brought.after) == (0, None)
    assert house.store.sealing.seal(order.interview.hex())
    assert sorted(two.second.objects) == [listed.name for listed in two.first.list()]
    assert house.findings() == {}


def test_a_manifest_that_the_second_lacks_is_not_sealed_yet(two: Two, house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order))
    two.second.refuses = True
    assert not house.store.sealing.seal(order.interview.hex())
    assert house.state(order) == "ended"
    two.second.refuses = False
    two.scrub.bring()
    assert house.store.sealing.seal(order.interview.hex())
    assert len(house.custody(Verb.INTERVIEW_SEALED)) == 1


@pytest.mark.parametrize("by", ["flip", "delete"])
@pytest.mark.parametrize("which", ["first", "second"])
def test_reading_everything_mends_either_copy_from_the_other(
    two: Two, house: House, spool: Spool, order: Order, which: str, by: str
) -> None:
    house.deliver(record(house, spool, order))
    house.store.sealing.seal(order.interview.hex())
    name = name_of(house)
    good = two.on_disk(name).read_bytes()
    if which == "first" and by == "flip":
        two.damage_first(name)
    elif which == "first":
        two.on_disk(name).unlink()
    elif by == "flip":
        two.second.objects[name] = good[:-1] + b"?"
    else:
        del two.second.objects[name]
    objects, _ = two.vault.holdings.total()
    row = two.read_everything()
    assert (row.mended, row.lost, row.unread) == (1, 0, 0)
    assert row.objects == 2 * objects
    assert two.on_disk(name).read_bytes() == two.second.objects[name] == good
    (mended,) = house.custody(Verb.VAULT_OBJECT_MENDED)
    assert mended.event.interview == order.interview.hex()
    assert mended.event.details["object"] == name
    assert mended.event.details["why"] == {"flip": "object-altered", "delete": "object"}[by]
    (scrubbed,) = house.custody(Verb.VAULT_SCRUBBED)
    assert (scrubbed.event.details["mended"], scrubbed.event.details["lost"]) == (1, 0)
    assert house.findings() == {}
    assert two.read_everything().mended == 0


def test_what_no_copy_is_left_of_is_lost_and_told_until_it_is_found_again(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    house.deliver(record(house, spool, order))
    name = name_of(house)
    good = two.on_disk(name).read_bytes()
    two.damage_first(name)
    del two.second.objects[name]
    row = two.read_everything()
    assert (row.mended, row.lost) == (0, 1)
    assert LOST in two.standing()
    two.scrub.bring()
    (lost,) = house.custody(Verb.VAULT_OBJECT_LOST)
    assert lost.event.details["object"] == name
    assert two.on_disk(name).read_bytes() != good, "nothing was made of what was no good"
    # Somebody finds a copy, and lays it where the second had it.
    two.second.objects[name] = good
    two.scrub.bring()
    assert two.on_disk(name).read_bytes() == good
    assert two.standing() == []


def test_with_one_copy_away_nothing_is_called_lost(two: Two, house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order))
    two.damage_first(name_of(house))
    two.second.away = True
    row = two.read_everything()
    assert (row.mended, row.lost) == (0, 0)
    assert row.unread > 0
    assert house.custody(Verb.VAULT_OBJECT_LOST) == []
    two.second.away = False
    assert two.read_everything().mended == 1


def test_what_a_reader_found_wrong_is_mended_without_waiting_for_the_reading_of_everything(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    house.deliver(record(house, spool, order))
    name = name_of(house)
    two.damage_first(name)
    house.store.playback.check_take(house.device().enrolment.hex(), 1)
    two.scrub.bring()
    assert two.on_disk(name).read_bytes() == two.second.objects[name]
    assert len(house.custody(Verb.VAULT_OBJECT_MENDED)) == 1


def test_a_vault_that_is_behind_is_told_of_until_it_has_everything(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    two.second.away = True
    house.deliver(record(house, spool, order))
    two.scrub.bring()
    assert two.standing() == []
    two.now += BEHIND_AFTER_NS + 1
    two.scrub.bring()
    assert two.standing() == [BEHIND]
    two.scrub.bring()
    assert two.standing() == [BEHIND]
    two.second.away = False
    two.scrub.bring()
    assert two.standing() == []


def test_bringing_goes_on_where_a_portion_ended(two: Two, house: House, spool: Spool, order: Order) -> None:
    two.second.away = True
    house.deliver(record(house, spool, order, ticks=40))
    two.second.away = False
    place, rounds = FIRST, 0
    while (brought := two.scrub.bring(place, limit=2)).after is not None:
        assert (brought.brought, brought.failed) == (2, 0)
        place, rounds = brought.after, rounds + 1
    assert rounds > 3
    assert two.vault.complete([""])


def test_one_that_lies_about_having_it_is_found_out_by_the_reading(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    two.second.forgets = True
    house.deliver(record(house, spool, order))
    assert house.store.sealing.seal(order.interview.hex()), "it was told that both have it"
    assert name_of(house) not in two.second.objects
    two.second.forgets = False
    row = two.read_everything()
    assert row.mended > 5
    assert row.lost == 0
    assert name_of(house) in two.second.objects


def test_a_killed_reading_goes_on_and_is_entered_once(two: Two, house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order, ticks=80))
    number = two.scrub.begin()
    two.scrub.read_on(number)
    again = Scrub(house.store.book, two.vault)
    assert again.begin() == number
    for _ in range(20):
        again.read_on(number)
    assert len(house.custody(Verb.VAULT_SCRUBBED)) == 1
    assert again.begin() == number + 1


def test_nothing_is_mended_while_it_could_not_be_entered(two: Two, house: House) -> None:
    house.store.book.read_only = True
    for act in (two.scrub.bring, two.scrub.begin, lambda: two.scrub.read_on(1)):
        with pytest.raises(Unavailable):
            act()


def said(house: House, name: str) -> Finding:
    report = Audit(house.store.book, house.store.authority).run()
    return next(each for each in report.findings if each.name == name)


def test_the_audit_reads_both_and_names_the_vault_that_is_wrong(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    house.deliver(record(house, spool, order))
    house.store.sealing.seal(order.interview.hex())
    assert "each as it was stored" in said(house, "vault 2").detail
    name = name_of(house)
    two.second.objects[name] = b"something else"
    two.damage_first("ledger/checkpoints/000000000001")
    assert house.findings() == {
        "vault 1": "not what was stored: ledger/checkpoints/000000000001 (altered) (object-altered)",
        "vault 2": f"not what was stored: {name} (altered) (object-altered)",
    }, "and everything else holds, by the other copy"
    two.second.objects.clear()
    assert "more (object-altered)" in house.findings()["vault 2"]
    two.second.away = True
    assert "vault-out-of-reach" in house.findings()["vault 2"]


def test_the_audit_tells_what_is_merely_on_its_way(two: Two, house: House, spool: Spool, order: Order) -> None:
    two.second.refuses = True
    house.deliver(record(house, spool, order))
    two.second.refuses = False
    assert "not brought there yet" in said(house, "vault 2").detail
    assert house.findings() == {}


def test_the_audit_says_under_whose_hands_the_vaults_are(two: Two, house: House) -> None:
    apart = said(house, "vaults")
    assert (apart.ok, apart.weak) == (True, False)
    assert "under different hands" in apart.detail
    two.second.administrator = two.first.administrator
    together = said(house, "vaults")
    assert (together.ok, together.weak) == (True, True)
    assert "two vaults under one administrator" in together.detail
    house.store.book.vault = KeptVault(two.vault.holdings, [two.first])
    alone = said(house, "vaults")
    assert "no second copy" in alone.detail
    assert alone.weak


def test_a_second_vault_that_remembers_another_ledger_stops_entries_and_is_not_mended(two: Two, house: House) -> None:
    """Yesterday's database with yesterday's first vault, while the second was away: it comes back and contradicts."""
    signer, book = house.store.authority.note_signer(), house.store.book
    book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    with book.reading() as session:
        size = Checkpoint.open(book.ledger.latest_checkpoint(session) or b"", book.ledger.verifier).size
    true = Checkpoint(book.ledger.verifier.name, size + 1, b"7" * 32).signed(signer).write()
    two.second.objects[checkpoint_name(size + 1)] = true
    with pytest.raises(ChainBroken):
        book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    assert book.read_only
    assert two.second.objects[checkpoint_name(size + 1)] == true


def test_one_that_comes_back_with_another_ledger_is_found_out_before_anything_is_brought_over_it(
    two: Two, house: House
) -> None:
    signer, book = house.store.authority.note_signer(), house.store.book
    two.second.away = True
    book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    (lack,) = two.vault.holdings.lacks(10)
    size = int(lack.stored.name.rpartition("/")[2])
    true = Checkpoint(book.ledger.verifier.name, size, b"7" * 32).signed(signer).write()
    two.second.objects[lack.stored.name] = true
    two.second.away = False
    two.scrub.bring()
    assert book.read_only
    assert two.second.objects[lack.stored.name] == true
    assert two.second.aside == []


def test_a_checkpoint_that_is_merely_damaged_is_mended(two: Two, house: House) -> None:
    house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))
    name = two.vault.holdings.after("ledger/", 1)[0].name
    two.second.objects[name] = b"no checkpoint at all"
    assert two.read_everything().mended == 1
    assert not house.store.book.read_only


def test_a_vault_that_was_out_of_the_settings_is_brought_what_came_meanwhile(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    house.store.book.vault = KeptVault(two.vault.holdings, [two.first])
    house.deliver(record(house, spool, order))
    anew = house.store.book.vault = KeptVault(two.vault.holdings, [two.first, two.second])
    assert not anew.complete(["takes/"])
    scrub = Scrub(house.store.book, anew)
    place = FIRST
    while (brought := scrub.bring(place)).after is not None:
        place = brought.after
    assert anew.complete([""])
    assert name_of(house) in two.second.objects
    assert house.custody(Verb.VAULT_OBJECT_MENDED) == []


def test_what_a_crash_left_between_vault_and_database_is_known_from_the_next_try_on(
    two: Two, house: House, spool: Spool, order: Order
) -> None:
    house.deliver(record(house, spool, order))
    name = f"interviews/{order.interview.hex()}/manifest-001.json.p7s"
    two.first.put(name, b"a signature that a crash left")
    house.store.sealing.seal(order.interview.hex())
    assert two.second.objects[name] == b"a signature that a crash left"


def test_a_vault_that_hangs_holds_up_neither_reading_nor_bringing_nor_mending(
    two: Two, house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deliver(record(house, spool, order))
    monkeypatch.setattr(scrub, "LONG_PATIENCE_S", 0.2)
    monkeypatch.setattr(kept, "LONG_PATIENCE_S", 0.2)
    two.second.hangs = True
    try:
        began = time.monotonic()
        assert two.read_everything().unread > 0
        assert [listed.name for listed in two.vault.list("takes/")]
        two.vault.holdings.lack(two.second.identity, name_of(house), "object")
        assert two.scrub.bring().failed > 0
        with pytest.raises(OutOfReach):
            two.vault.mend(name_of(house), two.on_disk(name_of(house)).read_bytes())
        assert time.monotonic() - began < 5
    finally:
        two.second.hangs = False
        two.second.released.set()


def test_a_start_lists_the_last_checkpoints_and_not_all_of_them(two: Two, house: House) -> None:
    book, told = house.store.book, list[tuple[str, str]]()
    really = two.first.list

    def list_(prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        told.append((prefix, after))
        return really(prefix, after)

    two.first.list = list_  # type: ignore[method-assign]
    for _ in range(300):
        book.record(CustodyEvent(Verb.INTERVIEW_SEARCHED, BEGAN, Actor.console()))
    book.check_remembered()
    with book.reading() as session:
        size = book.ledger.size_of(book.ledger.latest_checkpoint(session) or b"")
    assert told == [("ledger/checkpoints/", checkpoint_name(size - 256))]


def test_a_start_finds_what_is_remembered_behind_and_before_its_own_end(two: Two, house: House) -> None:
    """The vault's last checkpoint is the one that counts, wherever this database ends."""
    book = house.store.book
    book.record(CustodyEvent(Verb.INTERVIEW_SEARCHED, BEGAN, Actor.console()))
    with book.reading() as session:
        size = book.ledger.size_of(book.ledger.latest_checkpoint(session) or b"")
    assert book._last_remembered() == checkpoint_name(size)
    two.first.put(checkpoint_name(size + 5000), b"of a ledger that grew on")
    assert book._last_remembered() == checkpoint_name(size + 5000)
