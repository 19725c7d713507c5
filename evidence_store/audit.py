"""Rebuilds and checks everything from bytes: ledger, custody rows, checkpoints, devices, takes, manifests.

Trusts the root certificate and the ledger's key, and nothing that is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.copies.cms import check_cms
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.database.schema import DeviceRow, InterviewRow, TakeRow
from evidence_store.errors import ChainBroken, NotFound, VidneError
from evidence_store.intake import device_certificates, segment_name, segments_of, take_prefix
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Book
from evidence_store.sealing import check
from evidence_store.sealing.manifest import check_ml_dsa


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `detail` names no case and no person."""

    name: str
    ok: bool
    detail: str


@dataclass(slots=True)
class AuditReport:
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


class Audit:
    """`tell` is called with each finding as it is made."""

    def __init__(self, book: Book, authority: Authority, tell: Callable[[Finding], None] | None = None) -> None:
        self._book = book
        self._authority = authority
        self._tell = tell or (lambda finding: None)

    def run(self) -> AuditReport:
        report = AuditReport()
        with self._book.reading() as session:
            for finding in self._findings(session):
                report.findings.append(finding)
                self._tell(finding)
        return report

    def _findings(self, session: Session) -> Iterator[Finding]:
        yield self._step("ledger", lambda: self._ledger(session))
        yield self._step("custody", lambda: f"{custody_log.verify_rows(session)} events agree with the ledger")
        yield self._step("checkpoints", lambda: self._checkpoints(session))
        for device in session.scalars(select(DeviceRow).order_by(DeviceRow.created_at)):
            yield self._step(f"numbers {device.enrolment[:8]}", partial(self._numbers, session, device))
        for take in session.scalars(select(TakeRow).order_by(TakeRow.enrolment, TakeRow.n)):
            name = f"take {take.enrolment[:8]}-{take.n}"
            yield self._step(name, partial(self._take, session, take))
        for interview in session.scalars(select(InterviewRow).where(InterviewRow.manifest_object.is_not(None))):
            name = f"manifest {interview.id[:8]}"
            yield self._step(name, partial(self._manifest, interview))

    def _step(self, name: str, work: Callable[[], str]) -> Finding:
        try:
            return Finding(name, True, work())
        except VidneError as error:
            return Finding(name, False, f"{error} ({error.code})")

    def _ledger(self, session: Session) -> str:
        found = self._book.ledger.verify_all(session)
        return f"{found.size} entries, {found.checkpoints} checkpoints, signed up to {found.signed_size}"

    def _checkpoints(self, session: Session) -> str:
        """What the vault remembers of the ledger: a database that was rolled back or rewritten contradicts it."""
        count = 0
        for kept in self._book.vault.list("ledger/checkpoints/"):
            self._book.ledger.check_against(session, self._book.vault.get(kept.name))
            count += 1
        return f"{count} in the vault, all continued"

    def _numbers(self, session: Session, device: DeviceRow) -> str:
        """Every take number is accounted for, up to the highest that device, ledger or vault ever named."""
        named = {
            int(logged.event.details["take"])
            for logged in _started(self._book, session)
            if logged.event.details.get("enrolment") == device.enrolment
        }
        prefix = f"takes/{device.enrolment}/"
        stored = {int(each.name[len(prefix) :].split("/")[0]) for each in self._book.vault.list(prefix)}
        query = select(TakeRow.n).where(TakeRow.enrolment == device.enrolment)
        known = set(session.scalars(query))
        highest = max([device.n_highest, *named, *stored, *known])
        missing = [number for number in range(1, highest + 1) if number not in known]
        if missing:
            raise ChainBroken(f"take {', '.join(map(str, missing))} is missing", code="take-missing")
        return f"takes 1 to {highest} are accounted for" if highest else "no takes yet"

    def _take(self, session: Session, row: TakeRow) -> str:
        device_row = session.get(DeviceRow, row.enrolment)
        if device_row is None:
            raise NotFound("the take's device is unknown", code="device-unknown")
        device, device_ml_dsa = device_certificates(device_row)
        vault, prefix = self._book.vault, take_prefix(row.enrolment, row.n)
        chain: check.Chain | None = None
        if row.start_object is not None:
            chain = check.Chain(check.check_start(vault.get(f"{prefix}/start.json"), self._authority.root))
            for segment in segments_of(session, row.enrolment, row.n):
                chain.check_segment(vault.get(segment_name(row.enrolment, row.n, segment.i), segment.sha256))
        elif row.state != "closed":
            raise ChainBroken("a take without a start is not closed", code="take-open")
        if row.state != "closed":
            return "still being recorded"
        close = check.check_close(vault.get(f"{prefix}/close.json"), device, device_ml_dsa, chain)
        ticks = 0 if chain is None else chain.tick + 1
        return f"{close.how}, {ticks} ticks in {0 if chain is None else chain.index + 1} segments"

    def _manifest(self, row: InterviewRow) -> str:
        base = row.manifest_object or ""
        data = self._book.vault.get(base, row.manifest_sha256)
        authority = self._authority
        check_cms(data, self._book.vault.get(f"{base}.p7s"), authority.store, authority.root)
        check_ml_dsa(data, self._book.vault.get(f"{base}.mldsa65"), authority.store_ml_dsa)
        return f"both signatures hold, SHA-256 {hashlib.sha256(data).hexdigest()[:16]}…"


def _started(book: Book, session: Session) -> Iterator[custody_log.LoggedEvent]:
    """Every take that the ledger says was started."""
    for entry in book.ledger.entries(session):
        if entry.body is not None:
            event = CustodyEvent.from_body(entry.body)
            if event.verb is Verb.TAKE_STARTED:
                yield custody_log.LoggedEvent(entry.index, event)
