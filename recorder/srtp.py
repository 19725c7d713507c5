"""SRTP (RFC 3711, 7714) by libsrtp, on packets where they lie: nothing is copied to be opened or closed.

pylibsrtp's own calls copy each packet in and out; its binding, which it is pinned for, takes an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pylibsrtp import _binding

from recorder.datagrams import LARGEST, SLOT, Slots
from recorder.outgoing import Burst, Outgoing, Run

_FFI: Any = _binding.ffi
PROTECT: Any = _binding.lib.srtp_protect
PROTECT_RTCP: Any = _binding.lib.srtp_protect_rtcp
UNPROTECT: Any = _binding.lib.srtp_unprotect
UNPROTECT_RTCP: Any = _binding.lib.srtp_unprotect_rtcp
TAGS = {b"SRTP_AEAD_AES_256_GCM": 16, b"SRTP_AEAD_AES_128_GCM": 16, b"SRTP_AES128_CM_SHA1_80": 10}
"""Octets that protecting an RTP packet adds (RFC 7714, section 12; RFC 3711, section 5.2)."""


class Cipher:
    """One SRTP session of pylibsrtp, opening and closing packets where they lie."""

    def __init__(self, session: Any, profile: bytes) -> None:
        """`profile`: what DTLS agreed upon, in OpenSSL's words. Raises KeyError for what `TAGS` does not know."""
        self._session = session  # owns the keys; freed with it
        self.tag = TAGS[profile]
        self.srtp = session._srtp[0]
        self.length = _FFI.new("int *")
        self._one = _FFI.new("char[]", SLOT)
        self._one_octets = _FFI.buffer(self._one)
        self._pointers: tuple[Slots, list[Any]] | None = None
        self._outgoing: tuple[Outgoing, Any] | None = None

    def pointers(self, slots: Slots) -> list[Any]:
        """Where these slots' packets lie, as libsrtp takes it."""
        if self._pointers is None or self._pointers[0] is not slots:
            self._pointers = slots, [_FFI.cast("char *", address) for address in slots.addresses]
        return self._pointers[1]

    def run(self, function: Any, pointer: Any, size: int) -> int:
        """The packet there protected or unprotected: its new size; 0 when it is forged or replayed."""
        self.length[0] = size
        return 0 if function(self.srtp, pointer, self.length) else int(self.length[0])

    def once(self, function: Any, packet: bytes) -> bytes | None:
        """The same with one packet from elsewhere; None also when it is too large."""
        size = len(packet)
        if size > LARGEST:
            return None
        self._one_octets[0:size] = packet
        size = self.run(function, self._one, size)
        return bytes(self._one_octets[0:size]) if size else None

    def close(self, outgoing: Outgoing, burst: Burst, headers: Sequence[bytes]) -> list[Run]:
        """The burst's packets under these headers, protected in `outgoing`: what can leave.

        One that SRTP will not send twice is left out.
        """
        layout, length, srtp, base, tag = burst.layout(self.tag), self.length, self.srtp, self._base(outgoing), self.tag
        parts = layout.parts
        parts[::3] = headers
        outgoing.octets[0 : layout.octets] = b"".join(parts)
        refused = set[int]()
        for at, size in layout.places:
            length[0] = size
            if PROTECT(srtp, base + at, length) or length[0] != size + tag:
                refused.add(at)
        if refused:
            return [Run(at, at + size + tag, size + tag, 1) for at, size in layout.places if at not in refused]
        return layout.runs

    def _base(self, outgoing: Outgoing) -> Any:
        if self._outgoing is None or self._outgoing[0] is not outgoing:
            self._outgoing = outgoing, _FFI.cast("char *", outgoing.address)
        return self._outgoing[1]
