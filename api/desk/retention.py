"""Holds and erasures for the pages: people as accounts, moments as datetimes."""

from __future__ import annotations

from api.desk.moments import moment
from api.services import Account, Holding, Keeping
from evidence_store.erasure import Erasure
from evidence_store.people import Person


class RetentionDesk:
    def __init__(self, erasure: Erasure) -> None:
        self._erasure = erasure

    def standing(self, interview: str) -> Keeping:
        found = self._erasure.status(interview)
        return Keeping(
            until=None if found.until is None else moment(found.until),
            holds=tuple(Holding(each.id, moment(each.at), each.by, each.reason) for each in found.holds),
            requested_at=None if found.requested_at is None else moment(found.requested_at),
            requested_by=found.requested_by,
            requested_by_id=found.requested_by_id,
            reason=found.reason,
            erased_at=None if found.erased_at is None else moment(found.erased_at),
        )

    def hold(self, interview: str, by: Account, reason: str) -> None:
        self._erasure.hold(interview, _person(by), reason)

    def release(self, interview: str, hold: str, by: Account, reason: str) -> None:
        self._erasure.release(interview, hold, _person(by), reason)

    def request(self, interview: str, by: Account, reason: str) -> None:
        self._erasure.request(interview, _person(by), reason)

    def withdraw(self, interview: str, by: Account) -> None:
        self._erasure.withdraw(interview, _person(by))

    def approve(self, interview: str, by: Account) -> None:
        self._erasure.approve(interview, _person(by))


def _person(account: Account) -> Person:
    return Person(account.id, account.username, account.name, account.role)
