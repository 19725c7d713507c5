"""Takes in what recorders deliver: checks every signature and chain, stores it, and writes it into custody.

Each delivery may come twice, or again after a crash on either side. An object is in the vault before the database
knows of it: a crash in between leaves an object that the next delivery of the same bytes finds in its place.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

import structlog
from cryptography import x509
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evidence_store import domains
from evidence_store.authority import Authority
from evidence_store.canonical import Record, canonical
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.database.schema import DeviceRow, InterviewRow, SegmentRow, TakeRow
from evidence_store.deliveries import alarm, custody_of, event_of, media_index, nanoseconds, recorder
from evidence_store.errors import Conflict, InvalidInput, NotFound, NotPermitted, Tampered, VidneError
from evidence_store.heartbeats import answer
from evidence_store.identifiers import parse_enrolment_id
from evidence_store.interview import SEALED, InterviewEvent, InterviewState, advance
from evidence_store.keystore import KeyStore
from evidence_store.ledger.book import Book, Entry
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import check, journal
from evidence_store.sealing.keys import take_wrap_info
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.segment import Header, Tick, segment_hash
from evidence_store.sealing.tick import open_message, place_of
from evidence_store.vault.vault import StoredObject

log = structlog.get_logger()

MINUTE_NS = 60 * 10**9
HEARTBEAT_TYPE = "vidne/heartbeat/1"
GREATEST_TAKE = 2**32


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the recorder may believe: the store's own hash of what it holds."""

    name: str
    sha256: bytes


def take_prefix(enrolment: str, take: int) -> str:
    return f"takes/{enrolment}/{take:06d}"


def segment_name(enrolment: str, take: int, index: int) -> str:
    return f"{take_prefix(enrolment, take)}/segments/{index:06d}"


class Intake:
    def __init__(self, book: Book, authority: Authority, keys: KeyStore) -> None:
        self._book = book
        self._authority = authority
        self._keys = keys

    @property
    def store_certificate(self) -> x509.Certificate:
        """Whose word an interview's key has."""
        return self._authority.store

    # Devices

    def enrol(self, enrolment: bytes, room: str, device: bytes, device_ml_dsa: bytes) -> certs.DeviceCertificates:
        """A new device. Raises InvalidInput, Conflict where the enrolment exists."""
        if len(enrolment) != 16:
            raise InvalidInput("an enrolment has 16 bytes", code="enrolment-form")
        now = self._book.clock()
        moment = datetime.datetime.fromtimestamp(now // 10**9, datetime.UTC)
        issued = self._authority.enrol(enrolment, device, device_ml_dsa, moment)
        pem = b"".join(certs.to_pem(each) for each in (issued.device, issued.device_ml_dsa))
        with self._book.writing() as entry:
            if entry.session.get(DeviceRow, enrolment.hex()) is not None:
                raise Conflict("this enrolment exists", code="enrolment-exists")
            entry.session.add(
                DeviceRow(
                    enrolment=enrolment.hex(), room=room, certificates_pem=pem.decode(), created_at=now, n_highest=0
                )
            )
            details = {"device": certs.fingerprint(issued.device), "room": room}
            entry.record(CustodyEvent(Verb.DEVICE_ENROLLED, now, recorder(enrolment.hex()), details=details))
        return issued

    def heartbeat(self, data: bytes) -> Record:
        """What a device says of itself: its highest take number counts even if the take never comes.

        What it is answered: `heartbeats.answer`.
        """
        record, signatures = journal.decode_envelope(data)
        try:
            enrolment, number = parse_enrolment_id(record["enrolment"]), record["take"]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not a heartbeat", code="heartbeat-form") from error
        if record.get("type") != HEARTBEAT_TYPE or type(number) is not int or not 0 <= number < GREATEST_TAKE:
            raise InvalidInput("not a heartbeat", code="heartbeat-form")
        with self._book.database.writing() as session:
            device = self._device(session, enrolment)
            certificate, _ = device_certificates(device)
            signature = journal.unb64(signatures.get("device", ""))
            certs.check_signature(certificate, domains.HEARTBEAT_SIGNATURE, canonical(record), signature)
            device.n_highest = max(device.n_highest, number)
        with self._book.reading() as session:
            return answer(session, device.room, read_only=self._book.read_only)

    def _device(self, session: Session, enrolment: str) -> DeviceRow:
        device = session.get(DeviceRow, enrolment)
        if device is None:
            raise NotPermitted("no such device is enrolled here", code="device-unknown")
        return device

    # Takes

    def start(self, enrolment: str, take: int, data: bytes) -> Acknowledgement:
        """A take's start record. Raises what `check_start` raises, NotFound for an interview that is not here,
        Conflict for another start under the same number."""
        start = check.check_start(data, self._authority.root)
        if (start.enrolment.hex(), start.take) != (enrolment, take):
            raise InvalidInput("the start belongs under another name", code="start-misplaced")
        now = self._book.clock()
        with self._book.reading() as session:
            self._device(session, enrolment)
            interview = self._interview(session, start.interview.hex())
            if interview.public_key != journal.unb64(start.record["interview"]["public_key"]):
                raise InvalidInput("the start names another key for this interview", code="start-key")
            row = session.get(TakeRow, (enrolment, take))
            if row is not None and row.start_hash != start.start_hash:
                raise Conflict("this number has another start, or was closed as void", code="take-exists")
        stored = self._book.vault.put(f"{take_prefix(enrolment, take)}/start.json", data)
        with self._book.writing() as entry:
            row = entry.session.get(TakeRow, (enrolment, take))
            if row is None:
                entry.session.add(
                    TakeRow(
                        enrolment=enrolment, n=take, interview_id=start.interview.hex(), state="open",
                        start_hash=start.start_hash, start_object=stored.name, started_at=start.utc_ns,
                    )
                )  # fmt: skip
                device = self._device(entry.session, enrolment)
                device.n_highest = max(device.n_highest, take)
                interview = self._interview(entry.session, start.interview.hex())
                details = {
                    "enrolment": enrolment, "previous": start.record["previous"],
                    "start": start.start_hash.hex(), "take": take,
                }  # fmt: skip
                entry.record(event_of(Verb.TAKE_STARTED, now, enrolment, interview, details))
                if interview.state in SEALED:
                    alarm(entry.session, now, "take-after-seal", interview.room, {"enrolment": enrolment, "take": take})
                if device.revoked_at is not None:
                    # Taken in all the same: what is evidence of a theft is evidence too, and it may be a true one.
                    about = {"enrolment": enrolment, "take": take}
                    alarm(entry.session, now, "take-after-revocation", interview.room, about)
                begin(interview)
        return Acknowledgement(stored.name, stored.sha256)

    def test_opening(self, enrolment: str, take: int, data: bytes) -> bool:
        """Opens wrap and first tick while the take runs. False, and an alarm, where the store could not read it."""
        with self._book.reading() as session:
            row = self._take(session, enrolment, take)
            interview_id = row.interview_id or ""
            if row.test_opened_at is not None:
                return True
        now = self._book.clock()
        try:
            self._open_first(enrolment, take, interview_id, data)
        except (Tampered, NotFound) as error:
            log.error("test_opening_failed", take=take, code=error.code)
            verb, details = Verb.TAKE_TEST_FAILED, {"code": error.code, "take": take}
        else:
            verb, details = Verb.TAKE_TESTED, {"take": take}
        with self._book.writing() as entry:
            row = self._take(entry.session, enrolment, take)
            if verb is Verb.TAKE_TESTED:
                row.test_opened_at = now
            else:
                room = self._device(entry.session, enrolment).room
                alarm(entry.session, now, "test-opening-failed", room, {"enrolment": enrolment, "take": take})
            entry.record(event_of(verb, now, enrolment, self._interview(entry.session, interview_id), details))
        return verb is Verb.TAKE_TESTED

    def _open_first(self, enrolment: str, take: int, interview: str, data: bytes) -> None:
        start = self._start(enrolment, take)
        with self._book.reading() as session:
            private = self._keys.open(session, interview)
        secret = private.unwrap(start.wrap, take_wrap_info(start.enrolment, take, start.interview))
        _, ticks = check.Chain(start).check_segment(data)
        keys = Ratchet(start.start_hash, bytearray(secret)).next_segment()
        for tick in ticks:
            for entry, ciphertext in tick.parts():
                open_message(keys, place_of(start.start_hash, tick.record, entry), entry, ciphertext)

    def segment(self, enrolment: str, take: int, index: int, data: bytes) -> Acknowledgement:
        """The next segment, or one that is here already. Raises ChainBroken, SignatureInvalid, Conflict."""
        start = self._start(enrolment, take)
        with self._book.reading() as session:
            row = self._take(session, enrolment, take)
            last = _last_segment(session, enrolment, take)
            known = last is not None and index <= last.i
            if row.state != "open" and not known:
                raise Conflict("the take is closed", code="take-closed")
        name = segment_name(enrolment, take, index)
        if known:
            stored = self._put(name, data, enrolment, take)
            return Acknowledgement(stored.name, stored.sha256)
        chain = check.Chain(start)
        if last is not None:
            chain = check.Chain(start, last.head_after, last.i, last.last_t)
        try:
            header, ticks = chain.check_segment(data)
        except Tampered as error:
            self._refused(enrolment, take, error)
            raise
        if header.index != index:
            raise InvalidInput("the segment belongs under another name", code="segment-misplaced")
        stored = self._put(name, data, enrolment, take)
        with self._book.writing() as entry:
            if entry.session.get(SegmentRow, (enrolment, take, index)) is None:
                # A close, or the same segment, may have come in while this one was being checked.
                if self._take(entry.session, enrolment, take).state != "open":
                    raise Conflict("the take is closed", code="take-closed")
                self._enter_segment(entry, enrolment, take, header, ticks, chain.head, name, data, last)
        return Acknowledgement(stored.name, stored.sha256)

    def _enter_segment(
        self,
        entry: Entry,
        enrolment: str,
        take: int,
        header: Header,
        ticks: list[Tick],
        head: bytes,
        name: str,
        data: bytes,
        before: SegmentRow | None,
    ) -> None:
        row = self._take(entry.session, enrolment, take)
        interview = self._interview(entry.session, row.interview_id or "")
        first, last = ticks[0].record, ticks[-1].record
        now = self._book.clock()
        entry.session.add(
            SegmentRow(
                enrolment=enrolment, n=take, i=header.index, object_name=name,
                sha256=hashlib.sha256(data).digest(), size=len(data), first_t=first["t"], last_t=last["t"],
                first_utc=int(first["utc"]), last_utc=int(last["utc"]), head_after=head, delivered_at=now,
                segment_hash=segment_hash(header, head),
                media=canonical(media_index(ticks)).decode(),
            )
        )  # fmt: skip
        row.announced_i, row.announced_t, row.announced_head, row.announced_at = header.index, last["t"], head, now
        for tick in ticks:
            for event in tick.record["events"]:
                if event["type"] == "origin" and row.origin_utc is None:
                    row.origin_utc = nanoseconds(event.get("utc"), int(tick.record["utc"]))
                entry.record(*custody_of(entry.session, event, tick.record, enrolment, take, interview))
        if before is None or before.last_utc // MINUTE_NS != int(last["utc"]) // MINUTE_NS:
            details = {"head": head.hex(), "i": header.index, "t": last["t"], "take": take}
            entry.record(event_of(Verb.MINUTE, int(last["utc"]), enrolment, interview, details))

    def tail(self, enrolment: str, take: int, data: bytes) -> Acknowledgement:
        """What a crash left torn, kept aside; the close names its hash."""
        name = f"{take_prefix(enrolment, take)}/tail"
        with self._book.reading() as session:
            row = self._take(session, enrolment, take)
            if row.state != "open" and not self._book.vault.exists(name):
                raise Conflict("the take is closed", code="take-closed")
        stored = self._put(name, data, enrolment, take)
        return Acknowledgement(stored.name, stored.sha256)

    def close(self, enrolment: str, take: int, data: bytes) -> Acknowledgement:
        """The take's end. The first close stands. Raises ChainBroken for one that disagrees with what is here."""
        record, _ = journal.decode_envelope(data)
        if (record.get("enrolment"), record.get("take")) != (enrolment, take):
            raise InvalidInput("the close belongs under another name", code="close-misplaced")
        with self._book.reading() as session:
            device, device_ml_dsa = device_certificates(self._device(session, enrolment))
            row = session.get(TakeRow, (enrolment, take))
            chain = None if row is None else self._walked(session, row)
        try:
            close = check.check_close(data, device, device_ml_dsa, chain)
            tail = f"{take_prefix(enrolment, take)}/tail"
            vault = self._book.vault
            check.check_torn(close.record, vault.get(tail) if vault.exists(tail) else None, chain)
        except Tampered as error:
            self._refused(enrolment, take, error)
            raise
        stored = self._put(f"{take_prefix(enrolment, take)}/close.json", data, enrolment, take)
        with self._book.writing() as entry:
            self._enter_close(entry, enrolment, take, close, stored.name)
        return Acknowledgement(stored.name, stored.sha256)

    def _enter_close(self, entry: Entry, enrolment: str, take: int, close: check.Close, name: str) -> None:
        session, now = entry.session, self._book.clock()
        row = session.get(TakeRow, (enrolment, take))
        if row is not None and row.state == "closed":
            return
        if row is None:
            row = TakeRow(enrolment=enrolment, n=take, interview_id=None, state="open")
            session.add(row)
            device = self._device(session, enrolment)
            device.n_highest = max(device.n_highest, take)
        record = close.record
        row.state, row.closed_at, row.close_object, row.close_hash = "closed", now, name, close.close_hash
        row.ended_how = close.how.value
        row.head = None if record["head"] is None else bytes.fromhex(record["head"])
        if record["last"] is not None:
            row.last_i, row.last_t = record["last"]["i"], record["last"]["t"]
        interview = None if row.interview_id is None else self._interview(session, row.interview_id)
        details = {"close": close.close_hash.hex(), "head": record["head"], "how": close.how.value, "take": take}
        entry.record(event_of(Verb.TAKE_CLOSED, now, enrolment, interview, details))
        if interview is not None and close.how is journal.Ending.STOPPED:
            end(interview)

    def _walked(self, session: Session, row: TakeRow) -> check.Chain:
        """The chain as it stood after the last segment, from what intake found when it checked each."""
        chain = check.Chain(self._start(row.enrolment, row.n))
        columns = (SegmentRow.i, SegmentRow.last_t, SegmentRow.head_after, SegmentRow.segment_hash)
        query = select(*columns).where(SegmentRow.enrolment == row.enrolment, SegmentRow.n == row.n)
        # Columns and no objects: after two hours there are thousands, and a stop waits for this.
        for index, tick, head, digest in session.execute(query.order_by(SegmentRow.i)):
            chain.index, chain.tick, chain.head = index, tick, head
            chain.segment_hashes.append(digest)
        return chain

    def _start(self, enrolment: str, take: int) -> check.Start:
        try:
            data = self._book.vault.get(f"{take_prefix(enrolment, take)}/start.json")
        except NotFound:
            raise NotFound("the take's start is not here yet", code="take") from None
        return check.check_start(data, self._authority.root)

    def _take(self, session: Session, enrolment: str, take: int) -> TakeRow:
        row = session.get(TakeRow, (enrolment, take))
        if row is None:
            raise NotFound("the take's start is not here yet", code="take")
        return row

    def _interview(self, session: Session, interview: str) -> InterviewRow:
        row = session.get(InterviewRow, interview)
        if row is None:
            raise NotFound("no such interview", code="interview")
        return row

    def _put(self, name: str, data: bytes, enrolment: str, take: int) -> StoredObject:
        """Into the vault. Other bytes where some are already are refused, and that goes into custody."""
        try:
            return self._book.vault.put(name, data)
        except Conflict as error:
            self._refused(enrolment, take, error)
            raise

    def _refused(self, enrolment: str, take: int, error: VidneError) -> None:
        """Evidence that does not check is refused, and that is evidence too: once, however often it is tried again."""
        now = self._book.clock()
        details = {"code": error.code, "enrolment": enrolment, "take": take}
        with self._book.writing() as entry:
            row = entry.session.get(TakeRow, (enrolment, take))
            interview = None
            if row is not None and row.interview_id is not None:
                interview = self._interview(entry.session, row.interview_id)
            if alarm(entry.session, now, "delivery-refused", self._device(entry.session, enrolment).room, details):
                entry.record(event_of(Verb.DELIVERY_REFUSED, now, enrolment, interview, details))


def begin(interview: InterviewRow) -> None:
    """The interview is being recorded, whoever says so first: the operator's request or the take's start."""
    if interview.state in (InterviewState.PLANNED, InterviewState.RESERVED):
        interview.state = advance(InterviewState(interview.state), InterviewEvent.START)


def end(interview: InterviewRow) -> None:
    """The interview was stopped, whoever says so first."""
    begin(interview)
    if interview.state == InterviewState.RECORDING:
        interview.state = advance(InterviewState(interview.state), InterviewEvent.END)


def device_certificates(row: DeviceRow) -> tuple[x509.Certificate, x509.Certificate]:
    """The device's two certificates: P-256, ML-DSA-65."""
    device, device_ml_dsa = x509.load_pem_x509_certificates(row.certificates_pem.encode())
    return device, device_ml_dsa


def segments_of(session: Session, enrolment: str, take: int) -> list[SegmentRow]:
    query = select(SegmentRow).where(SegmentRow.enrolment == enrolment, SegmentRow.n == take)
    return list(session.scalars(query.order_by(SegmentRow.i)))


def outermost(session: Session, enrolment: str, take: int) -> tuple[int, list[SegmentRow]]:
    """How many segments there are, and the first two and last two of them: cheap however long the take is."""
    of_take = select(SegmentRow).where(SegmentRow.enrolment == enrolment, SegmentRow.n == take)
    first = list(session.scalars(of_take.order_by(SegmentRow.i).limit(2)))
    last = list(session.scalars(of_take.order_by(SegmentRow.i.desc()).limit(2)))[::-1]
    return (last[-1].i + 1 if last else 0), first + [each for each in last if each not in first]


def _last_segment(session: Session, enrolment: str, take: int) -> SegmentRow | None:
    newest = select(func.max(SegmentRow.i)).where(SegmentRow.enrolment == enrolment, SegmentRow.n == take)
    index = session.scalar(newest)
    return None if index is None else session.get(SegmentRow, (enrolment, take, index))
