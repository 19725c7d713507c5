"""Keys that rooms hold for starts without this store: an interview each, that nobody has been interviewed in yet.

Such an interview is `reserved` until a take comes that was sealed to it. It has no case number then; a person gives it
one. Only public halves leave: the private one is in key store and escrow before.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import DeviceRow, InterviewRow
from evidence_store.errors import NotPermitted
from evidence_store.identifiers import InterviewId, new_interview_id
from evidence_store.interview import InterviewState
from evidence_store.keystore import KeyStore, ReleasedKey
from evidence_store.ledger.book import Book

POOL_SIZE: Final = 8
"""Unused keys that a room may hold: starts without the store until it is back."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    interview: bytes
    released: ReleasedKey


class KeyPools:
    def __init__(self, book: Book, keys: KeyStore) -> None:
        self._book = book
        self._keys = keys

    def refill(self, enrolment: str, have: Collection[str], used: Collection[str]) -> list[PoolKey]:
        """The keys that a device lacks, those that were given before and never arrived first. `have`, `used`: ids of
        its interviews. Raises NotPermitted for a device that is not enrolled here, or no more."""
        found = []
        now = self._book.clock()
        with self._book.writing() as entry:
            device = entry.session.get(DeviceRow, enrolment)
            if device is None or device.revoked_at is not None:
                raise NotPermitted("no such device is enrolled here", code="device-unknown")
            query = select(InterviewRow).where(
                InterviewRow.enrolment == enrolment, InterviewRow.state == InterviewState.RESERVED.value
            )
            unused = [row for row in entry.session.scalars(query) if row.id not in used]
            for row in unused:
                if row.id not in have and row.public_key is not None and row.public_key_signature is not None:
                    found.append(PoolKey(bytes.fromhex(row.id), self._keys.released(row)))
            for _ in range(POOL_SIZE - len(unused)):
                row = InterviewRow(
                    id=new_interview_id(), room=device.room, state=InterviewState.RESERVED.value,
                    enrolment=enrolment, created_at=now,
                )  # fmt: skip
                entry.session.add(row)
                entry.session.flush()
                moment = datetime.datetime.fromtimestamp(now // 10**9, datetime.UTC)
                found.append(PoolKey(bytes.fromhex(row.id), self._keys.mint(entry.session, row, moment)))
                entry.record(
                    CustodyEvent(
                        Verb.INTERVIEW_KEY_MINTED, now, Actor.store(), InterviewId(row.id),
                        details={"enrolment": enrolment, "escrow": True},
                    )
                )  # fmt: skip
        return found
