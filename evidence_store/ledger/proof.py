"""One entry's proof as a file that needs nothing else of ours: C2SP tlog-proof, version 1. Pure.

For our entries the extra data is the 32-byte nonce, without which the leaf cannot be made from the body. The
format leaves it unauthenticated; here a wrong nonce makes another leaf, and the proof fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from evidence_store import domains
from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.ledger import merkle
from evidence_store.ledger.checkpoint import (
    MAX_NOTE,
    MAX_TREE_SIZE,
    Checkpoint,
    NoteVerifier,
    from_base64,
    to_base64,
)

NONCE_SIZE: Final = 32
HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_EXTRA: Final = 64 * 1024


def leaf_data(nonce: bytes, body: bytes) -> bytes:
    """What the ledger's leaf is made of: SHA-256(domain ‖ 00 ‖ nonce ‖ body), 32 bytes.

    The nonce (32 random bytes) makes it say nothing about a body that has been erased.
    """
    if len(nonce) != NONCE_SIZE:
        raise InvalidInput("a nonce has 32 bytes", code="nonce-form")
    return domains.sha256(domains.LEDGER_BODY, nonce, body)


@dataclass(frozen=True, slots=True)
class Proof:
    """Entry `index`, the hashes from its sibling up, and a signed checkpoint, byte for byte as it was signed."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def write(self) -> bytes:
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines.extend(to_base64(value) for value in self.hashes)
        return ("\n".join(lines) + "\n\n").encode("ascii") + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Raises InvalidInput `proof-form`. Nothing is verified yet."""
        head, separator, checkpoint = data.partition(b"\n\n")
        if not separator or len(head) > 2 * MAX_EXTRA or len(checkpoint) > MAX_NOTE or not head.isascii():
            raise _form("a proof is a head, a blank line and a checkpoint")
        lines = head.decode("ascii").split("\n")
        if lines.pop(0) != HEADER:
            raise _form("not a tlog-proof of version 1")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "))
            if extra is None or len(extra) > MAX_EXTRA:
                raise _form("extra data is base64")
        match = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines.pop(0)) if lines else None
        if match is None or int(match[1]) > MAX_TREE_SIZE:
            raise _form("a proof names its index")
        hashes = [from_base64(line) for line in lines]
        if len(hashes) > merkle.MAX_PROOF or any(h is None or len(h) != merkle.HASH_SIZE for h in hashes):
            raise _form("a proof's hashes are 32 bytes in base64")
        return cls(int(match[1]), tuple(h for h in hashes if h is not None), checkpoint, extra)

    def verify(self, data: bytes, key: NoteVerifier) -> Checkpoint:
        """Checks offline that `data` is the leaf at this index of the log that signs with `key`.

        1. The checkpoint is of that log, and signed by it. 2. The hashes lead from the leaf to its root.
        Returns the checkpoint. Raises InvalidInput, SignatureInvalid, ChainBroken `inclusion-proof`.
        """
        checkpoint = Checkpoint.open(self.checkpoint, key)
        merkle.verify_inclusion(merkle.leaf_hash(data), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint

    def verify_body(self, body: bytes, key: NoteVerifier) -> Checkpoint:
        """As `verify`, for an entry's body, with the nonce from the extra data."""
        if self.extra is None or len(self.extra) != NONCE_SIZE:
            raise ChainBroken("the proof brings no nonce", code="inclusion-proof")
        return self.verify(leaf_data(self.extra, body), key)


def _form(message: str) -> InvalidInput:
    return InvalidInput(message, code="proof-form")
