"""A large ledger read by a process of its own, while the one that audits checks what is signed.

The process holds no key: it rebuilds the tree, compares custody's rows with it, and hands over what each checkpoint has
to say. It looks at the database as it is when it begins, a moment later than whoever started it.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from evidence_store.custody import Verb
from evidence_store.database.session import Database
from evidence_store.errors import VidneError
from evidence_store.ledger import custody_log
from evidence_store.ledger.custody_log import LoggedEvent
from evidence_store.ledger.ledger import Ledger
from evidence_store.ledger.rebuild import LedgerReport, Rebuild

_T = TypeVar("_T")
FOUND = (VidneError, ValueError, TypeError, LookupError)
"""What a look at rows that somebody edited can raise: findings, and no failure of the looking."""


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[_T]):
    value: _T | Exception


class Reader:
    """For the length of a block; raises OSError where no process can be begun. First all of `events`, then `tree` and
    `rows`, which raise what was found, as `Ledger.verify_all` and `custody_log.verify_rows` do. All three raise
    EOFError or OSError where the process has ended before it was done."""

    def __init__(self, database: Database, verbs: Iterable[Verb]) -> None:
        hears, says = socket.socketpair()
        self._pipe = Connection(hears.detach())
        self._rows: _Outcome[int] | None = None
        # Not forked: what threads of ours hold would stay locked in it, and our keys would be in its memory.
        # Nor from the folder where the audit was started: what lies there is no program of ours (-P).
        command = [sys.executable, "-P", "-c", f"from {__name__} import read; read({says.fileno()})"]
        with says:
            try:
                self.process = subprocess.Popen(command, pass_fds=[says.fileno()], stdin=subprocess.DEVNULL)
            except OSError:
                self._pipe.close()
                raise
        try:
            # Not in its command line, where everybody on the machine could read it: it may hold a password.
            self._pipe.send((database.engine.url.render_as_string(hide_password=False), list(verbs)))
        except OSError:
            self.__exit__()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        # It has written nothing, and nobody hears it any more.
        self._pipe.close()
        self.process.kill()
        self.process.wait()

    def events(self) -> Iterator[LoggedEvent]:
        """Those of the verbs that were asked for, as `custody_log.of_verbs` gives them."""
        while not isinstance(said := self._pipe.recv(), _Outcome):
            yield from custody_log.read(said)
        self._rows = said

    def rows(self) -> int:
        """How many custody rows agree with the ledger."""
        if self._rows is None:
            raise EOFError
        return _given(self._rows)

    def tree(self, ledger: Ledger, told: Callable[[int], None]) -> LedgerReport:
        with ledger.signatures() as signatures:
            while not isinstance(said := self._pipe.recv(), _Outcome):
                size, checkpoints = said
                signatures.check(checkpoints)
                told(size)
        outcome: _Outcome[LedgerReport] = said
        return _given(outcome)


def read(descriptor: int) -> None:
    """What the process does, with its end of the pipe."""
    says = Connection(descriptor)
    # Whoever stops the audit at the terminal stops this too: by no longer listening.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    address, verbs = says.recv()
    database, wanted = Database(address, bulk=True), custody_log.bodies_of(verbs)
    with contextlib.suppress(BrokenPipeError), database.reading() as session:
        rows = _tried(lambda: custody_log.verify_rows(session, met=lambda rows: says.send(wanted(rows))))
        says.send(rows)
        rebuild = Rebuild(session)

        def tree() -> LedgerReport:
            for signed in rebuild.signed():
                says.send((rebuild.size, signed))
            return rebuild.ends()

        says.send(_tried(tree))
    database.close()


def _tried(work: Callable[[], _T]) -> _Outcome[_T]:
    try:
        return _Outcome(work())
    except FOUND as error:
        return _Outcome(error)


def _given(outcome: _Outcome[_T]) -> _T:
    if isinstance(outcome.value, Exception):
        raise outcome.value
    return outcome.value
