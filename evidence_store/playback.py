"""Opens stored media for whoever may see it: in memory, each segment checked whole before a byte of it is given out."""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.database.schema import InterviewRow, SegmentRow, TakeRow
from evidence_store.errors import ChainBroken, NotFound
from evidence_store.intake import segments_of
from evidence_store.interview import InterviewState
from evidence_store.keystore import KeyStore
from evidence_store.ledger.book import Book
from evidence_store.sealing import check
from evidence_store.sealing.keys import take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys, wipe
from evidence_store.sealing.segment import Tick
from evidence_store.sealing.tick import Kind, open_message, place_of

OPEN_TAKES = 8
"""Takes whose first secret is kept in memory, so that seeking does not open the key store each time."""


@dataclass(slots=True)
class _OpenTake:
    start: check.Start
    secret: bytearray
    lock: threading.Lock = field(default_factory=threading.Lock)
    ratchet: Ratchet | None = None
    forgotten: bool = False

    def keys(self, index: int) -> SegmentKeys | None:
        """Walks the ratchet forward; a seek backward walks again from R₀ (some microseconds a segment).

        None where the take was closed meanwhile to make room for others: it has to be opened again.
        """
        with self.lock:
            if self.forgotten:
                return None
            if self.ratchet is None or self.ratchet.index > index:
                self.ratchet = Ratchet(self.start.start_hash, bytearray(self.secret))
            return self.ratchet.keys_of(index)

    def forget(self) -> None:
        with self.lock:
            self.forgotten = True
            wipe(self.secret)
            if self.ratchet is not None:
                self.ratchet.forget()


class Playback:
    def __init__(self, book: Book, authority: Authority, keys: KeyStore) -> None:
        self._book = book
        self._authority = authority
        self._keys = keys
        self._open: collections.OrderedDict[tuple[str, int], _OpenTake] = collections.OrderedDict()
        self._lock = threading.Lock()

    def start(self, enrolment: str, take: int) -> check.Start:
        """The take's checked start record. Raises NotFound, Tampered."""
        return self._opened(enrolment, take).start

    def media(self, enrolment: str, take: int, segment: int, track: int, epoch: int) -> bytes:
        """Every fragment of one track and init epoch in one segment, joined. Raises NotFound, Tampered."""
        return self._messages(enrolment, take, segment, Kind.MEDIA, track, epoch)

    def init(self, enrolment: str, take: int, segment: int, track: int, epoch: int) -> bytes:
        """The initialisation segment that lies in this segment. Raises NotFound, Tampered."""
        return self._messages(enrolment, take, segment, Kind.INIT, track, epoch)

    def check_take(self, enrolment: str, take: int) -> None:
        """Opens and checks every message of a take. Raises Tampered at the first that does not hold."""
        with self._book.reading() as session:
            count = len(segments_of(session, enrolment, take))
        for index in range(count):
            start, keys = self._keys_of(enrolment, take, index)
            try:
                for tick in self._checked(enrolment, take, index, start):
                    for entry, ciphertext in tick.parts():
                        open_message(keys, place_of(start.start_hash, tick.record, entry), entry, ciphertext)
            finally:
                keys.forget()

    def forget(self, interview: str) -> None:
        """Closes what is open of an interview: its key is gone, and so is what it opened."""
        with self._lock:
            for key in [key for key, each in self._open.items() if each.start.interview.hex() == interview]:
                self._open.pop(key).forget()

    def _messages(self, enrolment: str, take: int, segment: int, kind: Kind, track: int, epoch: int) -> bytes:
        start, keys = self._keys_of(enrolment, take, segment)
        try:
            parts = [
                open_message(keys, place_of(start.start_hash, tick.record, entry), entry, ciphertext)
                for tick in self._checked(enrolment, take, segment, start)
                for entry, ciphertext in tick.parts()
                if (entry["kind"], entry["track"], entry["epoch"]) == (kind.word, track, epoch)
            ]
        finally:
            keys.forget()
        if not parts:
            raise NotFound("nothing of that track is in that segment", code="media")
        return b"".join(parts)

    def _keys_of(self, enrolment: str, take: int, index: int) -> tuple[check.Start, SegmentKeys]:
        while True:
            opened = self._opened(enrolment, take)
            if (keys := opened.keys(index)) is not None:
                return opened.start, keys

    def _checked(self, enrolment: str, take: int, index: int, start: check.Start) -> list[Tick]:
        """The segment's ticks, after hash, place, chain and signatures hold against what intake noted."""
        with self._book.reading() as session:
            row = session.get(SegmentRow, (enrolment, take, index))
            # Asked each time: another process may have erased it, and what is open here does not know.
            erased = session.scalar(
                select(InterviewRow.id).where(
                    InterviewRow.id == start.interview.hex(), InterviewRow.state == InterviewState.ERASED.value
                )
            )
            if erased is not None:
                self.forget(erased)
                raise NotFound("the interview was erased", code="erased")
            if row is None:
                raise NotFound("no such segment", code="media")
            chain = _chain_before(session, start, row)
        data = self._book.vault.get(row.object_name, row.sha256)
        _, ticks = chain.check_segment(data)
        if chain.head != row.head_after:
            raise ChainBroken(f"segment {index} is not the one that was taken in", code="segment-replaced")
        return ticks

    def _opened(self, enrolment: str, take: int) -> _OpenTake:
        key = (enrolment, take)
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        with self._book.reading() as session:
            row = session.get(TakeRow, key)
            if row is None or row.start_object is None or row.interview_id is None:
                raise NotFound("no such take", code="take")
            private = self._keys.open(session, row.interview_id)
        start = check.check_start(self._book.vault.get(row.start_object), self._authority.root)
        secret = private.unwrap(start.wrap, take_wrap_info(start.enrolment, take, start.interview))
        opened = _OpenTake(start, bytearray(secret))
        with self._lock:
            if key in self._open:
                # Somebody else opened it meanwhile.
                opened.forget()
                return self._open[key]
            self._open[key] = opened
            while len(self._open) > OPEN_TAKES:
                self._open.popitem(last=False)[1].forget()
        return opened


def _chain_before(session: Session, start: check.Start, row: SegmentRow) -> check.Chain:
    if row.i == 0:
        return check.Chain(start)
    before = session.get(SegmentRow, (row.enrolment, row.n, row.i - 1))
    if before is None:
        raise ChainBroken(f"segment {row.i - 1} is missing", code="segment-missing")
    return check.Chain(start, before.head_after, before.i, before.last_t)
