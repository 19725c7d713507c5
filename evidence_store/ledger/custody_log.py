"""Custody events in the database: one row to find each by, one ledger entry that proves it, in one transaction."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.orm import Session

from evidence_store.canonical import canonical, parse
from evidence_store.custody import BODY_TYPE, Actor, ActorKind, CustodyEvent, Verb, entered
from evidence_store.database.schema import CustodyEventRow, LedgerEntryRow
from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.identifiers import CaseNumber, InterviewId, parse_interview_id, utc_text
from evidence_store.ledger.ledger import Ledger, entering

_SCAN = 4_096
# Of the tables, not of the classes: rows come as they are, at half the cost.
_ENTRY, _EVENT = LedgerEntryRow.__table__.c, CustodyEventRow.__table__.c
_MEMBERS = (
    _EVENT.id, _EVENT.verb, _EVENT.at, _EVENT.actor_kind, _EVENT.actor_id, _EVENT.actor_name, _EVENT.actor_role,
    _EVENT.interview_id, _EVENT.case_number, _EVENT.reason, _EVENT.details,
)  # fmt: skip
_ENTER = insert(CustodyEventRow)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A custody event and the index of its ledger entry."""

    index: int
    event: CustodyEvent


def record(session: Session, ledger: Ledger, event: CustodyEvent) -> int:
    """Writes one event; returns its ledger index. What it reports and it itself become durable in one commit.

    Raises InvalidInput `cpr-number` before anything is written, Conflict `event-exists` for an id that is there (the
    transaction is lost then), and what `Ledger.append` raises.
    """
    return record_all(session, ledger, [event])[0]


def record_all(session: Session, ledger: Ledger, events: Sequence[CustodyEvent]) -> range:
    """As `record`, for several events in their order: cheaper than one by one."""
    for event in events:
        event.refuse_cpr()
    ledger.look(session)
    with entering(session):
        indices = ledger.append(session, [event.body() for event in events])
        rows = [_row(index, event) for index, event in zip(indices, events, strict=True)]
        if rows:
            session.connection().execute(_ENTER, rows)
    return indices


def of_interview(session: Session, interview: InterviewId) -> list[LoggedEvent]:
    """Everything that happened to an interview, in the ledger's order."""
    query = select(CustodyEventRow).where(CustodyEventRow.interview_id == interview)
    return [_logged(row) for row in session.scalars(query.order_by(CustodyEventRow.ledger_position))]


def of_verbs(session: Session, verbs: Iterable[Verb], start: int = 0) -> Iterator[LoggedEvent]:
    """Every event of these verbs from `start` on, by what the ledger's bodies say: rows may have been edited. What is
    no event any more is passed over: `verify_rows` finds it. Not checked beyond their form, for there may be millions.
    """
    wanted = bodies_of(verbs)
    while True:
        query = select(_ENTRY.position, _ENTRY.body).where(_ENTRY.position >= start).order_by(_ENTRY.position)
        rows = session.execute(query.limit(_SCAN)).all()
        if not rows:
            return
        yield from read(wanted(rows))
        start = rows[-1][0] + 1


def entries(session: Session) -> int:
    """How many there are, by the highest."""
    return (session.scalar(select(func.max(_ENTRY.position))) or 0) + 1


def bodies_of(verbs: Iterable[Verb]) -> Callable[[Iterable[Sequence[Any]]], list[tuple[int, bytes]]]:
    """Picks the entries of these verbs, and perhaps a few others, out of rows that begin with position and body."""
    marks = re.compile(b"|".join(re.escape(f'"verb":"{verb.value}"'.encode()) for verb in verbs))
    return lambda rows: [(row[0], row[1]) for row in rows if row[1] is not None and marks.search(row[1])]


def read(bodies: Iterable[tuple[int, bytes]]) -> Iterator[LoggedEvent]:
    """As `entered`, without what is no event."""
    for index, body in bodies:
        with contextlib.suppress(InvalidInput):
            yield LoggedEvent(index, entered(body))


def verify_rows(
    session: Session,
    told: Callable[[int], None] = lambda done: None,
    met: Callable[[Sequence[Sequence[Any]]], None] = lambda rows: None,
) -> int:
    """Checks that rows and ledger bodies are one to one and say the same; returns how many there are.

    To be run with `Ledger.verify_all`, which vouches for the bodies. Raises ChainBroken `custody-row-missing`,
    `custody-row-altered`, `custody-row-unproven` (a row whose ledger body is erased or was never there), once it has
    been through all of them. `told`: called with how many entries are done, now and then. `met`: with all rows, in
    portions; each begins with an entry's position and body.
    """
    # Begun at the same place on both sides: PostgreSQL would go through one of them from its beginning each time.
    same = (_EVENT.ledger_position == _ENTRY.position) & (_EVENT.ledger_position >= bindparam("start"))
    joined = (
        select(_ENTRY.position, _ENTRY.body, _EVENT.ledger_position, *_MEMBERS)
        .outerjoin_from(LedgerEntryRow.__table__, CustodyEventRow.__table__, same)
        .where(_ENTRY.position >= bindparam("start"))
        .order_by(_ENTRY.position)
        .limit(_SCAN)
    )
    checked, start, wrong = 0, 0, list[Exception]()
    while True:
        rows = session.execute(joined, {"start": start}).all()
        if not rows:
            break
        met(rows)
        for index, body, found, *values in rows:
            # Nearly always the same; what is not is looked at again, slowly, for what to say of it.
            if body is not None and found is not None and body == _body_of(*values):
                checked += 1
            elif not wrong:
                try:
                    checked += _check_row(
                        index, body, None if found is None else session.get_one(CustodyEventRow, index)
                    )
                except (ChainBroken, ValueError, TypeError, LookupError) as error:
                    wrong.append(error)
        start = rows[-1][0] + 1
        told(start)
    if wrong:
        raise wrong[0]
    # Foreign keys hold only while a database enforces them: a file edited elsewhere may know none.
    # Not `NOT IN`: PostgreSQL goes through all entries for each row then.
    entered_as = select(_ENTRY.position).where(_ENTRY.position == CustodyEventRow.ledger_position)
    orphan = select(CustodyEventRow.ledger_position).where(~entered_as.exists())
    unproven = session.scalars(orphan.limit(1)).first()
    if unproven is not None:
        raise ChainBroken(f"custody row {unproven} has no ledger entry", code="custody-row-unproven")
    return checked


def _check_row(index: int, body: bytes | None, row: CustodyEventRow | None) -> int:
    if body is None:
        if row is not None:
            raise ChainBroken(f"custody row {index} outlives its erased body", code="custody-row-unproven")
        return 0
    if row is None:
        raise ChainBroken(f"custody row {index} is missing", code="custody-row-missing")
    try:
        same = _logged(row).event.body() == body
    except (InvalidInput, ValueError):
        # Edited into something that no event can be.
        same = False
    if not same:
        raise ChainBroken(f"custody row {index} is not what was recorded", code="custody-row-altered")
    return 1


def _body_of(
    id_: str, verb: str, at: int, kind: str, actor: str, name: str, role: str | None, interview: str | None,
    case_number: str | None, reason: str | None, details: str,
) -> bytes | None:  # fmt: skip
    """What `CustodyEvent.body` gives for a row's event, put together without reading it; None where it has none.

    All but `details` is escaped, so that no other row makes the same bytes: counted from both ends, each member of a
    body has its place, and what is left between them is `details`.
    """
    try:
        moment = utc_text(at)
        return (
            f'{{"actor":{{"id":{_json(actor)},"kind":{_json(kind)},"name":{_json(name)},"role":{_json(role)}}},'
            f'"at":"{moment}","case_number":{_json(case_number)},"details":{details},"id":{_json(id_)},'
            f'"interview":{_json(interview)},"reason":{_json(reason)},"type":"{BODY_TYPE}","verb":{_json(verb)}}}'
        ).encode()
    except (InvalidInput, TypeError, UnicodeEncodeError):
        return None


def _json(text: str | None) -> str:
    """RFC 8785, 3.2.2.2, which is what the standard library writes when told not to keep to ASCII."""
    return "null" if text is None else encode_basestring(text)


def _row(index: int, event: CustodyEvent) -> dict[str, object]:
    return {
        "ledger_position": index,
        "id": event.id,
        "verb": event.verb.value,
        "at": event.at,
        "actor_kind": event.actor.kind.value,
        "actor_id": event.actor.id,
        "actor_name": event.actor.name,
        "actor_role": event.actor.role,
        "interview_id": event.interview,
        "case_number": None if event.case_number is None else event.case_number.text,
        "reason": event.reason,
        "details": canonical(dict(event.details)).decode("utf-8"),
    }


def _logged(row: CustodyEventRow) -> LoggedEvent:
    event = CustodyEvent(
        verb=Verb(row.verb),
        at=row.at,
        actor=Actor(ActorKind(row.actor_kind), row.actor_id, row.actor_name, row.actor_role),
        interview=None if row.interview_id is None else parse_interview_id(row.interview_id),
        case_number=None if row.case_number is None else CaseNumber(row.case_number),
        reason=row.reason,
        details=parse(row.details.encode("utf-8")),
        id=row.id,
    )
    return LoggedEvent(row.ledger_position, event)
