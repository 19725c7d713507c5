"""What deliveries say: the index that playback asks for, and what of it belongs into custody and among the alarms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.canonical import Record, canonical, parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AccountRow, AlarmRow, InterviewRow, SegmentRow
from evidence_store.identifiers import CaseNumber, InterviewId, parse_enrolment_id
from evidence_store.people import Person, Role
from evidence_store.sealing.segment import Tick

_LONGEST_CODE = 64
_CAMERA_ACTS = {"enrolled": Verb.CAMERA_ENROLLED, "changed": Verb.CAMERA_CHANGED}


def media_index(ticks: list[Tick]) -> Record:
    """What of a segment may be known without a key and is asked for at playback: inits and media of its ticks."""
    entries = [entry for tick in ticks for entry in tick.record["messages"]]
    found: dict[str, list[Record]] = {"init": [], "media": []}
    for entry in entries:
        times = [entry["about"].get(name) for name in ("from", "to")]
        # What says not when it is stays evidence, but can't be looked up.
        if entry["kind"] == "init" or (entry["kind"] == "media" and all(type(time) is int for time in times)):
            found[entry["kind"]].append({**entry["about"], "epoch": entry["epoch"], "track": entry["track"]})
    return found


def index_of(row: SegmentRow) -> dict[str, list[dict[str, Any]]]:
    """What `media_index` gave when the segment came in."""
    return parse(row.media.encode())


def custody_of(
    session: Session, event: Record, record: Record, enrolment: str, take: int, interview: InterviewRow
) -> Iterator[CustodyEvent]:
    """What of a tick's events belongs into custody, as whose act."""
    at, details = int(record["utc"]), {**event, "enrolment": enrolment, "t": record["t"], "take": take}
    if event["type"] == "gap":
        # Times and track as every reader may rely on them.
        whole = {
            "from": str(nanoseconds(event.get("from"), at)),
            "reason": str(event.get("reason", "unknown")),
            "to": str(nanoseconds(event.get("to"), at)),
            "track": event.get("track") if type(event.get("track")) is int else None,
        }
        yield event_of(Verb.GAP, at, enrolment, interview, details | whole)
    elif event["type"] == "observation":
        about = {"enrolment": enrolment, "t": record["t"], "take": take}
        yield event_of(Verb.OBSERVED, at, enrolment, interview, _observation(event, at) | about)
    elif event["type"] == "connection" and record["t"] > 0:
        yield event_of(Verb.RECONNECTED, at, enrolment, interview, details)
    elif event["type"] == "camera" and event.get("act") in _CAMERA_ACTS:
        yield event_of(_CAMERA_ACTS[event["act"]], at, enrolment, interview, details)
    elif event["type"] == "viewer":
        verb = Verb.VIEWER_JOINED if event.get("act") == "joined" else Verb.VIEWER_LEFT
        account = session.get(AccountRow, str(event.get("viewer", "")))
        actor = Actor.monitor(parse_enrolment_id(enrolment))
        if account is not None:
            person = Person(account.id, account.username, account.display_name, Role(account.role))
            actor = Actor.person(person)
        yield CustodyEvent(
            verb, nanoseconds(event.get("utc"), at), actor,
            InterviewId(interview.id), case_of(interview), details=details,
        )  # fmt: skip
    elif event["type"] == "order":
        # Only what was ordered in the room itself: what the application orders it enters as the person's own act.
        verb = Verb.INTERVIEW_STARTED if event.get("act") == "start" else Verb.INTERVIEW_ENDED
        yield event_of(verb, at, enrolment, interview, details)
    elif event["type"] == "checks-failed":
        yield event_of(Verb.CHECKS_OVERRIDDEN, at, enrolment, interview, details | {"failed": _failed(event)})


def case_of(interview: InterviewRow) -> CaseNumber | None:
    """None where nobody has said yet whose interview it is."""
    return None if interview.case_number is None else CaseNumber(interview.case_number)


def _failed(event: Record) -> list[Record]:
    """Code and camera of each check, as every reader may rely on them."""
    failed = event.get("failed")
    found = [each for each in failed if isinstance(each, dict)] if isinstance(failed, list) else []
    return [
        {
            "camera": each["camera"] if isinstance(each.get("camera"), str) else None,
            "code": str(each.get("code", "unknown")),
        }
        for each in found
    ]


def _observation(event: Record, at: int) -> Record:
    """The members of an observation (docs/formats/tick.md#observations), each as every reader may rely on it."""
    to, measure, track = event.get("to"), event.get("measure"), event.get("track")
    return {
        **{name: str(event.get(name, "unknown"))[:_LONGEST_CODE] for name in ("act", "camera", "kind")},
        "from": str(nanoseconds(event.get("from"), at)),
        "measure": measure if type(measure) is int else None,
        "to": None if to is None else str(nanoseconds(to, at)),
        "track": track if type(track) is int else None,
    }


def recorder(enrolment: str) -> Actor:
    return Actor.recorder(parse_enrolment_id(enrolment))


def event_of(verb: Verb, at: int, enrolment: str, interview: InterviewRow | None, details: Record) -> CustodyEvent:
    return CustodyEvent(
        verb,
        at,
        recorder(enrolment),
        None if interview is None else InterviewId(interview.id),
        None if interview is None else case_of(interview),
        details=details,
    )


def alarm(session: Session, at: int, code: str, room: str | None, details: Record) -> bool:
    """Raises an alarm. False where the same one stands already."""
    if standing_about(session, code, [details]):
        return False
    session.add(AlarmRow(at=at, code=code, room=room, details=canonical(details).decode()))
    return True


def standing_about(session: Session, code: str, about: Iterable[Record]) -> list[AlarmRow]:
    """Standing alarms of one code whose details are one of these."""
    texts = [canonical(details).decode() for details in about]
    query = select(AlarmRow).where(AlarmRow.code == code, AlarmRow.cleared_at.is_(None), AlarmRow.details.in_(texts))
    return list(session.scalars(query))


def standing(session: Session, code: str | None = None) -> list[AlarmRow]:
    """Alarms that nobody and nothing has cleared, the oldest first; of one code, where it is given."""
    query = select(AlarmRow).where(AlarmRow.cleared_at.is_(None)).order_by(AlarmRow.id)
    return list(session.scalars(query if code is None else query.where(AlarmRow.code == code)))


def clear(session: Session, at: int, code: str, details: Record) -> bool:
    """What the alarm spoke of is over. False where none stood."""
    found = standing_about(session, code, [details])
    for row in found:
        row.cleared_at = at
    return bool(found)


def nanoseconds(value: object, otherwise: int) -> int:
    """A moment as events write it, a decimal string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20 and int(value) < 2**63:
        return int(value)
    return otherwise
