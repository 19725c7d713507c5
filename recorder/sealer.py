"""Seals one take onto the spool: ratchet, messages, journal, segments, close. Synchronous; sealing_thread runs it.

Every step leaves the take whole: what fails for want of space has changed nothing and can be tried again.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from evidence_store.canonical import Record, canonical
from evidence_store.errors import NoSpace
from evidence_store.sealing import journal
from evidence_store.sealing.keys import PublicKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys
from evidence_store.sealing.segment import Header, encode_tick, segment_hash
from evidence_store.sealing.tick import Message, Place, seal_message, tick_record
from recorder.device import Device
from recorder.spool import SegmentFile, Spool, TakeFolder, write_durably
from recorder.take import Order

TICKS_A_SEGMENT = 8


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
        """A take whose number and signed start record are durable. Raises NoSpace; the number is then a void take."""
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

    def write(self, tick: Tick, *, urgent: bool = False) -> Durable:
        """Seals one tick; durable when it returns. Raises NoSpace: try the same tick again later."""
        if self._take_key is None:
            raise ValueError("the take is closed")
        open_segment = self._segment or self._new_segment()
        i, t = open_segment.keys.index, self._next_tick
        sealed = [
            seal_message(open_segment.keys, Place(self.start_hash, i, t, each.kind, each.track, each.epoch), each)
            for each in tick.messages
        ]
        body = canonical(tick_record(i, t, tick.monotonic_ns, tick.utc_ns, sealed, tick.events))
        head = journal.next_head(self.head, body)
        frame = encode_tick([each.ciphertext for each in sealed], body, journal.sign_tick(self._take_key, head))
        if open_segment.ticks == 0:
            frame = open_segment.header.encode() + frame
        open_segment.file.append(frame, urgent=urgent)
        self.head, self._next_tick = head, t + 1
        open_segment.ticks += 1
        self.last = Durable(i, t, head, tick.monotonic_ns, tick.utc_ns)
        if open_segment.ticks >= TICKS_A_SEGMENT:
            self._end_segment()
        return self.last

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
