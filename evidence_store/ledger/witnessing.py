"""The house's side of its witnesses: what each is asked, what its answer means, and what stands in database and vault.

Synchronous, and no network: whoever asks (`api/desk/witnesses.py`) carries questions out and answers back. Only the
latest checkpoint counts: a witness that cosigns it stands for all before it, so there is nothing to queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evidence_store.canonical import Record, parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CosignatureRow, LedgerCheckpointRow, WitnessRow
from evidence_store.deliveries import alarm, clear, standing
from evidence_store.errors import Conflict, InvalidInput, SignatureInvalid, Unavailable
from evidence_store.ledger.book import Book
from evidence_store.ledger.checkpoint import Checkpoint, Note
from evidence_store.ledger.cosignature import CosignatureVerifier
from evidence_store.ledger.policy import Cosigned, Decision, Member, MemberState, Policy, Refused, State, decide
from evidence_store.ledger.witness import AddCheckpoint

log = structlog.get_logger()

COSIGNED = "ledger/cosigned/"
LATE: Final = "witness-late"
VETO: Final = "witness-veto"
_NS = 10**9
_LOOKED_THROUGH = 200
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One request, and the size of the checkpoint in it."""

    request: AddCheckpoint
    size: int


class Witnessing:
    def __init__(self, book: Book, policy: Policy) -> None:
        """From now on the book asks in each transaction, before anything else, whether a witness has said no."""
        self._book = book
        self.policy = policy
        book.may_write = self.refuse_if_vetoed

    def refuse_if_vetoed(self, session: Session) -> None:
        """Raises Unavailable `ledger-vetoed` while a witness of the policy stands by its no: in this process, in every
        other, and after a restart."""
        ids = [member.id for member in self.policy.members]
        said_no = select(WitnessRow.key).where(WitnessRow.key.in_(ids), WitnessRow.refused_at.is_not(None))
        if session.scalars(said_no.limit(1)).first() is not None:
            raise Unavailable("a witness says that this is another ledger", code="ledger-vetoed")

    # Asking

    def question(self, member: Member, *, again: bool = False) -> Question | None:
        """What to ask now; None where the latest checkpoint is cosigned, unless `again`, or nothing is signed yet.

        A witness that has said no is asked on: only its own yes ends that.
        """
        with self._book.reading() as session:
            note = self._book.ledger.latest_checkpoint(session)
            if note is None:
                return None
            size = Checkpoint.open(note, self._book.ledger.verifier).size
            row = session.get(WitnessRow, member.id)
            refused = row is not None and row.refused_at is not None
            if not again and not refused and self._covered(session, member) >= size:
                return None
            old = 0 if row is None else min(row.held, size)
            proof = self._book.ledger.consistency(session, old, size)
            return Question(AddCheckpoint(old, tuple(proof), note), size)

    def cosigned(self, member: Member, question: Question, lines: bytes) -> None:
        """A 200: checks the witness's cosignature and keeps it, in the vault and then in the database. Ends a veto.

        Raises SignatureInvalid `note-signature`, `cosignature-missing` and InvalidInput for an answer that is none.
        """
        note = Note.parse(question.request.note + lines)
        found: list[tuple[CosignatureVerifier, int, str]] = []
        for key in member.keys:
            at = key.time_of(note)
            if at is not None and member.believes(str(key), at):
                line = next(each.line() for each in key.own(note) if int.from_bytes(each.signature[:8], "big") == at)
                found.append((key, at, line))
        if not found:
            raise SignatureInvalid("the answer holds no cosignature by a key of the policy", code="cosignature-missing")
        now = self._book.clock()
        for key, at, line in found:
            self._keep(question, key, at, line)
        with self._book.database.writing() as session:
            for key, at, line in found:
                session.merge(CosignatureRow(size=question.size, key=str(key), line=line, at=at * _NS))
            known = self._row(session, member)
            known.held, known.answered_at = question.size, now
            vetoed = known.refused_at is not None
        # A crash here leaves a veto that stands one round longer: the witness is asked again, and says yes again.
        if vetoed:
            self._end_veto(member)

    def holds(self, member: Member, question: Question, held: int) -> bool:
        """A 409: the witness holds another size, or another root of the size it was shown. True where asking again
        can help; False for a veto. Raises InvalidInput `witness-answer` for an answer that makes no sense."""
        with self._book.reading() as session:
            latest = session.scalar(select(func.max(LedgerCheckpointRow.size))) or 0
            covered = self._covered(session, member)
        if held > latest:
            # Asked of the database after the answer came: another process of this house cannot have been faster.
            self.refused(member, Refused("ledger-rolled-back", question.size, held, self.now()))
            return False
        if held == question.request.old:
            if question.size != held:
                raise InvalidInput("the witness contradicts itself", code="witness-answer")
            self.refused(member, Refused("ledger-rewritten", question.size, held, self.now()))
            return False
        with self._book.database.writing() as session:
            row = self._row(session, member)
            row.held, row.answered_at = held, self._book.clock()
        if held < covered:
            # It cosigned more than it remembers: it, or its disk, was turned back. What it is worth is for people.
            log.error("witness_forgot", witness=member.key.name, held=held, covered=covered)
            details = {"covered": str(covered), "held": str(held), "witness": member.key.name}
            self._record(Verb.WITNESS_FORGOT, details)
        return True

    def refused(self, member: Member, refused: Refused) -> None:
        """A no: kept before anything else happens, with its alarm. Every act of a person is refused from now on."""
        log.critical("witness_veto", witness=member.key.name, code=refused.code, size=refused.size, held=refused.held)
        with self._book.database.writing() as session:
            row = self._row(session, member)
            row.answered_at = self._book.clock()
            row.refused_at = row.refused_at or refused.at * _NS
            row.refused_code, row.refused_size, row.refused_held = refused.code, refused.size, refused.held
            alarm(session, self._book.clock(), VETO, None, _about(member))

    # Deciding

    def decision(self, session: Session) -> Decision:
        """What the policy makes of all that is known now."""
        cosigned = [each for member in self.policy.members for each in _best(session, member)]
        rows = session.scalars(select(WitnessRow).where(WitnessRow.refused_at.is_not(None)))
        refused = {row.key: _refused(row) for row in rows}
        return decide(self.policy, cosigned, refused, _signed_after(session), self.now())

    def now(self) -> int:
        """Seconds since 1970."""
        return self._book.clock() // _NS

    def known(self) -> Decision:
        with self._book.reading() as session:
            return self.decision(session)

    def alarms(self) -> list[tuple[str, int, Member]]:
        """What stands now: code, since when (nanoseconds UTC), which witness of the policy."""
        members = {member.id: member for member in self.policy.members}
        with self._book.reading() as session:
            rows = [row for row in standing(session) if row.code in (LATE, VETO)]
        found = ((row.code, row.at, members.get(parse(row.details.encode())["witness"])) for row in rows)
        return [(code, at, member) for code, at, member in found if member is not None]

    def review(self) -> Decision:
        """Declares what has become late, and what is not any more: alarm and custody event in one transaction."""
        with self._book.reading() as session:
            decision = self.decision(session)
            late = {parse(row.details.encode())["witness"] for row in standing(session, LATE)}
        for each in decision.members:
            if each.late and each.member.id not in late:
                log.error("witness_late", witness=each.member.key.name, covered=each.covered)
                self._declare(each, Verb.WITNESS_LATE)
            elif not each.late and each.member.id in late:
                self._declare(each, Verb.WITNESS_BACK)
        return decision

    # What is kept

    def note_of(self, session: Session, size: int) -> bytes | None:
        """The checkpoint of that size with every cosignature that there is; None where nothing was signed."""
        row = session.get(LedgerCheckpointRow, size)
        if row is None:
            return None
        lines = session.scalars(
            select(CosignatureRow.line).where(CosignatureRow.size == size).order_by(CosignatureRow.key)
        )
        return row.note + "".join(lines).encode("utf-8")

    def wait_covered(self, size: int, seconds: float) -> bool:
        """Waits until a quorum covers that size. False where it did not in time: whoever waits goes on without."""
        ends = time.monotonic() + seconds
        while self.known().covered < size:
            if time.monotonic() > ends:
                return False
            # Another process may be the one that asks: the database is what both see.
            time.sleep(_LOOK_SECONDS)
        return True

    def proving_notes(self, session: Session) -> list[bytes]:
        """Checkpoints to prove entries in, by size: the largest that a quorum cosigned each by itself, the largest that
        anybody did, and the latest, each with its cosignatures. A reader counts the lines of one note, so an entry is
        to be proven in the first of them that covers it."""
        # Of sizes that enough keys signed, however long ago: with one witness away the newest have fewer.
        enough = select(CosignatureRow.size).group_by(CosignatureRow.size)
        enough = enough.having(func.count(CosignatureRow.key.distinct()) >= self.policy.quorum)
        agreeing = list(session.scalars(enough.order_by(CosignatureRow.size.desc()).limit(_LOOKED_THROUGH)))
        newest = select(CosignatureRow.size).order_by(CosignatureRow.size.desc()).limit(_LOOKED_THROUGH)
        looked_at = [*agreeing, *session.scalars(newest)]
        rows = select(CosignatureRow).where(CosignatureRow.size.in_(looked_at))
        by: dict[int, set[str]] = {}
        for row in session.scalars(rows):
            by.setdefault(row.size, set()).update(
                member.id for member in self.policy.members if member.believes(row.key, row.at // _NS)
            )
        agreed = [size for size, members in by.items() if len(members) >= self.policy.quorum]
        anybody = [size for size, members in by.items() if members]
        latest = session.scalar(select(func.max(LedgerCheckpointRow.size)))
        sizes = {max(some) for some in (agreed, anybody) if some} | ({latest} if latest is not None else set())
        return [note for size in sorted(sizes) if (note := self.note_of(session, size)) is not None]

    def note_for_start(self, session: Session) -> bytes | None:
        """The checkpoint that a take's start record holds: the newest with a cosignature, which says when the take had
        not begun yet. The latest one where witnesses are late: then what it covers is worth more."""
        latest = self._book.ledger.latest_checkpoint(session)
        decision = self.decision(session)
        newest = max((each.covered for each in decision.members), default=0)
        return latest if decision.state is State.LAGGING or not newest else self.note_of(session, newest)

    def _keep(self, question: Question, key: CosignatureVerifier, at: int, line: str) -> None:
        """The note with this one cosignature, where no database can be rolled back. As with checkpoints, a vault that
        takes nothing now holds up nobody: a later cosignature covers it."""
        name = f"{COSIGNED}{question.size:012d}/{key.key_id.hex()}-{at}"
        try:
            self._book.vault.put(name, question.request.note + line.encode("utf-8"))
        except Unavailable as error:
            log.error("cosigned_not_in_vault", size=question.size, code=error.code)
        except Conflict as error:
            log.error("cosigned_is_there_already", size=question.size, code=error.code)

    def _covered(self, session: Session, member: Member) -> int:
        own = select(func.max(CosignatureRow.size)).where(CosignatureRow.key == member.id)
        return session.scalar(own) or 0

    def _row(self, session: Session, member: Member) -> WitnessRow:
        row = session.get(WitnessRow, member.id)
        if row is None:
            row = WitnessRow(key=member.id, held=0, answered_at=0)
            session.add(row)
        return row

    def _end_veto(self, member: Member) -> None:
        """Whoever said no has cosigned what there is now: the true ledger is back. Entered with both times."""
        with self._book.writing(over_veto=True) as entry:
            row = self._row(entry.session, member)
            if row.refused_at is None:
                return
            now = self._book.clock()
            details = {
                "code": row.refused_code, "from": str(row.refused_at), "to": str(now), "witness": member.key.name
            }  # fmt: skip
            row.refused_at = row.refused_code = row.refused_size = row.refused_held = None
            clear(entry.session, now, VETO, _about(member))
            entry.record(CustodyEvent(Verb.WITNESS_VETOED, now, Actor.store(), details=details))

    def _declare(self, state: MemberState, verb: Verb) -> None:
        """Once, by whichever process of the house comes first."""
        details = {"covered": str(state.covered), "witness": state.member.key.name}
        change = self._now_late if verb is Verb.WITNESS_LATE else self._late_no_more
        try:
            with self._book.writing() as entry:
                if change(entry.session, state.member):
                    entry.record(CustodyEvent(verb, self._book.clock(), Actor.store(), details=details))
        except Unavailable as error:
            if error.code not in ("ledger-read-only", "ledger-vetoed"):
                raise
            with self._book.database.writing() as session:
                change(session, state.member)

    def _now_late(self, session: Session, member: Member) -> bool:
        return alarm(session, self._book.clock(), LATE, None, _about(member))

    def _late_no_more(self, session: Session, member: Member) -> bool:
        stood = any(parse(row.details.encode()) == _about(member) for row in standing(session, LATE))
        clear(session, self._book.clock(), LATE, _about(member))
        return stood

    def _record(self, verb: Verb, details: dict[str, str]) -> None:
        try:
            self._book.record(CustodyEvent(verb, self._book.clock(), Actor.store(), details=details))
        except Unavailable as error:
            log.error("not_in_custody", verb=verb.value, code=error.code)


def _about(member: Member) -> Record:
    return {"witness": member.id}


def _best(session: Session, member: Member) -> Iterator[Cosigned]:
    """Its largest cosignature by each of its keys."""
    for key in member.keys:
        own = select(CosignatureRow).where(CosignatureRow.key == str(key))
        if key == member.old_key:
            own = own.where(CosignatureRow.at <= (member.old_key_until or 0) * _NS)
        row = session.scalars(own.order_by(CosignatureRow.size.desc()).limit(1)).first()
        if row is not None:
            yield Cosigned(row.key, row.size, row.at // _NS)


def _refused(row: WitnessRow) -> Refused:
    return Refused(row.refused_code or "", row.refused_size or 0, row.refused_held, (row.refused_at or 0) // _NS)


def _signed_after(session: Session) -> Callable[[int], int | None]:
    def asked(size: int) -> int | None:
        query = select(LedgerCheckpointRow.signed_at).where(LedgerCheckpointRow.size > size)
        at = session.scalars(query.order_by(LedgerCheckpointRow.size).limit(1)).first()
        return None if at is None else at // _NS

    return asked
