"""Signed notes and checkpoints: C2SP signed-note and tlog-checkpoint, with Ed25519 keys. Pure.

Parsing is strict, and writing gives back the bytes that were parsed. A note may carry signatures of keys unknown
here (a witness's, a key of before a rollover): they are kept, and ignored.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from evidence_store.errors import InvalidInput, SignatureInvalid
from evidence_store.ledger.merkle import HASH_SIZE

ED25519: Final = 0x01
"""signed-note's type byte for Ed25519 over the note's text."""
MAX_NOTE: Final = 512 * 1024
MAX_SIGNATURES: Final = 64
MAX_TREE_SIZE: Final = 2**63 - 1
_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: whose, the key's four-byte id, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text ending in a newline, and the signatures over it."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Raises InvalidInput `note-form`. No signature is checked yet."""
        if len(data) > MAX_NOTE:
            raise _form("a note is too large")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _form("a note is UTF-8") from error
        if any(c < " " and c != "\n" for c in whole):
            raise _form("a note holds no control characters")
        # The blank line belongs to neither: the text keeps its own last newline.
        text, separator, tail = whole.rpartition("\n\n")
        if not separator or not tail.endswith("\n"):
            raise _form("a note ends in a blank line and its signatures")
        lines = tail[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise _form("a note has too many signatures")
        return cls(text + "\n", tuple(_parse_signature(line) for line in lines))

    def write(self) -> bytes:
        return (self.text + "\n" + "".join(s.line() for s in self.signatures)).encode("utf-8")

    def with_signature(self, signature: NoteSignature) -> Note:
        """The same note with one more signature at the end, such as a witness's."""
        return replace(self, signatures=(*self.signatures, signature))

    def verify(self, keys: Iterable[NoteVerifier]) -> None:
        """Checks every signature by one of these keys. Raises SignatureInvalid when one is wrong or none is there."""
        known = {(key.name, key.key_id): key for key in keys}
        verified = 0
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None:
                key.check(self.text.encode("utf-8"), signature.signature)
                verified += 1
        if not verified:
            raise SignatureInvalid("the note is signed by no key that is trusted here", code="note-unsigned")


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A name and an Ed25519 public key (32 bytes) that are trusted together."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public_key) != 32:
            raise InvalidInput("an Ed25519 public key has 32 bytes", code="key-form")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0A ‖ 01 ‖ public key)[:4]."""
        return key_id(self.name, ED25519, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> NoteVerifier:
        """A verifier key as text: name+id+base64(01 ‖ public key). Raises InvalidInput `key-form`."""
        return cls(*parse_verifier_key(vkey, ED25519))

    def __str__(self) -> str:
        return verifier_key(self.name, ED25519, self.public_key)

    def check(self, message: bytes, signature: bytes) -> None:
        """Raises SignatureInvalid `note-signature`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature as error:
            raise SignatureInvalid("a signature of a trusted key is wrong", code="note-signature") from error


class NoteSigner:
    """A name and the Ed25519 private key that signs under it."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = NoteVerifier(name, key.public_key().public_bytes_raw())
        self._id = self.verifier.key_id

    def sign(self, text: str) -> NoteSignature:
        return NoteSignature(self.verifier.name, self._id, self._key.sign(text.encode("utf-8")))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: origin, number of leaves, root (32 bytes), and lines that others may have added."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        return "".join(f"{line}\n" for line in (self.origin, self.size, to_base64(self.root), *self.extensions))

    def signed(self, signer: NoteSigner) -> Note:
        text = self.text()
        return Note(text, (signer.sign(text),))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads a note's text. Raises InvalidInput `checkpoint-form`."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise InvalidInput("a checkpoint has at least three lines, none of them empty", code="checkpoint-form")
        origin, size, root, *extensions = lines
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or int(size) > MAX_TREE_SIZE:
            raise InvalidInput("a checkpoint's size is a decimal number", code="checkpoint-form")
        hashed = from_base64(root)
        if hashed is None or len(hashed) != HASH_SIZE:
            raise InvalidInput("a checkpoint's root is 32 bytes in base64", code="checkpoint-form")
        return cls(origin, int(size), hashed, tuple(extensions))

    @classmethod
    def open(cls, note: bytes, key: NoteVerifier) -> Checkpoint:
        """Parses and verifies a signed checkpoint of the log that signs with `key`.

        The origin must be the key's name: another log's head is refused, however well signed. Raises InvalidInput,
        SignatureInvalid.
        """
        parsed = Note.parse(note)
        parsed.verify([key])
        checkpoint = cls.parse(parsed.text)
        if checkpoint.origin != key.name:
            raise SignatureInvalid("the checkpoint is of another log", code="checkpoint-origin")
        return checkpoint


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """Four bytes by which a signature line names its key: SHA-256(name ‖ 0A ‖ kind ‖ public key)[:4]."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:4]


def verifier_key(name: str, kind: int, public_key: bytes) -> str:
    """signed-note's text form of a key that verifies: name+id+base64(kind ‖ public key)."""
    return f"{name}+{key_id(name, kind, public_key).hex()}+{to_base64(bytes([kind]) + public_key)}"


def parse_verifier_key(text: str, kind: int) -> tuple[str, bytes]:
    """Name and 32-byte Ed25519 key of a verifier key of this kind. Raises InvalidInput `key-form`."""
    # Base64 may hold a plus sign too: only the first two divide.
    name, _, rest = text.partition("+")
    named, _, encoded = rest.partition("+")
    key = from_base64(encoded)
    if key is None or len(key) != 33 or key[0] != kind:
        raise InvalidInput("not an Ed25519 verifier key of this kind", code="key-form")
    if key_id(name, kind, key[1:]).hex() != named:
        raise InvalidInput("the verifier key's id is not its own", code="key-form")
    return name, key[1:]


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith(_DASH):
        raise _form("a signature line begins with a dash")
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    signature = from_base64(encoded)
    if not separator or signature is None or len(signature) < 5:
        raise _form("a signature line has a name and base64")
    _check_name(name)
    return NoteSignature(name, signature[:4], signature[4:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise InvalidInput("a key name holds neither spaces nor a plus sign", code="note-form")


def _form(message: str) -> InvalidInput:
    return InvalidInput(message, code="note-form")


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes | None:
    """RFC 4648 section 4, in its one canonical form; None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if to_base64(data) == text else None
