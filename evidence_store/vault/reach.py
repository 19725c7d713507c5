"""Asks a vault, and does not wait for one that hangs: it is out of reach then, and rests for a while.

A disk that answers with errors is out of reach too, as a server is: nobody above may have to know which it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from typing import Final, TypeVar

from evidence_store.errors import OutOfReach
from evidence_store.vault.vault import Vault

PATIENCE_S: Final = 3.0
LONG_PATIENCE_S: Final = 30.0
"""Of work that nobody waits for: a listing of ten thousand names, the reading and mending of everything."""
RESTS_FOR_S: Final = 10.0
_AT_ONCE: Final = 16
"""Callers of one vault at a time; more wait, and give up when their patience ends."""

_T = TypeVar("_T")


class Reach:
    """One vault behind a bound on waiting. Safe for threads."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._callers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="vault")
        self._rests_until = -math.inf

    def ask(self, work: Callable[[Vault], _T], patience: float | None = None) -> _T:
        """What `work` gives. Raises OutOfReach `vault-slow` after `patience` seconds (default: `PATIENCE_S`), and at
        once for `RESTS_FOR_S` from then on; what was begun goes on by itself. Beside that whatever `work` raises."""
        if time.monotonic() < self._rests_until:
            raise OutOfReach("the vault did not answer a moment ago", code="vault-slow")
        asked = self._callers.submit(self._within, work)
        try:
            return asked.result(PATIENCE_S if patience is None else patience)
        except NotInTime:
            if asked.done():
                raise  # its own
            asked.cancel()
            self._rests_until = time.monotonic() + RESTS_FOR_S
            raise OutOfReach("the vault does not answer in time", code="vault-slow") from None

    def _within(self, work: Callable[[Vault], _T]) -> _T:
        with reached():
            return work(self.vault)


@contextmanager
def reached() -> Iterator[None]:
    """OSError as OutOfReach `vault-out-of-reach`."""
    try:
        yield
    except OSError as error:
        raise OutOfReach(f"the vault's disk answers with {error.errno}", code="vault-out-of-reach") from error
