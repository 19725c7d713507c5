"""A whole house of keys and a take sealed in memory, for the tests of the sealing scheme."""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from evidence_store import domains
from evidence_store.canonical import Record, canonical
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal, segment
from evidence_store.sealing.keys import PrivateKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.tick import Kind, Message, Place, seal_message, tick_record

BORN = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
ENROLMENT = bytes(range(16))
INTERVIEW = bytes(range(16, 32))
TRACKS = [journal.TrackEntry(0, "wide-video", "wide", "video", 90_000)]


@dataclass
class House:
    """Root, store and one device, as after an enrolment."""

    root_key: ec.EllipticCurvePrivateKey = field(default_factory=certs.new_key)
    store_key: ec.EllipticCurvePrivateKey = field(default_factory=certs.new_key)
    device_key: ec.EllipticCurvePrivateKey = field(default_factory=certs.new_key)
    device_ml_dsa_key: mldsa.MLDSA65PrivateKey = field(default_factory=mldsa.MLDSA65PrivateKey.generate)
    interview_key: PrivateKey = field(default_factory=PrivateKey.generate)

    def __post_init__(self) -> None:
        self.root = certs.issue(certs.ROOT, self.root_key.public_key(), None, self.root_key, BORN, path_length=1)
        self.store = certs.issue(certs.STORE, self.store_key.public_key(), self.root, self.root_key, BORN)
        self.device = certs.issue(
            certs.device_name(ENROLMENT), self.device_key.public_key(), self.root, self.root_key, BORN, path_length=0
        )
        self.device_ml_dsa = certs.issue(
            certs.device_ml_dsa_name(ENROLMENT), self.device_ml_dsa_key.public_key(), self.root, self.root_key, BORN
        )


@dataclass
class SealedTake:
    house: House
    number: int
    secret: bytes
    start: bytes
    segments: list[bytes]
    close: bytes
    clear: list[bytes]
    """What each tick held."""
    take_certificate: x509.Certificate
    take_key: ec.EllipticCurvePrivateKey


def seal_take(house: House, number: int = 1, segments: int = 3, ticks: int = 4) -> SealedTake:
    secret = secrets.token_bytes(32)
    public = house.interview_key.public_key()
    take_key = certs.new_key()
    take_certificate = certs.issue(
        certs.take_name(ENROLMENT, number), take_key.public_key(), house.device, house.device_key, BORN
    )
    record = journal.start_record(
        enrolment=ENROLMENT,
        take=number,
        room="demo",
        interview=INTERVIEW,
        interview_public_key=public.encoded,
        interview_key_signature=certs.sign(
            house.store_key, domains.INTERVIEW_KEY_SIGNATURE, INTERVIEW + public.encoded
        ),
        store_certificate=certs.to_der(house.store),
        tracks=TRACKS,
        wrap=public.wrap(secret, take_wrap_info(ENROLMENT, number, INTERVIEW)),
        take_certificate=take_certificate,
        device_certificate=house.device,
        device_ml_dsa_certificate=house.device_ml_dsa,
        previous=None,
        checkpoint=None,
        monotonic_ns=5,
        utc_ns=1_795_000_000_000_000_000,
        boot="b",
    )
    signers = journal.Signers(take_key, house.device_key, house.device_ml_dsa_key)
    start = journal.sign_start(record, signers)
    digest = journal.start_hash(record)
    ratchet, head, t = Ratchet(digest, bytearray(secret)), digest, 0
    files, hashes, clear = [], [], []
    for i in range(segments):
        keys = ratchet.next_segment()
        header = segment.Header(digest, i, t, head)
        data = header.encode()
        for _ in range(ticks):
            bytes_ = secrets.token_bytes(3000 + t)
            clear.append(bytes_)
            sealed = seal_message(
                keys, Place(digest, i, t, Kind.MEDIA, 0, 0), Message(Kind.MEDIA, 0, 0, bytes_, 512, {"samples": 8})
            )
            events: list[Record] = []
            body = canonical(tick_record(i, t, 10**9 * t, 10**18 + t, [sealed], events))
            head = journal.next_head(head, body)
            data += segment.encode_tick([sealed.ciphertext], body, journal.sign_tick(take_key, head))
            t += 1
        keys.forget()
        files.append(data)
        hashes.append(segment.segment_hash(header, head))
    close = journal.close_record(
        enrolment=ENROLMENT,
        take=number,
        start=digest,
        last=(segments - 1, t - 1),
        head=head,
        segments=hashes,
        how=journal.Ending.STOPPED,
        torn=None,
        last_alive_utc_ns=10**18,
        closed_utc_ns=10**18,
    )
    return SealedTake(
        house, number, secret, start, files, journal.sign_close(close, signers), clear, take_certificate, take_key
    )


@pytest.fixture(scope="session")
def house() -> House:
    return House()


@pytest.fixture(scope="session")
def take(house: House) -> SealedTake:
    return seal_take(house)
