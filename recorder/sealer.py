"""Seals one take onto the spool: ratchet, messages, journal, segments, close. Synchronous; sealing_thread runs it.

Every step leaves the take whole: what fails for want of space has changed nothing and can be tried again.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from evidence_store.canonical import Record, canonical
from evidence_store.errors import NoSpace
from evidence_store.sealing import journal
from evidence_store.sealing.keys import PublicKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys
from evidence_store.sealing.segment import Header, segment_hash, tick_parts
from evidence_store.sealing.tick import Message, Place, seal_message, sealed_size, tick_record
from recorder.device import Device
from recorder.spool import SegmentFile, Spool, TakeFolder, write_durably
from recorder.take import Order

TICKS_A_SEGMENT = 8
TOGETHER_BYTES = 8 << 20
"""Of ticks that had to wait, sealed and made durable by one write: what a disk that stalled is caught up with."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick brings: at most a quarter of a second of every track, and what happened meanwhile."""

    messages: list[Message]
    events: list[Record]
    monotonic_ns: int
    utc_ns: int


def _random_secret() -> bytearray:
    """32 bytes from the kernel, straight into a buffer that is overwritten later: no other copy is ever made."""
    secret = bytearray(32)
    with open("/dev/urandom", "rb", buffering=0) as source:
        if source.readinto(secret) != len(secret):
            raise OSError("the kernel gave fewer random bytes than asked for")
    return secret


def gap_record(from_utc_ns: int, to_utc_ns: int, reason: str) -> Record:
    """The declaration of a stretch of all tracks that never reached the disk."""
    return {"from": str(from_utc_ns), "reason": reason, "to": str(to_utc_ns), "track": None, "type": "gap"}


@dataclass(frozen=True, slots=True)
class Durable:
    """How far the take is on disk. Times are those of the last durable tick."""

    segment: int
    tick: int
    head: bytes
    monotonic_ns: int
    utc_ns: int


@dataclass(frozen=True, slots=True)
class Previous:
    """The take before: its number and its journal's head."""

    take: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """A take that is closed. `envelope`: the signed close."""

    take: int
    envelope: bytes
    durable: Durable


@dataclass(slots=True)
class _OpenSegment:
    keys: SegmentKeys
    header: Header
    file: SegmentFile
    ticks: int = 0


@dataclass(slots=True)
class Sealer:
    """One take from start to close. Holds the only keys that can read it, and forgets them as it goes."""

    device: Device
    spool: Spool
    folder: TakeFolder
    order: Order
    start_hash: bytes
    _ratchet: Ratchet
    _take_key: ec.EllipticCurvePrivateKey | None
    head: bytes
    _segment: _OpenSegment | None = None
    _next_tick: int = 0
    _hashes: list[bytes] = field(default_factory=list)
    last: Durable | None = None
    _room: bytearray = field(default_factory=bytearray)

    @classmethod
    def begin(
        cls,
        device: Device,
        spool: Spool,
        order: Order,
        tracks: list[journal.TrackEntry],
        previous: Previous | None,
        *,
        monotonic_ns: int,
        utc_ns: int,
        boot: str,
    ) -> Sealer:
        """A take whose number and signed start record are durable. Raises NoSpace; the number is then a void take.
        Raises KeysOutOfReach where the device's token is away."""
        device.answers()  # before there is a number: whoever tries again each second would make as many void takes
        folder = spool.new_take(device.enrolment)
        now = datetime.datetime.fromtimestamp(utc_ns // 10**9, datetime.UTC)
        take_key, certificate = device.new_take_key(folder.take, now)
        secret = _random_secret()
        info = take_wrap_info(device.enrolment, folder.take, order.interview)
        record = journal.start_record(
            enrolment=device.enrolment,
            take=folder.take,
            room=device.room,
            interview=order.interview,
            interview_public_key=order.public_key,
            interview_key_signature=order.key_signature,
            store_certificate=order.store_certificate,
            tracks=tracks,
            wrap=PublicKey(order.public_key).wrap(secret, info),
            take_certificate=certificate,
            device_certificate=device.certificates.device,
            device_ml_dsa_certificate=device.certificates.device_ml_dsa,
            previous=None if previous is None else (previous.take, previous.head),
            checkpoint=order.checkpoint,
            monotonic_ns=monotonic_ns,
            utc_ns=utc_ns,
            boot=boot,
        )
        digest = journal.start_hash(record)
        write_durably(folder.start, journal.sign_start(record, device.signers(take_key)))
        return cls(device, spool, folder, order, digest, Ratchet(digest, secret), take_key, digest)

    def together(self, waiting: Sequence[Tick]) -> int:
        """How many of the ticks that wait go into one `write`: of one segment, and of `TOGETHER_BYTES` or one tick."""
        count, size = 0, 0
        for tick in waiting[: TICKS_A_SEGMENT - (self._segment.ticks if self._segment else 0)]:
            size += sum(map(sealed_size, tick.messages))
            if count and size > TOGETHER_BYTES:
                break
            count += 1
        return count

    def write(self, *ticks: Tick, urgent: bool = False) -> Durable:
        """Seals ticks, as many as go `together`; durable when it returns. Raises NoSpace: try the same again later."""
        if self._take_key is None:
            raise ValueError("the take is closed")
        open_segment = self._segment or self._new_segment()
        if not 0 < len(ticks) <= TICKS_A_SEGMENT - open_segment.ticks:
            raise ValueError("ticks of another segment")
        rest = self._room_for([message for tick in ticks for message in tick.messages])
        frames: list[bytes | memoryview] = [] if open_segment.ticks else [open_segment.header.encode()]
        i, head = open_segment.keys.index, self.head
        for t, tick in enumerate(ticks, start=self._next_tick):
            sealed = []
            for message in tick.messages:
                place = Place(self.start_hash, i, t, message.kind, message.track, message.epoch)
                size = sealed_size(message)
                sealed.append(seal_message(open_segment.keys, place, message, rest[:size]))
                rest = rest[size:]
            body = canonical(tick_record(i, t, tick.monotonic_ns, tick.utc_ns, sealed, tick.events))
            head = journal.next_head(head, body)
            frames += tick_parts([each.ciphertext for each in sealed], body, journal.sign_tick(self._take_key, head))
        open_segment.file.append(*frames, urgent=urgent)
        self.head, self._next_tick = head, self._next_tick + len(ticks)
        open_segment.ticks += len(ticks)
        self.last = Durable(i, self._next_tick - 1, head, ticks[-1].monotonic_ns, ticks[-1].utc_ns)
        if open_segment.ticks >= TICKS_A_SEGMENT:
            self._end_segment()
        return self.last

    def _room_for(self, messages: Sequence[Message]) -> memoryview:
        """Where their ciphertexts go: the room that served before, for what lay there is on the disk by now."""
        size = sum(map(sealed_size, messages))
        if size > len(self._room):
            self._room = bytearray(size)
        return memoryview(self._room)

    def _new_segment(self) -> _OpenSegment:
        keys = self._ratchet.next_segment()
        header = Header(self.start_hash, keys.index, self._next_tick, self.head)
        self._segment = _OpenSegment(keys, header, SegmentFile(self.folder.segment(keys.index), self.spool))
        return self._segment

    def _end_segment(self) -> None:
        ended, self._segment = self._segment, None
        if ended is None:
            return
        ended.file.finish()
        ended.keys.forget()
        if ended.ticks:
            self._hashes.append(segment_hash(ended.header, self.head))

    def close(self, closing: Tick) -> Closed:
        """Seals a last tick and the signed close, on a full disk from the reserve; destroys the keys.

        Raises NoSpace where not even the reserve was enough: boot recovery will close the take then.
        """
        try:
            last = self.write(closing, urgent=True)
        except NoSpace:
            self.spool.spend_reserve()
            alive = closing.utc_ns if self.last is None else self.last.utc_ns
            lost = [gap_record(alive, closing.utc_ns, "spool-full")] if closing.messages else []
            last = self.write(Tick([], lost + closing.events, closing.monotonic_ns, closing.utc_ns), urgent=True)
        self._end_segment()
        record = journal.close_record(
            enrolment=self.device.enrolment,
            take=self.folder.take,
            start=self.start_hash,
            last=(last.segment, last.tick),
            head=self.head,
            segments=self._hashes,
            how=journal.Ending.STOPPED,
            torn=None,
            last_alive_utc_ns=last.utc_ns,
            closed_utc_ns=closing.utc_ns,
        )
        envelope = journal.sign_close(record, self.device.signers(self._take_key))
        self.forget()
        try:
            write_durably(self.folder.close, envelope)
        except NoSpace:
            self.spool.spend_reserve()
            write_durably(self.folder.close, envelope)
        return Closed(self.folder.take, envelope, last)

    def forget(self) -> None:
        """Destroys what could still read or sign this take."""
        if self._segment is not None:
            self._segment.keys.forget()
            self._segment.file.finish()
        self._ratchet.forget()
        self._take_key = None

    def segment_ended(self) -> bool:
        """True between two segments."""
        return self._segment is None
