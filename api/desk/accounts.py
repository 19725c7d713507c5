"""Accounts and sessions in the database, with sign-ins in custody."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from api.desk.moments import moment, nanoseconds
from api.identity.attempts import Attempts
from api.identity.passwords import Passwords
from api.identity.sessions import PasswordAccounts, StoredAccount, StoredSession
from api.services import Account, DemoAccount
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AccountRow, WebSessionRow
from evidence_store.errors import NotAuthenticated
from evidence_store.ledger.book import Book
from evidence_store.people import Person, Role


def actor_of(account: Account) -> Actor:
    return Actor.person(Person(account.id, account.username, account.name, account.role))


def _account(row: AccountRow) -> Account:
    return Account(row.id, row.username, row.display_name, Role(row.role), row.active)


class DatabaseAccounts:
    """`api.identity.sessions.AccountRepository` over the database."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def by_username(self, username: str) -> StoredAccount | None:
        with self._book.reading() as session:
            row = session.scalars(select(AccountRow).where(AccountRow.username == username)).one_or_none()
            return None if row is None else StoredAccount(_account(row), row.password_hash or "")

    def by_id(self, account: str) -> Account | None:
        with self._book.reading() as session:
            row = session.get(AccountRow, account)
            return None if row is None else _account(row)

    def all(self) -> Sequence[Account]:
        with self._book.reading() as session:
            return [_account(row) for row in session.scalars(select(AccountRow).order_by(AccountRow.username))]

    def add_session(self, session: StoredSession) -> None:
        with self._book.database.writing() as database:
            database.add(
                WebSessionRow(
                    token_hash=session.digest,
                    account_id=session.account,
                    created_at=nanoseconds(session.created_at),
                    expires_at=nanoseconds(session.expires_at),
                )
            )

    def session(self, digest: bytes) -> StoredSession | None:
        with self._book.reading() as database:
            row = database.get(WebSessionRow, digest)
            if row is None or row.revoked_at is not None:
                return None
            return StoredSession(row.token_hash, row.account_id, moment(row.created_at), moment(row.expires_at))

    def extend(self, digest: bytes, expires_at: datetime) -> None:
        with self._book.database.writing() as database:
            row = database.get(WebSessionRow, digest)
            if row is not None:
                row.expires_at = nanoseconds(expires_at)

    def end_session(self, digest: bytes) -> None:
        with self._book.database.writing() as database:
            row = database.get(WebSessionRow, digest)
            if row is not None and row.revoked_at is None:
                row.revoked_at = self._book.clock()

    def add_demo(self, demo: DemoAccount, passwords: Passwords) -> None:
        """An invented person of the demo, where there is none of that name."""
        if self.by_username(demo.username) is not None:
            return
        now = self._book.clock()
        row = AccountRow(
            id=uuid.uuid4().hex, username=demo.username, display_name=demo.name, role=demo.role.value,
            password_hash=passwords.hash(demo.password), active=True, created_at=now,
        )  # fmt: skip
        with self._book.writing() as entry:
            entry.session.add(row)
            details = {"account": row.id, "role": demo.role.value}
            entry.record(CustodyEvent(Verb.ACCOUNT_CREATED, now, Actor.console(), details=details))


class CustodianAccounts(PasswordAccounts):
    """Sign-ins and sign-outs leave an event each. A failed one names no account: it may be a mistyped password."""

    def __init__(self, book: Book, repository: DatabaseAccounts, passwords: Passwords) -> None:
        super().__init__(repository, passwords, Attempts())
        self._book = book

    def sign_in(self, username: str, password: str, address: str, now: datetime) -> str:
        try:
            token = super().sign_in(username, password, address, now)
        except NotAuthenticated as error:
            event = CustodyEvent(
                Verb.ACCOUNT_SIGN_IN_FAILED, nanoseconds(now), Actor.store(), details={"code": error.code}
            )
            self._book.record(event)
            raise
        account = self.who(token, now)
        if account is not None:
            self._book.record(CustodyEvent(Verb.ACCOUNT_SIGNED_IN, nanoseconds(now), actor_of(account)))
        return token

    def sign_out(self, token: str) -> None:
        now = moment(self._book.clock())
        account = self.who(token, now, passive=True)
        super().sign_out(token)
        if account is not None:
            self._book.record(CustodyEvent(Verb.ACCOUNT_SIGNED_OUT, nanoseconds(now), actor_of(account)))
