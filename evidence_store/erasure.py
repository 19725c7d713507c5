"""Holds, and the erasure of one interview by two people: its seed goes from key store and escrow, all else stays.

    request      one person, with a reason
    approve      another person. In one transaction: the decision, in custody, and the interview's state. From here on
                 nobody can open, copy or hold it
    carry out    escrow's file overwritten and removed; the wrap in the key store null; what is open in memory
                 forgotten; the act attested in custody with both people
    settle       the database's log is emptied of the old wrap, as soon as no reader keeps it; in custody too
    a crash      between any two: the next start goes on, by the same road

Takes, proofs, manifest and custody stay as they are. Nothing here proves that no copy of the seed is left elsewhere:
two people attest the act (docs/threat-model.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from evidence_store import retention
from evidence_store.canonical import Record, parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import (
    AccountRow,
    CopyRow,
    CustodyEventRow,
    ErasureRow,
    HoldRow,
    InterviewRow,
    KeyWrapRow,
    TakeRow,
)
from evidence_store.deliveries import case_of
from evidence_store.errors import ChainBroken, Conflict, NotFound
from evidence_store.identifiers import InterviewId
from evidence_store.interview import InterviewEvent, InterviewState, advance
from evidence_store.keystore import KeyStore
from evidence_store.ledger.book import Book
from evidence_store.people import Person, Role

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Hold:
    id: str
    at: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """What a page shows. `until`: UTC ns from which on erasure may be asked for, None before the interview ended."""

    state: InterviewState
    until: int | None
    holds: tuple[Hold, ...]
    requested_at: int | None = None
    requested_by: str | None = None
    requested_by_id: str | None = None
    reason: str | None = None
    erased_at: int | None = None


class Erasure:
    """`forget(interview)` is called when a seed is gone: whoever has something open of it closes it."""

    def __init__(
        self, book: Book, keys: KeyStore, days: int, forget: Callable[[str], None] = lambda interview: None
    ) -> None:
        self._book = book
        self._keys = keys
        self._days = days
        self._forget = forget

    def status(self, interview: str) -> Status:
        """Raises NotFound."""
        with self._book.reading() as session:
            row, standing = self._row(session, interview), self._standing(session, interview)
            asked, wrap = _waiting(session, interview), session.get(KeyWrapRow, interview)
            ended = standing.ended_at
            return Status(
                state=InterviewState(row.state),
                until=None if ended is None else retention.keep_until(ended, self._days),
                holds=tuple(
                    Hold(each.id, each.placed_at, _name(session, each.placed_by), each.reason)
                    for each in _holds(session, interview)
                ),
                requested_at=None if asked is None else asked.requested_at,
                requested_by=None if asked is None else _name(session, asked.requested_by),
                requested_by_id=None if asked is None else asked.requested_by,
                reason=None if asked is None else asked.reason,
                erased_at=None if wrap is None else wrap.erased_at,
            )

    def hold(self, interview: str, by: Person, reason: str) -> str:
        """Nobody erases it until the hold is released. The hold's id. Raises NotFound, Conflict `erased`."""
        now, hold = self._book.clock(), secrets.token_hex(16)
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            retention.check_hold(self._standing(entry.session, interview))
            entry.session.add(HoldRow(id=hold, interview_id=interview, placed_at=now, placed_by=by.id, reason=reason))
            entry.record(_event(Verb.INTERVIEW_HELD, now, by, row, reason, {"hold": hold}))
        return hold

    def release(self, interview: str, hold: str, by: Person, reason: str) -> None:
        """Ends a hold. Raises NotFound, Conflict `hold-released`."""
        now = self._book.clock()
        with self._book.writing() as entry:
            row, found = self._row(entry.session, interview), entry.session.get(HoldRow, hold)
            if found is None or found.interview_id != interview:
                raise NotFound("no such hold", code="hold")
            if found.released_at is not None:
                raise Conflict("the hold was released before", code="hold-released")
            found.released_at, found.released_by = now, by.id
            entry.record(_event(Verb.INTERVIEW_RELEASED, now, by, row, reason, {"hold": hold}))

    def request(self, interview: str, by: Person, reason: str) -> None:
        """Asks for the erasure. Raises NotFound, and Conflict as `retention.check_request`."""
        now = self._book.clock()
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            retention.check_request(self._standing(entry.session, interview), self._days, now)
            entry.session.add(
                ErasureRow(
                    id=secrets.token_hex(16), interview_id=interview, requested_at=now, requested_by=by.id,
                    reason=reason,
                )
            )  # fmt: skip
            entry.record(_event(Verb.ERASURE_REQUESTED, now, by, row, reason, {}))

    def withdraw(self, interview: str, by: Person) -> None:
        """Takes a request back; anybody who may approve it may say no to it. Raises Conflict, NotFound."""
        now = self._book.clock()
        with self._book.writing() as entry:
            row, asked = self._row(entry.session, interview), _waiting(entry.session, interview)
            if asked is None:
                raise Conflict("nobody asked for its erasure", code="erasure-not-requested")
            asked.withdrawn_at, asked.withdrawn_by = now, by.id
            entry.record(_event(Verb.ERASURE_WITHDRAWN, now, by, row, None, {}))

    def approve(self, interview: str, by: Person) -> None:
        """Decides it, and carries it out. Raises NotFound, Conflict as `retention.check_approval`, and Tampered where
        the seed in the key store is not this interview's: then nothing is changed."""
        now = self._book.clock()
        with self._book.writing() as entry:
            row = self._row(entry.session, interview)
            retention.check_approval(self._standing(entry.session, interview), self._days, now, by.id)
            self._keys.open(entry.session, interview)
            asked = _waiting(entry.session, interview)
            assert asked is not None  # noqa: S101 - check_approval refused otherwise
            asked.approved_at, asked.approved_by = now, by.id
            row.state = advance(InterviewState(row.state), InterviewEvent.ERASE)
            details = {"requested_by": _told(entry.session, asked.requested_by)}
            entry.record(_event(Verb.ERASURE_APPROVED, now, by, row, asked.reason, details))
        # A crash here: decided, in custody, and the seed is there still. `finish` at the next start takes it.
        self._carry_out(interview)

    def anything_left(self) -> bool:
        """Whether something that was approved is not done to its end."""
        with self._book.reading() as session:
            return bool(_left(session, ErasureRow.done_at) or _left(session, ErasureRow.forgotten_at))

    def finish(self) -> None:
        """What was approved and not carried out before a crash, and what the database's log still holds. Raises as
        `approve`."""
        with self._book.reading() as session:
            left = _left(session, ErasureRow.done_at)
        for interview in left:
            log.warning("erasure_carried_out_late", interview=interview)
            self._carry_out(interview)
        self._forget_pages()

    def _carry_out(self, interview: str) -> None:
        self._keys.erase_escrow(interview)
        # A crash here: escrow is empty, the wrap still there. Doing it again finds no file, and goes on.
        now = self._book.clock()
        with self._book.writing() as entry:
            session = entry.session
            query = select(ErasureRow).where(
                ErasureRow.interview_id == interview,
                ErasureRow.approved_at.is_not(None),
                ErasureRow.done_at.is_(None),
            )
            asked = session.scalars(query).one_or_none()
            if asked is not None:
                row, wrap = self._row(session, interview), session.get_one(KeyWrapRow, interview)
                wrap.wrapped_seed, wrap.erased_at, asked.done_at = None, now, now
                by = _person(session, asked.approved_by or "")
                people = {
                    "approved_by": _told(session, asked.approved_by or ""),
                    "requested_by": _told(session, asked.requested_by),
                }
                entry.record(_event(Verb.INTERVIEW_ERASED, now, by, row, asked.reason, people))
        self._forget(interview)
        self._forget_pages()

    def _forget_pages(self) -> None:
        """Empties the database's log of what was overwritten, and says so in custody, for each erasure once. A reader
        may keep it from being emptied: then it is tried again until it is done (`api/jobs.py`)."""
        with self._book.reading() as session:
            waiting = [each for each in _left(session, ErasureRow.forgotten_at) if not _undone(session, each)]
        if not waiting:
            return
        emptied = self._book.database.forget_old_pages()
        if emptied is False:
            log.warning("erased_seed_still_in_the_log", erasures=len(waiting))
            return
        # A crash here: it is emptied, and said the next time. What was said is in the log then, and no seed.
        now = self._book.clock()
        with self._book.writing() as entry:
            for interview in waiting:
                query = select(ErasureRow).where(
                    ErasureRow.interview_id == interview, ErasureRow.done_at.is_not(None),
                    ErasureRow.forgotten_at.is_(None),
                )  # fmt: skip
                for asked in entry.session.scalars(query):
                    asked.forgotten_at = now
                    if emptied:
                        row = self._row(entry.session, interview)
                        event = CustodyEvent(
                            Verb.ERASURE_SETTLED, now, Actor.store(), InterviewId(row.id), case_of(row)
                        )
                        entry.record(event)

    def _standing(self, session: Session, interview: str) -> retention.Standing:
        row, asked = self._row(session, interview), _waiting(session, interview)
        ended = list(session.scalars(select(TakeRow.closed_at).where(TakeRow.interview_id == interview)))
        copying = select(CopyRow.id).where(CopyRow.interview_id == interview, CopyRow.finished_at.is_(None))
        return retention.Standing(
            state=InterviewState(row.state),
            # A take that is open goes on under this key: nothing has ended.
            ended_at=None if None in ended else max((each for each in ended if each is not None), default=None),
            holds=len(_holds(session, interview)),
            requested_by=None if asked is None else asked.requested_by,
            copying=session.scalars(copying.limit(1)).first() is not None,
        )

    def _row(self, session: Session, interview: str) -> InterviewRow:
        row = session.get(InterviewRow, interview)
        if row is None:
            raise NotFound("no such interview", code="interview")
        return row


def check_erasures(session: Session) -> str:
    """Every seed that is gone was erased by two people who stand in custody for it, and what they decided is done.

    For the audit. Raises ChainBroken.
    """
    attested = {}
    query = select(CustodyEventRow).where(CustodyEventRow.verb == Verb.INTERVIEW_ERASED.value)
    for event in session.scalars(query):
        details = parse(event.details.encode())
        attested[event.interview_id] = details["requested_by"]["id"], details["approved_by"]["id"]
    for interview in session.scalars(select(InterviewRow).where(InterviewRow.public_key.is_not(None))):
        wrap, name = session.get(KeyWrapRow, interview.id), interview.id[:8]
        gone = wrap is None or wrap.wrapped_seed is None
        people = attested.get(interview.id)
        if gone and people is None:
            raise ChainBroken(f"the key of interview {name} is gone, and nobody erased it", code="seed-missing")
        if people is not None and people[0] == people[1]:
            raise ChainBroken(f"the erasure of interview {name} names one person twice", code="erasure-one-person")
        if not gone and (people is not None or interview.state == InterviewState.ERASED):
            raise ChainBroken(f"the key of interview {name} is here after its erasure", code="seed-not-erased")
    return f"{len(attested)} interviews erased, each by two people"


def _left(session: Session, step: InstrumentedAttribute[int | None]) -> list[str]:
    """Interviews whose erasure was approved and has not come to this step."""
    query = select(ErasureRow.interview_id).where(ErasureRow.approved_at.is_not(None), step.is_(None))
    return list(session.scalars(query))


def _undone(session: Session, interview: str) -> bool:
    return interview in _left(session, ErasureRow.done_at)


def _holds(session: Session, interview: str) -> list[HoldRow]:
    query = select(HoldRow).where(HoldRow.interview_id == interview, HoldRow.released_at.is_(None))
    return list(session.scalars(query.order_by(HoldRow.placed_at)))


def _waiting(session: Session, interview: str) -> ErasureRow | None:
    """The request that nobody has approved or withdrawn yet."""
    query = select(ErasureRow).where(
        ErasureRow.interview_id == interview, ErasureRow.approved_at.is_(None), ErasureRow.withdrawn_at.is_(None)
    )
    return session.scalars(query).first()


def _person(session: Session, account: str) -> Person:
    row = session.get_one(AccountRow, account)
    return Person(row.id, row.username, row.display_name, Role(row.role))


def _name(session: Session, account: str) -> str:
    return session.get_one(AccountRow, account).display_name


def _told(session: Session, account: str) -> Record:
    person = _person(session, account)
    return {"id": person.id, "name": person.display_name, "role": person.role.value}


def _event(verb: Verb, at: int, by: Person, row: InterviewRow, reason: str | None, details: Record) -> CustodyEvent:
    return CustodyEvent(verb, at, Actor.person(by), InterviewId(row.id), case_of(row), reason, details)
