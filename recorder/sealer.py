"""Seals one take onto the spool: ratchet, messages, journal, segments, close. Synchronous; sealing_thread runs it.

Every step leaves the take whole: what fails for want of space has changed nothing and can be tried again.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from evidence_store.canonical import Record, canonical
from evidence_store.errors import NoSpace, Unavailable
from evidence_store.sealing import journal
from evidence_store.sealing.keys import PublicKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys
from evidence_store.sealing.segment import Header, segment_hash, tick_parts
from evidence_store.sealing.tick import Message, Place, seal_message, sealed_size, tick_record
from recorder.device import Device
from recorder.spool import Appending, SegmentFile, Spool, TakeFolder, write_durably
from recorder.take import Order

TICKS_A_SEGMENT = 8
TOGETHER_BYTES = 5 << 20
"""Of ticks that had to wait, made durable by one commit. Half a segment of two cameras at their best: what is encrypted
meanwhile takes about as long."""


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


class _Room:
    """Memory where ciphertexts wait for the disk: that which served before, since what lay there is on the disk by now.
    Fresh memory, page by page, costs more than encrypting what goes there."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory = bytearray()

    def of(self, size: int) -> memoryview:
        """At least so many bytes."""
        if size > len(self._memory):
            self._memory = bytearray(size)
        return memoryview(self._memory)


@dataclass(frozen=True, slots=True)
class _Reach:
    """Where a take stands between two ticks. `header` is None, and `ticks` 0, while nothing of `segment` is sealed."""

    segment: int
    header: Header | None
    ticks: int
    next_tick: int
    head: bytes

    def room(self) -> int:
        """How many ticks the segment still takes."""
        return TICKS_A_SEGMENT - self.ticks

    def in_next_segment(self) -> _Reach:
        return _Reach(self.segment + 1, None, 0, self.next_tick, self.head)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Ticks of one segment, ready for its file, and where the take stands once they are there."""

    count: int
    frames: list[bytes | memoryview]
    reach: _Reach
    durable: Durable


def together(waiting: Sequence[Tick], room: int) -> int:
    """How many of the ticks that wait go into one commit: of those that the segment still takes (`room`), one, or as
    many as are `TOGETHER_BYTES`."""
    count, size = 0, 0
    for tick in waiting[:room]:
        size += sum(map(sealed_size, tick.messages))
        if count and size > TOGETHER_BYTES:
            break
        count += 1
    return count


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
    _reach: _Reach
    """How far it is durable. What is sealed beyond is forgotten when the disk refuses it, and sealed anew."""
    last: Durable | None = None
    _keys: dict[int, SegmentKeys] = field(default_factory=dict)
    """Of the segments that are not all on the disk yet."""
    _file: SegmentFile | None = None
    _hashes: list[bytes] = field(default_factory=list)
    _rooms: tuple[_Room, _Room] = field(default_factory=lambda: (_Room(), _Room()))
    """What is committed lies in one, what is encrypted meanwhile goes into the other."""

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
        reach = _Reach(0, None, 0, 0, digest)
        return cls(device, spool, folder, order, digest, Ratchet(digest, secret), take_key, reach)

    def write(self, tick: Tick, *, urgent: bool = False) -> Durable:
        """Seals a tick; durable when it returns. Raises NoSpace, OSError: try the same again later."""
        sealed = self._seal([tick], self._reach, self._rooms[0])
        self._file_of(sealed).append(*sealed.frames, urgent=urgent)
        return self._settle(sealed)

    def catch_up(self, waiting: Sequence[Tick]) -> Generator[tuple[int, Durable], None, None]:
        """Seals ticks that had to wait, several by one commit; while the disk takes some, the next are encrypted.

        Yields how many more have become durable, in their order, and how far the take is then. Raises NoSpace, OSError:
        what was not yielded is to be tried again; what `_seal` raises, once all before it are durable. Who stops
        listening before the end is done with this take.
        """
        rest, reach, rooms = list(waiting), self._reach, itertools.cycle(self._rooms)
        under_way: tuple[_Sealed, Appending] | None = None
        try:
            while rest or under_way:
                ready: _Sealed | None = None
                wrong: Exception | None = None
                if rest:
                    reach = reach if reach.room() else reach.in_next_segment()
                    try:
                        ready = self._seal(rest[: together(rest, reach.room())], reach, next(rooms))
                    except Exception as error:  # noqa: BLE001 - raised below
                        wrong = error
                    else:
                        reach, rest = ready.reach, rest[ready.count :]
                before, under_way = under_way, None
                landed = self._land(*before) if before else None
                if ready:
                    under_way = ready, Appending(self._file_of(ready), ready.frames)
                if landed:
                    yield landed
                if wrong:
                    raise wrong
        finally:
            if under_way:
                with contextlib.suppress(Unavailable, OSError):  # nobody listens any more
                    self._land(*under_way)

    def _seal(self, ticks: Sequence[Tick], reach: _Reach, room: _Room) -> _Sealed:
        """Ticks of one segment, from `reach` on. Changes nothing but which keys are known."""
        if self._take_key is None:
            raise ValueError("the take is closed")
        rest = room.of(sum(sealed_size(message) for tick in ticks for message in tick.messages))
        i, t, head = reach.segment, reach.next_tick, reach.head
        header = reach.header or Header(self.start_hash, i, t, head)
        frames: list[bytes | memoryview] = [] if reach.header else [header.encode()]
        keys = self._keys_of(i)
        for tick in ticks:
            sealed = []
            for message in tick.messages:
                place = Place(self.start_hash, i, t, message.kind, message.track, message.epoch)
                size = sealed_size(message)
                sealed.append(seal_message(keys, place, message, rest[:size]))
                rest = rest[size:]
            body = canonical(tick_record(i, t, tick.monotonic_ns, tick.utc_ns, sealed, tick.events))
            head = journal.next_head(head, body)
            frames += tick_parts([each.ciphertext for each in sealed], body, journal.sign_tick(self._take_key, head))
            t += 1
        durable = Durable(i, t - 1, head, ticks[-1].monotonic_ns, ticks[-1].utc_ns)
        return _Sealed(len(ticks), frames, _Reach(i, header, reach.ticks + len(ticks), t, head), durable)

    def _keys_of(self, segment: int) -> SegmentKeys:
        """Those that it had when the disk refused it: the ratchet does not turn back."""
        while segment >= self._ratchet.index:
            keys = self._ratchet.next_segment()
            self._keys[keys.index] = keys
        return self._keys[segment]

    def _file_of(self, sealed: _Sealed) -> SegmentFile:
        if self._file is None:
            self._file = SegmentFile(self.folder.segment(sealed.reach.segment), self.spool)
        return self._file

    def _land(self, sealed: _Sealed, appending: Appending) -> tuple[int, Durable]:
        appending.wait()
        return sealed.count, self._settle(sealed)

    def _settle(self, sealed: _Sealed) -> Durable:
        """It is on the disk: this is how far the take reaches now."""
        self._reach, self.last = sealed.reach, sealed.durable
        if not self._reach.room():
            self._end_segment()
        return sealed.durable

    def _end_segment(self) -> None:
        ended = self._reach
        if ended.header is None:
            return
        if self._file is not None:
            self._file.finish()
            self._file = None
        self._keys.pop(ended.segment).forget()
        self._hashes.append(segment_hash(ended.header, ended.head))
        self._reach = ended.in_next_segment()

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
            head=self._reach.head,
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
        if self._file is not None:
            self._file.finish()
        for keys in self._keys.values():
            keys.forget()
        self._ratchet.forget()
        self._take_key = None

    def segment_ended(self) -> bool:
        """True between two segments."""
        return self._reach.header is None
