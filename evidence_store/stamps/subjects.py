"""What is stamped, and what time it claims for itself. Pure; docs/formats/stamp.md#what-is-stamped.

A custody event says that something came in; whatever is entered as one of these events is stamped, and nobody can
enter it without asking for the stamp.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from evidence_store.canonical import canonical, parse
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.errors import InvalidInput
from evidence_store.identifiers import parse_enrolment_id

HEAD_TYPE: Final = "vidne/head/1"
_CHECKPOINTS: Final = "ledger/checkpoints/"


class Kind(StrEnum):
    """What kind of thing a stamp is about."""

    START = "start"
    HEAD = "head"
    CLOSE = "close"
    MANIFEST = "manifest"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to be stamped. `name`: its object in the vault; of a head, which is none, a name made like one.

    `data`: the bytes, where they do not lie in the vault under that name.
    """

    kind: Kind
    name: str
    interview: str | None
    data: bytes | None = None


def subject_of(event: CustodyEvent) -> Subject | None:
    """What of this event is stamped, or None. Raises InvalidInput for an event of these verbs that names nothing."""
    details, interview = event.details, event.interview
    try:
        if event.verb is Verb.TAKE_STARTED:
            return Subject(Kind.START, f"{_take(event)}/start.json", interview)
        if event.verb is Verb.TAKE_CLOSED:
            return Subject(Kind.CLOSE, f"{_take(event)}/close.json", interview)
        if event.verb is Verb.MINUTE:
            data = canonical(
                {
                    "enrolment": _enrolment(event), "head": details["head"], "i": details["i"], "t": details["t"],
                    "take": details["take"], "type": HEAD_TYPE, "utc": str(event.at),
                }
            )  # fmt: skip
            return Subject(Kind.HEAD, f"{_take(event)}/head-{int(details['t']):09d}", interview, data)
        if event.verb is Verb.INTERVIEW_SEALED and "number" in details:
            return Subject(
                Kind.MANIFEST, f"interviews/{interview}/manifest-{int(details['number']):03d}.json", interview
            )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the event does not name what it is about", code="event-form") from error
    return None


def checkpoint(size: int, note: bytes) -> Subject:
    return Subject(Kind.CHECKPOINT, f"{_CHECKPOINTS}{size:012d}", None, note)


def checkpoint_size(name: str) -> int:
    """The size of the ledger that a checkpoint's name says. Raises ValueError."""
    return int(name.removeprefix(_CHECKPOINTS))


def claimed(kind: Kind, data: bytes) -> int | None:
    """The UTC, nanoseconds, at which the bytes say that they were made. None where they say nothing, or nothing
    readable: a checkpoint bears no time."""
    if kind is Kind.CHECKPOINT:
        return None
    try:
        record = parse(data)
        if kind is Kind.START:
            return int(record["record"]["clock"]["utc"])
        if kind is Kind.CLOSE:
            return int(record["record"]["closed"])
        return int(record["utc"] if kind is Kind.HEAD else record["made"])
    except (InvalidInput, KeyError, TypeError, ValueError):
        return None


def _enrolment(event: CustodyEvent) -> str:
    return parse_enrolment_id(event.actor.id.removeprefix("recorder:"))


def _take(event: CustodyEvent) -> str:
    return f"takes/{_enrolment(event)}/{int(event.details['take']):06d}"
