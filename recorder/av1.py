"""AV1 over RTP (Alliance for Open Media, "RTP Payload Format For AV1", version 1.0).

OBUs are kept as they were sent, in their order, each with its size, which a file needs and the payload format leaves
out: AV1's ISOBMFF binding, 2.4.
"""

from __future__ import annotations

from .depacketise import MAX_UNIT, Assembler

_Z, _Y, _N = 0x80, 0x40, 0x08
_FORBIDDEN, _EXTENSION, _HAS_SIZE = 0x80, 0x04, 0x02
OBU_SEQUENCE = 1
_OBU_DELIMITER, _OBU_HEADER, _OBU_FRAME = 2, 3, 6
_PADDING = 15 << 3 | _HAS_SIZE


def read_leb128(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """Give (value, position after it) of a number of at most 32 bits; (0, 0) when there is none."""
    value = 0
    for number in range(5):
        if at + number >= len(data):
            return 0, 0
        octet = data[at + number]
        value |= (octet & 0x7F) << (7 * number)
        if octet < 0x80:
            return (value, at + number + 1) if value < 1 << 32 else (0, 0)
    return 0, 0


def leb128(value: int) -> bytes:
    """The shortest form of a number."""
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def elements(payload: bytes) -> list[memoryview] | None:
    """The OBU elements of a payload (4.3, 4.4); None when they do not fit."""
    count, at = payload[0] >> 4 & 3, 1
    found: list[memoryview] = []
    view = memoryview(payload)
    while at < len(payload):
        if count and len(found) == count - 1:
            found.append(view[at:])
            break
        size, at = read_leb128(payload, at)
        if not at or size > len(payload) - at:
            return None
        found.append(view[at : at + size])
        at += size
    return found if found and (not count or len(found) == count) else None


def begins_key_frame(payload: bytes) -> bool:
    """Whether a payload is the first of a coded video sequence (N), which begins with a key frame."""
    return bool(payload) and payload[0] & (_N | _Z) == _N


class Av1Depacketiser(Assembler):
    """Builds temporal units.

    An OBU with a hole holds what came before and after it. One whose beginning was lost has no type: what came of it
    is kept inside an OBU of padding, which decoders pass over. Both are in a unit marked incomplete.
    """

    __slots__ = ("_obu_at",)

    def __init__(self, max_unit: int = MAX_UNIT) -> None:
        self._obu_at = -1
        super().__init__(max_unit)

    def _reset(self) -> None:
        super()._reset()
        self._obu_at = -1

    def _surely_first(self, payload: bytes) -> bool:
        if payload[0] & _Z:
            return False
        if payload[0] & _N:
            return True
        found = elements(payload)
        return bool(found and found[0] and found[0][0] >> 3 & 15 == _OBU_DELIMITER)

    def _append(self, payload: bytes) -> bool:
        found = elements(payload)
        if found is None or payload[0] & (_Z | _N) == _Z | _N:
            return False
        for number, element in enumerate(found):
            if number or not payload[0] & _Z:
                self._close()
                self._obu_at = len(self._data)
            elif self._obu_at < 0:
                self._complete = False
                self._obu_at = len(self._data)
                self._data.append(_PADDING & ~_HAS_SIZE)
            self._data += element
            if number + 1 < len(found) or not payload[0] & _Y:
                self._end()
        self._picture = True
        return True

    def _close(self) -> None:
        if self._obu_at >= 0:
            self._complete = False
            self._end()

    def _end(self) -> None:
        """Give the OBU that ends here its size, and see what it is."""
        data, at, self._obu_at = self._data, self._obu_at, -1
        if at == len(data):
            return
        header = data[at]
        body = at + (2 if header & _EXTENSION else 1)
        if header & _HAS_SIZE:
            size, after = read_leb128(data, body)
            if not after or size != len(data) - after:
                self._wrap(at)
                return
            body = after
        elif body > len(data):
            self._wrap(at)
            return
        else:
            told = leb128(len(data) - body)
            data[body:body] = told
            data[at] |= _HAS_SIZE
            body += len(told)
        if header & _FORBIDDEN:
            self._complete = False
        self._see(at, body)

    def _wrap(self, at: int) -> None:
        self._complete = False
        self._data[at:at] = bytes((_PADDING,)) + leb128(len(self._data) - at)

    def _see(self, at: int, body: int) -> None:
        kind = self._data[at] >> 3 & 15
        if kind == OBU_SEQUENCE:
            self._sets.append(bytes(self._data[at:]))
        elif kind in (_OBU_HEADER, _OBU_FRAME):
            # show_existing_frame 0, frame_type 0, show_frame 1 (AV1 specification, 5.9.2); a decoder begins at such a
            # frame where the sequence header is with it.
            first = self._data[body : body + 1]
            self._key = self._key or bool(self._sets and first and first[0] & 0xF0 == 0x10)
