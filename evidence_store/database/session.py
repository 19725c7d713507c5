"""Opening the database, bringing it up to date, and its transactions.

SQLite or PostgreSQL; nothing above this file knows which. Writers wait for each other from their first statement on:
the ledger takes one append at a time anyway, and a transaction that waits cannot find itself outdated.
"""

from __future__ import annotations

import math
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, cast

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from evidence_store.database.wal import LARGEST_PAGES, WalKeeper
from evidence_store.errors import NoSpace, OutOfReach

BUSY_TIMEOUT_MS: Final = 10_000
CONNECT_TIMEOUT_S: Final = 5
IDLE_TIMEOUT_MS: Final = 60_000
_WRITING = "vidne_writing"
_USED, _FRESH_S = "vidne_used", 5.0
_SENDING = "vidne_sending"
_WRITERS: Final = int.from_bytes(b"vidne", "big")
"""The advisory lock that writers hold in PostgreSQL: a number that nobody else in this database uses."""
_BEGIN_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ"
_DISK_FULL: Final = "53100"
"""PostgreSQL's error code (appendix A of its manual)."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    # What is committed has to survive a power cut: FULL syncs the WAL at each commit, NORMAL does not.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # An erased seed or body is overwritten, not left behind in a free page.
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA wal_autocheckpoint = {LARGEST_PAGES}",
)


def engine(url: str, *, bulk: bool = False) -> Engine:
    """An engine for `sqlite:///path` or another SQLAlchemy URL. Parameters never reach an error's text or a log.

    `bulk`: for whoever reads millions of rows, and asks nothing of the schema (the driver cannot read all of it so)."""
    # Whose turn was last is next: what a connection has in its memory is still as the database has it.
    pool = {"hide_parameters": True, "pool_size": 16, "max_overflow": 48, "pool_use_lifo": True}
    if make_url(url).get_backend_name() == "sqlite":
        made = create_engine(url, **pool)
        event.listen(made, "connect", _prepare_sqlite)
        event.listen(made, "begin", _begin_sqlite)
        if not bulk:
            event.listen(made, "connect", partial(_read_nothing_ahead, make_url(url).database or ""))
    else:
        settings = {
            "lock_timeout": BUSY_TIMEOUT_MS, "synchronous_commit": "on", "timezone": "UTC",
            # A replica that is gone must not keep the writers' lock, nor a server that is gone a thread here.
            "idle_in_transaction_session_timeout": 0 if bulk else IDLE_TIMEOUT_MS, "tcp_keepalives_idle": 10,
            "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3,
        }  # fmt: skip
        arguments = {
            "connect_timeout": CONNECT_TIMEOUT_S, "keepalives_idle": 10, "keepalives_interval": 5,
            "keepalives_count": 3, "tcp_user_timeout": IDLE_TIMEOUT_MS,
            "cursor_factory": _BinaryCursor if bulk else psycopg.Cursor,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        }  # fmt: skip
        made = create_engine(url, connect_args=arguments, **pool)
        event.listen(made, "connect", _prepare_postgresql)
        event.listen(made, "checkin", _used)
        event.listen(made, "checkout", partial(_ask_again, made))
        event.listen(made, "begin", _begin_bulk if bulk else _begin_postgresql)
    return made


class _BinaryCursor(psycopg.Cursor[Any]):
    """Answers come as the server has them: bytes as hexadecimal text cost both sides more than reading them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format = psycopg.pq.Format.BINARY


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions late and end them before DDL; `_begin_sqlite` says when instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        _switch_to_wal(cursor)
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
    finally:
        cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Two that make a database at once each hold what the other waits for: who finds it locked lets go, and comes
    again a random while later. Raises sqlite3.OperationalError after BUSY_TIMEOUT_MS."""
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    cursor.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005 + secrets.randbelow(50) / 1000)
        else:
            return


def _read_nothing_ahead(path: str, _connection: Any, _record: object) -> None:
    """Entries and nodes are asked for from everywhere in the file. A kernel that takes that for reading on fetches
    megabytes for a page (readahead(2)), and whoever asked waits for them. The driver does not show its descriptors:
    they are found by their name. Advice only: nothing depends on it."""
    path, here = os.path.realpath(path), "/proc/self/fd"
    with suppress(OSError):  # nothing to be seen there
        for descriptor in os.listdir(here):
            with suppress(OSError):  # closed meanwhile by another thread
                if os.readlink(f"{here}/{descriptor}") == path:
                    os.posix_fadvise(int(descriptor), 0, 0, os.POSIX_FADV_RANDOM)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later can find itself outdated: those that will write lock at once.
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _prepare_postgresql(connection: Any, _record: object) -> None:
    # The driver would ask for each transaction's begin by itself; what begins one here asks for more with it.
    connection.autocommit = True


def _used(_connection: Any, record: Any) -> None:
    record.info[_USED] = time.monotonic()


def _ask_again(engine: Engine, connection: Any, record: Any, _proxy: object) -> None:
    """A connection that has lain idle may be none any more: its server was restarted, or somebody in between forgot
    it. Then none is that lay there with it. One that was just used is not asked: each question is a way and back."""
    if time.monotonic() - record.info.get(_USED, math.inf) > _FRESH_S:
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITING, False):
        # Held until the transaction ends, by whichever replica writes.
        begin = f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS})"
    else:
        # Who reads holds up nobody, and may do other things for an hour meanwhile, as an audit does.
        begin = f"{_BEGIN_READING}; SET LOCAL idle_in_transaction_session_timeout = 0"
    # Without parameters, several statements are one message.
    connection.exec_driver_sql(begin, execution_options={"no_parameters": True})


def _begin_bulk(connection: Connection) -> None:
    connection.exec_driver_sql(_BEGIN_READING)


def migrate(target: Engine) -> None:
    """Brings the database up to the newest schema, in one transaction where the database can (SQLite, PostgreSQL).

    A crash here leaves the schema as it was. Doing it again does nothing. Raises OutOfReach.
    """
    config = Config()
    config.set_main_option("script_location", "evidence_store.database:migrations")
    with _translated(), target.connect():
        pass  # a database that is away is told from a step that fails
    with target.execution_options(**{_WRITING: True}).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


class Database:
    """One database: `reading` and `writing` give a session for one transaction each."""

    def __init__(self, url: str, *, bulk: bool = False) -> None:
        self.engine = engine(url, bulk=bulk)
        self._writing_engine = self.engine.execution_options(**{_WRITING: True})
        self._wal = WalKeeper(self.engine.raw_connection) if self.engine.dialect.name == "sqlite" else None

    def migrate(self) -> None:
        migrate(self.engine)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view. Nothing is written: what the block changes is rolled back at its end."""
        with _translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, committed and durable when the block ends, rolled back when it raises.

        Writers wait for each other from the first statement on. Raises OutOfReach `database-out-of-reach`
        when the wait is too long or the database does not answer, NoSpace when its disk is full.
        """
        with _translated(), Session(self._writing_engine, expire_on_commit=False) as session, session.begin():
            yield session
        if self._wal is not None:
            self._wal.committed()

    def forget_old_pages(self) -> bool | None:
        """What was overwritten is in no file any more: the write-ahead log is emptied into the database.

        False where somebody read so long that it could not be (the next call can). None on other databases than
        SQLite, whose dead rows and logs are theirs to write over: docs/operations.md#erasing-an-interview.
        """
        if self.engine.dialect.name != "sqlite":
            return None
        connection = self.engine.raw_connection()
        try:
            busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
        return not busy

    def close(self) -> None:
        if self._wal is not None:
            self._wal.close()
        self.engine.dispose()


@contextmanager
def sending(session: Session) -> Iterator[None]:
    """What is written in the block is sent at once, without waiting for each answer; all have come when it ends.

    Nothing can be asked in it, and no statement says how many rows it changed. A block in a block is part of it. SQLite
    answers each at once, and what fails raises there instead of at the end: the same errors, of SQLAlchemy's.
    """
    connection = session.connection()
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection) or session.info.get(_SENDING):
        yield
        return
    session.info[_SENDING] = True
    try:
        with driver.pipeline():
            yield
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(cast("Any", error), cast("Any", driver), None)
        if lost:
            connection.invalidate(error)
        raised = DBAPIError.instance(
            None, None, error, psycopg.Error,
            hide_parameters=True, connection_invalidated=lost, dialect=connection.dialect,
        )  # fmt: skip
        raise raised from error
    finally:
        del session.info[_SENDING]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if "disk is full" in str(error.orig) or getattr(error.orig, "sqlstate", None) == _DISK_FULL:
            raise NoSpace("the database's disk is full", code="database-full") from error
        raise OutOfReach("the database does not answer", code="database-out-of-reach") from error
    except PoolTimeout as error:
        raise OutOfReach("every connection to the database is in use", code="database-out-of-reach") from error
