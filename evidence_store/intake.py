"""Takes in what recorders deliver: checks every signature and chain, stores it, and writes it into custody.

Each delivery may come twice, or again after a crash on either side. An object is in the vault before the database
knows of it: a crash in between leaves an object that the next delivery of the same bytes finds in its place.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from cryptography import x509
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evidence_store import domains
from evidence_store.authority import Authority
from evidence_store.canonical import Record, canonical, parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AccountRow, AlarmRow, DeviceRow, InterviewRow, SegmentRow, TakeRow
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound, NotPermitted, Tampered
from evidence_store.identifiers import CaseNumber, InterviewId, parse_enrolment_id
from evidence_store.interview import InterviewEvent, InterviewState, advance
from evidence_store.keystore import KeyStore
from evidence_store.ledger.book import Book, Entry
from evidence_store.people import Person, Role
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import check, journal
from evidence_store.sealing.keys import take_wrap_info
from evidence_store.sealing.ratchet import Ratchet
from evidence_store.sealing.segment import Header, Tick, segment_hash
from evidence_store.sealing.tick import open_message, place_of

log = structlog.get_logger()

MINUTE_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the recorder may believe: the store's own hash of what it holds."""

    name: str
    sha256: bytes


def take_prefix(enrolment: str, take: int) -> str:
    return f"takes/{enrolment}/{take:06d}"


def segment_name(enrolment: str, take: int, index: int) -> str:
    return f"{take_prefix(enrolment, take)}/segments/{index:06d}"


def media_index(ticks: list[Tick]) -> Record:
    """What of a segment may be known without a key and is asked for at playback: inits and media of its ticks."""
    entries = [entry for tick in ticks for entry in tick.record["messages"]]
    return {
        kind: [
            {"epoch": entry["epoch"], "track": entry["track"], **entry["about"]}
            for entry in entries
            if entry["kind"] == kind
        ]
        for kind in ("init", "media")
    }


class Intake:
    def __init__(self, book: Book, authority: Authority, keys: KeyStore) -> None:
        self._book = book
        self._authority = authority
        self._keys = keys

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
            entry.record(CustodyEvent(Verb.DEVICE_ENROLLED, now, _recorder(enrolment.hex()), details=details))
        return issued

    def heartbeat(self, data: bytes) -> None:
        """What a device says of itself: its highest take number counts even if the take never comes."""
        record, signatures = journal.decode_envelope(data)
        try:
            enrolment, number = parse_enrolment_id(record["enrolment"]), int(record["take"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not a heartbeat", code="heartbeat-form") from error
        with self._book.database.writing() as session:
            device = self._device(session, enrolment)
            certificate, _ = device_certificates(device)
            signature = journal.unb64(signatures.get("device", ""))
            certs.check_signature(certificate, domains.HEARTBEAT_SIGNATURE, canonical(record), signature)
            device.n_highest = max(device.n_highest, number)

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
                entry.record(_event(Verb.TAKE_STARTED, now, enrolment, interview, details))
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
                _alarm(entry.session, now, "test-opening-failed", self._device(entry.session, enrolment).room, take)
            entry.record(_event(verb, now, enrolment, self._interview(entry.session, interview_id), details))
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
            stored = self._book.vault.put(name, data)
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
        stored = self._book.vault.put(name, data)
        with self._book.writing() as entry:
            if entry.session.get(SegmentRow, (enrolment, take, index)) is None:
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
                media=canonical(media_index(ticks)).decode(),
            )
        )  # fmt: skip
        row.announced_i, row.announced_t, row.announced_head, row.announced_at = header.index, last["t"], head, now
        for tick in ticks:
            for event in tick.record["events"]:
                if event["type"] == "origin" and row.origin_utc is None:
                    row.origin_utc = int(event["utc"])
                entry.record(*self._custody_of(entry.session, event, tick.record, enrolment, take, interview))
        if before is None or before.last_utc // MINUTE_NS != int(last["utc"]) // MINUTE_NS:
            details = {"head": head.hex(), "i": header.index, "t": last["t"], "take": take}
            entry.record(_event(Verb.MINUTE, int(last["utc"]), enrolment, interview, details))

    def _custody_of(
        self, session: Session, event: Record, record: Record, enrolment: str, take: int, interview: InterviewRow
    ) -> Iterator[CustodyEvent]:
        """What of a tick's events belongs into custody."""
        at, details = int(record["utc"]), {"take": take, "t": record["t"], **event}
        if event["type"] == "gap":
            yield _event(Verb.GAP, at, enrolment, interview, details)
        elif event["type"] == "connection" and record["t"] > 0:
            yield _event(Verb.RECONNECTED, at, enrolment, interview, details)
        elif event["type"] == "viewer":
            verb = Verb.VIEWER_JOINED if event.get("act") == "joined" else Verb.VIEWER_LEFT
            account = session.get(AccountRow, str(event.get("viewer", "")))
            actor = Actor.monitor(parse_enrolment_id(enrolment))
            if account is not None:
                person = Person(account.id, account.username, account.display_name, Role(account.role))
                actor = Actor.person(person)
            yield CustodyEvent(
                verb, int(event.get("utc", at)), actor, InterviewId(interview.id), CaseNumber(interview.case_number),
                details=details,
            )  # fmt: skip

    def tail(self, enrolment: str, take: int, data: bytes) -> Acknowledgement:
        """What a crash left torn, kept aside; the close names its hash."""
        with self._book.reading() as session:
            self._take(session, enrolment, take)
        stored = self._book.vault.put(f"{take_prefix(enrolment, take)}/tail", data)
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
            self._check_tail(close.record, enrolment, take)
        except Tampered as error:
            self._refused(enrolment, take, error)
            raise
        stored = self._book.vault.put(f"{take_prefix(enrolment, take)}/close.json", data)
        with self._book.writing() as entry:
            self._enter_close(entry, enrolment, take, close, stored.name)
        return Acknowledgement(stored.name, stored.sha256)

    def _check_tail(self, record: Record, enrolment: str, take: int) -> None:
        if record["torn"] is None:
            return
        tail = self._book.vault.get(f"{take_prefix(enrolment, take)}/tail")
        if domains.sha256(domains.TAIL, tail).hex() != record["torn"]["hash"]:
            raise ChainBroken("the torn tail is not the one that the close names", code="tail-mismatch")

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
        entry.record(_event(Verb.TAKE_CLOSED, now, enrolment, interview, details))
        if interview is not None and close.how is journal.Ending.STOPPED:
            end(interview)

    def _walked(self, session: Session, row: TakeRow) -> check.Chain:
        """The chain as it stood after the last segment, from what intake found when it checked each."""
        start = self._start(row.enrolment, row.n)
        chain = check.Chain(start)
        for each in segments_of(session, row.enrolment, row.n):
            header = Header(start.start_hash, each.i, each.first_t, chain.head)
            chain.segment_hashes.append(segment_hash(header, each.head_after))
            chain.head, chain.index, chain.tick = each.head_after, each.i, each.last_t
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

    def _refused(self, enrolment: str, take: int, error: Tampered) -> None:
        """Evidence that does not check is refused, and that is evidence too."""
        now = self._book.clock()
        with self._book.writing() as entry:
            row = entry.session.get(TakeRow, (enrolment, take))
            interview = None
            if row is not None and row.interview_id is not None:
                interview = self._interview(entry.session, row.interview_id)
            _alarm(entry.session, now, "delivery-refused", self._device(entry.session, enrolment).room, take)
            details = {"code": error.code, "take": take}
            entry.record(_event(Verb.DELIVERY_REFUSED, now, enrolment, interview, details))


def begin(interview: InterviewRow) -> None:
    """The interview is being recorded, whoever says so first: the operator's request or the take's start."""
    if interview.state == InterviewState.PLANNED:
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


def index_of(row: SegmentRow) -> dict[str, list[dict[str, Any]]]:
    """What `media_index` gave when the segment came in."""
    return parse(row.media.encode())


def _last_segment(session: Session, enrolment: str, take: int) -> SegmentRow | None:
    newest = select(func.max(SegmentRow.i)).where(SegmentRow.enrolment == enrolment, SegmentRow.n == take)
    index = session.scalar(newest)
    return None if index is None else session.get(SegmentRow, (enrolment, take, index))


def _recorder(enrolment: str) -> Actor:
    return Actor.recorder(parse_enrolment_id(enrolment))


def _event(verb: Verb, at: int, enrolment: str, interview: InterviewRow | None, details: Record) -> CustodyEvent:
    return CustodyEvent(
        verb,
        at,
        _recorder(enrolment),
        None if interview is None else InterviewId(interview.id),
        None if interview is None else CaseNumber(interview.case_number),
        details=details,
    )


def _alarm(session: Session, at: int, code: str, room: str, take: int) -> None:
    session.add(AlarmRow(at=at, code=code, room=room, details=canonical({"take": take}).decode()))
