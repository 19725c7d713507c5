"""SRTP (RFC 3711, 7714) by libsrtp, on packets where they lie: nothing is copied to be opened or closed.

pylibsrtp's own calls copy each packet in and out; its binding, which it is pinned for, takes an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pylibsrtp import _binding

from recorder.datagrams import LARGEST, SLOT, Outgoing, Slots

_FFI: Any = _binding.ffi
PROTECT: Any = _binding.lib.srtp_protect
PROTECT_RTCP: Any = _binding.lib.srtp_protect_rtcp
UNPROTECT: Any = _binding.lib.srtp_unprotect
UNPROTECT_RTCP: Any = _binding.lib.srtp_unprotect_rtcp


class Cipher:
    """One SRTP session of pylibsrtp, opening and closing packets where they lie."""

    def __init__(self, session: Any) -> None:
        self._session = session  # owns the keys; freed with it
        self.srtp = session._srtp[0]
        self.length = _FFI.new("int *")
        self._one = _FFI.new("char[]", SLOT)
        self._one_octets = _FFI.buffer(self._one)
        self._pointers: tuple[Slots, list[Any]] | None = None

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

    def close_all(self, outgoing: Outgoing, packets: Sequence[tuple[bytes, bytes]]) -> list[int]:
        """Header and payload of each, at most 64, laid one behind the other and protected there: their sizes.

        One that is too large, or that SRTP will not send twice, is left out.
        """
        octets, srtp, length, base = outgoing.octets, self.srtp, self.length, _FFI.cast("char *", outgoing.address)
        sizes: list[int] = []
        at = 0
        for header, payload in packets:
            size = 12 + len(payload)
            if size > LARGEST:
                continue
            octets[at : at + 12] = header
            octets[at + 12 : at + size] = payload
            length[0] = size
            if not PROTECT(srtp, base + at, length):
                size = length[0]
                sizes.append(size)
                at += size
        return sizes
