"""Custody as it is shown, holds and erasure, and the ledger's witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from api.services.people import Account


@dataclass(frozen=True, slots=True)
class CustodyEvent:
    """One line of the custody chain as shown. `verb` is looked up in the Danish words; `index` is its ledger place."""

    at: datetime
    verb: str
    who: str
    role: str
    purpose: str = ""
    detail: str = ""
    index: int | None = None


class Custody(Protocol):
    def events(self, interview: str) -> Sequence[CustodyEvent]: ...

    def denied(self, account: Account, permission: str, now: datetime) -> None:
        """Record `access:denied`. Called before the refusal is sent."""
        ...


@dataclass(frozen=True, slots=True)
class Holding:
    """A hold that stands. `by`: the name of who placed it."""

    id: str
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long an interview has to be kept, what holds it, and who asked for its erasure, if somebody did.

    `until` is None before it has ended; `erased_at` before its key is gone.
    """

    until: datetime | None
    holds: tuple[Holding, ...] = ()
    requested_at: datetime | None = None
    requested_by: str | None = None
    requested_by_id: str | None = None
    reason: str | None = None
    erased_at: datetime | None = None


class Retention(Protocol):
    """Each act raises NotFound, and Conflict with a code of `evidence_store.retention`; nothing has changed then."""

    def standing(self, interview: str) -> Keeping: ...

    def hold(self, interview: str, by: Account, reason: str) -> None: ...

    def release(self, interview: str, hold: str, by: Account, reason: str) -> None: ...

    def request(self, interview: str, by: Account, reason: str) -> None: ...

    def withdraw(self, interview: str, by: Account) -> None: ...

    def approve(self, interview: str, by: Account) -> None:
        """Decide and carry out what another person asked for. It cannot be undone."""
        ...


@dataclass(frozen=True, slots=True)
class WitnessState:
    """A witness of the ledger: up to which size it stands for it (0: not at all yet), and by a cosignature of when.
    `refused` is a code (`ledger-rolled-back`, `ledger-rewritten`) where it says no."""

    name: str
    covered: int
    cosigned_at: datetime | None
    late: bool
    refused_at: datetime | None = None
    refused: str | None = None


class Witnesses(Protocol):
    def states(self) -> Sequence[WitnessState]: ...
