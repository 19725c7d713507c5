"""Evidence copies: ordered, made one at a time (`api/jobs.py`), handed over from an age file on disk.

The order lies in the database, so that a restart goes on with it. What is on disk is encrypted to its recipient; the
folder of copies is not the vault and can be cleared.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.desk.accounts import actor_of
from api.desk.moments import moment
from api.services import Account, CopyState, CopyStatus, CopyStream
from evidence_store.authority import Authority
from evidence_store.copies.package import prepare, recipient_of
from evidence_store.copies.source import (
    CopySource,
    CustodyEntry,
    HouseCertificates,
    Recipient,
    StoreSigner,
    TakeSource,
)
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AccountRow, CopyRow, DeviceRow, InterviewRow, TakeRow
from evidence_store.deliveries import case_of
from evidence_store.durable import fsync_folder
from evidence_store.errors import Conflict, InvalidInput, KeysOutOfReach, NotFound, VidneError
from evidence_store.identifiers import InterviewId, parse_interview_id
from evidence_store.intake import device_certificates, segments_of
from evidence_store.interview import InterviewState
from evidence_store.keystore import KeyStore
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Book
from evidence_store.ledger.witnessing import Witnessing
from evidence_store.people import Person, Role
from evidence_store.revoking import read as revocations
from evidence_store.sealed import takes_of
from evidence_store.sealing.manifest import SignedManifest
from evidence_store.stamps.collected import stamps_of
from evidence_store.stamps.lost import declare as declare_lost_stamps

log = structlog.get_logger()

CHUNK: Final = 1 << 18
COVERED_WITHIN: Final = 10.0
"""How long a copy waits for its witnesses to cosign the order for it; it is made all the same."""
_STAGES: Final = {
    "check": (CopyState.VERIFYING, 0.0, 0.3),
    "render": (CopyState.RENDERING, 0.3, 0.6),
    "stream": (CopyState.PACKING, 0.9, 0.1),
}
"""Stage of `evidence_store.copies` → state, where it begins, and how much of the whole it is."""
_UNFINISHED: Final = (CopyState.QUEUED, CopyState.VERIFYING, CopyState.RENDERING, CopyState.PACKING)


class _GivenUpError(Exception):
    """The process ends: the copy stays queued."""


class CopyDesk:
    """`ordered` is called when there is a copy to make; `ending` is asked while one is made, and true gives it up."""

    def __init__(
        self,
        book: Book,
        authority: Authority,
        keys: KeyStore,
        folder: Path,
        house: str,
        recording: Callable[[], bool],
        witnessing: Witnessing | None = None,
    ) -> None:
        """`recording()`: whether this machine is recording now; rendering waits for it to be over. `witnessing`: who
        cosigns the checkpoints that a copy's entries are proven in."""
        self._witnessing = witnessing
        self._book = book
        self._authority = authority
        self._keys = keys
        self._folder = folder
        self._house = house
        self._recording = recording
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ordered: Callable[[], None] = lambda: None
        self.ending: Callable[[], bool] = lambda: False
        self._one = threading.Lock()

    def take_up(self) -> None:
        """At start: what a kill left unfinished is queued again."""
        with self._book.database.writing() as session:
            for row in session.scalars(select(CopyRow).where(CopyRow.state.in_([each.value for each in _UNFINISHED]))):
                row.state, row.progress = CopyState.QUEUED.value, 0
        for left in self._folder.glob("*.part"):
            left.unlink()
        self.forget_erased()

    def forget_erased(self) -> None:
        """Removes the copies of interviews that were erased. What was handed over is with its recipient."""
        with self._book.database.writing() as session:
            query = select(CopyRow).join(InterviewRow, CopyRow.interview_id == InterviewRow.id)
            for row in session.scalars(query.where(InterviewRow.state == InterviewState.ERASED.value)):
                self._path(row.id).unlink(missing_ok=True)
                if row.state == CopyState.READY.value:
                    row.state, row.failure = CopyState.FAILED.value, "erased"

    # For the routes

    def request(self, interview: str, by: Account, reason: str, recipient: str) -> str:
        try:
            recipient_of(recipient)
        except InvalidInput as error:
            raise InvalidInput(str(error), code="age-key") from error
        now, copy = self._book.clock(), secrets.token_hex(16)
        with self._book.writing() as entry:
            row = entry.session.get(InterviewRow, interview)
            if row is None:
                raise NotFound("no such interview", code="interview")
            if row.state == InterviewState.ERASED:
                raise NotFound("the interview was erased", code="erased")
            if row.state not in (InterviewState.SEALED, InterviewState.AVAILABLE):
                raise Conflict("the interview is not sealed yet", code="not-sealed")
            _assigned(row)
            entry.session.add(
                CopyRow(
                    id=copy, interview_id=interview, requested_by=by.id, reason=reason, recipient=recipient,
                    state=CopyState.QUEUED.value, progress=0, created_at=now,
                )
            )  # fmt: skip
            details = {"recipient": recipient}
            entry.record(self._event(Verb.COPY_REQUESTED, now, actor_of(by), row, copy, details, reason))
        self.ordered()
        return copy

    def status(self, copy: str) -> CopyStatus:
        with self._book.reading() as session:
            return _status(session, _copy(session, copy))

    def of(self, interview: str) -> Sequence[CopyStatus]:
        with self._book.reading() as session:
            query = select(CopyRow).where(CopyRow.interview_id == interview).order_by(CopyRow.created_at.desc())
            return [_status(session, row) for row in session.scalars(query)]

    def stream(self, copy: str, by: Account) -> CopyStream:
        with self._book.writing() as entry:
            row = _copy(entry.session, copy)
            if row.state != CopyState.READY or row.sha256 is None:
                raise Conflict("the copy is not ready", code="copy-not-ready")
            interview = entry.session.get_one(InterviewRow, row.interview_id)
            details = {"recipient": row.recipient, "sha256": row.sha256.hex()}
            now = self._book.clock()
            entry.record(self._event(Verb.COPY_RELEASED, now, actor_of(by), interview, copy, details, row.reason))
        path = self._path(copy)
        return CopyStream(f"vidne-kopi-{copy}.tar.age", path.stat().st_size, _chunks(path))

    # Making

    def wanted(self) -> bool:
        """Whether there is a copy to make now: not beside a recording."""
        return not self._recording() and self._next() is not None

    def make_next(self) -> bool:
        """Makes the next copy; False where there is none, or it has to wait. What cannot be entered as failed stays
        queued, and is made again. Raises Unavailable."""
        with self._one:
            return self._make_next()

    def _make_next(self) -> bool:
        copy = self._next()
        if copy is None or self._recording():
            return False
        try:
            self._make(copy)
        except _GivenUpError:
            return False
        except KeysOutOfReach:
            raise  # no fault of the copy: it is made when they answer
        except VidneError as error:
            log.error("copy_failed", copy=copy, code=error.code)
            self._failed(copy, error.code)
        except Exception as error:  # noqa: BLE001 - the next copy is another; who asked is told
            log.error("copy_failed", copy=copy, error=type(error).__name__)
            self._failed(copy, "error")
        return True

    def _next(self) -> str | None:
        with self._book.reading() as session:
            # Not those that are queued alone: one whose failure could not be entered stands where it failed.
            query = select(CopyRow.id).where(CopyRow.finished_at.is_(None)).order_by(CopyRow.created_at)
            return session.scalars(query.limit(1)).first()

    def _make(self, copy: str) -> None:
        source = self._source(copy)
        part = self._folder / f"{copy}.part"
        progress = partial(self._progress, copy)
        with prepare(source, scratch=self._folder, progress=progress) as made, part.open("wb") as out:
            written = made.write(out)
            out.flush()
            os.fsync(out.fileno())
        part.rename(self._path(copy))
        fsync_folder(self._folder)
        now = self._book.clock()
        with self._book.writing() as entry:
            row = _copy(entry.session, copy)
            row.state, row.progress, row.finished_at = CopyState.READY.value, 1000, now
            row.size, row.sha256 = written.size, bytes.fromhex(written.sha256)
            interview = entry.session.get_one(InterviewRow, row.interview_id)
            details = {"sha256": written.sha256, "viewing_failure": made.viewing_failure}
            entry.record(self._event(Verb.COPY_MADE, now, Actor.store(), interview, copy, details))

    def _progress(self, copy: str, stage: str, done: float) -> None:
        if self.ending():
            raise _GivenUpError
        state, begins, share = _STAGES[stage]
        with self._book.database.writing() as session:
            row = _copy(session, copy)
            row.state, row.progress = state.value, round(1000 * (begins + share * done))

    def _failed(self, copy: str, code: str) -> None:
        now = self._book.clock()
        (self._folder / f"{copy}.part").unlink(missing_ok=True)
        with self._book.writing() as entry:
            row = _copy(entry.session, copy)
            row.state, row.failure, row.finished_at = CopyState.FAILED.value, code, now
            interview = entry.session.get_one(InterviewRow, row.interview_id)
            entry.record(self._event(Verb.COPY_FAILED, now, Actor.store(), interview, copy, {"code": code}))

    def _path(self, copy: str) -> Path:
        return self._folder / f"{copy}.tar.age"

    def _event(
        self,
        verb: Verb,
        at: int,
        actor: Actor,
        interview: InterviewRow,
        copy: str,
        details: Mapping[str, str | None],
        reason: str | None = None,
    ) -> CustodyEvent:
        number = case_of(interview)
        whole = {"copy": copy, **details}
        return CustodyEvent(verb, at, actor, InterviewId(interview.id), number, reason=reason, details=whole)

    def _source(self, copy: str) -> CopySource:
        """Everything the copy is made from, with a checkpoint that covers every event so far."""
        authority, vault = self._authority, self._book.vault
        with self._book.reading() as session:
            of = _copy(session, copy).interview_id
        declare_lost_stamps(self._book, of)
        with self._book.database.writing() as session:
            note = self._book.ledger.checkpoint(session, self._book.clock())
        self._book.keep(note)
        witnessing, ledger = self._witnessing, self._book.ledger
        if witnessing is not None and not witnessing.wait_covered(ledger.size_of(note), COVERED_WITHIN):
            log.warning("copy_before_its_witnesses", copy=copy)
        with self._book.reading() as session:
            latest = ledger.latest_checkpoint(session) or note
            proving = [latest] if witnessing is None else witnessing.proving_notes(session)
            row = _copy(session, copy)
            interview = session.get_one(InterviewRow, row.interview_id)
            by = session.get_one(AccountRow, row.requested_by)
            base = interview.manifest_object or ""
            logged = custody_log.of_interview(session, parse_interview_id(interview.id))
            person = Person(by.id, by.username, by.display_name, Role(by.role))
            return CopySource(
                copy_id=bytes.fromhex(copy),
                made_utc_ns=self._book.clock(),
                interview=bytes.fromhex(interview.id),
                case_number=_assigned(interview),
                house=self._house,
                room=interview.room,
                interview_key=self._keys.open(session, interview.id),
                takes=[self._take(session, take) for take in takes_of(session, interview.id)],
                manifest=SignedManifest(vault.get(base), vault.get(f"{base}.p7s"), vault.get(f"{base}.mldsa65")),
                certificates=HouseCertificates(
                    authority.root, authority.store, authority.store_ml_dsa, authority.ledger
                ),
                signer=StoreSigner(authority.store_key, authority.store_ml_dsa_key),
                recipient=Recipient(row.recipient, row.reason, person.display_name),
                custody=[self._entry(session, each.index, proving) for each in logged],
                checkpoint=proving[-1],
                stamps=stamps_of(session, vault, self._book.ledger, interview.id),
                revocations=[
                    signed
                    for enrolment in sorted({take.enrolment for take in takes_of(session, interview.id)})
                    for signed in revocations(vault, enrolment)
                ],
            )

    def _take(self, session: Session, take: TakeRow) -> TakeSource:
        vault = self._book.vault
        names = [(row.object_name, row.sha256) for row in segments_of(session, take.enrolment, take.n)]
        device, device_ml_dsa = device_certificates(session.get_one(DeviceRow, take.enrolment))
        return TakeSource(
            enrolment=bytes.fromhex(take.enrolment),
            number=take.n,
            start=None if take.start_object is None else vault.get(take.start_object),
            close=vault.get(take.close_object or ""),
            segments=len(names),
            read_segment=lambda index: vault.get(*names[index]),
            torn_tail=vault.exists(f"takes/{take.enrolment}/{take.n:06d}/tail"),
            device=device,
            device_ml_dsa=device_ml_dsa,
        )

    def _entry(self, session: Session, index: int, proving: Sequence[bytes]) -> CustodyEntry:
        entry = self._book.ledger.entry(session, index)
        if entry.body is None or entry.nonce is None:
            raise NotFound("a custody event was erased", code="custody-erased")
        ledger = self._book.ledger
        note = next(each for each in proving if ledger.size_of(each) > index)
        return CustodyEntry(entry.body, entry.nonce, ledger.prove(session, index, note).write())


def _assigned(interview: InterviewRow) -> str:
    """Raises Conflict where nobody has said yet whose interview it is: it is nobody's to hand out then."""
    if interview.case_number is None:
        raise Conflict("the interview has no case number yet", code="interview-unassigned")
    return interview.case_number


def _copy(session: Session, copy: str) -> CopyRow:
    row = session.get(CopyRow, copy)
    if row is None:
        raise NotFound("no such copy", code="copy")
    return row


def _status(session: Session, row: CopyRow) -> CopyStatus:
    by = session.get(AccountRow, row.requested_by)
    return CopyStatus(
        id=row.id,
        interview=row.interview_id,
        state=CopyState(row.state),
        progress=row.progress / 1000,
        requested_at=moment(row.created_at),
        requested_by="" if by is None else by.display_name,
        reason=row.reason,
        error=row.failure,
        size=row.size,
        sha256=None if row.sha256 is None else row.sha256.hex(),
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
