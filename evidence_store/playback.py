"""Opens stored media for whoever may see it: in memory, each segment checked before a byte of it is given out.

A segment's place, records, chain and signatures are checked, and every ciphertext in it against its record, before
anything is decrypted: what the recorder signed is then the only thing that the cipher can open. That is one pass of
SHA-256 over every byte, for all tracks of a segment. The acknowledged hash of the whole object is the audit's to check,
and the commitments to clear bytes the copy's: they say nothing more of what is shown.
"""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass, field, replace

from sqlalchemy import bindparam, select

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
from evidence_store.sealing.tick import Kind, decrypt_into, open_message, place_of

OPEN_TAKES = 8
"""Takes whose first secret is kept in memory, so that seeking does not open the key store each time."""

KEPT_BYTES = 64 << 20
"""Of checked segments, as they lie in the vault: a player's request for each track does not check them again."""

_segment = SegmentRow.__table__.c
_SEGMENTS = (
    select(
        InterviewRow.__table__.c.state,
        *(_segment[name] for name in ("i", "last_t", "head_after", "object_name", "sha256")),
    )
    .join_from(
        InterviewRow.__table__,
        SegmentRow.__table__,
        (_segment.enrolment == bindparam("enrolment"))
        & (_segment.n == bindparam("take"))
        & _segment.i.in_((bindparam("index") - 1, bindparam("index"))),
        isouter=True,
    )
    .where(InterviewRow.__table__.c.id == bindparam("interview"))
    .order_by(_segment.i)
)
"""The interview's state, with a segment and the one before it. Columns, not objects: a player asks for each track."""


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


@dataclass(frozen=True, slots=True)
class _Checked:
    """A segment that holds, still encrypted. `size` in bytes."""

    interview: str
    ticks: list[Tick]
    size: int


class _CheckedSegments:
    """Those asked for last, at most `KEPT_BYTES` and one. Safe for threads."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[tuple[str, int, int], _Checked] = collections.OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int, int]) -> _Checked | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: tuple[str, int, int], checked: _Checked) -> None:
        with self._lock:
            self._drop(key)
            self._kept[key] = checked
            self._size += checked.size
            while self._size > KEPT_BYTES and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def forget(self, interview: str) -> None:
        with self._lock:
            for key in [key for key, each in self._kept.items() if each.interview == interview]:
                self._drop(key)

    def _drop(self, key: tuple[str, int, int]) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self._size -= gone.size


class Playback:
    def __init__(self, book: Book, authority: Authority, keys: KeyStore) -> None:
        self._book = book
        self._authority = authority
        self._keys = keys
        self._open: collections.OrderedDict[tuple[str, int], _OpenTake] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._checked = _CheckedSegments()

    def start(self, enrolment: str, take: int) -> check.Start:
        """The take's checked start record. Raises NotFound, Tampered."""
        return self._opened(enrolment, take).start

    def media(self, enrolment: str, take: int, segment: int, track: int, epoch: int) -> memoryview:
        """Every fragment of one track and init epoch in one segment, joined. Raises NotFound, Tampered."""
        return self._messages(enrolment, take, segment, Kind.MEDIA, track, epoch)

    def init(self, enrolment: str, take: int, segment: int, track: int, epoch: int) -> bytes:
        """The initialisation segment that lies in this segment. Raises NotFound, Tampered."""
        return bytes(self._messages(enrolment, take, segment, Kind.INIT, track, epoch))

    def check_take(self, enrolment: str, take: int) -> None:
        """Opens and checks every message of a take, its commitment too. Raises Tampered at the first that does not
        hold."""
        with self._book.reading() as session:
            count = len(segments_of(session, enrolment, take))
        for index in range(count):
            start, keys = self._keys_of(enrolment, take, index)
            try:
                for tick in self._ticks(enrolment, take, index, start):
                    for entry, ciphertext in tick.parts():
                        open_message(keys, place_of(start.start_hash, tick.record, entry), entry, ciphertext)
            finally:
                keys.forget()

    def forget(self, interview: str) -> None:
        """Closes what is open of an interview: its key is gone, and so is what it opened."""
        with self._lock:
            for key in [key for key, each in self._open.items() if each.start.interview.hex() == interview]:
                self._open.pop(key).forget()
        self._checked.forget(interview)

    def _messages(self, enrolment: str, take: int, segment: int, kind: Kind, track: int, epoch: int) -> memoryview:
        start, keys = self._keys_of(enrolment, take, segment)
        try:
            wanted = [
                (place_of(start.start_hash, tick.record, entry), ciphertext)
                for tick in self._ticks(enrolment, take, segment, start)
                for entry, ciphertext in tick.parts()
                if (entry["kind"], entry["track"], entry["epoch"]) == (kind.word, track, epoch)
            ]
            if not wanted:
                raise NotFound("nothing of that track is in that segment", code="media")
            # Decrypted where it is given out from: a fresh page of memory costs as much as hashing what it holds.
            room, size = bytearray(sum(len(ciphertext) for _, ciphertext in wanted)), 0
            for place, ciphertext in wanted:
                size += decrypt_into(room, size, keys, place, ciphertext)
        finally:
            keys.forget()
        return memoryview(room)[:size].toreadonly()

    def _keys_of(self, enrolment: str, take: int, index: int) -> tuple[check.Start, SegmentKeys]:
        while True:
            opened = self._opened(enrolment, take)
            if (keys := opened.keys(index)) is not None:
                return opened.start, keys

    def _ticks(self, enrolment: str, take: int, index: int, start: check.Start) -> list[Tick]:
        """The segment's ticks, after place, chain, ciphertexts and signature hold against what intake noted."""
        key, interview = (enrolment, take, index), start.interview.hex()
        where = {"enrolment": enrolment, "take": take, "index": index, "interview": interview}
        with self._book.reading() as session:
            rows = session.execute(_SEGMENTS, where).all()
        # Asked each time: another process may have erased it, and what is open here does not know.
        if not rows or rows[0].state == InterviewState.ERASED:
            self.forget(interview)
            raise NotFound("the interview was erased", code="erased")
        if (checked := self._checked.get(key)) is not None:
            return checked.ticks
        row, chain = rows[-1], check.Chain(start)
        if row.i != index:
            raise NotFound("no such segment", code="media")
        if index:
            if len(rows) < 2:
                raise ChainBroken(f"segment {index - 1} is missing", code="segment-missing")
            chain = check.Chain(start, rows[0].head_after, rows[0].i, rows[0].last_t)

        def follow(data: bytes) -> _Checked:
            found = replace(chain, segment_hashes=[])
            _, ticks = found.check_segment(data)
            if found.head != row.head_after:
                raise ChainBroken(f"segment {index} is not the one that was taken in", code="segment-replaced")
            return _Checked(interview, ticks, len(data))

        checked = self._book.vault.read(row.object_name, row.sha256, follow)
        self._checked.keep(key, checked)
        return checked.ticks

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
