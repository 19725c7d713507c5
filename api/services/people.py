"""People who sign in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from evidence_store.people import Role


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in. `name` is shown on screens, `username` is typed; `id` is what the ledger knows."""

    id: str
    username: str
    name: str
    role: Role
    active: bool = True


class Accounts(Protocol):
    def sign_in(self, username: str, password: str, address: str, now: datetime) -> str:
        """Return a new session token. Raises NotAuthenticated (code `sign-in-failed` or `too-many-attempts`)."""
        ...

    def who(self, token: str, now: datetime, *, passive: bool = False) -> Account | None:
        """The account behind a live session, or None. `passive` requests (polling) do not keep a session alive."""
        ...

    def sign_out(self, token: str) -> None: ...

    def all(self) -> Sequence[Account]: ...
