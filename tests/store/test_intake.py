"""What the store takes in, and what it refuses: every delivery twice, out of order, late, altered, or of another."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import func, select

from evidence_store.canonical import Record
from evidence_store.custody import Verb
from evidence_store.database.schema import AlarmRow, DeviceRow, SegmentRow, TakeRow
from evidence_store.database.session import Database
from evidence_store.errors import (
    ChainBroken,
    Conflict,
    InvalidInput,
    NoSpace,
    NotFound,
    NotPermitted,
    OutOfReach,
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
from recorder.spool import Spool, TakeFolder
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, begin, crash, gap, record, tick, until


def alarms(house: House) -> list[str]:
    with house.store.book.reading() as session:
        return list(session.scalars(select(AlarmRow.code).order_by(AlarmRow.id)))


def count(house: House, table: type[SegmentRow] | type[TakeRow]) -> int:
    with house.store.book.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def entries(house: House) -> int:
    with house.store.book.reading() as session:
        return house.store.book.ledger.verify_all(session).size


def stored(house: House) -> dict[str, bytes]:
    return {
        str(path.relative_to(house.vault)): path.read_bytes()
        for path in house.vault.rglob("*")
        if path.is_file() and "checkpoints" not in str(path)
    }


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


# Closes


def resigned(house: House, take: TakeFolder, change: Callable[[Record], object], key: bool = False) -> bytes:
    """The close with something changed, signed anew by the device: what a stolen device could deliver."""
    close, _ = journal.decode_envelope(take.close.read_bytes())
    change(close)
    return journal.sign_close(close, house.device().signers(certs.new_key() if key else None))


@pytest.mark.parametrize(
    "change",
    [
        lambda close: close.update(head=bytes(32).hex()),
        lambda close: close.update(segments=close["segments"][:-1]),
        lambda close: close.update(last={"i": 0, "t": 3}),
        lambda close: close.update(how="crashed", last={"i": 1, "t": 8}),
        lambda close: close.update(start=bytes(32).hex()),
        lambda close: close.update(how="void"),
        lambda close: close.update(how="crashed", torn={"hash": bytes(32).hex(), "length": 5}),
        lambda close: close.update(how="crashed", torn="all of it"),
        lambda close: close.update(how="crashed", torn={"hash": 5, "length": "x"}),
        lambda close: close.update(how="went home"),
        lambda close: close.update(more="members"),
        lambda close: close.pop("torn"),
    ],
)
def test_a_close_that_disagrees_with_what_was_delivered_is_refused(
    house: House, spool: Spool, order: Order, change: Callable[[Record], object]
) -> None:
    take = record(house, spool, order, ticks=10)
    altered = resigned(house, take, change)
    for kind, path in objects(take)[:-1]:
        house.deliver_one(take, kind, path.read_bytes())
    with pytest.raises((Tampered, InvalidInput)):
        house.deliver_one(take, "close", altered)
    house.deliver(take)
    assert house.findings() == {}


@pytest.mark.parametrize("key", [False, True], ids=["without_it", "by_another_key"])
def test_a_stop_that_the_take_key_did_not_sign_is_refused(house: House, spool: Spool, order: Order, key: bool) -> None:
    take = record(house, spool, order)
    for kind, path in objects(take)[:-1]:
        house.deliver_one(take, kind, path.read_bytes())
    with pytest.raises(SignatureInvalid):
        house.deliver_one(take, "close", resigned(house, take, lambda close: None, key))


def test_a_close_behind_what_was_announced_is_refused_and_told(house: House, spool: Spool, order: Order) -> None:
    """The device's folder is cut back behind what it had delivered, and closed as if it had crashed there."""
    take = crash(house, spool, order, ticks=20)
    house.deliver(take)
    take.segment(2).unlink()
    take.segment(1).unlink()
    recover(spool, house.device(), BEGAN)
    with pytest.raises(ChainBroken) as caught:
        house.deliver_one(take, "close", take.close.read_bytes())
    assert caught.value.code == "close-mismatch"
    assert alarms(house) == ["delivery-refused"]


def test_whole_ticks_that_are_called_a_torn_tail_are_found(house: House, spool: Spool, order: Order) -> None:
    for ticks, keep in ((8, 0), (6, 3), (12, 8)):
        take = crash(house, spool, order, ticks=ticks)
        cut_back(house, take, keep)
        kinds = [kind for kind, _ in objects(take)]
        assert kinds[-2:] == ["tail", "close"]
        for kind, path in objects(take)[:-1]:
            house.deliver_one(take, kind, path.read_bytes())
        with pytest.raises(ChainBroken) as caught:
            house.deliver_one(take, "close", take.close.read_bytes())
        assert caught.value.code == ("tail-mismatch" if keep == 0 else "tail-whole")


def cut_back(house: House, take: TakeFolder, keep: int) -> None:
    """A dishonest recovery: everything behind tick `keep` becomes the tail, and the close says so."""
    from evidence_store import domains
    from evidence_store.sealing import check, segment

    chain, hashes = check.Chain(check.check_start(take.start.read_bytes(), house.store.authority.root)), []
    for path in take.segments():
        data = path.read_bytes()
        header, at = segment.read_header(data)
        kept = [each for each in segment.ticks(data, at) if each.record["t"] < keep]
        whole = kept[-1].offset + kept[-1].size if kept else 0
        if whole < len(data):
            take.tail.write_bytes(data[whole:])
            path.write_bytes(data[:whole])
        if not whole:
            path.unlink()
            continue
        chain.check_segment(data[:whole])
        hashes.append(segment.segment_hash(header, chain.head))
    tail = take.tail.read_bytes() if keep else b"another"
    close = journal.close_record(
        enrolment=take.enrolment, take=take.take, start=chain.start.start_hash,
        last=(chain.index, chain.tick) if chain.tick >= 0 else None, head=chain.head, segments=hashes,
        how=journal.Ending.CRASHED, torn=(domains.sha256(domains.TAIL, tail), len(tail)),
        last_alive_utc_ns=BEGAN, closed_utc_ns=BEGAN,
    )  # fmt: skip
    take.close.write_bytes(journal.sign_close(close, house.device().signers(None)))


def test_ticks_appended_after_the_close_are_refused(house: House, spool: Spool, order: Order) -> None:
    sealer = begin(house, spool, order)
    for t in range(8):
        sealer.write(tick(t))
    key = sealer._take_key
    sealer.close(tick(8))
    house.deliver(sealer.folder)
    # Whoever had kept the take key goes on where the take ended.
    sealer._take_key = key
    sealer._ratchet._secret = bytearray(32)
    for t in range(9, 12):
        sealer.write(tick(t))
    with pytest.raises(Conflict) as caught:
        house.deliver_one(sealer.folder, "segments/2", sealer.folder.segment(2).read_bytes())
    assert caught.value.code == "take-closed"
    with pytest.raises(Conflict):
        house.deliver_one(sealer.folder, "tail", b"something else")
    assert house.findings() == {}


def test_a_segment_that_is_being_checked_while_the_close_comes_is_not_entered_behind_it(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = crash(house, spool, order, ticks=16)
    late = take.segment(1).read_bytes()
    house.deliver(take)
    take.segment(1).unlink()
    recover(spool, house.device(), BEGAN)
    really = house.store.intake._put

    def slow(name: str, data: bytes, enrolment: str, number: int) -> Any:
        found = really(name, data, enrolment, number)
        if name.endswith("segments/000001"):
            house.deliver_one(take, "close", take.close.read_bytes())
        return found

    monkeypatch.setattr(house.store.intake, "_put", slow)
    with pytest.raises(Conflict):
        house.deliver_one(take, "segments/1", late)
    assert count(house, SegmentRow) == 1
    assert "object-unknown" in next(iter(house.findings().values())), "the stray object in the vault is found"


def test_a_void_number_cannot_get_a_start_afterwards(house: House, spool: Spool, order: Order) -> None:
    device, take = house.device(), record(house, spool, order, ticks=1)
    void = journal.close_record(
        enrolment=take.enrolment, take=1, start=None, last=None, head=None, segments=[], how=journal.Ending.VOID,
        torn=None, last_alive_utc_ns=BEGAN, closed_utc_ns=BEGAN,
    )  # fmt: skip
    house.deliver_one(take, "close", journal.sign_close(void, device.signers(None)))
    with pytest.raises(Conflict):
        house.deliver_one(take, "start", take.start.read_bytes())
    assert "start.json" not in " ".join(stored(house))


def test_a_take_that_comes_after_the_interview_was_sealed_is_an_alarm(house: House, spool: Spool, order: Order) -> None:
    house.deliver(record(house, spool, order, ticks=2))
    assert house.store.sealing.seal(order.interview.hex())
    house.deliver(record(house, spool, order, ticks=2))
    assert alarms(house) == ["take-after-seal"]


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


# Crashes and full disks


@contextmanager
def failing_once(monkeypatch: pytest.MonkeyPatch, on: int = 1) -> Any:
    """The on-th commit from here on fails: the database is away just then."""
    really, left = Database.writing, [on]

    @contextmanager
    def writing(self: Database) -> Any:
        with really(self) as session:
            yield session
            left[0] -= 1
            if left[0] == 0:
                raise OutOfReach("stand-in for a database that goes away", code="database-out-of-reach")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "writing", writing)
        yield


@pytest.mark.parametrize("kind", ["start", "segments/0", "segments/1", "tail", "close"])
def test_a_crash_between_vault_and_database_is_made_good_by_the_next_delivery(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    take = crash(house, spool, order)
    with take.segments()[-1].open("ab") as file:
        file.write(b"torn")
    recover(spool, house.device(), BEGAN + 60 * 10**9)
    for each, path in objects(take):
        if each == kind and kind != "tail":
            with failing_once(monkeypatch), pytest.raises(OutOfReach):
                house.deliver_one(take, each, path.read_bytes())
            assert len(stored(house)) > 0
        house.deliver_one(take, each, path.read_bytes())
    assert house.findings() == {}
    assert len(house.custody(Verb.TAKE_CLOSED)) == 1


def test_a_full_vault_takes_nothing_half_and_everything_later(house: House, spool: Spool, order: Order) -> None:
    house.close()
    house.vault_limit = sum(path.stat().st_size for path in house.vault.rglob("*") if path.is_file()) + 150_000
    house.open()
    take = record(house, spool, order, ticks=40)
    with pytest.raises(NoSpace) as caught:
        house.deliver(take)
    assert caught.value.code == "vault-full"
    assert all(data == (take.path / name).read_bytes() for name, data in by_spool_name(house).items())
    assert not list((house.vault.parent / "incoming").iterdir())
    done = count(house, SegmentRow)
    assert 0 < done < 5
    assert house.findings() == {}
    house.close()
    house.vault_limit = None
    house.open()
    house.deliver(take)
    assert house.findings() == {}


def by_spool_name(house: House) -> dict[str, bytes]:
    found = {}
    for name, data in stored(house).items():
        last = name.rpartition("/")[2]
        found[f"{last}.segment" if "segments" in name else last] = data
    return found


async def test_the_recording_does_not_notice_a_full_vault(house: House, spool: Spool, order: Order) -> None:
    vault = house.store.book.vault
    vault._limit, vault._used = 100_000, 0  # type: ignore[attr-defined]
    sealer = begin(house, spool, order)
    async with house.client() as client:
        delivery = house.delivery(spool, client)
        task = asyncio.create_task(delivery.run())
        for t in range(60):
            sealer.write(tick(t))
            delivery.poke()
            await asyncio.sleep(0)
        await until(lambda: delivery.state.trouble == "store-unavailable")
        sealer.close(tick(60))
        assert delivery.state.undelivered > 0
        vault._limit = None  # type: ignore[attr-defined]
        await until(lambda: sealer.folder.acknowledged(sealer.folder.close))
        assert delivery.state.trouble is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert house.findings() == {}
    with house.store.book.reading() as session:
        row = session.get_one(TakeRow, (sealer.folder.enrolment.hex(), 1))
        assert (row.last_t, row.ended_how) == (60, "stopped")
        assert session.get_one(DeviceRow, sealer.folder.enrolment.hex()).n_highest == 1


@pytest.mark.parametrize("path", ["heartbeats", "takes/{}/1/start", "takes/{}/1/segments/0", "takes/{}/1/close"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff\xfe", b'{"record":{},"signatures":{}}', b"[" * 5000])
async def test_nonsense_over_http_is_refused_with_a_reason(house: House, path: str, body: bytes) -> None:
    async with house.client() as client:
        where = path.format("00" * 16)
        reply = await client.request("POST" if path == "heartbeats" else "PUT", where, content=body)
    assert 400 <= reply.status_code < 500
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("token", ["", "enrol", "Deliver", "deliver2"])
async def test_another_token_opens_nothing(house: House, token: str) -> None:
    async with house.client(token) as client:
        reply = await client.post("heartbeats", content=house.device().heartbeat(1, None, BEGAN))
    assert reply.status_code == 401
