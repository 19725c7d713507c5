"""Walks a take's journal as a package brings it: from D to the close, without ciphertext (docs/formats/journal.md).

What falls away against `sealing.check` is the ciphertexts' hashes; in their place the clear bytes stand against the
commitments, which the same signed records hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from evidence_store.canonical import Record, parse
from evidence_store.copies.opened import is_media
from evidence_store.copies.timeline import HOLE_MS
from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.sealing import journal, segment
from evidence_store.sealing.check import Chain, Start
from evidence_store.sealing.tick import Kind, check_record

MAX_LINE: Final = 2 << 20
_RECORD: Final = b'{"record":'
_LATER: Final = 8
"""A hole may be declared up to this many ticks after the media is back: that is when it is understood."""


@dataclass(frozen=True, slots=True)
class Committed:
    """One message as a signed record commits to it."""

    tick: int
    track: int
    epoch: int
    kind: str
    commitment: str


@dataclass(slots=True)
class Walk:
    """Where the walk is and what it saw. `undeclared`: holes in media that no gap event accounts for. `heads` and
    `moments`: J(t) and UTC of each tick."""

    start: Start
    chain: Chain = field(init=False)
    committed: list[Committed] = field(default_factory=list)
    gap_events: int = 0
    undeclared: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    _ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    _last_declared: int = -1
    _pending: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chain = Chain(self.start)

    def lines(self, file: BinaryIO) -> None:
        """Every line of journal.jsonl: form, place, chain, signature. Raises ChainBroken, SignatureInvalid."""
        header: segment.Header | None = None
        for record_bytes, record, signature in _lines(file):
            check_record(record)
            index, number = record["i"], record["t"]
            if number != self.chain.tick + 1:
                raise ChainBroken(f"expected tick {self.chain.tick + 1}, found {number}", code="tick-order")
            if header is None or index != header.index:
                if index != self.chain.index + 1:
                    raise ChainBroken(f"expected segment {self.chain.index + 1}, found {index}", code="segment-missing")
                self._end_segment(header)
                header = segment.Header(self.start.start_hash, index, number, self.chain.head)
                self.chain.index = index
            head = journal.next_head(self.chain.head, record_bytes)
            journal.check_tick_signature(self.start.take_certificate, head, signature)
            self.chain.head, self.chain.tick = head, number
            self.heads.append(head)
            self.moments.append(int(record["utc"]))
            self._look(record)
        self._end_segment(header)
        self.undeclared += [where for _, where in self._pending]

    def _end_segment(self, header: segment.Header | None) -> None:
        if header is not None:
            self.chain.segment_hashes.append(segment.segment_hash(header, self.chain.head))

    def _look(self, record: Record) -> None:
        tick = record["t"]
        gaps = sum(event["type"] == "gap" for event in record["events"])
        self.gap_events += gaps
        if gaps:
            self._last_declared = tick
            self._pending.clear()
        self.undeclared += [where for since, where in self._pending if tick > since + _LATER]
        self._pending = [each for each in self._pending if tick <= each[0] + _LATER]
        for entry in record["messages"]:
            if not is_media(entry):
                continue
            self.committed.append(Committed(tick, entry["track"], entry["epoch"], entry["kind"], entry["commitment"]))
            if entry["kind"] == Kind.MEDIA.word:
                self._look_for_hole(tick, entry)

    def _look_for_hole(self, tick: int, entry: Record) -> None:
        track = next((each for each in self.start.tracks if each.index == entry["track"]), None)
        about = entry["about"]
        if track is None or not all(type(about.get(name)) is int for name in ("from", "to")):
            raise ChainBroken(f"tick {tick} has media of no known track or time", code="record-form")
        begin, end = about["from"] * 1000 // track.timescale, about["to"] * 1000 // track.timescale
        before, before_tick = self._ends.get(track.index, (begin, tick))
        if begin - before > HOLE_MS and self._last_declared < before_tick:
            self._pending.append((tick, f"track {track.id}, second {before / 1000:.3f} to {begin / 1000:.3f}"))
        self._ends[track.index] = (max(before, end), tick)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, Record, bytes]]:
    """Record bytes, record, signature."""
    while line := file.readline(MAX_LINE):
        try:
            whole = parse(line.removesuffix(b"\n"))
            record, signature = whole["record"], whole["signature"]
            tail = b',"signature":"' + signature.encode("ascii") + b'"}\n'
            if set(whole) != {"record", "signature"} or not isinstance(record, dict) or not line.endswith(tail):
                raise ChainBroken("a line of the journal is malformed", code="journal-form")
            yield line[len(_RECORD) : -len(tail)], record, bytes.fromhex(signature)
        except (InvalidInput, KeyError, ValueError, AttributeError) as error:
            raise ChainBroken("a line of the journal is malformed", code="journal-form") from error
