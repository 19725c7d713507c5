"""What the store takes in, and what it refuses: every delivery twice, out of order, late, altered, or of another."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evidence_store.canonical import Record
from evidence_store.custody import Verb
from evidence_store.database.schema import SegmentRow, TakeRow
from evidence_store.errors import (
    ChainBroken,
    Conflict,
    InvalidInput,
    NotFound,
    NotPermitted,
    SignatureInvalid,
    Tampered,
)
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal
from evidence_store.sealing.tick import Kind, Message
from recorder.delivery import objects
from recorder.device import Device
from recorder.recovery import recover
from recorder.sealer import Tick
from recorder.spool import Spool
from recorder.take import Order
from tests.conftest import BOTH_DATABASES
from tests.house import BEGAN, TICK_NS, House, begin, crash, gap, record, tick
from tests.store.taken_in import alarms, count, entries, resigned, stored

pytestmark = BOTH_DATABASES


def test_a_whole_take_is_in_vault_custody_and_ledger_byte_for_byte(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order, ticks=20, events={5: [gap(4, 5)]})
    house.deliver(take)
    base = f"takes/{take.enrolment.hex()}/000001"
    assert stored(house) == {
        f"{base}/start.json": take.start.read_bytes(),
        f"{base}/close.json": take.close.read_bytes(),
        **{f"{base}/segments/{i:06d}": path.read_bytes() for i, path in enumerate(take.segments())},
    }
    assert house.state(order) == "ended"
    assert [len(house.custody(verb)) for verb in (Verb.TAKE_STARTED, Verb.GAP, Verb.TAKE_CLOSED)] == [1, 1, 1]
    assert house.findings() == {}
    assert alarms(house) == []


def test_each_delivery_twice_says_the_same_and_changes_nothing(house: House, spool: Spool, order: Order) -> None:
    take = crash(house, spool, order)
    with take.segments()[-1].open("ab") as file:
        file.write(b"torn")
    recover(spool, house.device(), BEGAN + 60 * 10**9)
    items = [(kind, path.read_bytes()) for kind, path in objects(take)]
    assert [kind for kind, _ in items] == ["start", "segments/0", "segments/1", "tail", "close"]
    for at, (kind, data) in enumerate(items):
        first, size = house.deliver_one(take, kind, data), entries(house)
        for again, earlier in items[: at + 1]:
            house.deliver_one(take, again, earlier)
        assert house.deliver_one(take, kind, data) == first
        assert entries(house) == size
    before = stored(house)
    for kind, data in items:
        house.deliver_one(take, kind, data)
    assert stored(house) == before
    assert house.findings() == {}
    assert alarms(house) == []


@pytest.mark.parametrize("kind", ["segments/0", "tail", "close"])
def test_nothing_of_a_take_is_taken_before_its_start(house: House, spool: Spool, order: Order, kind: str) -> None:
    take = record(house, spool, order)
    with pytest.raises((NotFound, ChainBroken)):
        house.deliver_one(take, kind, take.segment(0).read_bytes() if kind != "close" else take.close.read_bytes())
    assert stored(house) == {}


def test_a_segment_before_its_turn_is_refused_and_taken_in_its_turn(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order, ticks=30)
    house.deliver_one(take, "start", take.start.read_bytes())
    with pytest.raises(ChainBroken):
        house.deliver_one(take, "segments/1", take.segment(1).read_bytes())
    with pytest.raises(ChainBroken):
        house.deliver_one(take, "close", take.close.read_bytes())
    house.deliver(take)
    assert house.findings() == {}


def test_a_refused_delivery_is_in_custody_once_however_often_it_comes(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order)
    house.deliver_one(take, "start", take.start.read_bytes())
    for _ in range(5):
        with pytest.raises(Tampered):
            house.deliver_one(take, "segments/0", take.segment(1).read_bytes())
    assert alarms(house) == ["delivery-refused"]
    (event,) = house.custody(Verb.DELIVERY_REFUSED)
    assert event.event.details["code"] == "segment-missing"


@pytest.mark.parametrize("kind", ["start", "segments/0", "segments/1", "close"])
def test_one_flipped_bit_anywhere_in_a_delivery_is_refused(house: House, spool: Spool, order: Order, kind: str) -> None:
    take = record(house, spool, order, ticks=9)
    items = [(each, path.read_bytes()) for each, path in objects(take)]
    for each, data in items:
        if each == kind:
            for at in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
                altered = bytearray(data)
                altered[at] ^= 1
                with pytest.raises((Tampered, InvalidInput)):
                    house.deliver_one(take, kind, bytes(altered))
            before = stored(house)
        house.deliver_one(take, each, data)
        if each == kind:
            assert len(stored(house)) == len(before) + 1, "something altered was stored"
    assert house.findings() == {}


def test_a_signature_in_another_spelling_is_refused(house: House, spool: Spool, order: Order) -> None:
    """base64's unused bits: the same signature, another text, another object under the close's name."""
    take = record(house, spool, order, ticks=1)
    closed, signatures = journal.decode_envelope(take.close.read_bytes())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for kind, path in objects(take)[:-1]:
        house.deliver_one(take, kind, path.read_bytes())
    # An ECDSA signature has 70 to 72 bytes: signed again until one does not fill its last letter.
    while not signatures["device"].endswith("="):
        signatures = journal.decode_envelope(resigned(house, take, lambda _close: None))[1] | {
            "take": signatures["take"]
        }
    body = signatures["device"].rstrip("=")
    other = alphabet[alphabet.index(body[-1]) ^ 1]
    signatures["device"] = body[:-1] + other + "=" * (len(signatures["device"]) - len(body))
    with pytest.raises(SignatureInvalid):
        house.deliver_one(take, "close", journal.encode_envelope(closed, signatures))


@pytest.mark.parametrize("kind", ["start", "segments/0", "close"])
def test_other_bytes_where_some_are_already_are_refused_and_told(
    house: House, spool: Spool, order: Order, kind: str
) -> None:
    take, other = record(house, spool, order, ticks=3), record(house, spool, order, ticks=3)
    house.deliver(take)
    before = stored(house)
    paths = dict(objects(other))
    with pytest.raises((Conflict, InvalidInput, Tampered)):
        house.deliver_one(take, kind, paths[kind].read_bytes())
    assert stored(house) == before


def test_segments_swapped_between_takes_are_refused(house: House, spool: Spool, order: Order) -> None:
    takes = [record(house, spool, order) for _ in range(2)]
    for take in takes:
        house.deliver_one(take, "start", take.start.read_bytes())
    with pytest.raises(ChainBroken) as caught:
        house.deliver_one(takes[0], "segments/0", takes[1].segment(0).read_bytes())
    assert caught.value.code == "segment-swapped"


def test_a_start_under_another_number_is_refused(house: House, spool: Spool, order: Order) -> None:
    take = record(house, spool, order)
    with pytest.raises(InvalidInput) as caught:
        house.store.intake.start(take.enrolment.hex(), 7, take.start.read_bytes())
    assert caught.value.code == "start-misplaced"


def test_a_start_sealed_to_another_interviews_key_is_refused(house: House, spool: Spool, order: Order) -> None:
    other = house.interview()
    swapped = Order(order.interview, other.public_key, other.key_signature, order.store_certificate, None)
    take = record(house, spool, swapped)
    with pytest.raises(SignatureInvalid):
        house.deliver_one(take, "start", take.start.read_bytes())
    authority = house.store.authority
    signed = authority.sign_interview_key(order.interview, other.public_key)
    take = record(
        house, spool, Order(order.interview, other.public_key, signed, order.store_certificate, None), ticks=1
    )
    with pytest.raises(InvalidInput) as caught:
        house.deliver_one(take, "start", take.start.read_bytes())
    assert caught.value.code == "start-key"


def test_a_start_of_an_interview_that_is_not_here_is_refused(house: House, spool: Spool, order: Order) -> None:
    unknown = bytes(16)
    signed = house.store.authority.sign_interview_key(unknown, order.public_key)
    take = record(house, spool, Order(unknown, order.public_key, signed, order.store_certificate, None), ticks=1)
    with pytest.raises(NotFound):
        house.deliver_one(take, "start", take.start.read_bytes())


def forged(house: House, enrolment: bytes) -> Device:
    """A device of an enrolment that the root certified and that the store's books do not know (or know otherwise)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import mldsa

    key, ml_dsa_key = certs.new_key(), mldsa.MLDSA65PrivateKey.generate()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    issued = house.store.authority.enrol(
        enrolment, key.public_key().public_bytes(*form), ml_dsa_key.public_key().public_bytes(*form),
        datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    return Device(enrolment, "demo", key, ml_dsa_key, issued)


def test_a_device_that_is_not_enrolled_delivers_nothing(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order, forged(house, bytes(16)))
    sealer.write(tick(0))
    sealer.close(tick(1))
    for kind, path in objects(sealer.folder):
        with pytest.raises((NotPermitted, NotFound)):
            house.deliver_one(sealer.folder, kind, path.read_bytes())
    with pytest.raises(NotPermitted):
        house.store.intake.heartbeat(forged(house, bytes(16)).heartbeat(3, None, BEGAN))
    assert stored(house) == {}


def test_two_enrolments_of_one_name_give_one_device(house: House) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import mldsa

    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ready = threading.Barrier(4)

    def ask(_: int) -> str:
        device = certs.new_key().public_key().public_bytes(*form)
        ml_dsa = mldsa.MLDSA65PrivateKey.generate().public_key().public_bytes(*form)
        ready.wait()
        try:
            house.store.intake.enrol(bytes(16), "demo", device, ml_dsa)
        except Conflict as error:
            return error.code
        return "enrolled"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(ask, range(4)))
    assert answers == ["enrolled", *["enrolment-exists"] * 3] or answers == [*["enrolment-exists"] * 3, "enrolled"]
    assert len(house.custody(Verb.DEVICE_ENROLLED)) == 1


@pytest.mark.parametrize("kind", ["start", "segments/0", "segments/1", "close"])
def test_the_same_delivery_many_times_at_once_is_entered_once(
    house: House, spool: Spool, order: Order, kind: str
) -> None:
    take = record(house, spool, order, ticks=9)
    for each, path in objects(take):
        data = path.read_bytes()
        if each == kind:
            ready = threading.Barrier(4)

            def deliver(_: int, each: str = each, data: bytes = data, ready: threading.Barrier = ready) -> bytes:
                ready.wait()
                return house.deliver_one(take, each, data)

            with ThreadPoolExecutor(4) as pool:
                assert len(set(pool.map(deliver, range(4)))) == 1
        else:
            house.deliver_one(take, each, data)
    assert (count(house, TakeRow), count(house, SegmentRow)) == (1, 2)
    assert len(house.custody(Verb.TAKE_STARTED)) == len(house.custody(Verb.TAKE_CLOSED)) == 1
    assert house.findings() == {}
    assert alarms(house) == []


# Heartbeats


def test_a_heartbeat_names_a_take_that_never_comes(house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order))
    house.store.intake.heartbeat(house.device().heartbeat(2, None, BEGAN))
    assert [name.split()[0] for name in house.findings()] == ["numbers"]
    house.store.intake.heartbeat(house.device().heartbeat(1, None, BEGAN))
    assert "take 2 is missing" in next(iter(house.findings().values())), "what was named once stays named"


@pytest.mark.parametrize("take", [-1, 2**32, 2**53, "3", True, None, 1.5])
def test_a_heartbeat_with_another_kind_of_number_is_refused(house: House, take: Any) -> None:
    device = house.device()
    with pytest.raises(InvalidInput):
        house.store.intake.heartbeat(device.heartbeat(take, None, BEGAN))


def test_a_heartbeat_with_one_flipped_bit_is_refused(house: House) -> None:
    data = house.device().heartbeat(3, bytes(32), BEGAN)
    for at in range(0, len(data), 5):
        altered = bytearray(data)
        altered[at] ^= 1
        with pytest.raises((InvalidInput, SignatureInvalid, NotPermitted)):
            house.store.intake.heartbeat(bytes(altered))


# Odd but signed


def test_events_and_fragments_of_odd_forms_stop_neither_intake_nor_sealing(
    house: House, spool: Spool, order: Order
) -> None:
    odd: list[Record] = [
        {"type": "gap"},
        {"type": "gap", "from": "soon", "to": 5, "track": "wide", "reason": None, "take": 99, "enrolment": "x"},
        {"type": "gap", "from": "9" * 19, "to": "٣", "track": 77},
        {"type": "viewer", "utc": "later", "viewer": 5},
        {"type": "origin"},
        {"type": "connection"},
        {"type": "not invented yet", "of": []},
    ]
    sealer = begin(house, spool, order)
    sealer.write(Tick([], odd, 0, BEGAN))
    about: list[Record] = [{}, {"from": "a", "to": None}, {"from": 5, "to": 6, "track": 99, "epoch": 99}]
    sealer.write(Tick([Message(Kind.MEDIA, 44, 0, b"x", 1, each) for each in about], odd, TICK_NS, BEGAN))
    sealer.close(tick(2))
    house.deliver(sealer.folder)
    assert len(house.custody(Verb.GAP)) == 6
    assert {each.event.details["take"] for each in house.custody(Verb.GAP)} == {1}
    assert house.store.sealing.seal(order.interview.hex())
    assert house.findings() == {}


# Test-opening


def test_a_test_opening_is_noted_once(house: House, spool: Spool, order: Order) -> None:
    take = crash(house, spool, order)
    house.deliver(take)
    assert house.test_opening(take)
    assert house.test_opening(take)
    assert len(house.custody(Verb.TAKE_TESTED)) == 1


def test_a_test_opening_that_fails_is_an_alarm_and_in_custody(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order)
    sealer._ratchet._secret[:] = bytes(32)  # what is sealed from here on, nobody will ever open
    sealer.write(tick(0))
    house.deliver_one(sealer.folder, "start", sealer.folder.start.read_bytes())
    assert not house.test_opening(sealer.folder)
    assert alarms(house) == ["test-opening-failed"]
    assert [each.event.details["code"] for each in house.custody(Verb.TAKE_TEST_FAILED)] == ["message-invalid"]


def test_what_was_done_and_overridden_in_the_room_is_in_custody_and_malformed_words_hold_nothing_up(
    house: House, spool: Spool, order: Order
) -> None:
    said: list[Record] = [
        {"act": "start", "by": "room", "emergency": True, "type": "order"},
        {"failed": [{"camera": "wide", "code": "camera-lost"}, {"camera": 7}, "x"], "type": "checks-failed"},
        {"failed": 3, "type": "checks-failed"},
    ]
    house.deliver(record(house, spool, order, ticks=9, events={0: said, 8: [{"act": "stop", "type": "order"}]}))
    (begun,), (ended,) = house.custody(Verb.INTERVIEW_STARTED), house.custody(Verb.INTERVIEW_ENDED)
    assert begun.event.actor.id == ended.event.actor.id == f"recorder:{house.device().enrolment.hex()}"
    assert [each.event.details["failed"] for each in house.custody(Verb.CHECKS_OVERRIDDEN)] == [
        [{"camera": "wide", "code": "camera-lost"}, {"camera": None, "code": "unknown"}], [],
    ]  # fmt: skip
    assert house.findings() == {}
