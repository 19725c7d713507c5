"""The custody chain's words: who did what to which interview, when, and why.

Pure. One event becomes one canonical JSON body, and that body becomes one leaf of the ledger (docs/formats/ledger.md).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from evidence_store.canonical import canonical, parse
from evidence_store.errors import InvalidInput
from evidence_store.identifiers import (
    CaseNumber,
    EnrolmentId,
    InterviewId,
    parse_enrolment_id,
    parse_interview_id,
    parse_utc,
    refuse_cpr,
    utc_text,
)
from evidence_store.people import Person

BODY_TYPE: Final = "vidne/custody-event/1"
MAX_REASON: Final = 2_000
MAX_BODY: Final = 65_536
MAX_ACTOR_ID: Final = 64
MAX_ACTOR_NAME: Final = 200
MAX_ACTOR_ROLE: Final = 32


class Verb(StrEnum):
    """What can happen. Spelled once; the part before the first colon is what it happened to."""

    INTERVIEW_CREATED = "interview:created"
    INTERVIEW_KEY_MINTED = "interview:key:minted"
    INTERVIEW_SEARCHED = "interview:searched"
    INTERVIEW_ASSIGNED = "interview:assigned"
    INTERVIEW_EXPLAINED = "interview:explained"
    INTERVIEW_STARTED = "interview:started"
    INTERVIEW_ENDED = "interview:ended"
    INTERVIEW_SEALED = "interview:sealed"
    INTERVIEW_AVAILABLE = "interview:available"
    INTERVIEW_HELD = "interview:held"
    INTERVIEW_RELEASED = "interview:released"
    ERASURE_REQUESTED = "interview:erasure:requested"
    ERASURE_WITHDRAWN = "interview:erasure:withdrawn"
    ERASURE_APPROVED = "interview:erasure:approved"
    INTERVIEW_ERASED = "interview:erased"
    ERASURE_SETTLED = "interview:erasure:settled"
    TAKE_STARTED = "recording:take:started"
    TAKE_TESTED = "recording:take:tested"
    TAKE_TEST_FAILED = "recording:take:test-failed"
    TAKE_CLOSED = "recording:take:closed"
    TAKE_MISSING = "recording:take:missing"
    CHECKS_OVERRIDDEN = "recording:checks:overridden"
    MINUTE = "recording:minute"
    GAP = "recording:gap"
    RECONNECTED = "recording:reconnected"
    OBSERVED = "recording:observed"
    DELIVERY_REFUSED = "recording:delivery:refused"
    STAMP_OBTAINED = "stamp:obtained"
    STAMP_LOST = "stamp:lost"
    STAMP_REFUSED = "stamp:refused"
    STAMPS_LATE = "stamp:late"
    STAMPS_CAUGHT_UP = "stamp:caught-up"
    CAMERA_ENROLLED = "camera:enrolled"
    CAMERA_CHANGED = "camera:changed"
    CAMERA_CONFIRMED = "camera:confirmed"
    DEVICE_ENROLLED = "device:enrolled"
    DEVICE_REVOKED = "device:revoked"
    KEYS_ROTATED = "keys:rotated"
    VAULT_OBJECT_MENDED = "vault:object:mended"
    VAULT_OBJECT_LOST = "vault:object:lost"
    VAULT_SCRUBBED = "vault:scrubbed"
    VIEWER_JOINED = "live:viewer:joined"
    VIEWER_LEFT = "live:viewer:left"
    MEDIA_VIEWED = "media:viewed"
    COPY_REQUESTED = "copy:requested"
    COPY_MADE = "copy:made"
    COPY_RELEASED = "copy:released"
    COPY_FAILED = "copy:failed"
    LEDGER_VIEWED = "ledger:viewed"
    WITNESS_LATE = "ledger:witness:late"
    WITNESS_BACK = "ledger:witness:back"
    WITNESS_VETOED = "ledger:witness:vetoed"
    WITNESS_FORGOT = "ledger:witness:forgot"
    AUDIT_MADE = "audit:made"
    ACCESS_DENIED = "access:denied"
    ACCOUNT_CREATED = "account:created"
    ACCOUNT_SIGNED_IN = "account:signed-in"
    ACCOUNT_SIGNED_OUT = "account:signed-out"
    ACCOUNT_SIGN_IN_FAILED = "account:sign-in-failed"


class ActorKind(StrEnum):
    PERSON = "person"
    MACHINE = "machine"


_MACHINE = re.compile(r"store|console|(?:recorder|monitor):[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted: a person as they were named and ranked at that moment, or a machine."""

    kind: ActorKind
    id: str
    name: str
    role: str | None

    def __post_init__(self) -> None:
        if self.kind is ActorKind.MACHINE and (
            not _MACHINE.fullmatch(self.id) or self.name != self.id or self.role is not None
        ):
            raise InvalidInput("no such machine", code="actor-form")
        if self.kind is ActorKind.PERSON and not (self.id and self.name and self.role):
            raise InvalidInput("a person acts under an account, a name and a role", code="actor-form")
        if len(self.id) > MAX_ACTOR_ID or len(self.name) > MAX_ACTOR_NAME or len(self.role or "") > MAX_ACTOR_ROLE:
            raise InvalidInput("an actor's id, name or role is too long", code="actor-form")

    @classmethod
    def person(cls, person: Person) -> Actor:
        return cls(ActorKind.PERSON, person.id, person.display_name, person.role.value)

    @classmethod
    def store(cls) -> Actor:
        """The store itself, acting without a person's request."""
        return cls(ActorKind.MACHINE, "store", "store", None)

    @classmethod
    def console(cls) -> Actor:
        """Somebody at the machine's own command line; who that was, only the operating system knows."""
        return cls(ActorKind.MACHINE, "console", "console", None)

    @classmethod
    def recorder(cls, enrolment: EnrolmentId) -> Actor:
        return cls(ActorKind.MACHINE, f"recorder:{enrolment}", f"recorder:{enrolment}", None)

    @classmethod
    def monitor(cls, enrolment: EnrolmentId) -> Actor:
        """The monitor process beside the recorder of that enrolment."""
        parse_enrolment_id(enrolment)
        return cls(ActorKind.MACHINE, f"monitor:{enrolment}", f"monitor:{enrolment}", None)


def new_event_id() -> str:
    """32 hexadecimal digits, random."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class CustodyEvent:
    """One thing that happened.

    `at`: nanoseconds UTC, by the clock of whoever reports it. `reason`: the purpose a person gave. `details`: a JSON
    object; integers above 2⁵³ − 1, hashes (hex) and moments (RFC 3339) are strings in it. Construction raises
    InvalidInput: `reason-too-long`, `event-too-large`, `not-canonical`, `event-form`.
    """

    verb: Verb
    at: int
    actor: Actor
    interview: InterviewId | None = None
    case_number: CaseNumber | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_event_id)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{32}", self.id):
            raise InvalidInput("an event id is 32 hexadecimal digits", code="event-form")
        if self.reason is not None and len(self.reason) > MAX_REASON:
            raise InvalidInput(f"a reason has at most {MAX_REASON} characters", code="reason-too-long")
        if self.interview is not None:
            parse_interview_id(self.interview)
        if len(self.body()) > MAX_BODY:
            raise InvalidInput(f"an event has at most {MAX_BODY} bytes", code="event-too-large")

    def refuse_cpr(self) -> None:
        """Raises InvalidInput `cpr-number` if any text of the event may hold one.

        Asked on the way into the ledger, not when an old body is read: what was once let in must stay readable
        when the rule grows stricter.
        """
        for text in (self.actor.id, self.actor.name, self.reason or ""):
            refuse_cpr(text)
        _refuse_cpr_within(dict(self.details))

    def body(self) -> bytes:
        """The canonical body: what the ledger's leaf is made from. Every member is there, null where there is none."""
        return canonical(
            {
                "type": BODY_TYPE,
                "id": self.id,
                "verb": self.verb.value,
                "at": utc_text(self.at),
                "actor": {
                    "kind": self.actor.kind.value,
                    "id": self.actor.id,
                    "name": self.actor.name,
                    "role": self.actor.role,
                },
                "interview": self.interview,
                "case_number": None if self.case_number is None else self.case_number.text,
                "reason": self.reason,
                "details": dict(self.details),
            }
        )

    @classmethod
    def from_body(cls, body: bytes) -> CustodyEvent:
        """Parses strictly: `from_body(b).body() == b`, or InvalidInput (`event-form`, `not-canonical`, …)."""
        record = parse(body)
        try:
            actor = record["actor"]
            event = cls(
                verb=Verb(record["verb"]),
                at=parse_utc(record["at"]),
                actor=Actor(ActorKind(actor["kind"]), actor["id"], actor["name"], actor["role"]),
                interview=record["interview"],
                case_number=None if record["case_number"] is None else CaseNumber(record["case_number"]),
                reason=record["reason"],
                details=record["details"],
                id=record["id"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not a custody event", code="event-form") from error
        if event.body() != body:
            raise InvalidInput("not a custody event of this version", code="event-form")
        return event


def entered(body: bytes) -> CustodyEvent:
    """What an entry's body says, read and not checked: for going through millions, each of which is held against its
    leaf elsewhere, and was checked on its way in. Raises InvalidInput `event-form` for what is no event."""
    event = CustodyEvent.__new__(CustodyEvent)
    try:
        said = json.loads(body)
        actor, number = said["actor"], said["case_number"]
        members = {
            "verb": Verb(said["verb"]), "at": parse_utc(said["at"]),
            "actor": Actor(ActorKind(actor["kind"]), actor["id"], actor["name"], actor["role"]),
            "interview": said["interview"], "case_number": None if number is None else CaseNumber(number),
            "reason": said["reason"], "details": said["details"], "id": said["id"],
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("not a custody event", code="event-form") from error
    for name, value in members.items():
        object.__setattr__(event, name, value)
    return event


def _refuse_cpr_within(value: object) -> None:
    # Only texts: a 32-bit RTP time is ten digits too, and a person types into text.
    if isinstance(value, str):
        refuse_cpr(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_cpr(str(key))
            _refuse_cpr_within(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_cpr_within(inner)
