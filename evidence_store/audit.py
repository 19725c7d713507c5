"""Rebuilds and checks everything from bytes: ledger, custody rows, checkpoints, devices, takes, manifests.

Trusts the root certificate and the ledger's key, and nothing that is stored.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evidence_store.audit_memory import AuditMemory, Checked, fingerprint, recording_of
from evidence_store.audit_report import AuditReport, Finding, Progress
from evidence_store.authority import Authority
from evidence_store.canonical import canonical, parse
from evidence_store.copies.cms import check_cms
from evidence_store.custody import Verb
from evidence_store.database.schema import DeviceRow, InterviewRow, SegmentRow, TakeRow
from evidence_store.erasure import check_erasures
from evidence_store.errors import ChainBroken, NotFound, OutOfReach, VidneError
from evidence_store.holdings import DAMAGE
from evidence_store.intake import device_certificates, segment_name, segments_of, take_prefix
from evidence_store.ledger.book import Book
from evidence_store.ledger.look import LedgerLook
from evidence_store.ledger.reader import FOUND
from evidence_store.ledger.witness_audit import audit_witnesses, cosigned_names
from evidence_store.ledger.witnessing import Witnessing
from evidence_store.revoking import check_rows, known
from evidence_store.scrub import look
from evidence_store.sealed import takes_of
from evidence_store.sealing import check
from evidence_store.sealing.manifest import check_ml_dsa
from evidence_store.sealing.revocation import Revocation, doubt, said
from evidence_store.stamps.audit import VERBS, StampAudit
from evidence_store.stamps.stamp import TOLERANCE_NS, TimeAuthority
from evidence_store.vault.reach import Reach
from evidence_store.vault.vault import StoredObject

_SCAN = 500
_TOLD = 5
"""Objects that a finding names; the others it counts."""


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
        memory: AuditMemory | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """`memory`: held by the caller; without one everything is looked at, and nothing is remembered."""
        self._book = book
        self._stamps = StampAudit(book, time_authorities or {}, tolerance_ns, book.clock())
        self._authority = authority
        self._tell = tell or (lambda finding: None)
        self._kept: list[str] = []
        self._remembered: list[str] = []
        self._revoked: list[Revocation] = []
        self._witnessing = witnessing
        self._cosigned: list[str] = []
        self._memory = memory
        self._believed: AuditMemory | None = None
        self._oldest: int | None = None
        self._show = progress or (lambda progress: None)
        self._progress = Progress()

    def run(self) -> AuditReport:
        """Looks at everything, or goes on where an audit that was cut short had come to."""
        report = AuditReport()
        # Before the database is looked at, so that what comes in meanwhile is not taken for something forgotten.
        self._kept = [kept.name for kept in self._book.vault.list("takes/")]
        self._remembered = [kept.name for kept in self._book.vault.list("ledger/checkpoints/")]
        self._cosigned = cosigned_names(self._book)
        with self._book.reading() as session:
            self._measure(session)
            for finding in self._findings(session):
                report.findings.append(finding)
                self._tell(finding)
        if self._memory is not None and not any(each.name == "earlier audit" for each in report.findings):
            self._memory.forget()
        return report

    def _measure(self, session: Session) -> None:
        """How much there is to look at."""
        takes, octets = self._book.vault.vaults, session.scalar(select(func.sum(SegmentRow.size)))
        if len(takes) > 1:
            octets = int(octets or 0) + len(takes) * self._book.vault.holdings.total()[1]
        recordings = session.scalar(select(func.count()).select_from(TakeRow))
        self._progress = Progress(of_recordings=recordings or 0, of_octets=int(octets or 0))

    def _done(self, octets: int, *, recordings: int = 0, taken_over: bool = False) -> None:
        before = self._progress
        self._progress = replace(
            before, octets=before.octets + octets, recordings=before.recordings + recordings,
            taken_over=before.taken_over + (octets if taken_over else 0),
        )  # fmt: skip
        self._show(self._progress)

    def _entries(self, done: int) -> None:
        self._progress = replace(self._progress, entries=done)
        self._show(self._progress)

    def _findings(self, session: Session) -> Iterator[Finding]:
        if (contradicted := self._earlier(session)) is not None:
            yield contradicted
        yield self._administrators()
        if len(self._book.vault.vaults) > 1:
            for number, reach in enumerate(self._book.vault.reaches, start=1):
                self._oldest = None
                found = self._step(f"vault {number}", partial(self._vault, reach))
                yield replace(found, checked_at=self._oldest)
        with LedgerLook(self._book, session, VERBS, self._entries) as ledger:
            named = self._named(session, ledger)
            yield self._step("ledger", partial(self._ledger, ledger))
            yield self._step("custody", partial(self._custody, ledger))
        yield self._step("erasures", lambda: check_erasures(session))
        yield self._step("checkpoints", lambda: self._checkpoints(session))
        yield self._step("revocations", lambda: self._revocations(session))
        witnesses = partial(audit_witnesses, session, self._book, self._witnessing, self._cosigned)
        yield self._step("witnesses", witnesses)
        for enrolment in sorted(named):
            yield self._step(f"numbers {enrolment[:8]}", partial(self._numbers, session, enrolment, named[enrolment]))
        for take in session.scalars(select(TakeRow).order_by(TakeRow.enrolment, TakeRow.n)):
            yield self._remembered_take(session, take)
        for interview in session.scalars(select(InterviewRow).where(InterviewRow.manifest_object.is_not(None))):
            name = f"manifest {interview.id[:8]}"
            yield self._step(name, partial(self._manifest, session, interview))
        for name, work in self._stamps.steps(session):
            yield self._step(name, work)

    def _step(self, name: str, work: Callable[[], str]) -> Finding:
        try:
            return Finding(name, True, work())
        except VidneError as error:
            return Finding(name, False, f"{error} ({error.code})", code=error.code)
        except FOUND as error:
            # A row or an object edited into something that nothing here expects: found, and the audit goes on.
            return Finding(name, False, f"cannot be read: {type(error).__name__} (unreadable)", code="unreadable")

    def _earlier(self, session: Session) -> Finding | None:
        """What earlier runs saw of the ledger has to be its beginning still: a database that was turned back between
        two runs, together with its vault, contradicts no vault. Then nothing of theirs is believed."""
        if self._memory is None:
            return None
        found = self._step("earlier audit", partial(self._continues, session, self._memory.heads))
        if not found.ok:
            self._believed = None
            return found
        self._believed = self._memory
        newest = self._book.ledger.latest_checkpoint(session)
        if newest is not None:
            self._memory.met(newest)
        return None

    def _continues(self, session: Session, heads: list[str]) -> str:
        for head in heads:
            self._book.ledger.check_against(session, head.encode())
        return f"{len(heads)} heads continued"

    def _known(self, what: str, was: str | None) -> Checked | None:
        return None if self._believed is None else self._believed.known(what, was)

    def _remember(self, what: str, was: str | None, said: str) -> None:
        if self._believed is not None:
            self._believed.remember(what, was, said)

    def _administrators(self) -> Finding:
        """Whether the loss of one place, or the will of one administrator, reaches every copy."""
        whose = [vault.administrator for vault in self._book.vault.vaults]
        if len(whose) == 1:
            return Finding("vaults", True, f"one vault only, under {whose[0]}: there is no second copy", weak=True)
        if len(set(whose)) == 1:
            detail = f"two vaults under one administrator ({whose[0]}): who can take the one can take the other"
            return Finding("vaults", True, detail, weak=True)
        return Finding("vaults", True, f"two vaults under different hands: {' and '.join(whose)}")

    def _vault(self, reach: Reach) -> str:
        """Every copy that this vault ought to hold, read whole."""
        vault = reach.vault
        copies, lacking, wrong = 0, 0, list[str]()
        for recording, objects in groupby(self._everything(), key=lambda stored: recording_of(stored.name)):
            what, was = f"{vault.identity} {recording}", None
            # Of one recording at a time. What belongs to none may be very much, and is never remembered.
            whole = [] if recording is None else list(objects)
            if recording is not None:
                was = fingerprint(vault, whole)
                if (checked := self._known(what, was)) is not None:
                    copies += len(whole)
                    self._oldest = min(checked.at, self._oldest or checked.at)
                    self._done(sum(stored.size for stored in whole), taken_over=True)
                    continue
            before = lacking, len(wrong)
            for stored in whole or objects:
                state = self._copy(reach, stored)
                copies, lacking = copies + (state == "good"), lacking + (state == "lacking")
                if state not in ("good", "lacking"):
                    wrong.append(f"{stored.name} ({state})")
                self._done(stored.size)
            if (lacking, len(wrong)) == before:
                self._remember(what, was, "")
        if wrong:
            more = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            raise ChainBroken(f"not what was stored: {', '.join(wrong[:_TOLD])}{more}", code="object-altered")
        behind = f"; {lacking} not brought there yet" if lacking else ""
        return f"{copies} copies read, each as it was stored{behind}"

    def _everything(self) -> Iterator[StoredObject]:
        after = ""
        while following := self._book.vault.holdings.after(after, _SCAN):
            yield from following
            after = following[-1].name

    def _copy(self, reach: Reach, stored: StoredObject) -> str:
        """`good`, `lacking` where that is known, `gone`, `altered`. Raises OutOfReach."""
        looked = look([reach], stored)
        if looked.away:
            raise OutOfReach("the vault does not answer", code="vault-out-of-reach")
        if not looked.wrong:
            return "good"
        if self._book.vault.holdings.lacked_by(stored.name).get(reach.vault.identity, "object") not in DAMAGE:
            return "lacking"
        return "gone" if looked.wrong[reach.vault.identity] == "object" else "altered"

    def _custody(self, ledger: LedgerLook) -> str:
        return f"{ledger.rows()} events agree with the ledger"

    def _ledger(self, ledger: LedgerLook) -> str:
        found = ledger.tree()
        return f"{found.size} entries, {found.checkpoints} checkpoints, signed up to {found.signed_size}"

    def _checkpoints(self, session: Session) -> str:
        """What the vault remembers of the ledger: a database that was rolled back or rewritten contradicts it."""
        for name in self._remembered:
            self._book.ledger.check_against(session, self._book.vault.get(name))
        return f"{len(self._remembered)} in the vault, all continued"

    def _revocations(self, session: Session) -> str:
        self._revoked = known(self._book.vault, self._authority)
        return check_rows(session, self._revoked)

    def _named(self, session: Session, ledger: LedgerLook) -> dict[str, set[int]]:
        """Every device that database, ledger or vault knows, with every take number that ledger and vault name. On the
        way through the ledger, the stamps' audit is told of what it counts."""
        named: dict[str, set[int]] = {enrolment: set() for enrolment in session.scalars(select(DeviceRow.enrolment))}
        objects = Counter(tuple(name.split("/")[1:3]) for name in self._kept)
        for (enrolment, number), count in objects.items():
            # One alone, a start or a void number's close, may have been put there just now or before a crash: it is
            # in the vault before the database knows, and nobody has been told that it is there.
            named.setdefault(enrolment, set()).update({int(number)} if count > 1 else ())
        for logged in ledger.events():
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

    def _remembered_take(self, session: Session, row: TakeRow) -> Finding:
        """A take, unless an earlier run found it right and nothing of it has changed since."""
        name = f"take {row.enrolment[:8]}-{row.n}"
        segments = segments_of(session, row.enrolment, row.n)
        octets = sum(segment.size for segment in segments)
        what = take_prefix(row.enrolment, row.n)
        # Before it is read: what changes meanwhile is another take to the next run.
        was = self._as_it_is(session, row, segments) if row.state == "closed" else None
        if (checked := self._known(what, was)) is not None:
            self._done(octets, recordings=1, taken_over=True)
            return Finding(name, True, checked.said, checked_at=checked.at)
        found = self._step(name, partial(self._take, session, row))
        if found.ok:
            self._remember(what, was, found.detail)
        self._done(0, recordings=1)
        return found

    def _as_it_is(self, session: Session, row: TakeRow, segments: Sequence[SegmentRow]) -> str | None:
        """All that the check of a take reads: rows, names, and what every vault that can show it shows of each object.
        The first has to: its copies are the ones that are read."""
        prefix, kept = f"{take_prefix(row.enrolment, row.n)}/", self._book.vault
        device = session.get(DeviceRow, row.enrolment)
        if self._believed is None or device is None:
            return None
        listed = [found.name for found in kept.list(prefix)]
        held = [stored for name in listed if (stored := kept.holdings.of(name)) is not None]
        shown = [fingerprint(vault, held) for vault in kept.vaults]
        if len(held) != len(listed) or shown[0] is None:
            return None
        beside = {
            "device": device.certificates_pem, "listed": listed, "revoked": [repr(each) for each in self._revoked],
            "segments": [_said(each) for each in segments], "shown": shown, "take": _said(row),
        }  # fmt: skip
        return hashlib.sha256(canonical(beside)).hexdigest()

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
                self._done(segment.size)
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


def _said(row: TakeRow | SegmentRow) -> dict[str, str]:
    """A row, member by member."""
    return {column.name: str(getattr(row, column.key)) for column in row.__table__.columns}
