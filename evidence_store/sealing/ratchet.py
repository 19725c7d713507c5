"""One key a segment, each forgotten when it has served (docs/formats/tick.md#keys).

    Kᵢ ‖ Zᵢ ‖ Rᵢ₊₁ = HKDF-SHA-256(Rᵢ, info = domain ‖ D ‖ i, 96 bytes)

Who holds Rᵢ can open segment i and all after it, none before. The recorder's copy lives in buffers that are
overwritten, as far as Python can promise it: derivation writes straight into them, and nothing copies them.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from evidence_store import domains

KEY_SIZE = 32


def wipe(secret: bytearray) -> None:
    """Overwrites in place."""
    secret[:] = bytes(len(secret))


class SegmentKeys:
    """Kᵢ, which encrypts the messages of segment i, and Zᵢ, which salts their commitments."""

    __slots__ = ("_buffer", "index")

    def __init__(self, index: int, buffer: bytearray) -> None:
        self.index = index
        self._buffer = buffer

    @property
    def encryption(self) -> memoryview:
        return memoryview(self._buffer)[:KEY_SIZE]

    @property
    def salting(self) -> memoryview:
        return memoryview(self._buffer)[KEY_SIZE : 2 * KEY_SIZE]

    def forget(self) -> None:
        """At the segment's end."""
        wipe(self._buffer)


class Ratchet:
    """Walks from R₀ forward. Takes the buffer over: the caller's R₀ is wiped by the first step."""

    __slots__ = ("_secret", "_start", "index")

    def __init__(self, start_hash: bytes, secret: bytearray, index: int = 0) -> None:
        """`start_hash`: D, 32 bytes. `secret`: Rᵢ, 32 bytes, of segment `index`."""
        self._start = start_hash
        self._secret = secret
        self.index = index

    def next_segment(self) -> SegmentKeys:
        """Keys of the next segment; Rᵢ is overwritten by Rᵢ₊₁ before this returns."""
        derived = self._derive()
        self._secret[:] = memoryview(derived)[2 * KEY_SIZE :]
        keys = SegmentKeys(self.index, derived[: 2 * KEY_SIZE])
        wipe(derived)
        self.index += 1
        return keys

    def keys_of(self, index: int) -> SegmentKeys:
        """Walks forward to segment `index` and stays there (for the store, which starts from R₀ and is asked for each
        of a segment's tracks). Never backward: ValueError."""
        if index < self.index:
            raise ValueError("the ratchet does not turn back")
        while self.index < index:
            self.next_segment().forget()
        derived = self._derive()
        keys = SegmentKeys(index, derived[: 2 * KEY_SIZE])
        wipe(derived)
        return keys

    def _derive(self) -> bytearray:
        """Kᵢ ‖ Zᵢ ‖ Rᵢ₊₁, for the caller to wipe."""
        derived = bytearray(3 * KEY_SIZE)
        info = domains.prefix(domains.RATCHET) + self._start + self.index.to_bytes(8, "big")
        HKDF(hashes.SHA256(), len(derived), salt=None, info=info).derive_into(self._secret, derived)
        return derived

    def forget(self) -> None:
        """At the take's end."""
        wipe(self._secret)
