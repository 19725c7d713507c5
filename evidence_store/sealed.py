"""Seals an interview: when every take is closed and stored, the manifest over them is made, signed and put away.

Cheap however long the interview was: everything it says was checked and noted down as the takes came in.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.canonical import parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, InterviewRow, SegmentRow, TakeRow
from evidence_store.identifiers import CaseNumber, InterviewId
from evidence_store.intake import index_of, segments_of
from evidence_store.interview import InterviewEvent, InterviewState, advance
from evidence_store.ledger.book import Book
from evidence_store.sealing.check import check_start
from evidence_store.sealing.journal import Ending, TrackEntry
from evidence_store.sealing.manifest import Gap, SignedManifest, TakeSummary, manifest, sign_manifest

Media = tuple[int, int] | None
"""UTC nanoseconds of a take's first and last media."""


def takes_of(session: Session, interview: str) -> list[TakeRow]:
    """An interview's takes, in the order they were started."""
    query = select(TakeRow).where(TakeRow.interview_id == interview)
    return list(session.scalars(query.order_by(TakeRow.started_at, TakeRow.n)))


def unaccounted(session: Session, takes: list[TakeRow]) -> list[tuple[str, int]]:
    """Take numbers between an interview's first and last take of a device that are not closed and stored."""
    missing = []
    for enrolment in {take.enrolment for take in takes}:
        numbers = [take.n for take in takes if take.enrolment == enrolment]
        for number in range(min(numbers), max(numbers) + 1):
            row = session.get(TakeRow, (enrolment, number))
            if row is None or row.state != "closed":
                missing.append((enrolment, number))
    return missing


def media_span(take: TakeRow, segments: list[SegmentRow], tracks: list[TrackEntry]) -> Media:
    """First and last media of a take. None where it has none."""
    scale = {track.index: track.timescale for track in tracks}
    spans = [
        (media["from"] * 10**9 // scale[media["track"]], media["to"] * 10**9 // scale[media["track"]])
        for segment in (segments[:2] + segments[-2:])
        for media in index_of(segment)["media"]
    ]
    if not spans or take.origin_utc is None:
        return None
    return take.origin_utc + min(first for first, _ in spans), take.origin_utc + max(last for _, last in spans)


class Sealing:
    """Makes manifests."""

    def __init__(self, book: Book, authority: Authority) -> None:
        self._book = book
        self._authority = authority

    def seal(self, interview_id: str) -> bool:
        """True when the interview is sealed now or was before; False while a take is still on its way."""
        with self._book.reading() as session:
            row = session.get(InterviewRow, interview_id)
            if row is None or row.state != InterviewState.ENDED:
                return row is not None and row.state in (InterviewState.SEALED, InterviewState.AVAILABLE)
            takes = takes_of(session, interview_id)
            if not takes or unaccounted(session, takes):
                return False
            signed = self._manifest(session, interview_id, takes)
        base = f"interviews/{interview_id}/manifest-001.json"
        # Objects first: a crash in between makes the same manifest again only if its time were the same, so a
        # manifest that is there already is taken as it is.
        if self._book.vault.exists(base):
            signed = self._stored(base)
        self._book.vault.put(base, signed.data)
        self._book.vault.put(f"{base}.p7s", signed.cms)
        self._book.vault.put(f"{base}.mldsa65", signed.ml_dsa)
        digest = hashlib.sha256(signed.data).digest()
        with self._book.writing() as entry:
            row = entry.session.get_one(InterviewRow, interview_id)
            if row.state != InterviewState.ENDED:
                return True
            row.state = advance(InterviewState(row.state), InterviewEvent.SEAL)
            row.manifest_object, row.manifest_sha256 = base, digest
            entry.record(
                CustodyEvent(
                    Verb.INTERVIEW_SEALED, self._book.clock(), Actor.store(), InterviewId(interview_id),
                    CaseNumber(row.case_number), details={"manifest_sha256": digest.hex(), "takes": len(takes)},
                )
            )  # fmt: skip
        return True

    def pending(self) -> list[str]:
        """Interviews that were ended and are not sealed yet."""
        with self._book.reading() as session:
            query = select(InterviewRow.id).where(InterviewRow.state == InterviewState.ENDED.value)
            return list(session.scalars(query))

    def _stored(self, base: str) -> SignedManifest:
        """A manifest that a crash left without its signatures, or without the database knowing, is completed."""
        vault, data = self._book.vault, self._book.vault.get(base)
        made = self._sign(data)
        cms = vault.get(f"{base}.p7s") if vault.exists(f"{base}.p7s") else made.cms
        ml_dsa = vault.get(f"{base}.mldsa65") if vault.exists(f"{base}.mldsa65") else made.ml_dsa
        return SignedManifest(data, cms, ml_dsa)

    def _sign(self, data: bytes) -> SignedManifest:
        authority = self._authority
        return sign_manifest(data, authority.store_key, authority.store, authority.root, authority.store_ml_dsa_key)

    def _manifest(self, session: Session, interview_id: str, takes: list[TakeRow]) -> SignedManifest:
        summaries, gaps = [], []
        tracks: dict[int, dict[int, str]] = {}
        before: tuple[TakeRow, Media] | None = None
        for take in takes:
            start = check_start(self._book.vault.get(take.start_object or ""), self._authority.root)
            segments = segments_of(session, take.enrolment, take.n)
            tracks[take.n] = {track.index: track.id for track in start.tracks}
            span = media_span(take, segments, start.tracks)
            summaries.append(_summary(take, segments, span))
            if before is not None and before[0].ended_how != Ending.STOPPED:
                gaps.append(_between(before[0], before[1], take, span))
            before = (take, span)
        if before is not None and before[0].ended_how != Ending.STOPPED:
            gaps.append(Gap(before[0].n, None, before[0].ended_how or "", _end(before[0], before[1]), None))
        gaps += _declared(session, interview_id, tracks)
        gaps.sort(key=lambda gap: gap.from_utc_ns)
        data = manifest(bytes.fromhex(interview_id), 1, summaries, [], gaps, self._book.clock())
        return self._sign(data)


def _summary(take: TakeRow, segments: list[SegmentRow], span: Media) -> TakeSummary:
    return TakeSummary(
        enrolment=bytes.fromhex(take.enrolment),
        take=take.n,
        start=take.start_hash,
        close=take.close_hash or b"",
        head=take.head,
        how=take.ended_how or "",
        segments=len(segments),
        ticks=0 if take.last_t is None else take.last_t + 1,
        first_media_utc_ns=None if span is None else span[0],
        last_media_utc_ns=None if span is None else span[1],
    )


def _end(take: TakeRow, span: Media) -> int:
    return span[1] if span is not None else (take.started_at or 0)


def _between(before: TakeRow, before_span: Media, after: TakeRow, after_span: Media) -> Gap:
    """What a crash left out: from the last durable media to the next take's first."""
    until = None if after_span is None else after_span[0]
    return Gap(before.n, None, before.ended_how or "", _end(before, before_span), until)


def _declared(session: Session, interview: str, tracks: dict[int, dict[int, str]]) -> list[Gap]:
    """Every gap event of every tick, as intake put it into custody."""
    query = select(CustodyEventRow.details).where(
        CustodyEventRow.interview_id == interview, CustodyEventRow.verb == Verb.GAP.value
    )
    found = []
    for text in session.scalars(query):
        details = parse(text.encode())
        track = None if details["track"] is None else tracks.get(details["take"], {}).get(details["track"])
        found.append(Gap(details["take"], track, details["reason"], int(details["from"]), int(details["to"])))
    return found
