"""Rebuilds and checks everything from bytes: ledger, custody rows, checkpoints, devices, takes, manifests.

Trusts the root certificate and the ledger's key, and nothing that is stored.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.canonical import parse
from evidence_store.copies.cms import check_cms
from evidence_store.custody import Verb
from evidence_store.database.schema import DeviceRow, InterviewRow, TakeRow
from evidence_store.erasure import check_erasures
from evidence_store.errors import ChainBroken, NotFound, OutOfReach, VidneError
from evidence_store.intake import device_certificates, segment_name, segments_of, take_prefix
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Book
from evidence_store.ledger.witness_audit import audit_witnesses, cosigned_names
from evidence_store.ledger.witnessing import Witnessing
from evidence_store.revoking import check_rows, known
from evidence_store.scrub import DAMAGE, look
from evidence_store.sealed import takes_of
from evidence_store.sealing import check
from evidence_store.sealing.manifest import check_ml_dsa
from evidence_store.sealing.revocation import Revocation, doubt, said
from evidence_store.stamps.audit import VERBS, StampAudit
from evidence_store.stamps.stamp import TOLERANCE_NS, TimeAuthority
from evidence_store.vault.vault import Vault

_SCAN = 500
_TOLD = 5
"""Objects that a finding names; the others it counts."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `detail` names no case and no person."""

    name: str
    ok: bool
    detail: str
    weak: bool = False
    """Nothing is wrong, and yet less is shown than could be: `detail` says what."""


@dataclass(slots=True)
class AuditReport:
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


class Audit:
    """`tell` is called with each finding as it is made. `witnessing`: the witness policy, where there is one."""

    def __init__(
        self,
        book: Book,
        authority: Authority,
        tell: Callable[[Finding], None] | None = None,
        witnessing: Witnessing | None = None,
        *,
        time_authorities: Mapping[str, TimeAuthority] | None = None,
        tolerance_ns: int = TOLERANCE_NS,
    ) -> None:
        self._book = book
        self._stamps = StampAudit(book, time_authorities or {}, tolerance_ns, book.clock())
        self._authority = authority
        self._tell = tell or (lambda finding: None)
        self._kept: list[str] = []
        self._remembered: list[str] = []
        self._revoked: list[Revocation] = []
        self._witnessing = witnessing
        self._cosigned: list[str] = []

    def run(self) -> AuditReport:
        report = AuditReport()
        # Before the database is looked at, so that what comes in meanwhile is not taken for something forgotten.
        self._kept = [kept.name for kept in self._book.vault.list("takes/")]
        self._remembered = [kept.name for kept in self._book.vault.list("ledger/checkpoints/")]
        self._cosigned = cosigned_names(self._book)
        with self._book.reading() as session:
            for finding in self._findings(session):
                report.findings.append(finding)
                self._tell(finding)
        return report

    def _findings(self, session: Session) -> Iterator[Finding]:
        yield self._administrators()
        if len(self._book.vault.vaults) > 1:
            for number, vault in enumerate(self._book.vault.vaults, start=1):
                yield self._step(f"vault {number}", partial(self._vault, vault))
        yield self._step("ledger", lambda: self._ledger(session))
        yield self._step("custody", lambda: f"{custody_log.verify_rows(session)} events agree with the ledger")
        yield self._step("erasures", lambda: check_erasures(session))
        yield self._step("checkpoints", lambda: self._checkpoints(session))
        yield self._step("revocations", lambda: self._revocations(session))
        witnesses = partial(audit_witnesses, session, self._book, self._witnessing, self._cosigned)
        yield self._step("witnesses", witnesses)
        named = self._named(session)
        for enrolment in sorted(named):
            yield self._step(f"numbers {enrolment[:8]}", partial(self._numbers, session, enrolment, named[enrolment]))
        for take in session.scalars(select(TakeRow).order_by(TakeRow.enrolment, TakeRow.n)):
            name = f"take {take.enrolment[:8]}-{take.n}"
            yield self._step(name, partial(self._take, session, take))
        for interview in session.scalars(select(InterviewRow).where(InterviewRow.manifest_object.is_not(None))):
            name = f"manifest {interview.id[:8]}"
            yield self._step(name, partial(self._manifest, session, interview))
        for name, work in self._stamps.steps(session):
            yield self._step(name, work)

    def _step(self, name: str, work: Callable[[], str]) -> Finding:
        try:
            return Finding(name, True, work())
        except VidneError as error:
            return Finding(name, False, f"{error} ({error.code})")
        except (ValueError, TypeError, LookupError) as error:
            # A row or an object edited into something that nothing here expects: found, and the audit goes on.
            return Finding(name, False, f"cannot be read: {type(error).__name__} (unreadable)")

    def _administrators(self) -> Finding:
        """Whether the loss of one place, or the will of one administrator, reaches every copy."""
        whose = [vault.administrator for vault in self._book.vault.vaults]
        if len(whose) == 1:
            return Finding("vaults", True, f"one vault only, under {whose[0]}: there is no second copy", weak=True)
        if len(set(whose)) == 1:
            detail = f"two vaults under one administrator ({whose[0]}): who can take the one can take the other"
            return Finding("vaults", True, detail, weak=True)
        return Finding("vaults", True, f"two vaults under different hands: {' and '.join(whose)}")

    def _vault(self, vault: Vault) -> str:
        """Every copy that this vault ought to hold, read whole."""
        copies, lacking, wrong, after = 0, 0, list[str](), ""
        holdings = self._book.vault.holdings
        while following := holdings.after(after, _SCAN):
            after = following[-1].name
            for stored in following:
                looked = look([vault], stored)
                if looked.away:
                    raise OutOfReach("the vault does not answer", code="vault-out-of-reach")
                known = looked.wrong and holdings.lacked_by(stored.name).get(vault.identity, "object") not in DAMAGE
                copies, lacking = copies + (not looked.wrong), lacking + bool(known)
                if looked.wrong and not known:
                    wrong.append(f"{stored.name} ({'gone' if looked.wrong[vault.identity] == 'object' else 'altered'})")
        if wrong:
            more = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            raise ChainBroken(f"not what was stored: {', '.join(wrong[:_TOLD])}{more}", code="object-altered")
        behind = f"; {lacking} not brought there yet" if lacking else ""
        return f"{copies} copies read, each as it was stored{behind}"

    def _ledger(self, session: Session) -> str:
        found = self._book.ledger.verify_all(session)
        return f"{found.size} entries, {found.checkpoints} checkpoints, signed up to {found.signed_size}"

    def _checkpoints(self, session: Session) -> str:
        """What the vault remembers of the ledger: a database that was rolled back or rewritten contradicts it."""
        for name in self._remembered:
            self._book.ledger.check_against(session, self._book.vault.get(name))
        return f"{len(self._remembered)} in the vault, all continued"

    def _revocations(self, session: Session) -> str:
        self._revoked = known(self._book.vault, self._authority)
        return check_rows(session, self._revoked)

    def _named(self, session: Session) -> dict[str, set[int]]:
        """Every device that database, ledger or vault knows, with every take number that ledger and vault name. On the
        way through the ledger, the stamps' audit is told of what it counts."""
        named: dict[str, set[int]] = {enrolment: set() for enrolment in session.scalars(select(DeviceRow.enrolment))}
        objects = Counter(tuple(name.split("/")[1:3]) for name in self._kept)
        for (enrolment, number), count in objects.items():
            # One alone, a start or a void number's close, may have been put there just now or before a crash: it is
            # in the vault before the database knows, and nobody has been told that it is there.
            named.setdefault(enrolment, set()).update({int(number)} if count > 1 else ())
        for logged in custody_log.of_verbs(session, VERBS):
            self._stamps.note(logged)
            if logged.event.verb not in (Verb.TAKE_STARTED, Verb.TAKE_CLOSED):
                continue
            enrolment = logged.event.actor.id.removeprefix("recorder:")
            # What names no take any more was altered, and is a finding of its own.
            with contextlib.suppress(LookupError, TypeError, ValueError):
                named.setdefault(enrolment, set()).add(int(logged.event.details["take"]))
        return named

    def _numbers(self, session: Session, enrolment: str, named: set[int]) -> str:
        """Every take number is accounted for, up to the highest that device, ledger or vault ever named."""
        device = session.get(DeviceRow, enrolment)
        if device is None:
            raise ChainBroken("the device is gone from the database", code="device-unknown")
        rows = {row.n: row.state for row in session.scalars(select(TakeRow).where(TakeRow.enrolment == enrolment))}
        highest = max([device.n_highest, *named, *rows])
        missing = [number for number in range(1, highest + 1) if number not in rows]
        if missing:
            raise ChainBroken(f"take {', '.join(map(str, missing))} is missing", code="take-missing")
        # The device begins none before the one before is closed: only its last can be under way.
        open_ones = [number for number in range(1, highest) if rows[number] != "closed"]
        if open_ones:
            raise ChainBroken(f"take {', '.join(map(str, open_ones))} was never closed", code="take-open")
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
        tail = f"{prefix}/tail"
        check.check_torn(close.record, vault.get(tail) if vault.exists(tail) else None, chain)
        segments = 0 if chain is None else chain.index + 1
        self._nothing_else(row, segments, close.record["torn"] is not None)
        # Kept, and said: a revocation stops no recording, and what came after it is not called good.
        found = doubt(self._revoked, bytes.fromhex(row.enrolment), row.n, None if chain is None else chain.head)
        words = "" if found is None else f". {said(found)}"
        return f"{close.how}, {0 if chain is None else chain.tick + 1} ticks in {segments} segments{words}"

    def _nothing_else(self, row: TakeRow, segments: int, torn: bool) -> None:
        """What lies beside a closed take's objects was put there by nobody who may."""
        prefix = take_prefix(row.enrolment, row.n)
        own = {f"{prefix}/close.json", *(segment_name(row.enrolment, row.n, index) for index in range(segments))}
        own |= {f"{prefix}/tail"} if torn else set()
        own |= {f"{prefix}/start.json"} if row.start_object is not None else set()
        if {kept.name for kept in self._book.vault.list(f"{prefix}/")} != own:
            raise ChainBroken("the vault holds more of the take than was closed", code="object-unknown")

    def _manifest(self, session: Session, row: InterviewRow) -> str:
        base = row.manifest_object or ""
        data = self._book.vault.get(base, row.manifest_sha256)
        authority = self._authority
        check_cms(data, self._book.vault.get(f"{base}.p7s"), authority.store, authority.root)
        check_ml_dsa(data, self._book.vault.get(f"{base}.mldsa65"), authority.store_ml_dsa)
        listed = [each["close"] for each in parse(data)["takes"]]
        if listed != [(take.close_hash or b"").hex() for take in takes_of(session, row.id)]:
            raise ChainBroken("the manifest lists other takes than there are", code="manifest-mismatch")
        return f"both signatures hold, {len(listed)} takes, SHA-256 {hashlib.sha256(data).hexdigest()[:16]}…"
