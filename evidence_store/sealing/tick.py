"""Messages and records of one tick: at most a quarter of a second of every track (docs/formats/tick.md).

Every message is one finished Cobblestone-256 ciphertext (C2SP chunked-encryption), bound to its place: take,
segment, tick, kind, track and init epoch. Swapped, moved or cut, it does not open.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from evidence_store import domains
from evidence_store.canonical import Record
from evidence_store.errors import ChainBroken, CiphertextInvalid
from evidence_store.sealing.ratchet import SegmentKeys

_HEADER, _CHUNK, _TAG = 56, 16_384, 16

NO_TRACK = 0xFFFF
"""The track of a message that belongs to none (words)."""


class Kind(enum.IntEnum):
    """What a message holds."""

    INIT = 1
    MEDIA = 2
    WORDS = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message belongs. Its encoding is the message's context: 49 bytes and the domain."""

    start_hash: bytes
    segment: int
    tick: int
    kind: Kind
    track: int
    epoch: int

    def context(self) -> bytes:
        """D (32) ‖ i (8) ‖ t (8) ‖ kind (1) ‖ track (2) ‖ init epoch (4), all big-endian, behind the domain."""
        return b"".join(
            (
                domains.prefix(domains.MESSAGE),
                self.start_hash,
                self.segment.to_bytes(8, "big"),
                self.tick.to_bytes(8, "big"),
                self.kind.to_bytes(1, "big"),
                self.track.to_bytes(2, "big"),
                self.epoch.to_bytes(4, "big"),
            )
        )


@dataclass(frozen=True, slots=True)
class Message:
    """Something to seal. `padding_step`: the plaintext is padded to a multiple of it, so that sizes do not speak.

    `about` goes into the signed record beside the hashes: what may be known without a key.
    """

    kind: Kind
    track: int
    epoch: int
    data: bytes
    padding_step: int
    about: Record


@dataclass(frozen=True, slots=True)
class SealedMessage:
    ciphertext: memoryview
    entry: Record
    """The message's entry in its tick record."""


def salt_of(keys_salting: bytes | memoryview, place: Place) -> bytes:
    """HKDF-SHA-256(Zᵢ, info = domain ‖ context, 32 bytes)."""
    info = domains.prefix(domains.SALT) + place.context()
    return HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(keys_salting)


def commitment(salt: bytes, data: bytes | memoryview) -> bytes:
    """H(salt ‖ bytes): binds the record to the clear bytes, and tells nothing of them to who lacks the salt."""
    return domains.sha256(domains.COMMITMENT, salt, data)


def _padded(message: Message) -> int:
    length = 4 + len(message.data)
    return length + -length % message.padding_step


def sealed_size(message: Message) -> int:
    """The ciphertext's length: a header, and 16 bytes more a chunk (C2SP chunked-encryption)."""
    padded = _padded(message)
    return _HEADER + padded + _TAG * (padded // _CHUNK + 1)


def seal_message(keys: SegmentKeys, place: Place, message: Message, room: memoryview | None = None) -> SealedMessage:
    """Ciphertext and record entry of one message. `room`: where the ciphertext goes, of `sealed_size(message)` bytes.

    A room that is used again costs nothing; fresh memory, page by page, costs more than encrypting what goes there.
    """
    ciphertext = memoryview(bytearray(sealed_size(message))) if room is None else room
    length = len(message.data)
    encryptor, at = Cobblestone256Encryptor(keys.encryption, place.context()), 0
    for part in (length.to_bytes(4, "big"), message.data, bytes(_padded(message) - 4 - length)):
        at += encryptor.update_into(part, ciphertext[at:])
    ciphertext[at:] = encryptor.finalize()
    return SealedMessage(
        ciphertext,
        {
            "about": message.about,
            "commitment": commitment(salt_of(keys.salting, place), message.data).hex(),
            "epoch": message.epoch,
            "hash": domains.sha256(domains.CIPHERTEXT, ciphertext).hex(),
            "kind": message.kind.word,
            "length": len(ciphertext),
            "track": message.track,
        },
    )


def is_media(entry: Record) -> bool:
    """Whether a message's bytes go into a track's file."""
    return entry["kind"] in (Kind.INIT.word, Kind.MEDIA.word)


def place_of(start_hash: bytes, record: Record, entry: Record) -> Place:
    """The place that a record gives one of its messages."""
    return Place(start_hash, record["i"], record["t"], Kind[entry["kind"].upper()], entry["track"], entry["epoch"])


def open_message(keys: SegmentKeys, place: Place, entry: Record, ciphertext: bytes | memoryview) -> bytes:
    """The clear bytes. Raises CiphertextInvalid unless they decrypt and agree with the commitment."""
    room = bytearray(len(ciphertext))
    data = bytes(memoryview(room)[: decrypt_into(room, 0, keys, place, ciphertext)])
    if commitment(salt_of(keys.salting, place), data).hex() != entry["commitment"]:
        raise CiphertextInvalid(
            f"message of tick {place.tick} is not what was committed to", code="commitment-mismatch"
        )
    return data


def decrypt_into(room: bytearray, at: int, keys: SegmentKeys, place: Place, ciphertext: bytes | memoryview) -> int:
    """Writes the clear bytes into `room` from `at`, which needs as much of it as the ciphertext has; their number.

    Bound to key and place by the cipher, and not held against the commitment: for who has held the ciphertext
    against the signed record. What lies in `room` behind the clear bytes is left over. Raises CiphertextInvalid.
    """
    invalid = CiphertextInvalid(f"message of tick {place.tick} does not open", code="message-invalid")
    view = memoryview(room)[at:]
    decryptor = Cobblestone256Decryptor(keys.encryption, place.context())
    try:
        size = decryptor.update_into(ciphertext, view)
        last = decryptor.finalize()
    except (InvalidTag, ValueError) as error:
        raise invalid from error
    view[size : size + len(last)] = last
    size += len(last)
    length = int.from_bytes(view[:4], "big")
    if size < 4 + length or any(view[4 + length : size]):
        raise CiphertextInvalid(f"message of tick {place.tick} is padded wrongly", code="message-invalid")
    view[:length] = view[4 : 4 + length]
    return length


def tick_record(
    segment: int, tick: int, monotonic_ns: int, utc_ns: int, sealed: list[SealedMessage], events: list[Record]
) -> Record:
    """The record of tick t: what is chained and signed. Nanoseconds are strings (canonical.py)."""
    return {
        "events": events,
        "i": segment,
        "messages": [message.entry for message in sealed],
        "monotonic": str(monotonic_ns),
        "t": tick,
        "utc": str(utc_ns),
    }


_ENTRY_TYPES: dict[str, type] = {
    "about": dict,
    "commitment": str,
    "epoch": int,
    "hash": str,
    "kind": str,
    "length": int,
    "track": int,
}


def check_record(record: Record) -> None:
    """Raises ChainBroken unless the record has exactly the members of docs/formats/tick.md, of the right types."""

    def refuse(what: Any) -> ChainBroken:
        return ChainBroken(f"tick record: {what}", code="record-form")

    if set(record) != {"events", "i", "messages", "monotonic", "t", "utc"}:
        raise refuse("members")
    if not all(type(record[name]) is int and record[name] >= 0 for name in ("i", "t")):
        raise refuse("i or t")
    if not all(isinstance(record[name], str) and record[name].isdecimal() for name in ("monotonic", "utc")):
        raise refuse("times")
    events, messages = record["events"], record["messages"]
    if not isinstance(events, list) or not all(isinstance(event, dict) and "type" in event for event in events):
        raise refuse("events")
    if not isinstance(messages, list):
        raise refuse("messages")
    for entry in messages:
        if not isinstance(entry, dict) or set(entry) != set(_ENTRY_TYPES):
            raise refuse("message members")
        if not all(type(entry[name]) is kind for name, kind in _ENTRY_TYPES.items()):
            raise refuse("message types")
        if entry["kind"].upper() not in Kind.__members__ or entry["length"] < 0:
            raise refuse("message kind or length")
