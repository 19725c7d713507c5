"""Stamps that were issued and of which no copy is left: declared in the ledger, so that the rest can be given out.

Only what every vault has answered for: a vault that is away may have it still. A stamp that renews a lost one cannot be
checked any more, and is declared with it. docs/formats/stamp.md#a-stamp-that-is-lost.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, InterviewRow, StampRow, StampWantRow
from evidence_store.deliveries import case_of
from evidence_store.errors import OutOfReach
from evidence_store.identifiers import InterviewId
from evidence_store.ledger.book import Book
from evidence_store.scrub import look
from evidence_store.vault.vault import StoredObject

log = structlog.get_logger(__name__)


def declare(book: Book, interview: str) -> int:
    """Enters what is lost of an interview's stamps and was not entered yet; how many. Raises OutOfReach where a vault
    that may have one does not answer; Unavailable as the book does."""
    with book.reading() as session:
        known, rows = lost(session, interview), list(_obtained(session, interview))
    gone: dict[tuple[int, str], str] = {}
    found: list[tuple[StampRow, StampWantRow, str]] = []
    for row, want in rows:
        chain = row.want_id, row.chain
        why = "stamp-before-lost" if chain in gone else _why_gone(book, row)
        if why is not None:
            gone[chain] = why
            found.append((row, want, why))
    fresh = [each for each in found if (each[0].sha256 or b"").hex() not in known]
    if fresh:
        now = book.clock()
        with book.writing() as entry:
            # Another process may have entered them meanwhile: once is enough.
            known = lost(entry.session, interview)
            owner = entry.session.get_one(InterviewRow, interview)
            for row, want, why in fresh:
                if (row.sha256 or b"").hex() in known:
                    continue
                details = {
                    "about": want.name, "chain": row.chain, "number": row.number, "object": row.object_name,
                    "stamp": (row.sha256 or b"").hex(), "what": want.kind, "why": why,
                }  # fmt: skip
                entry.record(
                    CustodyEvent(
                        Verb.STAMP_LOST, now, Actor.store(), InterviewId(interview), case_of(owner), details=details
                    )
                )
        log.error("stamps_lost", count=len(fresh))
    return len(fresh)


def lost(session: Session, interview: str) -> set[str]:
    """SHA-256, hex, of the stamps of an interview that were declared lost."""
    query = select(CustodyEventRow.details).where(
        CustodyEventRow.interview_id == interview, CustodyEventRow.verb == Verb.STAMP_LOST.value
    )
    return {str(parse(text.encode())["stamp"]) for text in session.scalars(query)}


def _obtained(session: Session, interview: str) -> Iterator[tuple[StampRow, StampWantRow]]:
    query = select(StampRow, StampWantRow).join(StampWantRow, StampWantRow.id == StampRow.want_id)
    query = query.where(StampWantRow.interview_id == interview, StampRow.obtained_at.is_not(None))
    for each in session.execute(query.order_by(StampRow.want_id, StampRow.chain, StampRow.number)):
        yield each[0], each[1]


def _why_gone(book: Book, row: StampRow) -> str | None:
    """An error's code where no vault has it any more; None where one does."""
    stored = StoredObject(row.object_name or "", 0, row.sha256 or b"")
    looked = look(book.vault.reaches, stored)
    if looked.data is not None:
        return None
    if looked.away:
        raise OutOfReach("a vault that may hold a time stamp does not answer", code="vault-out-of-reach")
    return min(looked.wrong.values())
