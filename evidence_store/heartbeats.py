"""What a store answers a device's heartbeat: what of the device's takes is not yet as it should be."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import Record
from evidence_store.database.schema import InterviewRow, TakeRow
from evidence_store.interview import SEALED
from evidence_store.scrub import lost_of

LOST_AT_ONCE: Final = 64
UNSEALED_AT_ONCE: Final = 1_000
"""Takes of a device that can wait for their seal before the answer says that it does not know which they are."""


def answer(session: Session, enrolment: str) -> Record:
    """What the device is told, for JSON.

    `lost`: objects that it delivered and of which no copy is good any more (`scrub.lost_of`); it may have them still.
    `unsealed`: its takes of interviews that are not sealed, which it had better keep; null where they are too many.
    """
    takes = select(TakeRow.n).join(InterviewRow, InterviewRow.id == TakeRow.interview_id)
    takes = takes.where(TakeRow.enrolment == enrolment, InterviewRow.state.not_in(SEALED)).order_by(TakeRow.n)
    unsealed = list(session.scalars(takes.limit(UNSEALED_AT_ONCE + 1)))
    return {
        "lost": lost_of(session, f"takes/{enrolment}/", LOST_AT_ONCE),
        "unsealed": unsealed if len(unsealed) <= UNSEALED_AT_ONCE else None,
    }
