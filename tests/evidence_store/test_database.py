from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from evidence_store.database import session as session_module
from evidence_store.database import wal
from evidence_store.database.schema import AccountRow, Base, InterviewRow, LedgerHeadRow
from evidence_store.database.session import Database, migrate
from evidence_store.errors import OutOfReach
from tests.evidence_store.accounts import account
from tests.postgres import Cluster


def test_migrations_make_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_again_does_nothing(database: Database) -> None:
    with database.writing() as session:
        session.add(AccountRow(**account("a")))
    database.migrate()
    with database.reading() as session:
        assert session.query(AccountRow).count() == 1
        assert session.query(LedgerHeadRow).count() == 1


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "vidne.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE segment (x)")  # in the way of the first step, which makes it late
    connection.close()
    made = Database(f"sqlite:///{path}")
    with pytest.raises(Exception, match="already exists"):
        migrate(made.engine)
    with made.engine.connect() as left:
        tables = left.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
    made.close()
    assert tables == ["segment"]


def test_two_at_once_migrate_once(tmp_path: Path) -> None:
    made = [Database(f"sqlite:///{tmp_path / 'vidne.db'}") for _ in range(2)]
    threads = [threading.Thread(target=database.migrate) for database in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with made[0].reading() as session:
        assert session.query(LedgerHeadRow).count() == 1
    for database in made:
        database.close()


def test_sqlite_is_set_to_survive_a_power_cut_and_to_forget(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'vidne.db'}")
    with database.reading() as session:
        found = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout", "temp_store")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "busy_timeout": 10_000,
        "temp_store": 2,
    }


def test_what_a_block_raises_undoes_it(database: Database) -> None:
    with pytest.raises(IntegrityError), database.writing() as session:  # noqa: PT012 - the first act is what is undone
        session.add(AccountRow(**account("a")))
        session.flush()
        session.execute(insert(AccountRow), [{"id": "b"}])
    with database.reading() as session:
        assert session.query(AccountRow).count() == 0


def test_reading_writes_nothing(database: Database) -> None:
    with database.reading() as session:
        session.add(AccountRow(**account("a")))
        session.flush()
    with database.reading() as session:
        assert session.query(AccountRow).count() == 0


def test_readers_go_on_beside_a_writer_and_see_one_state(database: Database) -> None:
    with database.reading() as reader:
        assert reader.query(AccountRow).count() == 0
        with database.writing() as writer:
            writer.add(AccountRow(**account("a")))
        assert reader.query(AccountRow).count() == 0
    with database.reading() as reader:
        assert reader.query(AccountRow).count() == 1


def test_a_writer_that_waits_too_long_is_told_to_try_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    impatience = 50
    monkeypatch.setattr(session_module, "BUSY_TIMEOUT_MS", impatience)
    monkeypatch.setattr(session_module, "_PRAGMAS", (f"PRAGMA busy_timeout = {impatience}",))
    impatient = Database(database.engine.url.render_as_string(hide_password=False))
    with database.writing() as first:
        first.execute(text("SELECT 1"))
        with pytest.raises(OutOfReach) as refused, impatient.writing() as second:
            second.execute(text("SELECT 1"))
        assert refused.value.code == "database-out-of-reach"
    impatient.close()


def test_of_many_writers_each_sees_what_those_before_it_wrote(database: Database) -> None:
    """What looks before it writes needs no lock of its own, whichever database it is."""
    gate = threading.Barrier(6)

    def write() -> None:
        gate.wait()
        for _ in range(10):
            with database.writing() as session:
                count = session.query(AccountRow).count()
                session.add(AccountRow(**account(f"a{count:03}")))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert session.query(AccountRow).count() == 60


def test_a_database_that_is_not_there(cluster: Cluster) -> None:
    nowhere = Database("postgresql+psycopg://vidne:secret-word@127.0.0.1:9/vidne")
    with pytest.raises(OutOfReach) as refused, nowhere.writing() as session:
        session.execute(text("SELECT 1"))
    assert "secret-word" not in f"{refused.value} {refused.value.__cause__}"
    stranger = Database(cluster.make_database().replace(cluster.password, "guessed"))
    with pytest.raises(OutOfReach), stranger.reading() as session:
        session.execute(text("SELECT 1"))


def test_foreign_keys_hold(database: Database) -> None:
    orphan = InterviewRow(
        id="0" * 32,
        case_number="0100-83986-00001-17",
        child_ordinal=1,
        room="r",
        state="planned",
        created_by="f" * 32,
        created_at=0,
    )
    with pytest.raises(IntegrityError) as refused, database.writing() as session:
        session.add(orphan)
    assert "0100-83986" not in str(refused.value)


def test_what_is_committed_comes_into_the_database_beside_its_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the one file finds it there, without its log, long before the log would be full."""
    monkeypatch.setattr(wal, "_EACH", 50)
    made = Database(f"sqlite:///{tmp_path / 'vidne.db'}")
    made.migrate()
    for number in range(60):
        with made.writing() as session:
            session.add(AccountRow(**account(f"{number:03d}")))

    def brought_in() -> int:
        copy = tmp_path / "copy.db"
        shutil.copy(tmp_path / "vidne.db", copy)
        # What a copy taken in the middle of it holds may be no database yet.
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(copy)) as alone:
            return int(alone.execute("SELECT COUNT(*) FROM account").fetchone()[0])
        return 0

    until = time.monotonic() + 10
    while brought_in() < 50 and time.monotonic() < until:
        time.sleep(0.05)
    assert brought_in() >= 50
    made.close()


@pytest.mark.parametrize("bulk", [False, True])
def test_who_asks_from_everywhere_in_the_file_is_not_given_megabytes_for_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bulk: bool
) -> None:
    advised: list[tuple[str, int]] = []

    def advise(descriptor: int, _offset: int, _length: int, advice: int) -> None:
        advised.append((os.readlink(f"/proc/self/fd/{descriptor}"), advice))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    path = tmp_path / "vidne.db"
    (tmp_path / "linked").symlink_to(tmp_path)
    made = Database(f"sqlite:///{tmp_path / 'linked' / 'vidne.db'}", bulk=bulk)
    with made.reading() as session:
        session.execute(text("SELECT 1"))
    made.close()
    wanted = set() if bulk else {(str(path), os.POSIX_FADV_RANDOM)}
    assert set(advised) == wanted, "who reads from beginning to end is read ahead for"


def test_who_reads_may_do_other_things_meanwhile_and_who_writes_may_not(cluster: Cluster) -> None:
    """An audit reads vaults for hours with its view of the database open; a writer that hangs holds up all others."""
    made = Database(cluster.make_database())
    asked = text("SHOW idle_in_transaction_session_timeout")
    for _ in range(2):
        # The second time on the connection that the first one used.
        with made.reading() as session:
            assert session.scalar(asked) == "0"
        with made.writing() as session:
            assert session.scalar(asked) == "1min"
    made.close()


def test_a_server_that_was_restarted_is_met_again_by_whoever_asks_next(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a restart leaves them: every connection in the pool is dead, and nobody has noticed."""
    made = Database(cluster.make_database())
    with made.reading() as one, made.reading() as other:
        pids = [session.scalar(text("SELECT pg_backend_pid()")) for session in (one, other)]
    with made.writing() as session:
        for pid in pids:
            # One of them is this one: it ends with this transaction.
            if pid != session.scalar(text("SELECT pg_backend_pid()")):
                session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    monkeypatch.setattr(session_module, "_FRESH_S", 0.0)
    for _ in range(3):
        with made.writing() as session:
            assert session.scalar(text("SELECT pg_backend_pid()")) is not None
    made.close()
