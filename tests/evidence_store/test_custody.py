from __future__ import annotations

import json
from typing import Any

import pytest

from evidence_store.canonical import canonical
from evidence_store.custody import MAX_REASON, Actor, ActorKind, CustodyEvent, Verb
from evidence_store.errors import InvalidInput
from evidence_store.identifiers import CaseNumber, EnrolmentId, InterviewId
from evidence_store.people import Person, Role

AT = 1_795_314_481_123_456_789
PROSECUTOR = Person("a" * 32, "anklager", "Anna Prøve", Role.PROSECUTOR)
EVENT = CustodyEvent(
    verb=Verb.COPY_REQUESTED,
    at=AT,
    actor=Actor.person(PROSECUTOR),
    interview=InterviewId("0f8fad5bd9cb469fa16570867728950e"),
    case_number=CaseNumber("0100-83986-00001-17"),
    reason="Til brug for hovedforhandling",
    details={"copy": "c" * 32, "sizes": [1, 2]},
    id="b" * 32,
)
BODY = (
    '{"actor":{"id":"' + "a" * 32 + '","kind":"person","name":"Anna Prøve","role":"prosecutor"},'
    '"at":"2026-11-22T02:28:01.123456789Z","case_number":"0100-83986-00001-17",'
    '"details":{"copy":"' + "c" * 32 + '","sizes":[1,2]},"id":"' + "b" * 32 + '",'
    '"interview":"0f8fad5bd9cb469fa16570867728950e","reason":"Til brug for hovedforhandling",'
    '"type":"vidne/custody-event/1","verb":"copy:requested"}'
)


def test_body_byte_for_byte() -> None:
    assert EVENT.body() == BODY.encode()
    assert CustodyEvent.from_body(BODY.encode()) == EVENT


def test_machines_act_too() -> None:
    enrolment = EnrolmentId("e" * 32)
    for actor in (Actor.store(), Actor.console(), Actor.recorder(enrolment), Actor.monitor(enrolment)):
        event = CustodyEvent(Verb.MINUTE, AT, actor, details={"head": "00" * 32})
        assert CustodyEvent.from_body(event.body()) == event
    assert Actor.recorder(enrolment).id == f"recorder:{enrolment}"


@pytest.mark.parametrize(
    ("kind", "id_", "name", "role"),
    [
        (ActorKind.MACHINE, "camera", "camera", None),
        (ActorKind.MACHINE, "store", "Anna", None),
        (ActorKind.MACHINE, "recorder:x", "recorder:x", None),
        (ActorKind.PERSON, "", "Anna", "prosecutor"),
        (ActorKind.PERSON, "a", "", "prosecutor"),
        (ActorKind.PERSON, "a", "Anna", None),
        (ActorKind.PERSON, "a", "A" * 201, "prosecutor"),
    ],
)
def test_actors_that_are_nobody(kind: ActorKind, id_: str, name: str, role: str | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        Actor(kind, id_, name, role)
    assert refused.value.code == "actor-form"


def altered(**changes: object) -> dict[str, Any]:
    return {**json.loads(BODY), **changes}


@pytest.mark.parametrize(
    "record",
    [
        altered(verb="copy:stolen"),
        altered(type="vidne/custody-event/2"),
        altered(type="vidne/other"),
        altered(extra=1),
        altered(at="2026-11-22T02:28:01Z"),
        altered(at=1),
        altered(interview="x"),
        altered(case_number="x"),
        altered(actor={"kind": "person"}),
        altered(actor=None),
        altered(details=[]),
        altered(reason=5),
        altered(id="B" * 32),
        {},
    ],
)
def test_bodies_that_are_no_event(record: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        CustodyEvent.from_body(canonical(record))


def test_body_in_another_form_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        CustodyEvent.from_body(json.dumps(json.loads(BODY)).encode())
    assert refused.value.code == "not-canonical"


@pytest.mark.parametrize(
    "event",
    [
        CustodyEvent(Verb.MEDIA_VIEWED, AT, Actor.store(), reason="om 010170-1234"),
        CustodyEvent(Verb.MEDIA_VIEWED, AT, Actor.store(), details={"note": "010170-1234"}),
        CustodyEvent(Verb.MEDIA_VIEWED, AT, Actor.store(), details={"deep": [{"er": ("010170 1234",)}]}),
        CustodyEvent(Verb.MEDIA_VIEWED, AT, Actor.store(), details={"010170-1234": 1}),
        CustodyEvent(Verb.MEDIA_VIEWED, AT, Actor(ActorKind.PERSON, "a", "Anna 010170-1234", "prosecutor")),
    ],
)
def test_cpr_number_anywhere_in_an_event_is_refused(event: CustodyEvent) -> None:
    with pytest.raises(InvalidInput) as refused:
        event.refuse_cpr()
    assert refused.value.code == "cpr-number"


def test_numbers_and_hashes_that_look_like_one_are_not() -> None:
    CustodyEvent(Verb.MINUTE, AT, Actor.store(), details={"rtp": 101701234, "head": "0101701234" * 6}).refuse_cpr()


def test_too_much_is_refused() -> None:
    for code, kwargs in {
        "reason-too-long": {"reason": "å" * (MAX_REASON + 1)},
        "event-too-large": {"details": {"x": "x" * 70_000}},
        "not-canonical": {"details": {"x": 2**53}},
        "event-form": {"id": "1"},
    }.items():
        with pytest.raises(InvalidInput) as refused:
            CustodyEvent(Verb.MINUTE, AT, Actor.store(), **kwargs)  # type: ignore[arg-type]
        assert refused.value.code == code


def test_verbs_are_spelled_once() -> None:
    assert len({verb.value for verb in Verb}) == len(list(Verb))
    assert all(verb.value == verb.value.lower() and ":" in verb.value for verb in Verb)
