"""The queue of what is to be stamped: rows that become durable with what they are about, or not at all.

Entered whether or not an authority is configured: the queue waits for one as it waits for one that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.custody import CustodyEvent
from evidence_store.database.schema import StampWantRow
from evidence_store.stamps.subjects import Subject, subject_of


def want_stamps(session: Session, events: Iterable[CustodyEvent], now: int) -> None:
    """Queues what these events are about, in their own transaction. `now`: UTC nanoseconds by the store's clock."""
    for event in events:
        subject = subject_of(event)
        if subject is not None:
            want(session, subject, now)


def want(session: Session, subject: Subject, now: int) -> None:
    """Once for each name, however often it is asked."""
    if session.scalars(select(StampWantRow.id).where(StampWantRow.name == subject.name)).first() is None:
        session.add(
            StampWantRow(
                kind=subject.kind.value, name=subject.name, data=subject.data, interview_id=subject.interview,
                wanted_at=now,
            )
        )  # fmt: skip
        session.flush()
