"""Reads numbers of any width out of a stream's headers."""

from __future__ import annotations

from evidence_store.errors import InvalidInput


class Bits:
    """Big-endian bits of `data` from its first. Raises InvalidInput `bad-parameter-set` past its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, count: int) -> int:
        """An unsigned number of so many bits."""
        if count > self._left:
            raise InvalidInput("parameter set ends too early", code="bad-parameter-set")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (ITU-T H.264, 9.1); AV1's uvlc is the same."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 31:
                raise InvalidInput("parameter set has a number over 32 bits", code="bad-parameter-set")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed one (9.1.1)."""
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def rbsp(nal: bytes, header: int) -> bytes:
    """A NAL unit's payload after its header octets, without emulation prevention (ITU-T H.264, 7.4.1)."""
    return nal[header:].replace(b"\0\0\3", b"\0\0")
