"""Reads every copy of everything that the vaults hold, brings each vault what it lacks, and mends from the other.

A copy is good when its bytes have the hash that was acknowledged when it was stored. A good copy is what mends: where
none is left the object is lost, which is an alarm, and is written into custody as what it is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evidence_store.canonical import Record, parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AlarmRow, InterviewRow, ScrubRow, TakeRow
from evidence_store.deliveries import alarm, case_of, clear, standing, standing_about
from evidence_store.errors import ChainBroken, NotFound, OutOfReach, VidneError
from evidence_store.holdings import ALTERED, DAMAGE, GONE
from evidence_store.identifiers import InterviewId, utc_text
from evidence_store.kept import KeptVault
from evidence_store.ledger.book import Book
from evidence_store.vault.reach import LONG_PATIENCE_S, Reach
from evidence_store.vault.vault import StoredObject

BEHIND_AFTER_NS: Final = 60 * 10**9
"""A vault that lacks something for longer is told of."""
BEHIND: Final = "vault-behind"
LOST: Final = "object-lost"
LONGEST_PAUSE_NS: Final = 3600 * 10**9
_PORTION_OCTETS: Final = 32 * 1024 * 1024
_PORTION_OBJECTS: Final = 64

Place = tuple[str, str]
"""An object's name and a vault: how far bringing is."""
FIRST: Final[Place] = ("", "")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """One object, copy by copy. `wrong`: by vault, what its copy is (an error's code); `away`: vaults that said
    nothing; `data`: the bytes of a good copy, where there is one."""

    stored: StoredObject
    wrong: dict[str, str]
    away: frozenset[str]
    data: bytes | None


def look(reaches: Collection[Reach], stored: StoredObject) -> Looked:
    """Reads every copy of an object."""
    wrong, away, good = {}, set(), None
    for reach in reaches:
        try:
            good = reach.ask(lambda vault: vault.get(stored.name, stored.sha256), LONG_PATIENCE_S)
        except (ChainBroken, NotFound) as error:
            wrong[reach.vault.identity] = error.code
        except OutOfReach:
            away.add(reach.vault.identity)
    return Looked(stored, wrong, frozenset(away), good)


@dataclass(frozen=True, slots=True)
class Brought:
    """What one portion of bringing came to. `after`: where to go on; None at the end."""

    brought: int
    failed: int
    after: Place | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What one portion of reading came to: octets of all copies."""

    octets: int
    ended: bool


class Scrub:
    """Works in portions, each of which may be done again: a crash between two, or within one, costs its repetition."""

    def __init__(self, book: Book, vault: KeptVault) -> None:
        self._book = book
        self._vault = vault
        self._by_identity = {each.vault.identity: each for each in vault.reaches}

    # What is known to be lacking

    def bring(self, after: Place = FIRST, limit: int = 64) -> Brought:
        """Brings vaults what they lack, a portion in the order of names. Raises Unavailable while nothing may be
        entered into custody: what is mended has to be told."""
        self._require_entries()
        holdings, brought, failed = self._vault.holdings, 0, 0
        for (identity, name), why in self._vault.noticed().items():
            holdings.lack(identity, name, why)
        lacks, away = holdings.lacks(limit, after), set[str]()
        for lack in lacks:
            if lack.vault in away:
                failed += 1
                continue
            looked = look(self._vault.reaches, lack.stored)
            away |= looked.away
            if lack.vault in looked.wrong and (looked.data is not None or not looked.away):
                done = self._make_good(looked, lack.vault, was_there=lack.why in DAMAGE)
            else:
                done = lack.vault not in looked.away and lack.vault not in looked.wrong
                if done:
                    # In this order: cut off in between, it is looked at again.
                    self._found_again(lack.stored, lack.vault, lack.why)
                    holdings.held(lack.vault, lack.stored.name)
            brought, failed = brought + done, failed + (not done)
        self._tell()
        last = (lacks[-1].stored.name, lacks[-1].vault) if len(lacks) == limit else None
        return Brought(brought, failed, last)

    def _make_good(self, looked: Looked, identity: str, *, was_there: bool) -> bool:
        """Whether that copy is good now. What had been there, or lies there damaged, goes into custody."""
        why, name = looked.wrong[identity], looked.stored.name
        if why == ALTERED and self._contradicts(name, identity):
            return False  # evidence of its own: it stays as it lies, and the ledger takes no more entries
        if looked.data is None:
            self._lose(looked.stored, identity, why)
            return False
        data, sha256 = looked.data, looked.stored.sha256
        try:
            self._by_identity[identity].ask(lambda vault: vault.mend(name, data), LONG_PATIENCE_S)
            self._by_identity[identity].ask(lambda vault: vault.get(name, sha256), LONG_PATIENCE_S)
        except VidneError as error:
            log.error("object_not_mended", vault=identity, code=error.code)
            self._vault.holdings.lack(identity, name, why)
            return False
        self._vault.holdings.held(identity, name)
        with self._book.writing() as entry:
            found_again = clear(entry.session, self._book.clock(), LOST, _about(looked.stored))
            if was_there or why == ALTERED or found_again:
                entry.record(self._event(entry.session, Verb.VAULT_OBJECT_MENDED, looked.stored, identity, why))
        return True

    def _contradicts(self, name: str, identity: str) -> bool:
        try:
            other = self._by_identity[identity].ask(lambda vault: vault.get(name), LONG_PATIENCE_S)
        except VidneError:
            return False
        return self._vault.contradicts(name, other)

    def _found_again(self, stored: StoredObject, identity: str, why: str) -> None:
        """Its recorder delivered it again, or somebody put a good copy where there was none."""
        with self._book.writing() as entry:
            if clear(entry.session, self._book.clock(), LOST, _about(stored)) or why in DAMAGE:
                entry.record(self._event(entry.session, Verb.VAULT_OBJECT_MENDED, stored, identity, why))

    def _lose(self, stored: StoredObject, identity: str, why: str) -> None:
        """No copy is good: once into custody, and an alarm that stays."""
        # It had been somewhere, even if never here.
        self._vault.holdings.lack(identity, stored.name, why, damaged=True)
        with self._book.writing() as entry:
            if alarm(entry.session, self._book.clock(), LOST, None, _about(stored)):
                entry.record(self._event(entry.session, Verb.VAULT_OBJECT_LOST, stored, identity, why))

    def _event(self, session: Session, verb: Verb, stored: StoredObject, identity: str, why: str) -> CustodyEvent:
        details = {**_about(stored), "vault": identity, "why": why}
        interview = _interview_of(session, stored.name)
        return CustodyEvent(
            verb, self._book.clock(), Actor.store(),
            None if interview is None else InterviewId(interview.id),
            None if interview is None else case_of(interview), details=details,
        )  # fmt: skip

    def _tell(self) -> None:
        """An alarm for each vault that is behind, and none for one that is not."""
        now = self._book.clock()
        lacking = self._vault.holdings.lacking(self._vault.identities)
        behind = {vault for vault, (_, since) in lacking.items() if now - since > BEHIND_AFTER_NS}
        with self._book.database.reading() as session:
            told = {str(parse(row.details.encode())["vault"]) for row in standing(session, BEHIND)}
        if told != behind:
            with self._book.database.writing() as session:
                for vault in behind - told:
                    alarm(session, now, BEHIND, None, {"vault": vault})
                for vault in told - behind:
                    clear(session, now, BEHIND, {"vault": vault})

    def _require_entries(self) -> None:
        self._book.require_entries()

    def anything_lacks(self) -> bool:
        """Whether there is something to bring."""
        return bool(self._vault.has_noticed or self._vault.holdings.lacking(self._vault.identities))

    # Reading everything

    def due(self, last: int | None, period_ns: int) -> bool:
        """Whether to read on now; `last`: when that was done last (nanoseconds UTC)."""
        with self._book.reading() as session:
            row = session.scalars(select(ScrubRow).order_by(ScrubRow.number.desc()).limit(1)).first()
        _, octets = self._vault.holdings.total()
        return reading_due(row, octets * len(self._vault.vaults), self._book.clock(), last, period_ns)

    def begin(self) -> int:
        """The number of the reading that is under way; where there is none, of a new one. Raises Unavailable."""
        self._require_entries()
        with self._book.database.writing() as session:
            last = session.scalars(select(ScrubRow).order_by(ScrubRow.number.desc()).limit(1)).first()
            if last is not None and last.ended_at is None:
                return last.number
            row = ScrubRow(
                number=1 if last is None else last.number + 1, began_at=self._book.clock(), reached="",
                objects=0, octets=0, mended=0, lost=0, unread=0,
            )  # fmt: skip
            session.add(row)
            return row.number

    def read_on(self, number: int) -> Progress:
        """The next portion of a reading. At its end, what it came to is in custody. Raises Unavailable."""
        self._require_entries()
        with self._book.reading() as session:
            row = session.get_one(ScrubRow, number)
            if row.ended_at is not None:
                return Progress(0, ended=True)
            reached_name = row.reached
            portion = _portion(self._vault.holdings.after(reached_name, _PORTION_OBJECTS))
            said_lost = standing_about(session, LOST, map(_about, portion))
            lost_before = {parse(each.details.encode())["object"] for each in said_lost}
        copies, octets, mended, lost, unread = 0, 0, 0, 0, 0
        for stored in portion:
            looked = look(self._vault.reaches, stored)
            lacking = self._vault.holdings.lacked_by(stored.name)
            octets += stored.size * (len(self._vault.vaults) - len(looked.away))
            copies += len(self._vault.vaults) - len(looked.away)
            unread += len(looked.away)
            if stored.name in lost_before and looked.data is not None and not looked.wrong:
                self._found_again(stored, self._vault.identities[0], GONE)
            lost += bool(looked.wrong) and looked.data is None and not looked.away
            for identity, why in looked.wrong.items():
                if looked.data is not None or not looked.away:
                    # One that was never brought there is not damaged, and not mended.
                    was_there = why == ALTERED or lacking.get(identity, GONE) in DAMAGE
                    mended += self._make_good(looked, identity, was_there=was_there) and was_there
        with self._book.writing() as entry:
            row = entry.session.get_one(ScrubRow, number)
            if row.reached == reached_name and row.ended_at is None:
                row.objects, row.octets = row.objects + copies, row.octets + octets
                row.mended, row.lost, row.unread = row.mended + mended, row.lost + lost, row.unread + unread
                if portion:
                    row.reached = portion[-1].name
                else:
                    row.ended_at = self._book.clock()
                    entry.record(_result(row, self._vault))
        return Progress(octets, ended=not portion)


def lost_of(session: Session, prefix: str, limit: int) -> list[Record]:
    """Some of the objects under a name of which no copy is good: `object`, and `sha256` (hex) as it was acknowledged.

    Each time others of them, where there are more: those that nobody has any more must not hide the rest.
    """
    named = AlarmRow.details.contains(f'"object":"{prefix}', autoescape=True)
    query = select(AlarmRow.details).where(AlarmRow.code == LOST, AlarmRow.cleared_at.is_(None), named)
    return [parse(details.encode()) for details in session.scalars(query.order_by(func.random()).limit(limit))]


def _about(stored: StoredObject) -> Record:
    return {"object": stored.name, "sha256": stored.sha256.hex()}


def _portion(following: list[StoredObject]) -> list[StoredObject]:
    """As many as are read at once: one at least."""
    taken: list[StoredObject] = []
    octets = 0
    for stored in following:
        if taken and octets + stored.size > _PORTION_OCTETS:
            break
        taken.append(stored)
        octets += stored.size
    return taken


def _result(row: ScrubRow, vault: KeptVault) -> CustodyEvent:
    details = {
        "began": utc_text(row.began_at), "copies": row.objects, "lost": row.lost, "mended": row.mended,
        "number": row.number, "octets": str(row.octets), "unread": row.unread, "vaults": vault.identities,
    }  # fmt: skip
    return CustodyEvent(Verb.VAULT_SCRUBBED, row.ended_at or 0, Actor.store(), details=details)


def _interview_of(session: Session, name: str) -> InterviewRow | None:
    """Whose object it is."""
    match name.split("/"):
        case ["takes", enrolment, number, *_] if number.isdecimal():
            take = session.get(TakeRow, (enrolment, int(number)))
            return None if take is None or take.interview_id is None else session.get(InterviewRow, take.interview_id)
        case ["interviews", interview, *_]:
            return session.get(InterviewRow, interview)
    return None


def reading_due(row: ScrubRow | None, total: int, now: int, last: int | None, period_ns: int) -> bool:
    """Whether it is time to read on, or to begin anew, so that everything is read evenly within each period.

    `row`: the latest reading; `total`: octets of all copies; `last`: when something was read last, None where that was
    before this process began (all moments in nanoseconds UTC). A machine that was off catches up.
    """
    if row is None:
        return True
    if row.ended_at is not None:
        return now - row.began_at >= period_ns
    behind = row.octets * period_ns <= total * (now - row.began_at)
    return behind or last is None or now - last >= LONGEST_PAUSE_NS
