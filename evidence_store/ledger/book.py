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
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, Tampered, Unavailable
from evidence_store.kept import KeptVault
from evidence_store.ledger import custody_log
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.ledger import Ledger, entering
from evidence_store.stamps.waiting import want_stamps

log = structlog.get_logger()

_CHECKPOINTS = "ledger/checkpoints/"
_NEAR = 256
"""Sizes of the ledger, for the first look; its square for the second."""


class Entry:
    """A transaction under way. What is recorded here is durable when the block of `Book.writing` has ended."""

    def __init__(self, session: Session, ledger: Ledger, now: int) -> None:
        self.session = session
        self._ledger = ledger
        self._now = now
        self._recorded = False
        self._last: tuple[CustodyEvent, ...] = ()

    def record(self, *events: CustodyEvent) -> None:
        """Appends events to custody log and ledger, and queues the time stamps that they ask for. Raises InvalidInput,
        ChainBroken, Conflict."""
        if events:
            custody_log.record_all(self.session, self._ledger, events)
            want_stamps(self.session, events, self._now)
            self._recorded = True

    def record_last(self, *events: CustodyEvent) -> None:
        """As `record`, when the block ends, and sent together with the checkpoint: while answers are waited for, nobody
        else can write. For whoever asks nothing of the session any more. What fails is raised by the block."""
        self._last += events

    def sign(self, at: int) -> bytes | None:
        """The checkpoint of what was recorded, `at` nanoseconds UTC; None where nothing was."""
        if not self._recorded and not self._last:
            return None
        want_stamps(self.session, self._last, self._now)
        self._ledger.look(self.session)
        with entering(self.session):
            custody_log.record_all(self.session, self._ledger, self._last)
            return self._ledger.checkpoint(self.session, at)


class Book:
    def __init__(self, database: Database, ledger: Ledger, vault: KeptVault, clock: Callable[[], int]) -> None:
        """`clock` gives UTC in nanoseconds.

        `read_only`: True once the vault remembers another ledger than the database. Nothing is entered then:
        appending would bury the evidence. Recordings go on and wait on their recorders.
        `may_write`: asked in each transaction before anything else; it raises Unavailable where a witness says no.
        """
        self.database = database
        self.ledger = ledger
        self.vault = vault
        self.clock = clock
        self.read_only = False
        vault.contradicts = self.is_contradicted
        self.may_write: Callable[[Session], None] = lambda session: None

    def check_remembered(self) -> None:
        """At start: the database is the one that signed the vault's last checkpoint, or one that grew from it.

        Raises ChainBroken, SignatureInvalid where it is not (a backup was restored, or a log was made anew); nothing
        is written from then on.
        """
        try:
            last = self._last_remembered()
            if last is not None:
                with self.reading() as session:
                    self.ledger.check_against(session, self.vault.get(last))
        except (Tampered, InvalidInput) as error:
            self.read_only = True
            log.critical("ledger_is_not_the_remembered_one", code=error.code)
            if isinstance(error, InvalidInput):
                # A checkpoint that cannot be read any more: the audit has to be able to say so.
                raise ChainBroken("the last checkpoint is no checkpoint", code="ledger-rewritten") from error
            raise

    def _last_remembered(self) -> str | None:
        """The vault's last checkpoint, looked for from where this database's own ends: years of them are not listed
        at each start. What a database that was set back does not have lies behind that, and is found first."""
        with self.reading() as session:
            latest = self.ledger.latest_checkpoint(session)
            size = 0 if latest is None else self.ledger.size_of(latest)
        for back in (_NEAR, _NEAR**2, size):
            names = [kept.name for kept in self.vault.list(_CHECKPOINTS, checkpoint_name(max(0, size - back)))]
            if names:
                return names[-1]
        return None

    def require_entries(self) -> None:
        """For work whose result has to be entered, before it begins. Raises Unavailable as `writing` would."""
        if self.read_only:
            raise Unavailable("the ledger is not the one that the vault remembers", code="ledger-read-only")
        with self.reading() as session:
            self.may_write(session)

    @contextmanager
    def writing(self, *, over_veto: bool = False) -> Iterator[Entry]:
        """`over_veto`: for the end of a veto itself. Raises Unavailable `ledger-read-only`, `ledger-vetoed`; NoSpace
        and OutOfReach of the database; whatever the block raises."""
        if self.read_only:
            raise Unavailable("the ledger is not the one that the vault remembers", code="ledger-read-only")
        note: bytes | None = None
        with self.database.writing() as session:
            if not over_veto:
                self.may_write(session)
            entry = Entry(session, self.ledger, self.clock())
            yield entry
            note = entry.sign(self.clock())
        if note is not None:
            self.keep(note)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self.database.reading() as session:
            yield session

    def record(self, *events: CustodyEvent) -> None:
        """Custody alone, in a transaction of its own."""
        with self.writing() as entry:
            entry.record_last(*events)

    def is_contradicted(self, name: str, other: bytes) -> bool:
        """Whether `other`, found in a vault under a name, is a head that this log signed and this database does not
        have: a vault that remembers another ledger, and no damage. Nothing is written from then on."""
        if not name.startswith(_CHECKPOINTS):
            return False
        try:
            Checkpoint.open(other, self.ledger.verifier)
        except (Tampered, InvalidInput):
            return False
        if not self.read_only:
            self.read_only = True
            log.critical("ledger_is_not_the_remembered_one", code="ledger-rewritten")
        return True

    def keep(self, note: bytes) -> None:
        """Puts a checkpoint where no database can be rolled back. A full vault, one that is away, and one that was
        refused hold up nobody's work: it is logged.

        Raises ChainBroken where the vault has another checkpoint of that size; nothing is written from then on.
        """
        size = self.ledger.size_of(note)
        try:
            self.vault.put(checkpoint_name(size), note)
        except Unavailable as error:
            log.error("checkpoint_not_in_vault", size=size, code=error.code)
        except Conflict as error:
            self.read_only = True
            log.critical("ledger_is_not_the_remembered_one", code=error.code)
            raise ChainBroken("the vault remembers another ledger", code="ledger-rewritten") from error


def checkpoint_name(size: int) -> str:
    return f"{_CHECKPOINTS}{size:012d}"
