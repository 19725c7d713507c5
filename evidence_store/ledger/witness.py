"""The rule of a witness, and the one request that it answers: C2SP tlog-witness, `add-checkpoint`. Pure.

A witness remembers the largest head of a log that it ever cosigned. It cosigns another one only if that continues
the one it remembers: whoever rewrites the log, or turns it back, finds nobody to say that it is the same. Remembering
(before the cosignature goes out) is `witness_memory`'s work, HTTP that of whoever serves it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NotFound
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import (
    MAX_TREE_SIZE,
    Checkpoint,
    Note,
    NoteVerifier,
    from_base64,
    to_base64,
)

MAX_REQUEST: Final = 64 * 1024
MAX_PROOF_LINES: Final = 63
SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of a 409's body: the size that the witness holds, in decimal, and a newline."""


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """The body of a request. `old`: the size that the asker believes the witness to hold; `proof`: hashes from there
    to the checkpoint (RFC 6962, 2.1.2); `note`: the signed checkpoint, byte for byte."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def write(self) -> bytes:
        lines = "".join(f"{to_base64(value)}\n" for value in self.proof)
        return f"old {self.old}\n{lines}\n".encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> AddCheckpoint:
        """Raises InvalidInput `witness-request`. The note is not read yet."""
        head, separator, note = data.partition(b"\n\n")
        if not separator or len(data) > MAX_REQUEST or not head.isascii():
            raise _form("a request is a head, an empty line and a checkpoint")
        first, *lines = head.decode("ascii").split("\n")
        match = re.fullmatch(r"old (0|[1-9][0-9]{0,18})", first)
        if match is None or int(match[1]) > MAX_TREE_SIZE:
            raise _form("a request begins with the old size")
        if len(lines) > MAX_PROOF_LINES:
            raise _form("a consistency proof has at most 63 hashes")
        hashes = [from_base64(line) for line in lines]
        if any(value is None or len(value) != merkle.HASH_SIZE for value in hashes):
            raise _form("a proof's hashes are 32 bytes in base64")
        return cls(int(match[1]), tuple(value for value in hashes if value is not None), note)


@dataclass(frozen=True, slots=True)
class Held:
    """What a witness knows of one log: its key, and size and root of the largest head that it cosigned (none: the
    empty tree)."""

    key: NoteVerifier
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT


class OtherSize(Conflict):
    """The asker takes the witness for holding another size than it does. `held`: what it holds."""

    code = "witness-size"

    def __init__(self, held: int) -> None:
        super().__init__("the witness holds another size than the old size of the request")
        self.held = held


def origin_of(note: bytes) -> str:
    """The first line of a note's text: of which log it claims to be. Raises InvalidInput."""
    return Checkpoint.parse(Note.parse(note).text).origin


def judge(held: Held | None, request: AddCheckpoint) -> Checkpoint:
    """The checkpoint that may be cosigned, once it is remembered. `held`: None for a log that is not known here.

    In the order of tlog-witness. Raises, and then nothing may be remembered or cosigned:
    InvalidInput (400): `note-form`, `checkpoint-form`; `witness-old-size` for an old size beyond the checkpoint's.
    NotFound `witness-log` (404): nobody has told this witness of that log. SignatureInvalid (403): not signed by it.
    OtherSize `witness-size` (409): the witness holds another size than `old`. Conflict `witness-root` (409): the size
    that it holds, with another root: the log has signed two histories. ChainBroken `consistency-proof` (422).
    """
    origin = origin_of(request.note)
    if held is None or held.key.name != origin:
        raise NotFound("this witness does not know that log", code="witness-log")
    checkpoint = Checkpoint.open(request.note, held.key)
    if request.old > checkpoint.size:
        raise InvalidInput("the old size is beyond the checkpoint's", code="witness-old-size")
    if request.old != held.size:
        raise OtherSize(held.size)
    if checkpoint.size == held.size:
        if checkpoint.root != held.root:
            raise Conflict("the log has signed another tree of the size that is held", code="witness-root")
        if request.proof:
            raise ChainBroken("between equal trees there is nothing to prove", code="consistency-proof")
        return checkpoint
    merkle.verify_consistency(held.size, checkpoint.size, request.proof, held.root, checkpoint.root)
    return checkpoint


def _form(message: str) -> InvalidInput:
    return InvalidInput(message, code="witness-request")
