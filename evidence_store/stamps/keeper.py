"""Keeps the queue of stamps: what to ask next, what came back, what is late, what has to be renewed.

Everything here is of the store's own time: a recording, its sealing and its delivery wait for none of it. Whoever
asks over the network takes questions from `due` and gives answers to `answered`; a crash anywhere between leaves the
question in the queue, with the same nonce.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import (
    CustodyEventRow,
    InterviewRow,
    LedgerCheckpointRow,
    StampRow,
    StampWantRow,
)
from evidence_store.deliveries import alarm, case_of
from evidence_store.errors import Conflict, NotFound, SignatureInvalid, Tampered, Unavailable
from evidence_store.identifiers import InterviewId, utc_text
from evidence_store.ledger.book import Book, Entry
from evidence_store.stamps import alarms
from evidence_store.stamps.asking import request
from evidence_store.stamps.stamp import (
    TOLERANCE_NS,
    Stamp,
    TimeAuthority,
    check,
    contradicted,
    offset,
    renew_at,
    renewal,
)
from evidence_store.stamps.subjects import Kind, checkpoint, checkpoint_size, claimed
from evidence_store.stamps.waiting import want

log = structlog.get_logger()

CHECKPOINT_EVERY_NS: Final = 60 * 10**9
MOST_AT_ONCE: Final = 32
"""Questions taken up in one round: a backlog of years does not keep a database writer long."""
RESTS_NS: Final = 30 * 10**9
MOST_RESTING: Final = 1_000
"""Rows that are passed over at a time; more of them are asked for again, and the log says so."""
FIRST_PAUSE_NS: Final = 15 * 10**9
LONGEST_PAUSE_NS: Final = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Rules:
    """`tolerance`: how far a clock may be from a stamp. `late_after`: how long something may wait. Nanoseconds."""

    tolerance: int = TOLERANCE_NS
    late_after: int = 600 * 10**9


class _Resting:
    """Rows whose bytes could not be had: not asked for again for a while, so that what comes after them is. Several
    threads ask; what one of them loses sight of is asked for once more."""

    def __init__(self) -> None:
        self._until: dict[int, int] = {}

    def rest(self, row: int, now: int) -> None:
        self._until[row] = now + RESTS_NS

    def at(self, now: int) -> list[int]:
        self._until = {row: until for row, until in list(self._until.items()) if until > now}
        return list(self._until)[:MOST_RESTING]


@dataclass(frozen=True, slots=True)
class Question:
    """One request to one authority. `data`: the bytes that are to be stamped. `claim`: the UTC, nanoseconds, that what
    it is about claims for itself."""

    row: int
    authority: TimeAuthority
    request: bytes
    nonce: int
    data: bytes
    claim: int | None


@dataclass(frozen=True, slots=True)
class _Link:
    """A request as it lies in the database, with the stamps before it in its chain, first to last."""

    row: StampRow
    want: StampWantRow
    before: list[StampRow]


class Stamps:
    """With no authorities nothing is asked; what is to be stamped waits.

    No transaction that writes waits for the vault or the network: whoever delivers would wait with it.
    """

    def __init__(self, book: Book, authorities: Sequence[TimeAuthority], rules: Rules = Rules()) -> None:
        self._book = book
        self._rules = rules
        self.authorities = {each.fingerprint: each for each in authorities}
        self._kept: set[str] = set()
        self._wants, self._links = _Resting(), _Resting()

    def clock(self) -> int:
        """The store's own clock, UTC nanoseconds: what stamps are held against."""
        return self._book.clock()

    # What to ask

    def tend(self) -> None:
        """Queues the latest checkpoint and what is to be renewed, and says what is late or no longer so."""
        if not self.authorities or self._book.read_only:
            return
        now = self._book.clock()
        self._want_checkpoint(now)
        self._want_renewals(now)
        for fingerprint in self.authorities:
            self._declare(fingerprint, now)

    def anything_due(self, fingerprint: str) -> bool:
        """Whether there may be something to ask this authority now. Cheap: no vault is read."""
        now = self._book.clock()
        if self._book.read_only:
            return False
        with self._book.reading() as session:
            queries = self._unasked(fingerprint, now), self._unanswered(fingerprint, now)
            return any(session.execute(select(query.exists())).scalar_one() for query in queries)

    def due(self, fingerprint: str) -> list[Question]:
        """What this authority is to be asked now, oldest first. A request is durable before it is sent."""
        authority, now = self.authorities[fingerprint], self._book.clock()
        if self._book.read_only:
            return []
        with self._book.reading() as session:
            fresh = list(session.scalars(self._unasked(fingerprint, now).limit(MOST_AT_ONCE)))
        known = [(row, data) for row in fresh if (data := self._data(row)) is not None]
        if known:
            with self._book.database.writing() as session:
                for wanted, data in known:
                    _enter(session, wanted.id, fingerprint, 0, fingerprint, data, now)
        with self._book.reading() as session:
            rows = list(session.scalars(self._unanswered(fingerprint, now).limit(MOST_AT_ONCE)))
            links = [_link(session, row) for row in rows]
        found = []
        for link in links:
            data = self._data(link.want)
            covered = None if data is None else self._covered(link.before, data)
            if data is None or covered is None:
                self._links.rest(link.row.id, self._book.clock())
                continue
            row, claim = link.row, claimed(Kind(link.want.kind), data)
            found.append(Question(row.id, authority, row.request, int(row.nonce), covered, claim))
        return found

    def _unasked(self, fingerprint: str, now: int) -> Select[StampWantRow]:
        """What there is no request to this authority for, and what can be read; oldest first."""
        has = exists().where(StampRow.want_id == StampWantRow.id, StampRow.chain == fingerprint)
        query = select(StampWantRow).where(StampWantRow.settled_at.is_(None), ~has)
        return query.where(StampWantRow.id.not_in(self._wants.at(now))).order_by(StampWantRow.id)

    def _unanswered(self, fingerprint: str, now: int) -> Select[StampRow]:
        """Requests to this authority that it is to be asked now, oldest first."""
        query = select(StampRow).where(
            StampRow.authority == fingerprint, StampRow.obtained_at.is_(None), StampRow.next_at <= now,
            StampRow.want_id.not_in(self._wants.at(now)), StampRow.id.not_in(self._links.at(now)),
        )  # fmt: skip
        return query.order_by(StampRow.id)

    def _want_checkpoint(self, now: int) -> None:
        """The latest, at most one a minute, and none that only tells of stamps: those would go on for ever."""
        with self._book.reading() as session:
            asked = select(StampWantRow).where(StampWantRow.kind == Kind.CHECKPOINT.value)
            last = session.scalars(asked.order_by(StampWantRow.id.desc()).limit(1)).first()
            if last is not None and 0 <= now - last.wanted_at < CHECKPOINT_EVERY_NS:
                return
            latest = select(LedgerCheckpointRow).order_by(LedgerCheckpointRow.size.desc()).limit(1)
            row, size = session.scalars(latest).first(), 0 if last is None else checkpoint_size(last.name)
            something = select(CustodyEventRow.ledger_position).where(
                CustodyEventRow.ledger_position >= size, CustodyEventRow.verb.not_like("stamp:%")
            )
            if row is None or row.size <= size or session.scalars(something.limit(1)).first() is None:
                return
            subject = checkpoint(row.size, row.note)
        with self._book.database.writing() as session:
            want(session, subject, now)

    def _want_renewals(self, now: int) -> None:
        """Of what nears its end, where an authority is known to sign with a certificate that lasts longer."""
        with self._book.reading() as session:
            query = select(StampRow).join(StampWantRow, StampWantRow.id == StampRow.want_id)
            query = query.where(
                StampRow.renew_at <= now, StampRow.ends > now, StampWantRow.kind != Kind.CHECKPOINT.value,
                StampRow.want_id.not_in(self._wants.at(now)),
            )  # fmt: skip
            rows = session.scalars(query.order_by(StampRow.ends).limit(MOST_AT_ONCE))
            links = [_link(session, row) for row in rows]
            lasting = {each: _lasts(session, each) for each in self.authorities}
        for link in links:
            row = link.row
            own = [row.chain] if row.chain in lasting else []
            longer = [each for each in (*own, *lasting) if lasting[each] > (row.ends or 0)]
            data = self._data(link.want) if longer else None
            covered = None if data is None else self._covered([*link.before, row], data)
            if covered is None:
                continue
            with self._book.database.writing() as session:
                _enter(session, row.want_id, row.chain, row.number + 1, longer[0], covered, now)
                session.get_one(StampRow, row.id).renew_at = None

    def _data(self, row: StampWantRow) -> bytes | None:
        """The bytes themselves. None, and logged, where the vault does not have them or does not answer now."""
        data = row.data if row.data is not None else self._get(row.name)
        if data is None:
            self._wants.rest(row.id, self._book.clock())
        return data

    def _covered(self, before: Sequence[StampRow], data: bytes) -> bytes | None:
        """What a link of a chain is over: the bytes themselves, or with a stamp before it that stamp and them."""
        if not before:
            return data
        stamp = self._get(before[-1].object_name or "", before[-1].sha256)
        return None if stamp is None else renewal(data, stamp)

    def _get(self, name: str, sha256: bytes | None = None) -> bytes | None:
        """What is gone or altered is the audit's to find: it must not keep everything else from being stamped."""
        try:
            return self._book.vault.get(name, sha256)
        except (NotFound, Tampered, Unavailable) as error:
            log.error("stamp_waits_for_the_vault", code=error.code)
            return None

    # What came back

    def answered(self, question: Question, response: bytes, asked: int) -> bool:
        """Checks and keeps a response. False where it is refused; that is entered too. `asked`: UTC when it was sent.

        In the vault before the database knows: a crash in between leaves a stamp that the next answer finds there.
        """
        now = self._book.clock()
        try:
            stamp = check(response, question.data, question.authority, question.nonce)
            name, stamp, asked = self._keep(question, stamp, asked)
        except SignatureInvalid as error:
            self._refused(question, response, error, now)
            return False
        with self._book.writing() as entry:
            row = entry.session.get_one(StampRow, question.row)
            if row.obtained_at is None:
                row.obtained_at, row.object_name, row.time, row.ends = now, name, stamp.time, stamp.ends
                row.sha256, row.renew_at = hashlib.sha256(stamp.response).digest(), renew_at(stamp)
                self._enter(entry, row, question, stamp, asked, now)
        return True

    def _keep(self, question: Question, stamp: Stamp, asked: int) -> tuple[str, Stamp, int]:
        """Into the vault, with the authority's certificates; its name, and when it was asked for.

        One that is there already, by a crash or another process, stays and is taken. When that one was asked for
        nobody knows: no clock is held against it but for being later than now.
        """
        vault, authority = self._book.vault, question.authority
        if authority.fingerprint not in self._kept:
            if not vault.exists(authority_name(authority.fingerprint)):
                vault.put(authority_name(authority.fingerprint), authority.pem)
            self._kept.add(authority.fingerprint)
        name = stamp_name(stamp.imprint, authority.fingerprint, question.nonce)
        try:
            vault.put(name, stamp.response)
        except Conflict:
            stamp = check(vault.get(name), question.data, authority, question.nonce)
            asked = min(asked, stamp.time)
        return name, stamp, asked

    def _enter(self, entry: Entry, row: StampRow, question: Question, stamp: Stamp, asked: int, now: int) -> None:
        want_row = entry.session.get_one(StampWantRow, row.want_id)
        ahead = offset(stamp.time, min(asked, now), now)
        against = contradicted(stamp.time, ahead, question.claim, self._rules.tolerance)
        details = {
            "about": want_row.name, "authority": row.authority, "chain": row.chain, "contradicts": against,
            "imprint": stamp.imprint.hex(), "number": row.number, "object": row.object_name,
            "offset_ms": ahead // 10**6, "stamp": (row.sha256 or b"").hex(), "time": utc_text(stamp.time),
            "what": want_row.kind,
        }  # fmt: skip
        entry.record(_event(entry.session, Verb.STAMP_OBTAINED, now, want_row.interview_id, details))
        if against:
            alarm(entry.session, now, alarms.CLOCK, None, {"authority": row.authority, "contradicts": against})
            log.error("clock_contradicted_by_a_time_stamp", contradicts=against, offset_ms=ahead // 10**6)
        if "store-clock" not in against:
            alarms.clear(entry.session, alarms.CLOCK, row.authority, now, ["store-clock"])
        alarms.clear(entry.session, alarms.REFUSED, row.authority, now)
        self._settle(entry.session, want_row, now)

    def _settle(self, session: Session, want_row: StampWantRow, now: int) -> None:
        session.flush()
        query = select(StampRow.chain).where(StampRow.want_id == want_row.id, StampRow.obtained_at.is_not(None))
        if set(session.scalars(query)) >= set(self.authorities):
            want_row.settled_at = now

    def _refused(self, question: Question, response: bytes, error: Tampered, now: int) -> None:
        """What an authority gives out and does not hold is evidence too: once, however often it comes."""
        log.error("stamp_refused", code=error.code)
        with self._book.writing() as entry:
            row = entry.session.get_one(StampRow, question.row)
            row.attempts += 1
            row.next_at = now + min(FIRST_PAUSE_NS * 2 ** min(row.attempts - 1, 20), LONGEST_PAUSE_NS)
            about = {"authority": row.authority, "code": error.code}
            if alarm(entry.session, now, alarms.REFUSED, None, about):
                want_row = entry.session.get_one(StampWantRow, row.want_id)
                details = {**about, "about": want_row.name, "response": hashlib.sha256(response).hexdigest()}
                entry.record(_event(entry.session, Verb.STAMP_REFUSED, now, want_row.interview_id, details))

    # What is late

    def _declare(self, fingerprint: str, now: int) -> None:
        """Lag is said once when it begins and once when it is over."""
        with self._book.reading() as session:
            waiting = _waiting(fingerprint).with_only_columns(func.count(), func.min(StampWantRow.wanted_at))
            count, since = session.execute(waiting).one()
            late = count > 0 and now - since > self._rules.late_after
            if late == alarms.stands(session, alarms.LATE, fingerprint):
                return
        about = {"authority": fingerprint}
        with self._book.writing() as entry:
            if late and alarm(entry.session, now, alarms.LATE, None, about):
                details = {**about, "since": utc_text(since), "waiting": count}
                entry.record(_event(entry.session, Verb.STAMPS_LATE, now, None, details))
                log.error("stamps_late", waiting=count)
            elif not late and alarms.clear(entry.session, alarms.LATE, fingerprint, now):
                entry.record(_event(entry.session, Verb.STAMPS_CAUGHT_UP, now, None, {**about, "waiting": count}))


def stamp_name(imprint: bytes, fingerprint: str, nonce: int) -> str:
    """Where a stamp lies in the vault: under the hash of what it is over."""
    return f"stamps/{imprint.hex()}/{fingerprint[:16]}-{nonce:016x}.tsr"


def authority_name(fingerprint: str) -> str:
    return f"stamps/authorities/{fingerprint}.pem"


def _waiting(fingerprint: str) -> Select[StampWantRow]:
    """What has no stamp yet from this authority."""
    has = exists().where(
        StampRow.want_id == StampWantRow.id, StampRow.chain == fingerprint, StampRow.obtained_at.is_not(None)
    )
    return select(StampWantRow).where(StampWantRow.settled_at.is_(None), ~has)


def _link(session: Session, row: StampRow) -> _Link:
    query = select(StampRow).where(
        StampRow.want_id == row.want_id, StampRow.chain == row.chain, StampRow.number < row.number
    )
    before = list(session.scalars(query.order_by(StampRow.number)))
    return _Link(row, session.get_one(StampWantRow, row.want_id), before)


def _enter(session: Session, want_id: int, chain: str, number: int, authority: str, data: bytes, now: int) -> None:
    """Queues a request, where no other process has done so meanwhile."""
    same = select(StampRow.id).where(StampRow.want_id == want_id, StampRow.chain == chain, StampRow.number == number)
    if session.scalars(same).first() is None:
        asked = request(data)
        session.add(
            StampRow(
                want_id=want_id, chain=chain, number=number, authority=authority, request=asked.der,
                nonce=str(asked.nonce), attempts=0, next_at=now,
            )
        )  # fmt: skip


def _lasts(session: Session, fingerprint: str) -> int:
    """How long the authority's longest certificate that a stamp has shown lasts; 0 where none has."""
    return session.scalar(select(func.max(StampRow.ends)).where(StampRow.authority == fingerprint)) or 0


def _event(session: Session, verb: Verb, at: int, interview: str | None, details: Mapping[str, object]) -> CustodyEvent:
    row = None if interview is None else session.get(InterviewRow, interview)
    case = None if row is None else case_of(row)
    return CustodyEvent(verb, at, Actor.store(), None if row is None else InterviewId(row.id), case, details=details)
