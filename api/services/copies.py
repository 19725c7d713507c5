"""Evidence copies, from request to file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from api.services.people import Account


class CopyState(StrEnum):
    QUEUED = "queued"
    VERIFYING = "verifying"
    RENDERING = "rendering"
    PACKING = "packing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """`progress` is 0 to 1 over the whole copy. `error` is a code of `evidence_store.errors`, only when failed."""

    id: str
    interview: str
    state: CopyState
    progress: float
    requested_at: datetime
    requested_by: str
    reason: str
    error: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CopyStream:
    """`chunks` gives the age file; `file_name` carries no case number; `size` is None when not known beforehand."""

    file_name: str
    size: int | None
    chunks: Iterator[bytes]


class Copies(Protocol):
    def request(self, interview: str, by: Account, reason: str, recipient: str) -> str:
        """Queue a copy for one age recipient; return its id. Raises InvalidInput (`age-key`), Conflict."""
        ...

    def status(self, copy: str) -> CopyStatus: ...

    def of(self, interview: str) -> Sequence[CopyStatus]: ...

    def stream(self, copy: str, by: Account) -> CopyStream:
        """Write the hand-over into custody, then stream. Raises NotFound, Conflict (`copy-not-ready`)."""
        ...
