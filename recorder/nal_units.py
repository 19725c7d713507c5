"""What H.264 and H.265 have in common on the way from packets to access units: NAL units, whole, in a row, in parts."""

from __future__ import annotations

import struct

from .depacketise import MAX_UNIT, Assembler


class NalAssembler(Assembler):
    """Builds access units of NAL units, each behind a 4-byte big-endian length, in the order sent.

    NAL units that come before any slice belong to the picture after them (H.264, 7.4.1.2.3), so a marker on a packet
    of parameter sets alone ends nothing. A NAL unit whose first part was lost gets its header back from what each part
    repeats of it; one with a hole holds what came before and after it. Both are in a unit marked incomplete.

    A codec says which types are parameter sets (`_SETS`), which NAL units may stand in a row (`_fits`), and what is
    learnt from one (`_see`).
    """

    __slots__ = ("_fragment_at", "_fragment_type", "_uses_aud")

    _SETS: tuple[int, ...] = ()

    def __init__(self, max_unit: int = MAX_UNIT) -> None:
        self._uses_aud = False
        super().__init__(max_unit)

    def _reset(self) -> None:
        super()._reset()
        self._fragment_at = -1
        self._fragment_type = 0

    def _fits(self, nal: bytes) -> bool:
        """Whether it may be one of an aggregation packet's."""
        raise NotImplementedError

    def _see(self, header: int, nal: bytes | None) -> None:
        """Learns from the first octet; `nal` is there when it is whole."""
        raise NotImplementedError

    def _append_nal(self, nal: bytes) -> None:
        self._data += struct.pack(">I", len(nal))
        self._data += nal
        self._see(nal[0], nal)

    def _append_aggregate(self, payload: bytes, position: int) -> bool:
        """NAL units in a row from `position` on, each behind a 2-byte length; all of them, or none."""
        nals = []
        while position < len(payload):
            if position + 2 > len(payload):
                return False
            size = (payload[position] << 8) | payload[position + 1]
            position += 2
            nal = payload[position : position + size]
            position += size
            if len(nal) < size or not self._fits(nal):
                return False
            nals.append(nal)
        for nal in nals:
            self._append_nal(nal)
        return bool(nals)

    def _append_part(self, kind: int, start: int, end: int, header: bytes, part: memoryview) -> None:
        """One part of a NAL unit of this type; `start` and `end` say whether it is the first or the last."""
        if start or self._fragment_at < 0 or kind != self._fragment_type:
            self._close()
            if not start:
                self._complete = False
            self._fragment_at = len(self._data)
            self._fragment_type = kind
            self._data += b"\0\0\0\0"
            self._data += header
            self._see(header[0], None)
        self._data += part
        if end:
            self._end_fragment()

    def _end_fragment(self) -> None:
        at = self._fragment_at
        struct.pack_into(">I", self._data, at, len(self._data) - at - 4)
        if self._fragment_type in self._SETS:
            self._sets.append(bytes(self._data[at + 4 :]))
        self._fragment_at = -1

    def _close(self) -> None:
        if self._fragment_at >= 0:
            self._complete = False
            self._end_fragment()
