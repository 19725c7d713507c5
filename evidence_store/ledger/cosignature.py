"""A witness's word about a checkpoint: C2SP tlog-cosignature, version 1, with Ed25519. Pure.

A cosignature says: at this time, this head was the largest of this log that I had seen, and it continued everything
that I had seen before. Its line stands among a note's signatures, under type byte 04.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.ledger.checkpoint import (
    Note,
    NoteSignature,
    NoteVerifier,
    key_id,
    parse_verifier_key,
    verifier_key,
)

COSIGNATURE_V1: Final = 0x04
"""signed-note's type byte for a time-stamped Ed25519 cosignature."""
SIZE: Final = 8 + 64
"""Seconds since 1970, big-endian, and the signature."""


def signed_text(text: str, at: int) -> bytes:
    """What is signed: two lines that name form and time (seconds since 1970), and the whole text of the note."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class CosignatureVerifier:
    """Name and Ed25519 public key (32 bytes) of a witness. Raises InvalidInput for a form that is no key's."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        NoteVerifier(self.name, self.public_key)  # the same form is asked of every key

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0A ‖ 04 ‖ public key)[:4]."""
        return key_id(self.name, COSIGNATURE_V1, self.public_key)

    @classmethod
    def parse(cls, text: str) -> CosignatureVerifier:
        """A verifier key as text: name+id+base64(04 ‖ public key). Raises InvalidInput `key-form`."""
        return cls(*parse_verifier_key(text, COSIGNATURE_V1))

    def __str__(self) -> str:
        return verifier_key(self.name, COSIGNATURE_V1, self.public_key)

    def own(self, note: Note) -> list[NoteSignature]:
        """The lines of a note that name this key; not verified."""
        return [each for each in note.signatures if (each.name, each.key_id) == (self.name, self.key_id)]

    def time_of(self, note: Note) -> int | None:
        """When this witness last cosigned the note (seconds since 1970), or None where it did not.

        Raises SignatureInvalid `note-signature` where one of its lines is wrong: a note with a false signature under
        a known name is refused whole.
        """
        return max((self._verified(note.text, each.signature) for each in self.own(note)), default=None)

    def _verified(self, text: str, signature: bytes) -> int:
        wrong = SignatureInvalid("a witness's cosignature is wrong", code="note-signature")
        if len(signature) != SIZE:
            raise wrong
        (at,) = struct.unpack(">Q", signature[:8])
        if at >= 2**63:
            raise wrong
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature[8:], signed_text(text, at))
        except InvalidSignature as error:
            raise wrong from error
        return int(at)


class Cosigner:
    """The private half. What may be cosigned is decided elsewhere (`evidence_store.ledger.witness`)."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = CosignatureVerifier(name, key.public_key().public_bytes_raw())

    def cosign(self, text: str, at: int) -> NoteSignature:
        """`at`: seconds since 1970. Raises InvalidInput for a time that has no form."""
        if not 0 <= at < 2**63:
            raise InvalidInput("a cosignature's time is seconds since 1970", code="cosignature-time")
        signature = struct.pack(">Q", at) + self._key.sign(signed_text(text, at))
        return NoteSignature(self.verifier.name, self.verifier.key_id, signature)


def parse_verifier_keys(text: str) -> tuple[CosignatureVerifier, ...]:
    """A file of verifier keys: one a line; empty lines and lines that begin with # say nothing.

    Raises InvalidInput `key-form`.
    """
    lines = (line.strip() for line in text.splitlines())
    return tuple(CosignatureVerifier.parse(line) for line in lines if line and not line.startswith("#"))
