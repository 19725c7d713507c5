"""Every stamp that is kept, against what it is about; and every claimed time against the outsider's.

Trusts nothing that lies in the database: what was to be stamped follows from the ledger, and so does which stamp was
obtained from whom. What a stamp is about comes from the vault.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from evidence_store.canonical import parse
from evidence_store.custody import Verb
from evidence_store.database.schema import LedgerCheckpointRow
from evidence_store.errors import ChainBroken, InvalidInput, NotFound
from evidence_store.identifiers import parse_utc, utc_text
from evidence_store.ledger.book import Book
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.custody_log import LoggedEvent
from evidence_store.stamps.keeper import authority_name
from evidence_store.stamps.stamp import Stamp, TimeAuthority, authority_from_pem, check_chain
from evidence_store.stamps.subjects import Kind, Subject, checkpoint_size, claimed, subject_of

_SECOND = 10**9
VERBS = (Verb.TAKE_STARTED, Verb.MINUTE, Verb.TAKE_CLOSED, Verb.INTERVIEW_SEALED, Verb.STAMP_OBTAINED)


@dataclass(slots=True)
class _Entered:
    """What the ledger says: what was to be stamped, by its name, and each stamp that was obtained, with its index."""

    subjects: dict[str, Subject] = field(default_factory=dict)
    obtained: dict[str, list[tuple[int, Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    contradicted: int = 0
    _indices: list[int] = field(default_factory=list)
    _latest: list[int] = field(default_factory=list)

    def stamp(self, index: int, details: Mapping[str, Any]) -> None:
        """In the order of the ledger."""
        self.obtained[str(details["about"])].append((index, details))
        self.contradicted += bool(details["contradicts"])
        self._indices.append(index)
        self._latest.append(max([parse_utc(str(details["time"])), *self._latest[-1:]]))

    def latest_before(self, size: int) -> int | None:
        """The latest time of all stamps that a ledger of this size holds, nanoseconds UTC."""
        found = bisect_left(self._indices, size)
        return self._latest[found - 1] if found else None


class StampAudit:
    """`authorities`: those of the settings, by fingerprint. `tolerance`: nanoseconds."""

    def __init__(self, book: Book, authorities: Mapping[str, TimeAuthority], tolerance: int, now: int) -> None:
        self._book = book
        self._configured = authorities
        self._tolerance = tolerance
        self._now = now
        self._entered = _Entered()
        self._known: dict[str, TimeAuthority] = {}

    def note(self, logged: LoggedEvent) -> None:
        """One event of these verbs, in the order of the ledger."""
        # What names nothing any more was altered, and is a finding of its own.
        with contextlib.suppress(InvalidInput, LookupError, TypeError):
            subject = subject_of(logged.event)
            if subject is not None:
                self._entered.subjects[subject.name] = subject
            elif logged.event.verb is Verb.STAMP_OBTAINED:
                self._entered.stamp(logged.index, logged.event.details)

    def steps(self, session: Session) -> Iterator[tuple[str, Callable[[], str]]]:
        """Name and work of each thing to look at, once everything entered was noted; the work gives words, or raises a
        VidneError."""
        yield "outside time", self._overview
        groups: dict[str, list[Subject]] = defaultdict(list)
        for subject in self._entered.subjects.values():
            groups[_group(subject)].append(subject)
        for name, subjects in groups.items():
            yield name, partial(self._group, session, subjects)
        checkpoints = [name for name in self._entered.obtained if name.startswith("ledger/")]
        if checkpoints:
            yield "time checkpoints", partial(self._checkpoints, session, checkpoints)

    def _overview(self) -> str:
        makers = Counter(str(each["authority"]) for all_ in self._entered.obtained.values() for _, each in all_)
        if not makers and not self._configured:
            return "none: no authority is configured, and all times are the word of recorder and store"
        words = [f"{makers.get(each, 0)} stamps by {self._called(each)}" for each in {**self._configured, **makers}]
        missing = Counter(
            each.kind.value for each in self._entered.subjects.values() if each.name not in self._entered.obtained
        )
        lacking = ", ".join(f"{count} {kind}" for kind, count in sorted(missing.items()))
        if self._entered.contradicted:
            raise ChainBroken(
                f"{self._entered.contradicted} stamps contradicted a clock when they were obtained; {'; '.join(words)}",
                code="time-contradiction",
            )
        return "; ".join(words) + (f"; without any: {lacking}" if lacking else "; nothing is without one")

    def _called(self, fingerprint: str) -> str:
        if fingerprint in self._configured:
            return f"{self._configured[fingerprint].name} ({fingerprint[:16]}…)"
        return f"{self._authority(fingerprint).name} ({fingerprint[:16]}…, not in the settings)"

    def _authority(self, fingerprint: str) -> TimeAuthority:
        """Of the settings, or as it was kept when the ledger entered a stamp of it."""
        known = self._configured.get(fingerprint) or self._known.get(fingerprint)
        if known is None:
            known = authority_from_pem(self._book.vault.get(authority_name(fingerprint)))
            if known.fingerprint != fingerprint:
                raise ChainBroken("an authority's certificate is not the one that was entered", code="object-altered")
            self._known[fingerprint] = known
        return known

    # What is about one take, or one manifest

    def _group(self, session: Session, subjects: list[Subject]) -> str:
        words, heads, stamped = [], 0, 0
        for subject in subjects:
            data = self._data(session, subject)
            stamps = self._stamps(subject.name, data)
            self._agrees(subject, data, stamps)
            if subject.kind is Kind.HEAD:
                heads, stamped = heads + 1, stamped + bool(stamps)
            else:
                words.append(self._words(subject, data, stamps))
            if subject.kind is Kind.START:
                self._not_before(data)
        if heads:
            words.append(f"{stamped} of {heads} minutes stamped")
        return "; ".join(words)

    def _words(self, subject: Subject, data: bytes, stamps: list[Stamp]) -> str:
        if not stamps:
            return f"{subject.kind} has no stamp"
        first, claim = min(stamp.time for stamp in stamps), claimed(subject.kind, data)
        lag = "" if claim is None else f", {(first - claim) / _SECOND:+.1f} s from what it claims"
        return f"{subject.kind} existed at {utc_text(first)[:19]}Z{lag}{self._renewals(stamps)}"

    def _renewals(self, stamps: list[Stamp]) -> str:
        if max(stamp.ends for stamp in stamps) < self._now:
            return ", by certificates that have run out since: valid at its time, and was not renewed"
        return ""

    def _agrees(self, subject: Subject, data: bytes, stamps: list[Stamp]) -> None:
        claim = claimed(subject.kind, data)
        for stamp in stamps:
            if claim is not None and claim - stamp.time > self._tolerance:
                raise ChainBroken(
                    f"{subject.kind} claims a time {(claim - stamp.time) / _SECOND:.0f} s after it was stamped",
                    code="time-contradiction",
                )

    def _not_before(self, data: bytes) -> None:
        """A start bears a checkpoint: whatever that covers was there before it began, stamps included."""
        record, claim = parse(data)["record"], claimed(Kind.START, data)
        if record["checkpoint"] is None or claim is None:
            return
        size = Checkpoint.open(record["checkpoint"].encode(), self._book.ledger.verifier).size
        earlier = self._entered.latest_before(size)
        if earlier is not None and earlier - claim > self._tolerance:
            raise ChainBroken(
                f"start claims a time {(earlier - claim) / _SECOND:.0f} s before a stamp that it follows",
                code="time-contradiction",
            )

    # Stamps

    def _stamps(self, name: str, data: bytes) -> list[Stamp]:
        """Every stamp about this, each chain checked. Raises SignatureInvalid, NotFound, ChainBroken."""
        chains: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
        for _, details in self._entered.obtained.get(name, ()):
            chains[details["chain"]].append((details["number"], details))
        found = []
        for chain in chains.values():
            ordered = [details for _, details in sorted(chain, key=lambda each: each[0])]
            links = [
                (self._book.vault.get(each["object"], bytes.fromhex(each["stamp"])), self._authority(each["authority"]))
                for each in ordered
            ]
            stamps = check_chain(links, data)
            for stamp, details in zip(stamps, ordered, strict=True):
                if utc_text(stamp.time) != details["time"]:
                    raise ChainBroken("a stamp was entered with another time than it has", code="time-contradiction")
            found += stamps
        return found

    def _data(self, session: Session, subject: Subject) -> bytes:
        if subject.data is not None:
            return subject.data
        if subject.kind is Kind.CHECKPOINT:
            row = session.get(LedgerCheckpointRow, checkpoint_size(subject.name))
            if row is None:
                raise NotFound("a stamped checkpoint is gone", code="object")
            return row.note
        return self._book.vault.get(subject.name)

    def _checkpoints(self, session: Session, names: list[str]) -> str:
        latest = 0
        for name in names:
            stamps = self._stamps(name, self._data(session, Subject(Kind.CHECKPOINT, name, None)))
            latest = max([latest, *(stamp.time for stamp in stamps)])
        return f"{len(names)} stamped, the last at {utc_text(latest)[:19]}Z"


def _group(subject: Subject) -> str:
    if subject.kind is Kind.MANIFEST:
        return f"time manifest {subject.name.split('/')[1][:8]}"
    _, enrolment, number, _ = subject.name.split("/")
    return f"time {enrolment[:8]}-{int(number)}"
