"""Where custody is written: one transaction for what happened and its ledger entries, then a signed checkpoint.

The checkpoint is signed inside the transaction and put into the vault after it: a crash in between leaves a signed
head that only the database knows, and the next checkpoint covers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.orm import Session

from evidence_store.custody import CustodyEvent
from evidence_store.database.session import Database
from evidence_store.errors import NoSpace
from evidence_store.ledger import custody_log
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.ledger import Ledger
from evidence_store.vault.vault import Vault

log = structlog.get_logger()


class Entry:
    """A transaction under way. What is recorded here is durable when the block of `Book.writing` has ended."""

    def __init__(self, session: Session, ledger: Ledger) -> None:
        self.session = session
        self._ledger = ledger
        self.recorded = 0

    def record(self, *events: CustodyEvent) -> None:
        """Appends events to custody log and ledger. Raises InvalidInput, ChainBroken."""
        if events:
            custody_log.record_all(self.session, self._ledger, events)
            self.recorded += len(events)


class Book:
    def __init__(self, database: Database, ledger: Ledger, vault: Vault, clock: Callable[[], int]) -> None:
        """`clock` gives UTC in nanoseconds."""
        self.database = database
        self.ledger = ledger
        self.vault = vault
        self.clock = clock

    @contextmanager
    def writing(self) -> Iterator[Entry]:
        note: bytes | None = None
        with self.database.writing() as session:
            entry = Entry(session, self.ledger)
            yield entry
            if entry.recorded:
                note = self.ledger.checkpoint(session, self.clock())
        if note is not None:
            self.keep(note)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self.database.reading() as session:
            yield session

    def record(self, *events: CustodyEvent) -> None:
        """Custody alone, in a transaction of its own."""
        with self.writing() as entry:
            entry.record(*events)

    def keep(self, note: bytes) -> None:
        """Puts a checkpoint where no database can be rolled back. A full vault holds up nobody's work: it is logged."""
        size = Checkpoint.open(note, self.ledger.verifier).size
        try:
            self.vault.put(checkpoint_name(size), note)
        except NoSpace:
            log.error("checkpoint_not_in_vault", size=size)


def checkpoint_name(size: int) -> str:
    return f"ledger/checkpoints/{size:012d}"
