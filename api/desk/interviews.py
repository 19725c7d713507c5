"""Interviews: planned, started, stopped, found. Each act is in custody, with who and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.desk.accounts import actor_of
from api.desk.moments import moment
from api.desk.room import RoomClient
from api.services import Account, Interview, Receipt, ReceiptTake
from evidence_store.authority import Authority
from evidence_store.canonical import parse
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.database.schema import AccountRow, CustodyEventRow, InterviewRow, TakeRow
from evidence_store.deliveries import case_of
from evidence_store.errors import Conflict, NotFound
from evidence_store.identifiers import CaseNumber, InterviewId, new_interview_id
from evidence_store.intake import begin, end
from evidence_store.interview import InterviewState
from evidence_store.keystore import KeyStore
from evidence_store.ledger.book import Book
from evidence_store.ledger.witnessing import Witnessing
from evidence_store.sealed import Sealing, takes_of
from evidence_store.sealing.certificates import to_der
from recorder.take import Order

DELIVERED_WITHIN: Final = 3.0
"""How long a stop waits for the store to have the close, so that the receipt is complete; the stop itself is done."""


class InterviewDesk:
    def __init__(
        self,
        book: Book,
        authority: Authority,
        keys: KeyStore,
        sealing: Sealing,
        room: RoomClient,
        room_id: str,
        witnessing: Witnessing | None = None,
    ) -> None:
        """`witnessing`: whose newest cosigned checkpoint goes into each start."""
        ledger = book.ledger
        self._checkpoint = ledger.latest_checkpoint if witnessing is None else witnessing.note_for_start
        self._book = book
        self._authority = authority
        self._keys = keys
        self._sealing = sealing
        self._room = room
        self._room_id = room_id

    def create(self, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        now = self._book.clock()
        with self._book.writing() as entry:
            same = select(InterviewRow.id).where(
                InterviewRow.case_number == case_number.text, InterviewRow.child_ordinal == child_ordinal
            )
            if entry.session.scalars(same).first() is not None:
                raise Conflict("this child has an interview under this number", code="interview-exists")
            row = InterviewRow(
                id=new_interview_id(), case_number=case_number.text, child_ordinal=child_ordinal,
                room=self._room_id, state=InterviewState.PLANNED.value, created_by=by.id, created_at=now,
            )  # fmt: skip
            entry.session.add(row)
            entry.session.flush()
            self._keys.mint(entry.session, row, moment(now))
            about = (actor_of(by), InterviewId(row.id), case_number)
            entry.record(
                CustodyEvent(Verb.INTERVIEW_CREATED, now, *about, details={"child": child_ordinal}),
                CustodyEvent(Verb.INTERVIEW_KEY_MINTED, now, *about, details={"escrow": True}),
            )
            return self._interview(entry.session, row)

    def find(self, case_number: CaseNumber, by: Account) -> Sequence[Interview]:
        with self._book.writing() as entry:
            query = select(InterviewRow).where(InterviewRow.case_number == case_number.text)
            rows = list(entry.session.scalars(query.order_by(InterviewRow.created_at.desc())))
            details = {"found": len(rows)}
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_SEARCHED, self._book.clock(), actor_of(by), case_number=case_number, details=details
                )
            )
            return [self._interview(entry.session, row) for row in rows]

    def get(self, interview: str) -> Interview:
        with self._book.reading() as session:
            return self._interview(session, self._row(session, interview))

    def recent(self, limit: int) -> Sequence[Interview]:
        with self._book.reading() as session:
            held = InterviewRow.state == InterviewState.RESERVED.value
            query = select(InterviewRow).where(~held)
            # Those without a case number first: somebody has to give them one.
            without = InterviewRow.case_number.is_(None)
            rows = session.scalars(query.order_by(without.desc(), InterviewRow.created_at.desc()).limit(limit))
            return [self._interview(session, row) for row in rows]

    def assign(self, interview: str, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        # Another interview under the same number and child is no obstacle: it may be the one that was planned and
        # could not be started.
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            if row.state == InterviewState.RESERVED:
                raise Conflict("nobody has been interviewed in it", code="not-recording")
            if row.case_number is not None:
                raise Conflict("the interview has a case number", code="interview-assigned")
            row.case_number, row.child_ordinal = case_number.text, child_ordinal
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_ASSIGNED, self._book.clock(), actor_of(by), InterviewId(row.id), case_number,
                    details={"child": child_ordinal},
                )
            )  # fmt: skip
            entry.session.flush()
            return self._interview(entry.session, row)

    def explain(self, interview: str, reason: str, by: Account) -> None:
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_EXPLAINED, self._book.clock(), actor_of(by), InterviewId(row.id), case_of(row),
                    reason=reason,
                )
            )  # fmt: skip

    async def start(self, interview: str, by: Account) -> None:
        order = await run_in_threadpool(self._intend_start, interview, by)
        await self._room.start(order)
        await run_in_threadpool(self._started, interview)

    def _intend_start(self, interview: str, by: Account) -> Order:
        """The intent is in custody before the room is asked: what then fails is visible as a start without a take."""
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            if row.state != InterviewState.PLANNED:
                raise Conflict("the interview was started before", code="interview-state")
            if row.public_key is None or row.public_key_signature is None:
                raise Conflict("the interview has no key yet", code="interview-key")
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_STARTED, self._book.clock(), actor_of(by), InterviewId(row.id),
                    case_of(row), details={"room": row.room},
                )
            )  # fmt: skip
            note = self._checkpoint(entry.session)
            return Order(
                bytes.fromhex(row.id), row.public_key, row.public_key_signature, to_der(self._authority.store),
                None if note is None else note.decode(),
            )  # fmt: skip

    def _started(self, interview: str) -> None:
        with self._book.database.writing() as session:
            begin(self._row(session, interview))

    async def stop(self, interview: str, by: Account) -> Receipt:
        begun = await run_in_threadpool(self._is_recording, interview)
        described = await self._room.describe()
        here = described["interview"] == interview
        if not here and (not begun or described["interview"] is not None):
            raise Conflict("this interview is not being recorded", code="not-recording")
        try:
            await self._room.stop()
        except Conflict:
            # The room has stopped before: an answer was lost, or the close found no room. The interview is over all
            # the same; its take is closed by the device.
            if here:
                raise
        await run_in_threadpool(self._stopped, interview, by)
        deadline = time.monotonic() + DELIVERED_WITHIN
        while not await run_in_threadpool(self._sealing.seal, interview):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        return await run_in_threadpool(self.receipt, interview)

    def _is_recording(self, interview: str) -> bool:
        with self._book.reading() as session:
            return self._row(session, interview).state == InterviewState.RECORDING

    def _stopped(self, interview: str, by: Account) -> None:
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            end(row)
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_ENDED, self._book.clock(), actor_of(by), InterviewId(row.id),
                    case_of(row),
                )
            )  # fmt: skip

    def receipt(self, interview: str) -> Receipt:
        with self._book.reading() as session:
            row = self._row(session, interview)
            if row.state in (InterviewState.PLANNED, InterviewState.RECORDING):
                raise Conflict("the interview has not ended", code="not-ended")
            takes = takes_of(session, interview)
            return Receipt(
                interview=self._interview(session, row),
                room=row.room,
                issued_at=moment(self._book.clock()),
                takes=tuple(_receipt_take(session, take) for take in takes if take.start_hash is not None),
            )

    def _row(self, session: Session, interview: str) -> InterviewRow:
        row = session.get(InterviewRow, interview)
        if row is None:
            raise NotFound("no such interview", code="interview")
        return row

    def _interview(self, session: Session, row: InterviewRow) -> Interview:
        takes = takes_of(session, row.id)
        by = None if row.created_by is None else session.get(AccountRow, row.created_by)
        ended = [take.closed_at for take in takes if take.closed_at is not None]
        started = [take.started_at for take in takes if take.started_at is not None]
        over = row.state not in (InterviewState.PLANNED, InterviewState.RECORDING)
        return Interview(
            id=row.id,
            case_number=case_of(row),
            child_ordinal=row.child_ordinal,
            state=InterviewState(row.state),
            created_at=moment(row.created_at),
            created_by="" if by is None else by.display_name,
            started_at=moment(min(started)) if started else None,
            ended_at=moment(max(ended)) if ended and over else None,
            takes=len(takes),
            emergency=row.enrolment is not None,
            overridden=_overridden(session, row.id),
            explained=_happened(session, row.id, Verb.INTERVIEW_EXPLAINED),
        )


def _overridden(session: Session, interview: str) -> tuple[str, ...]:
    """Codes of the checks that failed when it was started all the same."""
    query = select(CustodyEventRow.details).where(
        CustodyEventRow.interview_id == interview, CustodyEventRow.verb == Verb.CHECKS_OVERRIDDEN.value
    )
    failed = [each for text in session.scalars(query) for each in parse(text.encode()).get("failed", ())]
    return tuple(dict.fromkeys(str(each["code"]) for each in failed))


def _happened(session: Session, interview: str, verb: Verb) -> bool:
    query = select(CustodyEventRow.id).where(
        CustodyEventRow.interview_id == interview, CustodyEventRow.verb == verb.value
    )
    return session.scalars(query.limit(1)).first() is not None


def _receipt_take(session: Session, take: TakeRow) -> ReceiptTake:
    query = select(CustodyEventRow.details).where(
        CustodyEventRow.interview_id == take.interview_id,
        CustodyEventRow.verb == Verb.GAP.value,
        CustodyEventRow.actor_id == f"recorder:{take.enrolment}",
    )
    gaps = sum(parse(details.encode())["take"] == take.n for details in session.scalars(query))
    started = take.started_at or 0
    return ReceiptTake(
        enrolment=take.enrolment,
        number=take.n,
        head=take.head or take.announced_head or take.start_hash or b"",
        started_at=moment(started),
        ended_at=moment(take.closed_at or take.announced_at or started),
        ended=take.ended_how or "open",
        gaps=gaps,
    )
