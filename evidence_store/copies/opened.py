"""A take, decrypted message by message with the interview's key. At most one segment is in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from evidence_store import domains
from evidence_store.canonical import Record, canonical
from evidence_store.copies.source import TakeSource
from evidence_store.errors import ChainBroken, Tampered
from evidence_store.sealing import segment
from evidence_store.sealing.check import Chain, Start
from evidence_store.sealing.journal import TrackEntry
from evidence_store.sealing.keys import PrivateKey, take_wrap_info
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys, wipe
from evidence_store.sealing.tick import is_media, open_message, place_of, salt_of


@dataclass(frozen=True, slots=True)
class Opened:
    """One message in the clear, with the salt of its commitment (32 bytes)."""

    entry: Record
    data: bytes
    salt: bytes


class OpenedTake:
    """Holds the take's R₀ until `forget`. Each walk derives its own keys, so walks may run side by side."""

    def __init__(self, source: TakeSource, start: Start, private: PrivateKey, label: str) -> None:
        """Raises CiphertextInvalid when the interview's key does not open the take's wrap."""
        self.source, self.start, self.label = source, start, label
        self.tracks: dict[int, TrackEntry] = {track.index: track for track in start.tracks}
        info = take_wrap_info(start.enrolment, start.take, start.interview)
        self._secret = bytearray(private.unwrap(start.wrap, info))

    def forget(self) -> None:
        wipe(self._secret)

    def check(self, chain: Chain) -> Iterator[tuple[segment.Tick, list[Opened]]]:
        """Every tick, after its chain, signature, ciphertexts and commitments held.

        `chain` begins at the start and stands at the take's end afterwards. Raises Tampered (or what is under it)
        with take, track and second in its words.
        """
        with self._keys() as keys:
            for index in range(self.source.segments):
                data = self.source.read_segment(index)
                try:
                    _, ticks = chain.check_segment(data)
                except Tampered as error:
                    raise self._named(error, index, self._altered(data)) from error
                key = next(keys)
                for tick in ticks:
                    yield tick, [self._open(key, tick.record, entry, body) for entry, body in tick.parts()]

    def read(self, track: int, epoch: int) -> Iterator[bytes]:
        """Init and media of one track and init epoch, in order: decrypted and committed-to, chain not walked again."""
        with self._keys() as keys:
            for index in range(self.source.segments):
                key = next(keys)
                data = self.source.read_segment(index)
                _, at = segment.read_header(data)
                for tick in segment.ticks(data, at):
                    for entry, body in tick.parts():
                        if (entry["track"], entry["epoch"]) == (track, epoch) and is_media(entry):
                            yield self._open(key, tick.record, entry, body).data

    def journal(self) -> Iterator[bytes]:
        """journal.jsonl: each tick's record and signature in one canonical line. Needs no key."""
        for index in range(self.source.segments):
            data = self.source.read_segment(index)
            _, at = segment.read_header(data)
            for tick in segment.ticks(data, at):
                yield journal_line(tick)

    @contextlib.contextmanager
    def _keys(self) -> Iterator[Iterator[SegmentKeys]]:
        """Each segment's keys in turn, the one before forgotten; all of them at the end, however it comes."""
        ratchet = Ratchet(self.start.start_hash, bytearray(self._secret))
        current: list[SegmentKeys] = []

        def following() -> Iterator[SegmentKeys]:
            while True:
                if current:
                    current.pop().forget()
                current.append(ratchet.next_segment())
                yield current[0]

        try:
            yield following()
        finally:
            for keys in current:
                keys.forget()
            ratchet.forget()

    def _open(self, keys: SegmentKeys, record: Record, entry: Record, ciphertext: memoryview) -> Opened:
        place = place_of(self.start.start_hash, record, entry)
        try:
            data = open_message(keys, place, entry, ciphertext)
        except Tampered as error:
            raise self._named(error, record["i"], self._where(entry)) from error
        return Opened(entry, data, salt_of(keys.salting, place))

    def _where(self, entry: Record) -> str:
        track = self.tracks.get(entry["track"])
        if track is None:
            return "no track"
        begin = entry["about"].get("from")
        second = f", second {begin / track.timescale:.3f}" if isinstance(begin, int) else ""
        return f"track {track.id}{second}"

    def _altered(self, data: bytes) -> str:
        """Which message's ciphertext is not what its record says; the record may be what was altered."""
        try:
            _, at = segment.read_header(data)
            for tick in segment.ticks(data, at):
                for entry, ciphertext in tick.parts():
                    if domains.sha256(domains.CIPHERTEXT, ciphertext).hex() != entry["hash"]:
                        return self._where(entry)
        except (Tampered, KeyError, TypeError, AttributeError):
            return "the segment's own form is broken"
        return "a record or signature"

    def _named(self, error: Tampered, index: int, where: str) -> Tampered:
        return type(error)(f"{self.label}, segment {index}, {where}: {error}", code=error.code)


def journal_line(tick: segment.Tick) -> bytes:
    """One line of journal.jsonl, newline included."""
    # The record is canonical already, and a canonical object holds its members' canonical bytes unchanged.
    return b'{"record":' + tick.record_bytes + b',"signature":' + canonical(tick.signature.hex()) + b"}\n"


def check_about(label: str, entry: Record) -> None:
    """Raises ChainBroken unless a media entry tells from when to when it goes."""
    about = entry["about"]
    if not all(type(about.get(name)) is int for name in ("from", "to")) or about["to"] < about["from"]:
        raise ChainBroken(f"{label}: a media message does not say from when to when it goes", code="record-form")
