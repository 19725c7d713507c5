"""Attacks on stored segments and starts, by whoever has the vault, the disk of a recorder, or the way between them."""

from __future__ import annotations

import base64
import dataclasses
import secrets

import pytest

from evidence_store import domains
from evidence_store.canonical import Record
from evidence_store.custody import Verb
from evidence_store.database.schema import SegmentRow
from evidence_store.errors import CiphertextInvalid
from evidence_store.sealing import journal
from evidence_store.sealing.check import Chain
from evidence_store.sealing.keys import PublicKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys
from evidence_store.sealing.tick import Kind, Message, open_message, place_of, seal_message
from evidence_store.sealing.tick import Place as MessagePlace
from recorder.recovery import recover
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.attacks.defence import found_out, refused
from tests.attacks.place import Place, expect
from tests.house import BEGAN, crash, gone_on, record, tick
from tests.store.test_closes import cut_back
from tests.store.test_scrub import Two

CLEAR = b"what the child said" * 20


def opened(place: Place, take: TakeFolder, order: Order) -> SegmentKeys:
    """Keys of a take's first segment, as the store gets at them."""
    start = place.start(take)
    info = take_wrap_info(start.enrolment, start.take, start.interview)
    return Ratchet(
        start.start_hash, bytearray(place.house.private_key(order).unwrap(start.wrap, info))
    ).next_segment()  # fmt: skip


def test_01_one_bit_flipped_in_a_stored_segment(place: Place) -> None:
    house, two = place.house, Two(place.house)
    path = place.stored(1, 1)
    good, name = path.read_bytes(), str(path.relative_to(house.vault))
    two.damage_first(name)
    two.read_everything()
    assert path.read_bytes() == good, "the second copy restores it"
    (mended,) = house.custody(Verb.VAULT_OBJECT_MENDED)
    assert mended.event.details["object"] == name
    two.damage_first(name)
    two.second.objects[name] = path.read_bytes()
    refused(lambda: place.plays(1, 1), "object-altered")
    found_out(house.findings(), "(object-altered)")


def test_02_a_middle_segment_deleted(place: Place) -> None:
    """From the vault, and from the database's list."""
    place.stored(1, 1).unlink()
    with place.house.store.book.database.writing() as session:
        session.delete(session.get_one(SegmentRow, (place.house.device().enrolment.hex(), 1, 1)))
    found_out(place.house.findings(), "(segment-missing)")


def a_message(place: Place) -> tuple[TakeFolder, Order, MessagePlace, Record, memoryview]:
    """The first one of the second tick of a new take: the take, its order, the message's place, entry, ciphertext."""
    house = place.house
    order = house.interview()
    take = record(house, house.spool(), order, ticks=3)
    start = place.start(take)
    _, ticks = Chain(start).check_segment(take.segment(0).read_bytes())
    entry, ciphertext = next(iter(ticks[1].parts()))
    return take, order, place_of(start.start_hash, ticks[1].record, entry), entry, ciphertext


def test_03_segments_tracks_or_cases_swapped(place: Place) -> None:
    """A message opens in its own place only: take, segment, tick, kind, track, init epoch."""
    take, order, own, entry, ciphertext = a_message(place)
    expect(
        open_message(opened(place, take, order), own, entry, ciphertext) == tick(1).messages[0].data, "its own place"
    )
    for other in (
        {"start_hash": place.start(place.takes[0]).start_hash}, {"segment": 1}, {"tick": 2}, {"kind": Kind.WORDS},
        {"track": 1}, {"epoch": 1},
    ):  # fmt: skip
        with pytest.raises(CiphertextInvalid):
            open_message(opened(place, take, order), dataclasses.replace(own, **other), entry, ciphertext)


def test_04_last_n_segments_dropped(place: Place) -> None:
    """The device's folder is cut back behind what it had delivered, and closed as if it had crashed there."""
    house = place.house
    spool, order = house.spool(), house.interview()
    take = crash(house, spool, order, ticks=20)
    house.deliver(take)
    take.segment(2).unlink()
    take.segment(1).unlink()
    recover(spool, house.device(), BEGAN)
    refused(lambda: house.deliver_one(take, "close", take.close.read_bytes()), "close-mismatch")
    assert "delivery-refused" in place.alarms()


def test_05_truncated_inside_a_segment(place: Place) -> None:
    house = place.house
    take = record(house, house.spool(), house.interview(), ticks=8)
    house.deliver_one(take, "start", take.start.read_bytes())
    cut = take.segment(0).read_bytes()[:-5]
    refused(lambda: house.deliver_one(take, "segments/0", cut), "tick-torn")
    assert place.start(take).take == house.custody(Verb.DELIVERY_REFUSED)[0].event.details["take"]


def test_06_two_key_ciphertext(place: Place) -> None:
    """One that opens under a key of the forger's, to other words: the record is committed to the true ones."""
    take, order, own, entry, _ = a_message(place)
    forged = SegmentKeys(0, bytearray(secrets.token_bytes(64)))
    other = seal_message(forged, own, Message(Kind.MEDIA, 0, 0, b"what the child never said", 1, {}))
    with pytest.raises(CiphertextInvalid):
        open_message(opened(place, take, order), own, entry, other.ciphertext)
    refused(lambda: open_message(forged, own, entry, other.ciphertext), "commitment-mismatch")


def test_07_a_key_wrap_replaced(place: Place) -> None:
    """By somebody on the way who knows the interview's public key, and would have the take open to his own secret."""
    house = place.house
    take = record(house, house.spool(), house.interview(), ticks=2)
    said, signatures = journal.decode_envelope(take.start.read_bytes())
    start = place.start(take)
    key = PublicKey(journal.unb64(said["interview"]["public_key"]))
    wrap = key.wrap(secrets.token_bytes(32), take_wrap_info(start.enrolment, start.take, start.interview))
    forged = journal.encode_envelope({**said, "wrap": base64.b64encode(wrap).decode()}, signatures)
    refused(lambda: house.deliver_one(take, "start", forged), "signature-invalid")


def test_34_ticks_appended_to_a_closed_take_or_cut_off_it_and_called_a_torn_tail(place: Place) -> None:
    house = place.house
    spool, order = house.spool(), house.interview()
    closed = gone_on(house, spool, order)
    late = closed.segment(2).read_bytes()
    refused(lambda: house.deliver_one(closed, "segments/2", late), "take-closed")
    take = crash(house, spool, order, ticks=12)
    cut_back(house, take, 8)
    for kind, path in ((kind, take.path / kind) for kind in ("start.json", "000000.segment", "tail")):
        what = {"start.json": "start", "000000.segment": "segments/0"}.get(kind, kind)
        house.deliver_one(take, what, path.read_bytes())
    refused(lambda: house.deliver_one(take, "close", take.close.read_bytes()), "tail-whole")


def test_37_a_leaked_clip_is_compared_with_stored_hashes(place: Place) -> None:
    """Whoever has the clip and all that is stored, and knows how hashes are made, confirms nothing."""
    house = place.house
    take = record(house, house.spool(), house.interview(), ticks=3)
    stored = take.segment(0).read_bytes()
    for each in tick(1).messages:
        for guess in (each.data, len(each.data).to_bytes(4, "big") + each.data):
            for domain in (domains.COMMITMENT, domains.CIPHERTEXT):
                assert domains.sha256(domain, guess).hex().encode() not in stored
