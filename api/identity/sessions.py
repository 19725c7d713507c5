"""Sessions: 32 random bytes in a cookie, only their SHA-256 in the database, gone after 12 h or 60 min of nothing.

Decides about sessions; storing them is the repository's work.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from api.identity.attempts import Attempts
from api.identity.passwords import Passwords
from api.services import Account
from evidence_store.errors import NotAuthenticated

ABSOLUTE = timedelta(hours=12)
IDLE = timedelta(minutes=60)
EXTEND_EVERY = timedelta(minutes=1)
"""One write a minute and session, not one a request."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    account: Account
    password_hash: str


@dataclass(frozen=True, slots=True)
class StoredSession:
    """`digest` is SHA-256 of the token, 32 bytes; the token itself is only in the browser.

    `expires_at` moves on while the person is there, never past `created_at` + 12 h.
    """

    digest: bytes
    account: str
    created_at: datetime
    expires_at: datetime


class AccountRepository(Protocol):
    def by_username(self, username: str) -> StoredAccount | None: ...

    def by_id(self, account: str) -> Account | None: ...

    def all(self) -> Sequence[Account]: ...

    def add_session(self, session: StoredSession) -> None: ...

    def session(self, digest: bytes) -> StoredSession | None:
        """None for an unknown one and for one that was ended."""
        ...

    def extend(self, digest: bytes, expires_at: datetime) -> None: ...

    def end_session(self, digest: bytes) -> None:
        """No error when there is none."""
        ...


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def expiry(created_at: datetime, now: datetime) -> datetime:
    """When a session ends if its person does nothing more from now on."""
    return min(created_at + ABSOLUTE, now + IDLE)


class PasswordAccounts:
    """`api.services.Accounts` over a repository of accounts with passwords."""

    def __init__(self, repository: AccountRepository, passwords: Passwords, attempts: Attempts) -> None:
        self._repository = repository
        self._passwords = passwords
        self._attempts = attempts

    def sign_in(self, username: str, password: str, address: str, now: datetime) -> str:
        """Return a new token; who it was that failed is never told apart.

        Raises NotAuthenticated with code `sign-in-failed`, or `too-many-attempts` without looking at the password.
        """
        username = username.strip().casefold()[:128]
        if self._attempts.wait(username, address, now) is not None:
            raise NotAuthenticated("too many failed sign-ins", code="too-many-attempts")
        stored = self._repository.by_username(username)
        correct = self._passwords.correct(stored.password_hash if stored else None, password)
        if stored is None or not correct or not stored.account.active:
            self._attempts.failed(username, address, now)
            raise NotAuthenticated("unknown name or wrong password", code="sign-in-failed")
        self._attempts.succeeded(username, address)
        token = secrets.token_urlsafe(32)
        self._repository.add_session(StoredSession(digest_of(token), stored.account.id, now, expiry(now, now)))
        return token

    def who(self, token: str, now: datetime, *, passive: bool = False) -> Account | None:
        digest = digest_of(token)
        session = self._repository.session(digest)
        if session is None:
            return None
        account = self._repository.by_id(session.account)
        if account is None or not account.active or now >= session.expires_at:
            self._repository.end_session(digest)
            return None
        later = expiry(session.created_at, now)
        if not passive and later - session.expires_at >= EXTEND_EVERY:
            self._repository.extend(digest, later)
        return account

    def sign_out(self, token: str) -> None:
        self._repository.end_session(digest_of(token))

    def all(self) -> Sequence[Account]:
        return self._repository.all()
