"""The store's own state, for the administrator's page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import select

from api.desk.moments import moment
from api.services.store import ReadingState, StoreAlarm, StoreState, VaultState
from evidence_store.canonical import parse
from evidence_store.database.schema import AlarmRow, ScrubRow
from evidence_store.deliveries import standing
from evidence_store.ledger.book import Book
from evidence_store.ledger.witnessing import LATE, VETO

PLACES: Final = {"machine": "Mappe på maskinen", "server": "Bucket på serveren"}
"""A vault's administrator, as people are told of it."""


class StoreDesk:
    def __init__(self, book: Book, memory: Callable[[], str]) -> None:
        self._book, self._memory = book, memory

    def state(self) -> StoreState:
        vault = self._book.vault
        lacking = vault.holdings.lacking(vault.identities)
        with self._book.reading() as session:
            row = session.scalars(select(ScrubRow).order_by(ScrubRow.number.desc()).limit(1)).first()
            # Those of the witnesses are beside the room's, where whoever meets a refusal sees them too.
            alarms = tuple(_alarm(each) for each in standing(session) if each.code not in (LATE, VETO))
        vaults = []
        for each in vault.vaults:
            count, since = lacking.get(each.identity, (0, 0))
            kind, _, which = each.administrator.partition(" ")
            place = f"{PLACES.get(kind, kind)} {which}"
            vaults.append(VaultState(place, count, moment(since) if count else None))
        return StoreState(tuple(vaults), None if row is None else _reading(row), alarms, self._memory())


def _reading(row: ScrubRow) -> ReadingState:
    ended = None if row.ended_at is None else moment(row.ended_at)
    return ReadingState(row.number, moment(row.began_at), ended, row.objects, row.mended, row.lost)


def _alarm(row: AlarmRow) -> StoreAlarm:
    """Of its details the one that says where to look: all are hashes, numbers and names of parts."""
    details = parse(row.details.encode())
    about = details.get("object") or details.get("vault") or details.get("take")
    return StoreAlarm(row.code, moment(row.at), None if about is None else str(about))
