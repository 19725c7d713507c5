"""Who is watching which camera, since when, and until when they may. Pure; time is an argument.

A session is admitted with a lease, shown when its picture can flow, and leaves when it ends by itself, is ended, or its
lease runs out: whoever signs out is not renewed, and so cut off. Only what was shown is reported as joined and left.
"""

from __future__ import annotations

from dataclasses import dataclass

from evidence_store.errors import Conflict, NotFound
from recorder.feed import Presence

LEASE_NS = 15_000_000_000


@dataclass(frozen=True, slots=True)
class Watching:
    """One row of the roster. `viewer` is opaque; `since_utc_ns` nanoseconds since 1970."""

    session: str
    viewer: str
    camera: str
    since_utc_ns: int


@dataclass(slots=True)
class _Entry:
    viewer: str
    camera: str
    lease_ends_ns: int
    since_utc_ns: int | None = None


class Roster:
    """`now_ns` is monotonic, `utc_ns` for the record."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def admit(self, session: str, viewer: str, camera: str, now_ns: int) -> None:
        """Raises Conflict when there is such a session."""
        if session in self._entries:
            raise Conflict("There is such a session.", code="session-exists")
        self._entries[session] = _Entry(viewer, camera, now_ns + LEASE_NS)

    def show(self, session: str, utc_ns: int) -> Presence | None:
        """The picture flows: what to report, None when this was known or the session is gone."""
        entry = self._entries.get(session)
        if entry is None or entry.since_utc_ns is not None:
            return None
        entry.since_utc_ns = utc_ns
        return Presence("joined", entry.viewer, entry.camera, utc_ns)

    def renew(self, session: str, now_ns: int) -> int:
        """Until when (monotonic ns) the lease now runs. Raises NotFound, also for a lease that has run out."""
        entry = self._entries.get(session)
        if entry is None or entry.lease_ends_ns <= now_ns:
            raise NotFound("There is no such session; its lease may have run out.", code="no-session")
        entry.lease_ends_ns = now_ns + LEASE_NS
        return entry.lease_ends_ns

    def leave(self, session: str, utc_ns: int) -> Presence | None:
        """The session is gone: what to report, None when it was never shown."""
        entry = self._entries.pop(session, None)
        if entry is None or entry.since_utc_ns is None:
            return None
        return Presence("left", entry.viewer, entry.camera, utc_ns)

    def run_out(self, now_ns: int) -> list[str]:
        """Sessions whose lease has run out; each is to be ended, and then to `leave`."""
        return [session for session, entry in self._entries.items() if entry.lease_ends_ns <= now_ns]

    def watching(self) -> list[Watching]:
        """Everyone with a picture, in the order of joining."""
        rows = [
            Watching(session, entry.viewer, entry.camera, entry.since_utc_ns)
            for session, entry in self._entries.items()
            if entry.since_utc_ns is not None
        ]
        return sorted(rows, key=lambda row: row.since_utc_ns)
