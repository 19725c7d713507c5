"""The segment file: a header and its ticks, appended one by one (docs/formats/segment.md).

The recorder's spool file, unchanged, is the object that is delivered and stored. Reading is strict:
recovery cuts a file after a crash where reading first refuses it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evidence_store import domains
from evidence_store.canonical import Record, canonical, parse
from evidence_store.errors import ChainBroken, InvalidInput

MAGIC = b"vidne segment 1\n"
TICK_MAGIC = b"tick"
_TICK = struct.Struct(">4sIIH")
MAX_HEADER = 4096
MAX_RECORD = 1 << 20
MAX_MESSAGES = 256 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """D, segment index, first tick, and the journal's head before it."""

    start_hash: bytes
    index: int
    first_tick: int
    head: bytes

    def record(self) -> Record:
        return {
            "head": self.head.hex(),
            "i": self.index,
            "start": self.start_hash.hex(),
            "t": self.first_tick,
            "type": "vidne/segment/1",
        }

    def encode(self) -> bytes:
        body = canonical(self.record())
        return MAGIC + len(body).to_bytes(4, "big") + body


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick as it stands in the file. `offset`: of its first byte; `size`: of the whole frame."""

    messages: memoryview
    record_bytes: bytes
    record: Record
    signature: bytes
    offset: int
    size: int

    def parts(self) -> Iterator[tuple[Record, memoryview]]:
        """Each message's entry and ciphertext. Raises ChainBroken where the lengths do not add up."""
        at = 0
        for entry in self.record["messages"]:
            end = at + entry["length"]
            if end > len(self.messages):
                raise ChainBroken("messages are shorter than their record says", code="message-length")
            yield entry, self.messages[at:end]
            at = end
        if at != len(self.messages):
            raise ChainBroken("messages are longer than their record says", code="message-length")


def tick_parts(
    ciphertexts: Sequence[bytes | memoryview], record_bytes: bytes, signature: bytes
) -> list[bytes | memoryview]:
    """The frame of one tick in the parts that it is made of, written by one append."""
    size = sum(map(len, ciphertexts))
    return [_TICK.pack(TICK_MAGIC, size, len(record_bytes), len(signature)), *ciphertexts, record_bytes, signature]


def encode_tick(ciphertexts: Sequence[bytes | memoryview], record_bytes: bytes, signature: bytes) -> bytes:
    """The frame of one tick."""
    return b"".join(tick_parts(ciphertexts, record_bytes, signature))


def segment_hash(header: Header, head: bytes) -> bytes:
    """H(header ‖ J after the last tick). The chain covers every ciphertext: no third pass over the media."""
    body = canonical(header.record())
    return domains.sha256(domains.SEGMENT, len(body).to_bytes(4, "big"), body, head)


def read_header(data: bytes | memoryview) -> tuple[Header, int]:
    """The header and where the ticks begin. Raises ChainBroken."""
    view = memoryview(data)
    start = len(MAGIC) + 4
    if bytes(view[: len(MAGIC)]) != MAGIC or len(view) < start:
        raise ChainBroken("not a segment", code="segment-form")
    length = int.from_bytes(view[len(MAGIC) : start], "big")
    if length > MAX_HEADER or len(view) < start + length:
        raise ChainBroken("segment header is cut short", code="segment-form")
    try:
        record = parse(bytes(view[start : start + length]))
        header = Header(
            bytes.fromhex(record["start"]), int(record["i"]), int(record["t"]), bytes.fromhex(record["head"])
        )
    except (InvalidInput, KeyError, TypeError, ValueError) as error:
        raise ChainBroken("segment header is malformed", code="segment-form") from error
    if header.record() != record or len(header.start_hash) != 32 or len(header.head) != 32:
        raise ChainBroken("segment header is malformed", code="segment-form")
    return header, start + length


def read_tick(view: memoryview, offset: int) -> Tick:
    """The tick that begins at `offset`. Raises ChainBroken for a cut or malformed frame."""
    if len(view) - offset < _TICK.size:
        raise ChainBroken("tick frame is cut short", code="tick-torn")
    magic, messages, record, signature = _TICK.unpack_from(view, offset)
    if magic != TICK_MAGIC or messages > MAX_MESSAGES or record > MAX_RECORD:
        raise ChainBroken("not a tick frame", code="tick-form")
    size = _TICK.size + messages + record + signature
    if len(view) - offset < size:
        raise ChainBroken("tick frame is cut short", code="tick-torn")
    at = offset + _TICK.size
    record_bytes = bytes(view[at + messages : at + messages + record])
    try:
        parsed = parse(record_bytes)
    except InvalidInput as error:
        raise ChainBroken("tick record is malformed", code="record-form") from error
    return Tick(
        messages=view[at : at + messages],
        record_bytes=record_bytes,
        record=parsed,
        signature=bytes(view[at + messages + record : offset + size]),
        offset=offset,
        size=size,
    )


def ticks(data: bytes | memoryview, offset: int) -> Iterator[Tick]:
    """Every tick from `offset` to the end. Raises ChainBroken at the first that is not whole."""
    view = memoryview(data)
    while offset < len(view):
        tick = read_tick(view, offset)
        offset += tick.size
        yield tick
