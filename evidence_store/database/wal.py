"""SQLite's write-ahead log, brought into the database beside the writers.

By itself SQLite does it within a commit, each thousand pages: whoever commits then waits for all of them. Here a thread
does it each few hundred transactions; where it does not keep up, or has died, a commit does it as ever, if later.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

LARGEST_PAGES: Final = 16_000
"""Of the log, 64 MiB: beyond that a commit brings it in."""
_EACH: Final = 400

log = structlog.get_logger(__name__)


class WalKeeper:
    """`connect`: gives a connection of the driver's own. The thread begins with the first `_EACH` transactions."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._thread: threading.Thread | None = None
        self._beginning = threading.Lock()
        self._due, self._ended, self._count = threading.Event(), False, 0

    def committed(self) -> None:
        """Safe for threads: a count that two of them lose is made up for by the next."""
        self._count += 1
        if self._count % _EACH == 0 and not self._ended:
            with self._beginning:
                if self._thread is None:
                    # Cut off anywhere, it has done a part of what the next one does again.
                    thread = threading.Thread(target=self._keep, name="vidne-wal", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:
                        # No more threads: what was committed is committed, and a commit to come brings the log in.
                        log.warning("wal_keeper_not_begun")
                        return
                    self._thread = thread
            self._due.set()

    def close(self) -> None:
        self._ended = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self) -> None:
        while not self._ended:
            self._due.wait()
            self._due.clear()
            try:
                with closing(self._connect()) as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except (sqlite3.Error, SQLAlchemyError) as error:
                # A full disk, most likely: commits say so themselves.
                log.warning("wal_not_brought_in", error=type(error).__name__)
