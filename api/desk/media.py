"""Stored media for those who may see it: what there is, and each segment checked before a byte of it is given."""

from __future__ import annotations

import datetime
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.desk.accounts import actor_of
from api.desk.moments import moment
from api.services import Account, Gap, MediaInit, MediaSegment, MediaTake, MediaTrack, Observed, Viewing
from evidence_store import webm
from evidence_store.canonical import Record, parse
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, InterviewRow, TakeRow
from evidence_store.deliveries import case_of, index_of
from evidence_store.errors import Conflict, NotFound
from evidence_store.identifiers import InterviewId
from evidence_store.intake import segments_of
from evidence_store.interview import InterviewState
from evidence_store.ledger.book import Book
from evidence_store.playback import Playback
from evidence_store.sealed import takes_of
from evidence_store.sealing.journal import TrackEntry
from evidence_store.whole_pictures import Loss, Unshown, whole_pictures

VIEWING_LASTS: Final = datetime.timedelta(hours=4)
MOST_VIEWINGS: Final = 1_000
_EPOCHS: Final = 1_000
"""A segment's number for the player is its index · 1000 + its init epoch: a change of picture size splits it."""

_MOST_INITS: Final = 10_000
_MOST_TAKES: Final = 100
_PLAYABLE = (InterviewState.SEALED, InterviewState.AVAILABLE)


class MediaDesk:
    def __init__(self, book: Book, playback: Playback) -> None:
        self._book = book
        self._playback = playback
        self._viewings: dict[str, Viewing] = {}
        self._inits: dict[tuple[str, int, int, int], tuple[int, str]] = {}
        self._unshown: dict[tuple[str, int], dict[int, Unshown]] = {}
        self._lock = threading.Lock()

    def index(self, interview: str) -> Sequence[MediaTake]:
        with self._book.reading() as session:
            return [
                self._take(session, ordinal, take)
                for ordinal, take in enumerate(_recorded(session, interview), start=1)
            ]

    def open_viewing(self, interview: str, by: Account, purpose: str, now: datetime.datetime) -> Viewing:
        with self._book.writing() as entry:
            row = entry.session.get(InterviewRow, interview)
            if row is None:
                raise NotFound("no such interview", code="interview")
            if row.state == InterviewState.ERASED:
                raise NotFound("the interview was erased", code="erased")
            if row.state not in _PLAYABLE:
                raise Conflict("the interview is not sealed yet", code="not-sealed")
            number = case_of(row)
            if number is None:
                raise Conflict("the interview has no case number yet", code="interview-unassigned")
            entry.record(
                CustodyEvent(
                    Verb.MEDIA_VIEWED, self._book.clock(), actor_of(by), InterviewId(row.id),
                    number, reason=purpose,
                )
            )  # fmt: skip
        viewing = Viewing(secrets.token_urlsafe(24), interview, by.id, purpose, now, now + VIEWING_LASTS)
        with self._lock:
            self._viewings = {key: each for key, each in self._viewings.items() if each.expires_at > now}
            if len(self._viewings) >= MOST_VIEWINGS:
                # The oldest gives way: its person is asked for the purpose again.
                self._viewings.pop(min(self._viewings, key=lambda key: self._viewings[key].opened_at))
            self._viewings[viewing.id] = viewing
        return viewing

    def viewing(self, viewing: str) -> Viewing:
        with self._lock:
            found = self._viewings.get(viewing)
        if found is None:
            raise NotFound("no such viewing", code="viewing")
        return found

    def init(self, interview: str, ordinal: int, track: str, epoch: int) -> bytes:
        with self._book.reading() as session:
            take = self._by_ordinal(session, interview, ordinal)
            entry = self._entry(take, track)
            lies_in, codec = self._init_of(session, take, entry, epoch)
        data = self._playback.init(take.enrolment, take.n, lies_in, entry.index, epoch)
        return webm.beginning(webm.read_init(data)) if codec.startswith(webm.CODEC) else data

    def segment(self, interview: str, ordinal: int, track: str, number: int) -> bytes | memoryview:
        index, epoch = divmod(number, _EPOCHS)
        with self._book.reading() as session:
            take = self._by_ordinal(session, interview, ordinal)
            entry = self._entry(take, track)
            _, codec = self._init_of(session, take, entry, epoch)
            unshown = self._unshown_of(session, take).get(entry.index, Unshown())
        data = whole_pictures(self._playback.media(take.enrolment, take.n, index, entry.index, epoch), unshown)
        if not codec.startswith(webm.CODEC):
            return data
        return b"".join(webm.cluster(each, lasting=True) for each in webm.read_media(bytes(data), entry.timescale))

    def _init_of(self, session: Session, take: TakeRow, entry: TrackEntry, epoch: int) -> tuple[int, str]:
        """The segment that the init lies in, and its codec: known once, never changed. Raises NotFound."""
        key = (take.enrolment, take.n, entry.index, epoch)
        if (known := self._inits.get(key)) is not None:
            return known
        for segment in segments_of(session, take.enrolment, take.n):
            for each in index_of(segment)["init"]:
                if (each["track"], each["epoch"]) == (entry.index, epoch):
                    if len(self._inits) >= _MOST_INITS:
                        self._inits.clear()
                    self._inits[key] = found = segment.i, str(each["codec"])
                    return found
        raise NotFound("no such init", code="media")

    def _unshown_of(self, session: Session, take: TakeRow) -> dict[int, Unshown]:
        """By track index; known once of a take that has ended, never changed."""
        key = (take.enrolment, take.n)
        if (known := self._unshown.get(key)) is not None:
            return known
        entries = self._playback.start(take.enrolment, take.n).tracks
        gaps = list(_told(session, take, Verb.GAP))
        found: dict[int, Unshown] = {}
        if gaps:
            parts = [part for row in segments_of(session, take.enrolment, take.n) for part in index_of(row)["media"]]
            origin = take.origin_utc or take.started_at or 0
            found = {each.index: _unshown(each, gaps, parts, origin) for each in entries if each.kind == "video"}
        if take.ended_how is not None:
            if len(self._unshown) >= _MOST_TAKES:
                self._unshown.clear()
            self._unshown[key] = found
        return found

    def _by_ordinal(self, session: Session, interview: str, ordinal: int) -> TakeRow:
        takes = _recorded(session, interview)
        if not 1 <= ordinal <= len(takes):
            raise NotFound("no such take", code="take")
        return takes[ordinal - 1]

    def _entry(self, take: TakeRow, track: str) -> TrackEntry:
        for entry in self._playback.start(take.enrolment, take.n).tracks:
            if entry.id == track:
                return entry
        raise NotFound("no such track", code="media")

    def _take(self, session: Session, ordinal: int, take: TakeRow) -> MediaTake:
        start = self._playback.start(take.enrolment, take.n)
        inits: dict[int, list[MediaInit]] = {entry.index: [] for entry in start.tracks}
        found: dict[int, list[MediaSegment]] = {entry.index: [] for entry in start.tracks}
        unshown = self._unshown_of(session, take)
        hidden = {entry.index: unshown.get(entry.index, Unshown()) for entry in start.tracks}
        for row in segments_of(session, take.enrolment, take.n):
            index = index_of(row)
            for init in index["init"]:
                inits[init["track"]].append(MediaInit(init["epoch"], init["codec"]))
            grouped: dict[tuple[int, int], list[dict[str, Any]]] = {}
            for media in index["media"]:
                grouped.setdefault((media["track"], media["epoch"]), []).append(media)
            for (track, epoch), parts in grouped.items():
                begins, ends = min(part["from"] for part in parts), max(part["to"] for part in parts)
                keys = tuple(key for part in parts for key in _keys(part) if not hidden[track].hides(key))
                number = row.i * _EPOCHS + epoch
                found[track].append(MediaSegment(number, epoch, begins, ends - begins, keys))
        tracks = tuple(
            MediaTrack(
                entry.id, entry.camera, entry.kind, entry.timescale,
                tuple(inits[entry.index]), tuple(found[entry.index]),
                tuple((each.begin, each.stands) for each in hidden[entry.index].stretches if each.stands > each.begin),
            )
            for entry in start.tracks
        )  # fmt: skip
        ends_at = [
            (track.segments[-1].start + track.segments[-1].duration) / track.timescale
            for track in tracks
            if track.segments
        ]
        origin = take.origin_utc or take.started_at or 0
        names = {entry.index: entry.id for entry in start.tracks}
        return MediaTake(
            ordinal=ordinal,
            number=take.n,
            started_at=moment(origin),
            duration=max(ends_at, default=0.0),
            ended=take.ended_how or "open",
            tracks=tracks,
            gaps=self._gaps(session, take, origin, names),
            observed=self._observed(session, take, origin, names, max(ends_at, default=0.0)),
        )

    def _gaps(self, session: Session, take: TakeRow, origin: int, names: dict[int, str]) -> tuple[Gap, ...]:
        found = []
        for details in _told(session, take, Verb.GAP):
            begins, ends = int(details["from"]), int(details["to"])
            track = None if details["track"] is None else names.get(details["track"])
            found.append(Gap((begins - origin) / 1e9, (ends - begins) / 1e9, details["reason"], track))
        return tuple(found)

    def _observed(
        self, session: Session, take: TakeRow, origin: int, names: dict[int, str], end: float
    ) -> tuple[Observed, ...]:
        """Each from where it began to where it ended, or to the take's `end`."""
        found: dict[tuple[str, int | None, str], Observed] = {}
        for details in _told(session, take, Verb.OBSERVED):
            begins = max(0.0, (int(details["from"]) - origin) / 1e9)
            ends = end if details["to"] is None else (int(details["to"]) - origin) / 1e9
            track = None if details["track"] is None else names.get(details["track"])
            key = details["kind"], details["track"], details["from"]
            found[key] = Observed(begins, max(0.0, ends - begins), details["kind"], track)
        return tuple(sorted(found.values(), key=lambda each: each.start))


def _unshown(entry: TrackEntry, gaps: Sequence[Record], parts: Sequence[Mapping[str, Any]], origin: int) -> Unshown:
    """`gaps` are custody's, `parts` the media messages of a take, `origin` its UTC in nanoseconds."""

    def at(utc: str) -> int:
        return ((int(utc) - origin) * entry.timescale + 500_000_000) // 10**9

    losses = [
        Loss(at(gap["from"]), at(gap["to"]), gap["reason"], any(gap.get(name) for name in ("packets", "units")))
        for gap in gaps
        if gap["track"] in (None, entry.index)
    ]
    mine = [part for part in parts if part["track"] == entry.index]
    keys = [key for part in mine for key in _keys(part)]
    ends = max((part["to"] for part in mine), default=0)
    return Unshown.of(losses, keys, ends, [part["from"] for part in mine])


def _keys(part: Mapping[str, Any]) -> list[int]:
    """When a media message's key frames are shown. A recorder's word, of which anything else is left out."""
    keys = part.get("keys")
    return [key for key in keys if type(key) is int] if isinstance(keys, list) else []


def _told(session: Session, take: TakeRow, verb: Verb) -> Iterator[Record]:
    """Details of the take's custody events of that kind, in the order they came in."""
    query = (
        select(CustodyEventRow.details)
        .where(CustodyEventRow.interview_id == take.interview_id, CustodyEventRow.verb == verb.value)
        .order_by(CustodyEventRow.ledger_position)
    )
    for text in session.scalars(query):
        details = parse(text.encode())
        if (details["enrolment"], details["take"]) == (take.enrolment, take.n):
            yield details


def _recorded(session: Session, interview: str) -> list[TakeRow]:
    """Takes that have a start; the player counts them 1, 2, 3 …"""
    return [take for take in takes_of(session, interview) if take.start_object is not None]
