"""Seals an interview: when every vault holds every take, closed, the manifest over them is made, signed and put away.

Cheap however long the interview was: everything it says was checked and noted down as the takes came in.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.canonical import parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, DeviceRow, InterviewRow, SegmentRow, TakeRow
from evidence_store.deliveries import case_of, index_of
from evidence_store.errors import Conflict, VidneError
from evidence_store.identifiers import InterviewId
from evidence_store.intake import outermost, segments_of, take_prefix
from evidence_store.interview import SEALED, InterviewEvent, InterviewState, advance
from evidence_store.ledger.book import Book
from evidence_store.revoking import of_takes
from evidence_store.sealing.check import check_start
from evidence_store.sealing.journal import Ending, TrackEntry
from evidence_store.sealing.manifest import Gap, TakeSummary, manifest, sign_manifest
from evidence_store.sealing.revocation import Revocation, doubt

log = structlog.get_logger(__name__)

Media = tuple[int, int] | None
"""UTC nanoseconds of a take's first and last media."""

Stretch = tuple[TakeRow, Media, dict[str, int]]
"""A take that has a start, its media, and where each track's media ends if a crash ended the take."""

HOLE_NS: Final = 40_000_000
"""A track that ends so much before the others lost more than a unit to the crash: it was gone, or what came of it
waited for a packet to be sent again. docs/formats/manifest.md."""


def takes_of(session: Session, interview: str) -> list[TakeRow]:
    """An interview's takes in the order they were started, each followed by the void numbers that came before the next.

    A void number names no interview. Lying between two takes of one, it was used up for it and is accounted for there.
    """
    query = select(TakeRow).where(TakeRow.interview_id == interview).order_by(TakeRow.started_at, TakeRow.n)
    begun = list(session.scalars(query))
    found = []
    for take in begun:
        found.append(take)
        later = [each.n for each in begun if each.enrolment == take.enrolment and each.n > take.n]
        found += _void_between(session, take, min(later, default=take.n))
    return found


def _void_between(session: Session, take: TakeRow, end: int) -> Iterator[TakeRow]:
    query = select(TakeRow).where(
        TakeRow.enrolment == take.enrolment, TakeRow.n > take.n, TakeRow.n < end, TakeRow.start_hash.is_(None)
    )
    yield from session.scalars(query.order_by(TakeRow.n))


def unaccounted(session: Session, takes: list[TakeRow]) -> list[tuple[str, int]]:
    """Take numbers that have to be waited for before the interview can be sealed.

    Those between its first and last take of a device that are not closed and stored; and later ones that the device
    has named but nobody has seen, since they may be of this interview.
    """
    missing = []
    for enrolment in {take.enrolment for take in takes}:
        numbers = [take.n for take in takes if take.enrolment == enrolment]
        named = session.get_one(DeviceRow, enrolment).n_highest
        for number in range(min(numbers), max(max(numbers), named) + 1):
            row = session.get(TakeRow, (enrolment, number))
            if row is None or (number <= max(numbers) and row.state != "closed"):
                missing.append((enrolment, number))
    return missing


def media_span(take: TakeRow, segments: list[SegmentRow], tracks: list[TrackEntry]) -> Media:
    """First and last media of a take. None where it has none. `segments`: all, or `outermost`."""
    scale = {track.index: track.timescale for track in tracks}
    spans = [
        (media["from"] * 10**9 // scale[media["track"]], media["to"] * 10**9 // scale[media["track"]])
        for segment in (segments[:2] + segments[-2:])
        for media in index_of(segment)["media"]
        if media["track"] in scale
    ]
    if not spans or take.origin_utc is None:
        return None
    return take.origin_utc + min(first for first, _ in spans), take.origin_utc + max(last for _, last in spans)


def track_ends(take: TakeRow, segments: list[SegmentRow], tracks: list[TrackEntry]) -> dict[str, int]:
    """UTC nanoseconds at which each track's media ends in a take; its origin where a track has none."""
    origin = take.origin_utc or take.started_at or 0
    waiting, ends = {track.index: track for track in tracks}, {}
    for segment in reversed(segments):
        for media in reversed(index_of(segment)["media"]):
            track = waiting.pop(media["track"], None)
            if track is not None:
                ends[track.id] = origin + media["to"] * 10**9 // track.timescale
        if not waiting:
            break
    return ends | {track.id: origin for track in waiting.values()}


class Sealing:
    """Makes manifests. One at a time in a process; several processes may seal the same interview at once."""

    def __init__(self, book: Book, authority: Authority) -> None:
        self._book = book
        self._authority = authority
        self._one = threading.Lock()

    def seal(self, interview_id: str) -> bool:
        """True when the interview is sealed now or was before; False while a take, or a second copy of anything of
        it, is still on its way."""
        with self._one:
            return self._seal(interview_id)

    def _seal(self, interview_id: str) -> bool:
        with self._book.reading() as session:
            row = session.get(InterviewRow, interview_id)
            if row is None or row.state != InterviewState.ENDED:
                return row is not None and row.state in SEALED
            takes = takes_of(session, interview_id)
            if not takes or unaccounted(session, takes) or self._one_before_is_missing(session, takes):
                return False
            if not self._book.vault.complete([f"{take_prefix(take.enrolment, take.n)}/" for take in takes]):
                return False
            number = self._next_number(interview_id, takes)
            data = self._manifest(session, interview_id, takes, number)
        name, digest = self._store(interview_id, number, data)
        if not self._book.vault.complete([name]):
            return False
        with self._book.writing() as entry:
            row = entry.session.get_one(InterviewRow, interview_id)
            if row.state != InterviewState.ENDED:
                return True
            row.state = advance(InterviewState(row.state), InterviewEvent.SEAL)
            row.manifest_object, row.manifest_sha256 = name, digest
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_SEALED, self._book.clock(), Actor.store(), InterviewId(interview_id),
                    case_of(row), details={"manifest_sha256": digest.hex(), "number": number, "takes": len(takes)},
                )
            )  # fmt: skip
        return True

    def _one_before_is_missing(self, session: Session, takes: list[TakeRow]) -> bool:
        """Whether a take names one before it that nobody has seen: it may be of the same interview."""
        for take in takes:
            if take.start_object is not None:
                start = check_start(self._book.vault.get(take.start_object), self._authority.root)
                previous = start.record["previous"]
                if previous is not None and session.get(TakeRow, (take.enrolment, previous["take"])) is None:
                    return True
        return False

    def _next_number(self, interview_id: str, takes: list[TakeRow]) -> int:
        """1, or that of a manifest over these very takes that a crash left without the database knowing of it."""
        closes = [(take.close_hash or b"").hex() for take in takes]
        number = 1
        while self._book.vault.exists(name := manifest_name(interview_id, number)):
            listed = parse(self._book.vault.get(name))["takes"]
            if [each["close"] for each in listed] == closes:
                break
            number += 1
        return number

    def _store(self, interview_id: str, number: int, data: bytes) -> tuple[str, bytes]:
        """Manifest and signatures into the vault, before the database knows of them; name and hash of what is there.

        What is there already, by a crash or another process, is completed and not replaced: it says the same but for
        the time at which it was made.
        """
        vault, name, authority = self._book.vault, manifest_name(interview_id, number), self._authority
        try:
            vault.put(name, data)
        except Conflict:
            data = vault.adopt(name)
        key, ml_dsa_key = authority.store_key, authority.store_ml_dsa_key
        signed = sign_manifest(data, key, authority.store, authority.root, ml_dsa_key)
        for suffix, signature in ((".p7s", signed.cms), (".mldsa65", signed.ml_dsa)):
            # Signatures differ each time they are made: one that is there stays.
            if vault.exists(name + suffix):
                vault.adopt(name + suffix)
            else:
                with contextlib.suppress(Conflict):
                    vault.put(name + suffix, signature)
        return name, hashlib.sha256(data).digest()

    def seal_pending(self) -> None:
        """Each interview that can be. One that cannot holds up no other, and nothing is raised: it is logged."""
        try:
            pending = self.pending()
        except VidneError as error:
            log.error("sealing_failed", code=error.code)
            return
        for interview in pending:
            try:
                self.seal(interview)
            except VidneError as error:
                log.error("sealing_failed", interview=interview, code=error.code)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next interview is another
                log.error("sealing_failed", interview=interview, kind=type(error).__name__)

    def pending(self) -> list[str]:
        """Interviews that were ended and are not sealed yet."""
        with self._book.reading() as session:
            query = select(InterviewRow.id).where(InterviewRow.state == InterviewState.ENDED.value)
            return list(session.scalars(query))

    def _manifest(self, session: Session, interview_id: str, takes: list[TakeRow], number: int) -> bytes:
        summaries: list[TakeSummary] = []
        stretches: list[Stretch] = []
        tracks: dict[tuple[str, int], dict[int, str]] = {}
        for take in takes:
            (count, outer), span = outermost(session, take.enrolment, take.n), None
            if take.start_object is not None:
                start = check_start(self._book.vault.get(take.start_object), self._authority.root)
                tracks[take.enrolment, take.n] = {track.index: track.id for track in start.tracks}
                span = media_span(take, outer, start.tracks)
                ends = {}
                if take.ended_how != Ending.STOPPED:
                    ends = track_ends(take, segments_of(session, take.enrolment, take.n), start.tracks)
                stretches.append((take, span, ends))
            summaries.append(_summary(take, count, span))
        revoked = of_takes(session, self._book.vault, self._authority, takes)
        summaries = [replace(each, doubtful=_doubtful(each, revoked)) for each in summaries] if revoked else summaries
        gaps = [*_between(stretches), *_declared(session, interview_id, tracks)]
        gaps.sort(key=lambda gap: gap.from_utc_ns)
        return manifest(bytes.fromhex(interview_id), number, summaries, [], gaps, self._book.clock())


def manifest_name(interview_id: str, number: int) -> str:
    return f"interviews/{interview_id}/manifest-{number:03d}.json"


def _summary(take: TakeRow, segments: int, span: Media) -> TakeSummary:
    return TakeSummary(
        enrolment=bytes.fromhex(take.enrolment),
        take=take.n,
        start=take.start_hash,
        close=take.close_hash or b"",
        head=take.head,
        how=take.ended_how or "",
        segments=segments,
        ticks=0 if take.last_t is None else take.last_t + 1,
        first_media_utc_ns=None if span is None else span[0],
        last_media_utc_ns=None if span is None else span[1],
    )


def _doubtful(take: TakeSummary, revoked: list[Revocation]) -> int | None:
    found = doubt(revoked, take.enrolment, take.take, take.head)
    return None if found is None else found.number


def _between(stretches: list[Stretch]) -> Iterator[Gap]:
    """What crashes left out: from the end of a take's durable media until the next one began.

    From there on each track's own gaps say when its media came back: the two meet and do not overlap. A track that
    was gone already when the crash came had no time to declare that: its gap begins where its own media ends.
    """
    for at, (take, span, ends) in enumerate(stretches):
        if take.ended_how == Ending.STOPPED:
            continue
        how, begins = take.ended_how or "", span[1] if span is not None else _began(take)
        for track, end in ends.items():
            if begins - end > HOLE_NS:
                yield Gap(take.n, track, how, end, begins)
        yield Gap(take.n, None, how, begins, next((_began(after) for after, _, _ in stretches[at + 1 :]), None))


def _began(take: TakeRow) -> int:
    """UTC of a take's media time 0; of its start record where it never came to that."""
    return take.origin_utc or take.started_at or 0


def _declared(session: Session, interview: str, tracks: dict[tuple[str, int], dict[int, str]]) -> Iterator[Gap]:
    """Every gap event of every tick, as intake put it into custody."""
    query = select(CustodyEventRow.details).where(
        CustodyEventRow.interview_id == interview, CustodyEventRow.verb == Verb.GAP.value
    )
    for text in session.scalars(query):
        details = parse(text.encode())
        names = tracks.get((details["enrolment"], details["take"]), {})
        track = None if details["track"] is None else names.get(details["track"])
        yield Gap(details["take"], track, details["reason"], int(details["from"]), int(details["to"]))
