"""How much a vault may hold."""

from __future__ import annotations

import threading

from evidence_store.errors import NoSpace


class Space:
    """Octets `used` of `limit`, as counted by this process; None: whatever there is. Safe for threads."""

    def __init__(self, limit: int | None, used: int) -> None:
        self.limit, self.used = limit, used
        self._counting = threading.Lock()

    def claim(self, size: int) -> None:
        """Raises NoSpace `vault-full`."""
        with self._counting:
            if self.limit is not None and self.used + size > self.limit:
                raise NoSpace("the vault has reached its limit", code="vault-full")
            self.used += size

    def release(self, size: int) -> None:
        with self._counting:
            self.used -= size
