"""Every domain that a hash, a key derivation or a signature of Vidne starts with, spelled once.

A domain keeps a hash made for one purpose from being taken for another. All are ASCII and end, where they are
used, in one zero byte, so that none is a prefix of another.
"""

from __future__ import annotations

import hashlib
from typing import Final

# The take: docs/formats/journal.md
START: Final = "vidne/v1/start"
CLOSE: Final = "vidne/v1/close"
JOURNAL: Final = "vidne/v1/journal"
START_SIGNATURE: Final = "vidne/v1/start-signature"
CLOSE_SIGNATURE: Final = "vidne/v1/close-signature"
TICK_SIGNATURE: Final = "vidne/v1/tick-signature"
HEARTBEAT_SIGNATURE: Final = "vidne/v1/heartbeat-signature"
NOTE_SIGNATURE: Final = "vidne/v1/note-signature"
# The tick: docs/formats/tick.md
WRAP: Final = "vidne/v1/wrap"
RATCHET: Final = "vidne/v1/ratchet"
MESSAGE: Final = "vidne/v1/message"
SALT: Final = "vidne/v1/salt"
CIPHERTEXT: Final = "vidne/v1/ciphertext"
COMMITMENT: Final = "vidne/v1/commitment"
# The segment: docs/formats/segment.md
SEGMENT: Final = "vidne/v1/segment"
TAIL: Final = "vidne/v1/tail"
# Keys and the manifest: docs/formats/manifest.md
INTERVIEW_KEY_SIGNATURE: Final = "vidne/v1/interview-key-signature"
ESCROW: Final = "vidne/v1/escrow"
REVOCATION_SIGNATURE: Final = "vidne/v1/revocation-signature"
MANIFEST_SIGNATURE: Final = "vidne/v1/manifest-signature"
# The ledger: docs/formats/ledger.md
LEDGER_BODY: Final = "vidne/v1/ledger-body"


def prefix(domain: str) -> bytes:
    """The bytes that a domain puts before what it covers."""
    return domain.encode("ascii") + b"\x00"


def sha256(domain: str, *parts: bytes | bytearray | memoryview) -> bytes:
    """SHA-256 of domain ‖ 00 ‖ parts, 32 bytes. Parts are joined without lengths: give them fixed or own lengths."""
    digest = hashlib.sha256(prefix(domain))
    for part in parts:
        digest.update(part)
    return digest.digest()
