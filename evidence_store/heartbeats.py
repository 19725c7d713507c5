"""What a store answers a device's heartbeat: what of its room's takes is not yet as it should be."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import Record
from evidence_store.database.schema import DeviceRow, InterviewRow, TakeRow
from evidence_store.interview import SEALED
from evidence_store.scrub import lost_of

LOST_AT_ONCE: Final = 64
UNSEALED_AT_ONCE: Final = 1_000
"""Takes of a room that can wait for their seal before the answer says that it does not know which they are."""


def answer(session: Session, room: str, *, read_only: bool) -> Record:
    """What a device of that room is told, for JSON. Its spool may hold takes of those that were enrolled before it.

    `lost`: objects that they delivered and of which no copy is good any more (`scrub.lost_of`); it may have them still.
    `unsealed`: of each enrolment the takes of interviews that are not sealed, which it had better keep. Null where they
    are too many, or where the ledger is `read_only`: the database may be one that does not know what it once took.
    """
    enrolments = list(session.scalars(select(DeviceRow.enrolment).where(DeviceRow.room == room)))
    each_has = max(1, LOST_AT_ONCE // max(1, len(enrolments)))
    lost = [each for enrolment in enrolments for each in lost_of(session, f"takes/{enrolment}/", each_has)]
    return {"lost": lost[:LOST_AT_ONCE], "unsealed": None if read_only else _unsealed(session, enrolments)}


def _unsealed(session: Session, enrolments: list[str]) -> Record | None:
    takes = select(TakeRow.enrolment, TakeRow.n).join(InterviewRow, InterviewRow.id == TakeRow.interview_id)
    takes = takes.where(TakeRow.enrolment.in_(enrolments), InterviewRow.state.not_in(SEALED))
    found = session.execute(takes.order_by(TakeRow.enrolment, TakeRow.n).limit(UNSEALED_AT_ONCE + 1)).all()
    if len(found) > UNSEALED_AT_ONCE:
        return None
    unsealed: dict[str, list[int]] = {each: [] for each in enrolments}
    for enrolment, take in found:
        unsealed[enrolment].append(take)
    return unsealed
