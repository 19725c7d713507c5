"""Who there is, and what time it is: people and their accounts in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher

from api.identity.passwords import Passwords
from api.identity.sessions import StoredAccount, StoredSession
from api.services import (
    Account,
    DemoAccount,
)
from evidence_store.people import Role

NOON = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
ENROLMENT = "00112233445566778899aabbccddeeff"
PASSWORD = "børnehus-demo"
CASE = "0100-83986-00001-17"
PEOPLE = (
    Account("a1", "tekniker", "Tove Tekniker", Role.OPERATOR),
    Account("a2", "boernehus", "Birk Børnehus", Role.HOUSE_STAFF),
    Account("a3", "anklager", "Anna Anklager", Role.PROSECUTOR),
    Account("a4", "system", "Sander System", Role.ADMINISTRATOR),
)
BY_ROLE = {person.role: person for person in PEOPLE}


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **amount: float) -> None:
        self.now += timedelta(**amount)


def cheap_passwords() -> Passwords:
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class MemoryAccounts:
    """`AccountRepository` in a dictionary. `writes` counts how often a session's end was moved."""

    def __init__(self, passwords: Passwords) -> None:
        stored = passwords.hash(PASSWORD)
        self.accounts = {person.id: StoredAccount(person, stored) for person in PEOPLE}
        self.sessions: dict[bytes, StoredSession] = {}
        self.writes = 0

    def by_username(self, username: str) -> StoredAccount | None:
        return next((each for each in self.accounts.values() if each.account.username == username), None)

    def by_id(self, account: str) -> Account | None:
        stored = self.accounts.get(account)
        return stored.account if stored else None

    def all(self) -> Sequence[Account]:
        return [each.account for each in self.accounts.values()]

    def add_session(self, session: StoredSession) -> None:
        self.sessions[session.digest] = session

    def session(self, digest: bytes) -> StoredSession | None:
        return self.sessions.get(digest)

    def extend(self, digest: bytes, expires_at: datetime) -> None:
        self.writes += 1
        self.sessions[digest] = replace(self.sessions[digest], expires_at=expires_at)

    def end_session(self, digest: bytes) -> None:
        self.sessions.pop(digest, None)


def demo_accounts() -> tuple[DemoAccount, ...]:
    return tuple(DemoAccount(person.username, PASSWORD, person.name, person.role) for person in PEOPLE)
