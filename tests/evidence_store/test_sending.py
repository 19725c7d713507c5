"""What is written is sent without waiting for each answer: in order, all or none, and with the errors it always had."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError, ResourceClosedError

from evidence_store.custody import CustodyEvent, Verb
from evidence_store.database.schema import AccountRow, StampWantRow
from evidence_store.database.session import Database, sending
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, OutOfReach
from evidence_store.identifiers import new_interview_id
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Entry
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.ledger import Ledger
from tests.administrator import typed
from tests.evidence_store.accounts import account
from tests.evidence_store.test_custody_log import AT, OPERATOR, event
from tests.postgres import Cluster


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(AccountRow.username).order_by(AccountRow.username)))


def test_what_is_sent_is_there_in_its_order(database: Database) -> None:
    with database.writing() as session:
        connection = session.connection()
        with sending(session):
            connection.execute(insert(AccountRow), [account("a"), account("b")])
            with sending(session):
                connection.execute(text("UPDATE account SET username = 'c' WHERE username = 'b'"))
            connection.execute(text("UPDATE account SET username = 'd' WHERE username = 'c'"))
        assert session.scalars(select(AccountRow.username).order_by(AccountRow.username)).all() == ["a", "d"]
    assert names(database) == ["a", "d"]


@pytest.mark.parametrize("behind", [True, False])
def test_what_fails_fails_by_the_end_of_the_block_and_takes_all_with_it(database: Database, behind: bool) -> None:
    with database.writing() as session:
        session.connection().execute(insert(AccountRow), account("a"))
    with pytest.raises(IntegrityError, match=r"(?i)unique"), database.writing() as session:  # noqa: PT012
        session.connection().execute(insert(AccountRow), account("b"))
        with sending(session):
            session.connection().execute(insert(AccountRow), account("c"))
            session.connection().execute(insert(AccountRow), account("a"))
            if behind:
                session.connection().execute(insert(AccountRow), account("d"))
        pytest.fail("the block ended")
    assert names(database) == ["a"]
    with database.writing() as session, sending(session):
        session.connection().execute(insert(AccountRow), account("e"))
    assert names(database) == ["a", "e"]


def test_nothing_is_waited_for_within_the_block(cluster: Cluster) -> None:
    """What somebody else holds up is sent all the same: who waited for its answer here would wait for themselves."""
    address = cluster.make_database()
    database = Database(address)
    database.migrate()
    with psycopg.connect(address.replace("+psycopg", "")) as other, database.writing() as session:
        other.execute("LOCK TABLE account")
        with sending(session):
            session.connection().execute(insert(AccountRow), account("a"))
            session.connection().execute(insert(AccountRow), account("b"))
            other.rollback()
    assert names(database) == ["a", "b"]
    database.close()


def test_who_asks_in_the_block_is_told(cluster: Cluster) -> None:
    database = Database(cluster.make_database())
    database.migrate()
    with pytest.raises(ResourceClosedError), database.writing() as session, sending(session):
        session.scalars(select(AccountRow.username)).all()
    assert names(database) == []
    database.close()


def test_a_server_that_goes_away_in_the_block_is_out_of_reach_and_met_again(cluster: Cluster) -> None:
    database = Database(cluster.make_database())
    database.migrate()
    with pytest.raises(OutOfReach), database.writing() as session:  # noqa: PT012 - the block has to end
        own = session.scalar(text("SELECT pg_backend_pid()"))
        with database.reading() as other, sending(session):
            session.connection().execute(insert(AccountRow), account("a"))
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
    assert names(database) == []
    with database.writing() as session, sending(session):
        session.connection().execute(insert(AccountRow), account("b"))
    assert names(database) == ["b"]
    database.close()


# What the ledger sends


def test_the_last_of_a_transaction_is_entered_behind_the_others_and_signed_with_them(
    database: Database, ledger: Ledger
) -> None:
    interview = new_interview_id()
    first, second = event(Verb.INTERVIEW_CREATED, interview), event(Verb.INTERVIEW_HELD, interview)
    started = event(Verb.TAKE_STARTED, interview, enrolment="e" * 32, take=1)
    with database.writing() as session:
        entry = Entry(session, ledger, AT)
        assert entry.sign(AT) is None, "nothing was recorded"
        entry.record_last(second, started)
        entry.record(first)
        note = entry.sign(AT)
    assert note is not None
    assert Checkpoint.open(note, ledger.verifier).size == 3
    with database.reading() as session:
        assert [each.event for each in custody_log.of_interview(session, interview)] == [first, second, started]
        assert ledger.verify_all(session).signed_size == custody_log.verify_rows(session) == 3
        assert session.scalars(select(StampWantRow.kind)).all() == ["start"]


@pytest.mark.parametrize("refused", ["event-exists", "cpr-number", "ledger-moved"])
def test_what_is_refused_at_the_end_leaves_nothing(database: Database, ledger: Ledger, refused: str) -> None:
    there, later = event(Verb.ACCOUNT_SIGNED_IN), event(Verb.ACCOUNT_SIGNED_OUT)
    with database.writing() as session:
        Entry(session, ledger, AT).record(there)
    last = {
        "event-exists": there,
        "cpr-number": CustodyEvent(Verb.MEDIA_VIEWED, AT, OPERATOR, reason="barnet 010170-1234"),
        "ledger-moved": later,
    }[refused]

    def enter() -> None:
        with database.writing() as session:
            entry = Entry(session, ledger, AT)
            entry.record(event(Verb.ACCOUNT_SIGNED_OUT))
            entry.record_last(last)
            if refused == "ledger-moved":
                session.execute(text("UPDATE ledger_head SET size = 9"))
            entry.sign(AT)

    with pytest.raises((Conflict, InvalidInput)) as found:
        enter()
    assert found.value.code == refused
    with database.reading() as session:
        assert ledger.verify_all(session).size == custody_log.verify_rows(session) == 1


def test_a_tree_that_somebody_touched_takes_no_last_event(database: Database, ledger: Ledger) -> None:
    with database.writing() as session:
        Entry(session, ledger, AT).record(event(Verb.ACCOUNT_SIGNED_IN))
    typed(database, "UPDATE ledger_entry SET leaf = x'00' WHERE position = 0")
    with pytest.raises(ChainBroken), database.writing() as session:  # noqa: PT012 - it is signed that is refused
        entry = Entry(session, ledger, AT)
        entry.record_last(event(Verb.ACCOUNT_SIGNED_OUT))
        entry.sign(AT)
