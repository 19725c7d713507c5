"""Counts failed sign-ins and says when to wait. Pure: the time is an argument.

In memory and of bounded size, so each process counts for itself; when the table is full the oldest entry goes.
Two counts: a name from one address (tight), and an address alone (wide). A name alone is not counted, since anybody
could then lock an officer out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=15)
FAILURES_PER_NAME = 5
FAILURES_PER_ADDRESS = 30
GREATEST_TABLE = 4096


class Attempts:
    def __init__(self, greatest: int = GREATEST_TABLE) -> None:
        self._failures: OrderedDict[tuple[str, str | None], deque[datetime]] = OrderedDict()
        self._greatest = greatest

    def wait(self, username: str, address: str, now: datetime) -> timedelta | None:
        """How long until this name may be tried again from this address; None when it may be tried now."""
        waits = [
            self._wait((address, username), FAILURES_PER_NAME, now),
            self._wait((address, None), FAILURES_PER_ADDRESS, now),
        ]
        return max((wait for wait in waits if wait is not None), default=None)

    def failed(self, username: str, address: str, now: datetime) -> None:
        for key, limit in (((address, username), FAILURES_PER_NAME), ((address, None), FAILURES_PER_ADDRESS)):
            times = self._failures.setdefault(key, deque(maxlen=limit))
            times.append(now)
            self._failures.move_to_end(key)
        while len(self._failures) > self._greatest:
            self._failures.popitem(last=False)

    def succeeded(self, username: str, address: str) -> None:
        self._failures.pop((address, username), None)

    def _wait(self, key: tuple[str, str | None], limit: int, now: datetime) -> timedelta | None:
        times = self._failures.get(key)
        if times is None or len(times) < limit:
            return None
        left = times[0] + WINDOW - now
        return left if left > timedelta(0) else None
