from __future__ import annotations

import pytest

from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.session import Database
from evidence_store.errors import ChainBroken, Conflict, InvalidInput
from evidence_store.identifiers import CaseNumber, InterviewId, new_interview_id
from evidence_store.ledger import custody_log
from evidence_store.ledger.ledger import Ledger
from evidence_store.people import Person, Role
from tests.administrator import typed

AT = 1_795_314_481_123_456_789
OPERATOR = Actor.person(Person("a" * 32, "teknik", "Tove Prøve", Role.OPERATOR))
CASE = CaseNumber("0100-83986-00001-17")


def event(verb: Verb, interview: InterviewId | None = None, **details: object) -> CustodyEvent:
    return CustodyEvent(verb, AT, OPERATOR, interview, CASE if interview else None, "begrundelse", details)


def test_events_are_found_by_interview_and_proved(database: Database, ledger: Ledger) -> None:
    one, other = new_interview_id(), new_interview_id()
    events = [
        event(Verb.ACCOUNT_SIGNED_IN),
        event(Verb.INTERVIEW_CREATED, one, room="rum-1"),
        event(Verb.INTERVIEW_CREATED, other, ordinal=2, nested={"å": [1, None, True, "x"]}),
        event(Verb.INTERVIEW_STARTED, one),
    ]
    for happened in events[:2]:
        with database.writing() as session:
            custody_log.record(session, ledger, happened)
    with database.writing() as session:
        assert custody_log.record_all(session, ledger, events[2:]) == range(2, 4)
        ledger.checkpoint(session, AT)
    with database.reading() as session:
        found = custody_log.of_interview(session, one)
        assert [logged.event for logged in found] == [events[1], events[3]]
        for logged in found:
            ledger.prove(session, logged.index).verify_body(logged.event.body(), ledger.verifier)
        assert custody_log.verify_rows(session) == 4


def test_event_and_ledger_entry_come_together_or_not_at_all(database: Database, ledger: Ledger) -> None:
    happened = event(Verb.INTERVIEW_CREATED, new_interview_id())
    with database.writing() as session:
        custody_log.record(session, ledger, happened)
    with pytest.raises(InvalidInput), database.writing() as session:  # noqa: PT012 - the first act is what is undone
        assert custody_log.record(session, ledger, event(Verb.INTERVIEW_STARTED)) == 1
        CaseNumber.parse("something after it that fails")
    with database.reading() as session:
        assert ledger.verify_all(session).size == 1
        assert custody_log.verify_rows(session) == 1


def test_cpr_number_reaches_neither_row_nor_ledger(database: Database, ledger: Ledger) -> None:
    bad = CustodyEvent(Verb.MEDIA_VIEWED, AT, OPERATOR, reason="barnet 010170-1234")
    with pytest.raises(InvalidInput), database.writing() as session:
        custody_log.record_all(session, ledger, [event(Verb.ACCOUNT_SIGNED_IN), bad])
    with database.reading() as session:
        assert ledger.verify_all(session).size == 0


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE custody_event SET reason = 'andet' WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET actor_name = 'Anden' WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET at = at + 1 WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET interview_id = NULL WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET verb = 'nothing:known' WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET details = '{}' WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET details = '[' WHERE ledger_position = 1", "custody-row-altered"),
        ("UPDATE custody_event SET case_number = 'x' WHERE ledger_position = 1", "custody-row-altered"),
        ("DELETE FROM custody_event WHERE ledger_position = 1", "custody-row-missing"),
        ("UPDATE ledger_entry SET body = NULL, nonce = NULL WHERE position = 1", "custody-row-unproven"),
        ("DELETE FROM ledger_entry WHERE position = 2", "custody-row-unproven"),
        ("UPDATE custody_event SET ledger_position = 9 WHERE ledger_position = 2", "custody-row-missing"),
    ],
)
def test_an_edited_row_is_found(database: Database, ledger: Ledger, statement: str, code: str) -> None:
    with database.writing() as session:
        interview = new_interview_id()
        custody_log.record_all(session, ledger, [event(Verb.INTERVIEW_CREATED, interview, room="r") for _ in range(3)])
    typed(database, statement)
    with database.reading() as session, pytest.raises(ChainBroken) as found:
        custody_log.verify_rows(session)
    assert found.value.code == code


def test_an_event_is_entered_once(database: Database, ledger: Ledger) -> None:
    happened = event(Verb.INTERVIEW_CREATED, new_interview_id())
    with database.writing() as session:
        custody_log.record(session, ledger, happened)
    with pytest.raises(Conflict) as refused, database.writing() as session:
        custody_log.record(session, ledger, happened)
    assert refused.value.code == "event-exists"
    # What the driver says of it, in the log's traceback, names no case either.
    assert CASE.text not in str(refused.value.__cause__)
    with database.reading() as session:
        assert ledger.verify_all(session).size == custody_log.verify_rows(session) == 1
