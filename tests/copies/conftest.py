"""An interview sealed in memory, and a copy of it made, opened with Debian's age and unpacked: once a session."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from evidence_store import domains
from evidence_store.canonical import Record, canonical
from evidence_store.copies.package import prepare
from evidence_store.copies.source import (
    CopySource,
    CustodyEntry,
    HouseCertificates,
    Recipient,
    StoreSigner,
    TakeSource,
)
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.identifiers import CaseNumber, InterviewId
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import Checkpoint, NoteSigner
from evidence_store.ledger.proof import Proof, leaf_data
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal, segment
from evidence_store.sealing.check import check_start
from evidence_store.sealing.journal import Ending, TrackEntry
from evidence_store.sealing.keys import PrivateKey, take_wrap_info
from evidence_store.sealing.manifest import Gap, TakeSummary, manifest, sign_manifest
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.tick import Kind, Message, Place, SealedMessage, seal_message, tick_record
from tests.copies.films import Film, audio, video
from tests.sealing.conftest import BORN, ENROLMENT, House

INTERVIEW_ID = InterviewId("00112233445546778899aabbccddeeff")
INTERVIEW = bytes.fromhex(INTERVIEW_ID)
CASE = "0100-83986-00001-17"
TICKS_A_SEGMENT = 8
BEGAN = 1_795_000_000_000_000_000
WIDE = TrackEntry(0, "wide-video", "wide", "video", 90_000)
CLOSE = TrackEntry(1, "close-video", "close", "video", 90_000)
SOUND = TrackEntry(2, "wide-audio", "wide", "audio", 48_000)


@dataclass
class Script:
    """A take to seal: films by track; `dropped`: (track index, first second, last second) that never came."""

    number: int
    films: dict[int, Film]
    tracks: list[TrackEntry]
    begins: int = BEGAN
    how: Ending = Ending.STOPPED
    dropped: tuple[int, float, float] | None = None
    declared: bool = True


@dataclass
class Store(House):
    """A house that can make copies."""

    store_ml_dsa_key: mldsa.MLDSA65PrivateKey = field(default_factory=mldsa.MLDSA65PrivateKey.generate)
    ledger_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        House.__post_init__(self)
        issue = certs.issue
        self.store_ml_dsa = issue(
            certs.STORE_ML_DSA, self.store_ml_dsa_key.public_key(), self.root, self.root_key, BORN
        )
        self.ledger = issue(certs.LEDGER, self.ledger_key.public_key(), self.root, self.root_key, BORN)

    @property
    def fingerprint(self) -> str:
        return certs.fingerprint(self.root)


def seal(house: House, script: Script) -> tuple[TakeSource, TakeSummary]:
    """The take as the vault would hold it, and as the manifest would list it."""
    take_key = certs.new_key()
    signers = journal.Signers(take_key, house.device_key, house.device_ml_dsa_key)
    if script.how is Ending.VOID:
        close = journal.close_record(
            enrolment=ENROLMENT, take=script.number, start=None, last=None, head=None, segments=[], how=script.how,
            torn=None, last_alive_utc_ns=BEGAN, closed_utc_ns=BEGAN,
        )  # fmt: skip
        ends = dataclasses.replace(signers, take=None)
        void = TakeSource(
            ENROLMENT, script.number, None, journal.sign_close(close, ends), 0, lambda _: b"",
            device=house.device, device_ml_dsa=house.device_ml_dsa,
        )  # fmt: skip
        return void, _summary(close, None, 0, 0)
    secret, public = secrets.token_bytes(32), house.interview_key.public_key()
    certificate = certs.issue(
        certs.take_name(ENROLMENT, script.number), take_key.public_key(), house.device, house.device_key, BORN
    )
    record = journal.start_record(
        enrolment=ENROLMENT, take=script.number, room="demo", interview=INTERVIEW,
        interview_public_key=public.encoded,
        interview_key_signature=certs.sign(
            house.store_key, domains.INTERVIEW_KEY_SIGNATURE, INTERVIEW + public.encoded
        ),
        store_certificate=certs.to_der(house.store), tracks=script.tracks,
        wrap=public.wrap(secret, take_wrap_info(ENROLMENT, script.number, INTERVIEW)), take_certificate=certificate,
        device_certificate=house.device, device_ml_dsa_certificate=house.device_ml_dsa, previous=None,
        checkpoint=None, monotonic_ns=5, utc_ns=script.begins, boot="b",
    )  # fmt: skip
    start = journal.sign_start(record, signers)
    digest = journal.start_hash(record)
    ratchet, head = Ratchet(digest, bytearray(secret)), digest
    files: list[bytes] = []
    hashes: list[bytes] = []
    ticks = ticks_of(script)
    for first in range(0, len(ticks), TICKS_A_SEGMENT):
        keys = ratchet.next_segment()
        header = segment.Header(digest, keys.index, first, head)
        data = header.encode()
        for t, (messages, events) in enumerate(ticks[first : first + TICKS_A_SEGMENT], first):
            sealed: list[SealedMessage] = [
                seal_message(keys, Place(digest, keys.index, t, each.kind, each.track, each.epoch), each)
                for each in messages
            ]
            utc = script.begins + (t + 1) * 250_000_000 + 30_000_000
            body = canonical(tick_record(keys.index, t, 10**9 + t * 250_000_000, utc, sealed, events))
            head = journal.next_head(head, body)
            ciphertexts = [each.ciphertext for each in sealed]
            data += segment.encode_tick(ciphertexts, body, journal.sign_tick(take_key, head))
        files.append(data)
        hashes.append(segment.segment_hash(header, head))
    last = len(ticks) - 1
    close = journal.close_record(
        enrolment=ENROLMENT, take=script.number, start=digest, last=(last // TICKS_A_SEGMENT, last), head=head,
        segments=hashes, how=script.how, torn=None, last_alive_utc_ns=BEGAN, closed_utc_ns=BEGAN,
    )  # fmt: skip
    ends = signers if script.how is Ending.STOPPED else dataclasses.replace(signers, take=None)
    source = TakeSource(ENROLMENT, script.number, start, journal.sign_close(close, ends), len(files), files.__getitem__)
    return source, _summary(close, digest, len(files), len(ticks))


def ticks_of(script: Script) -> list[tuple[list[Message], list[Record]]]:
    """Messages and events of each quarter second."""
    seconds = max(
        film.fragments[-1].end / track.timescale for track in script.tracks for film in (script.films[track.index],)
    )
    ticks: list[tuple[list[Message], list[Record]]] = [([], []) for _ in range(int(seconds * 4) + 1)]
    for track in script.tracks:
        film = script.films[track.index]
        ticks[0][0].append(Message(Kind.INIT, track.index, 0, film.init, 512, {"codec": film.codec}))
        for fragment in film.fragments:
            at = fragment.begin / track.timescale
            if script.dropped and script.dropped[0] == track.index and script.dropped[1] <= at < script.dropped[2]:
                continue
            about = {"from": fragment.begin, "to": fragment.end, "samples": 8, "keys": []}
            ticks[int(at * 4)][0].append(Message(Kind.MEDIA, track.index, 0, fragment.data, 512, about))
    if script.number == 1:
        ticks[0][1].append({"monotonic": "5", "type": "origin", "utc": str(script.begins)})
    if script.dropped and script.declared:
        index, begins, ends = script.dropped
        times = {"from": str(script.begins + int(begins * 1e9)), "to": str(script.begins + int(ends * 1e9))}
        ticks[int(ends * 4)][1].append({"type": "gap", "track": index, "reason": "loss", "packets": 9, **times})
    return ticks


def _summary(close: Record, start: bytes | None, segments: int, ticks: int) -> TakeSummary:
    head = close["head"]
    return TakeSummary(
        ENROLMENT, close["take"], start, journal.close_hash(close), None if head is None else bytes.fromhex(head),
        close["how"], segments, ticks, None, None,
    )  # fmt: skip


def custody(store: Store, bodies: Sequence[bytes]) -> tuple[list[CustodyEntry], bytes]:
    """Entries proven in a ledger of their own, and its checkpoint."""
    nonces = [secrets.token_bytes(32) for _ in bodies]
    leaves = [merkle.leaf_hash(leaf_data(nonce, body)) for nonce, body in zip(nonces, bodies, strict=True)]
    nodes = {(level, at): value for level, at, value in merkle.completed_nodes(0, leaves, merkle.reader({}))}
    node = merkle.reader(nodes)
    signer = NoteSigner("vidne.test/ledger", store.ledger_key)
    note = Checkpoint("vidne.test/ledger", len(leaves), merkle.root(len(leaves), node)).signed(signer).write()
    entries = [
        CustodyEntry(body, nonce, Proof(i, tuple(merkle.inclusion_proof(i, len(leaves), node)), note, nonce).write())
        for i, (body, nonce) in enumerate(zip(bodies, nonces, strict=True))
    ]
    return entries, note


def events() -> list[bytes]:
    """Bodies of three custody events."""
    return [
        CustodyEvent(
            verb, BEGAN + i * 10**9, Actor.store(), INTERVIEW_ID, CaseNumber(CASE), None, {"note": "æøå"}
        ).body()
        for i, verb in enumerate((Verb.INTERVIEW_STARTED, Verb.INTERVIEW_ENDED, Verb.COPY_REQUESTED))
    ]


def sealing_of(data: bytes) -> bytes:
    """Body of the event that a manifest was made."""
    details = {"manifest_sha256": hashlib.sha256(data).hexdigest()}
    at = BEGAN + 60 * 10**9
    return CustodyEvent(
        Verb.INTERVIEW_SEALED, at, Actor.store(), INTERVIEW_ID, CaseNumber(CASE), None, details
    ).body()  # fmt: skip


def source_of(store: Store, scripts: Sequence[Script], recipient: str, gaps: Sequence[Gap] = ()) -> CopySource:
    """What a copy of these takes is made from."""
    sealed = [seal(store, script) for script in scripts]
    data = manifest(INTERVIEW, 1, [summary for _, summary in sealed], [], list(gaps), BEGAN)
    entries, note = custody(store, [*events(), sealing_of(data)])
    return CopySource(
        copy_id=secrets.token_bytes(16),
        made_utc_ns=BEGAN + 3600 * 10**9,
        interview=INTERVIEW,
        case_number=CASE,
        house="Børnehus Demo",
        room="Rum 1",
        interview_key=store.interview_key,
        takes=[take for take, _ in sealed],
        manifest=sign_manifest(data, store.store_key, store.store, store.root, store.store_ml_dsa_key),
        certificates=HouseCertificates(store.root, store.store, store.store_ml_dsa, store.ledger),
        signer=StoreSigner(store.store_key, store.store_ml_dsa_key),
        recipient=Recipient(recipient, "hovedforhandling", "A. Nklager"),
        custody=entries,
        checkpoint=note,
    )


def whole_interview() -> list[Script]:
    """Two cameras and sound with a declared gap; sound alone after a crash; a void number."""
    films = {0: video("testsrc", 5), 1: video("smptebars", 5), 2: audio(5)}
    return [
        Script(1, films, [WIDE, CLOSE, SOUND], dropped=(1, 2.0, 3.0)),
        Script(2, {2: audio(2)}, [SOUND], begins=BEGAN + 17 * 10**9, how=Ending.CRASHED),
        Script(3, {}, [], how=Ending.VOID),
    ]


@dataclass
class Made:
    """A copy made and opened. `bag`: the unpacked folder."""

    store: Store
    source: CopySource
    age_file: Path
    identity: Path
    tar: Path
    bag: Path


@pytest.fixture(scope="session")
def store() -> Store:
    return Store(interview_key=PrivateKey.generate())


@pytest.fixture(scope="session")
def recipient(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path_factory.mktemp("prosecutor") / "key.txt"
    path.write_text(f"{identity}\n")
    return str(identity.to_public()), path


@pytest.fixture(scope="session")
def interview(store: Store, recipient: tuple[str, Path]) -> CopySource:
    gap = Gap(1, "close-video", "loss", BEGAN + 2 * 10**9, BEGAN + 3 * 10**9)
    crash = Gap(2, None, "crashed", BEGAN + 19 * 10**9, None)
    return source_of(store, whole_interview(), recipient[0], [gap, crash])


@pytest.fixture(scope="session")
def made(
    store: Store, interview: CopySource, recipient: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Made:
    folder = tmp_path_factory.mktemp("copy")
    age_file, tar = folder / "copy.tar.age", folder / "copy.tar"
    with prepare(interview, scratch=folder) as prepared:
        with age_file.open("wb") as out:
            prepared.write(out)
        name = prepared.folder
    subprocess.run(["age", "-d", "-i", recipient[1], "-o", tar, age_file], check=True, timeout=30)
    subprocess.run(["tar", "xf", tar], cwd=folder, check=True, timeout=30)
    return Made(store, interview, age_file, recipient[1], tar, folder / name)


@pytest.fixture
def bag(made: Made, tmp_path: Path) -> Iterator[Path]:
    """A copy of the unpacked package, to spoil."""
    spoilt = tmp_path / "bag"
    shutil.copytree(made.bag, spoilt)
    yield spoilt
    shutil.rmtree(spoilt)


def clear_track(source: CopySource, position: int, track: int) -> bytes:
    """A track's clear bytes, opened without the code under test's reader."""
    take = source.takes[position]
    assert take.start is not None
    films = whole_interview()[position]
    start = check_start(take.start, source.certificates.root)
    assert start.take == films.number
    wanted = [m.data for messages, _ in ticks_of(films) for m in messages if m.track == track]
    return b"".join(wanted)
