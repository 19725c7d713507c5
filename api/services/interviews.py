"""Interviews, from plan to receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from api.services.people import Account
from evidence_store.identifiers import CaseNumber
from evidence_store.interview import InterviewState


@dataclass(frozen=True, slots=True)
class Interview:
    """`case_number` and `child_ordinal` are None where the room began it by itself (`emergency`) and nobody has said
    yet whose interview it is. `overridden`: codes of checks that failed at its start; `explained`: whether somebody
    has said why it was started all the same.
    """

    id: str
    case_number: CaseNumber | None
    child_ordinal: int | None
    state: InterviewState
    created_at: datetime
    created_by: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    takes: int = 0
    emergency: bool = False
    overridden: tuple[str, ...] = ()
    explained: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptTake:
    """`enrolment` and `number` name the take; `head` is J of its last tick, 32 bytes.

    `ended` is how it ended: stopped, crashed, void.
    """

    enrolment: str
    number: int
    head: bytes
    started_at: datetime
    ended_at: datetime
    ended: str
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What everyone present at the stop can write down: the takes and their heads."""

    interview: Interview
    room: str
    issued_at: datetime
    takes: tuple[ReceiptTake, ...]


class Interviews(Protocol):
    def create(self, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        """Plan an interview. Raises Conflict (`interview-exists`) for the same child under the same number."""
        ...

    def find(self, case_number: CaseNumber, by: Account) -> Sequence[Interview]:
        """Every interview under exactly this case number, newest first. The search is itself in the log."""
        ...

    def get(self, interview: str) -> Interview:
        """Raises NotFound."""
        ...

    def recent(self, limit: int) -> Sequence[Interview]:
        """The newest ones; before them those that nobody has given a case number yet."""
        ...

    def assign(self, interview: str, case_number: CaseNumber, child_ordinal: int, by: Account) -> Interview:
        """Say whose interview it is. Raises NotFound, Conflict (`interview-assigned`)."""
        ...

    def explain(self, interview: str, reason: str, by: Account) -> None:
        """Write down why it was started as it was. Raises NotFound, InvalidInput."""
        ...

    async def start(self, interview: str, by: Account) -> None:
        """When this returns, media is being sealed. Raises Conflict (`room-busy`), Unavailable."""
        ...

    async def stop(self, interview: str, by: Account) -> Receipt:
        """Close the take and return its receipt. Raises Conflict (`not-recording`), Unavailable."""
        ...

    def receipt(self, interview: str) -> Receipt:
        """Raises NotFound, or Conflict (`not-ended`) while there is nothing to give a receipt for."""
        ...
