"""The custody chain for display, and refusals on their way into it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from api.desk.accounts import actor_of
from api.desk.moments import moment, nanoseconds
from api.services import Account
from api.services import CustodyEvent as ShownEvent
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.identifiers import parse_interview_id
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Book

_SHOWN = (
    "take", "t", "how", "reason", "camera", "head", "manifest_sha256", "recipient", "sha256", "code", "from", "to",
)  # fmt: skip
_LONGEST = 80


class CustodyDesk:
    def __init__(self, book: Book) -> None:
        self._book = book

    def events(self, interview: str) -> Sequence[ShownEvent]:
        with self._book.reading() as session:
            logged = custody_log.of_interview(session, parse_interview_id(interview))
        return [
            ShownEvent(
                at=moment(each.event.at),
                verb=each.event.verb.value,
                who=each.event.actor.name,
                role=each.event.actor.role or each.event.actor.kind.value,
                purpose=each.event.reason or "",
                detail=_detail(dict(each.event.details)),
                index=each.index,
            )
            for each in logged
        ]

    def denied(self, account: Account, permission: str, now: datetime) -> None:
        self._book.record(
            CustodyEvent(Verb.ACCESS_DENIED, nanoseconds(now), actor_of(account), details={"permission": permission})
        )


def _detail(details: dict[str, Any]) -> str:
    """The details that a person can use, in one line."""
    parts = []
    for name in _SHOWN:
        value = details.get(name)
        if value is None:
            continue
        text = moment(int(value)).strftime("%H:%M:%S.%f")[:-3] + "Z" if name in ("from", "to") else str(value)
        parts.append(f"{name} {text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}")
    return " · ".join(parts)
