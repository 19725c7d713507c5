"""What an audit looks at of a ledger: its events, its tree, its custody rows.

A large one is read by a process of its own (`reader.py`); where none can be begun, or it ends before it is done, the
same is done here, and takes longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import structlog
from sqlalchemy.orm import Session

from evidence_store.custody import Verb
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Book
from evidence_store.ledger.custody_log import LoggedEvent
from evidence_store.ledger.reader import FOUND, Reader
from evidence_store.ledger.rebuild import LedgerReport

LARGE: Final = 50_000
"""Entries of a ledger that is worth a process of its own, which takes about a second to begin."""

log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class LedgerLook:
    """For the length of a block. First all of `events`, then `tree` and `rows`, which raise as `Ledger.verify_all` and
    `custody_log.verify_rows` do. `told`: called with how many entries are done, now and then."""

    def __init__(self, book: Book, session: Session, verbs: Sequence[Verb], told: Callable[[int], None]) -> None:
        self._ledger, self._session, self._verbs, self._told = book.ledger, session, verbs, told
        self._database = book.database
        self._beside = contextlib.ExitStack()
        self._reader: Reader | None = None
        self._entered = 0

    def __enter__(self) -> LedgerLook:
        with contextlib.suppress(*FOUND):  # what is wrong with the ledger is its own finding
            self._entered = custody_log.entries(self._session)
        if self._entered > LARGE:
            try:
                self._reader = self._beside.enter_context(Reader(self._database, self._verbs))
            except OSError as error:
                log.warning("ledger_reader_not_begun", error=type(error).__name__)
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.close()

    def events(self) -> Iterator[LoggedEvent]:
        """Those of the verbs that were asked for, as `custody_log.of_verbs` gives them."""
        after = 0
        if self._reader is not None:
            try:
                for logged in self._reader.events():
                    # What came in since the session's own view of the database began is the next one's.
                    if logged.index < self._entered:
                        after = logged.index + 1
                        yield logged
                return
            except (EOFError, OSError):
                self._alone(self._reader)
        yield from custody_log.of_verbs(self._session, self._verbs, after)

    def tree(self) -> LedgerReport:
        return self._read(
            lambda reader: reader.tree(self._ledger, self._told),
            lambda: self._ledger.verify_all(self._session, self._told),
        )

    def rows(self) -> int:
        """How many custody rows agree with the ledger."""
        return self._read(Reader.rows, lambda: custody_log.verify_rows(self._session, self._told))

    def _read(self, beside: Callable[[Reader], _T], here: Callable[[], _T]) -> _T:
        if self._reader is not None:
            try:
                return beside(self._reader)
            except (EOFError, OSError):
                self._alone(self._reader)
        return here()

    def _alone(self, reader: Reader) -> None:
        log.warning("ledger_reader_ended", exit_code=reader.process.poll())
        self._reader = None
