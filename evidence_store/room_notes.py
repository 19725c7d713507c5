"""What somebody wrote on a room's own page, into custody: signed by the room's device, entered once."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from evidence_store import domains
from evidence_store.canonical import canonical
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, DeviceRow, InterviewRow
from evidence_store.deliveries import case_of, nanoseconds, recorder
from evidence_store.errors import InvalidInput, NotFound, NotPermitted
from evidence_store.identifiers import InterviewId, parse_enrolment_id
from evidence_store.intake import device_certificates
from evidence_store.ledger.book import Book
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal

NOTE_TYPE: Final = "vidne/note/1"

LONGEST = 500
"""Characters of a note, as its writer was told."""


class RoomNotes:
    def __init__(self, book: Book) -> None:
        self._book = book

    def enter(self, delivered_as: str, data: bytes) -> None:
        """However often it comes, it is one event, whose id is the note's. Format: docs/formats/journal.md#notes.

        Raises InvalidInput, NotPermitted, SignatureInvalid, NotFound for an interview that is not here.
        """
        record, signatures = journal.decode_envelope(data)
        try:
            enrolment, name = parse_enrolment_id(record["enrolment"]), str(record["id"])
            text, take, at = str(record["text"]), int(record["take"]), nanoseconds(record["utc"], 0)
            interview_id = str(record["interview"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not a note", code="note-form") from error
        if record.get("type") != NOTE_TYPE or not 0 < len(text) <= LONGEST or name != delivered_as:
            raise InvalidInput("not a note", code="note-form")
        with self._book.writing() as entry:
            device = entry.session.get(DeviceRow, enrolment)
            if device is None:
                raise NotPermitted("no such device is enrolled here", code="device-unknown")
            signature = journal.unb64(signatures.get("device", ""))
            certs.check_signature(device_certificates(device)[0], domains.NOTE_SIGNATURE, canonical(record), signature)
            known = select(CustodyEventRow.id).where(CustodyEventRow.id == name)
            if entry.session.scalars(known).first() is not None:
                return
            interview = entry.session.get(InterviewRow, interview_id)
            if interview is None:
                raise NotFound("no such interview", code="interview")
            about = (recorder(enrolment), InterviewId(interview.id), case_of(interview))
            entry.record(
                CustodyEvent(Verb.INTERVIEW_EXPLAINED, at, *about, reason=text, details={"take": take}, id=name)
            )
