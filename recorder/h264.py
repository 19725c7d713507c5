"""H.264 over RTP (RFC 6184), packetization modes 0 and 1: single NAL units, STAP-A, FU-A.

SEI messages stay where they were: they may carry a camera's own signature.
"""

from __future__ import annotations

import struct

from .depacketise import MAX_UNIT, Assembler

NAL_SLICE_IDR = 5
NAL_SPS = 7
NAL_PPS = 8
_NAL_AUD = 9
_STAP_A = 24
_FU_A = 28


def begins_key_frame(payload: bytes) -> bool:
    """Whether a payload holds the start of a sequence parameter set or an IDR slice."""
    if len(payload) < 2:
        return False
    unit = payload[0] & 0x1F
    if unit == _FU_A:
        return bool(payload[1] & 0x80) and payload[1] & 0x1F in (NAL_SLICE_IDR, NAL_SPS)
    if unit == _STAP_A:
        at = 1
        while at + 3 <= len(payload):
            if payload[at + 2] & 0x1F in (NAL_SLICE_IDR, NAL_SPS):
                return True
            at += 2 + ((payload[at] << 8) | payload[at + 1])
        return False
    return unit in (NAL_SLICE_IDR, NAL_SPS)


class H264Depacketiser(Assembler):
    """Builds access units of NAL units.

    NAL units that come before any slice belong to the picture after them (H.264, 7.4.1.2.3), so a marker on a packet
    of parameter sets alone ends nothing. A NAL unit whose first fragment was lost gets its header back from the FU
    indicator and header; one with a hole holds what came before and after it. Both are in a unit marked incomplete.
    """

    __slots__ = ("_fragment_at", "_fragment_type", "_uses_aud")

    def __init__(self, max_unit: int = MAX_UNIT) -> None:
        self._uses_aud = False
        super().__init__(max_unit)

    def _reset(self) -> None:
        super()._reset()
        self._fragment_at = -1
        self._fragment_type = 0

    def _surely_first(self, payload: bytes) -> bool:
        """After a hole: does this packet prove that nothing of its unit came before it?"""
        kind = payload[0] & 0x1F
        if kind == _STAP_A and len(payload) > 3:
            kind = payload[3] & 0x1F
        return kind == _NAL_AUD or (kind == NAL_SPS and not self._uses_aud)

    def _append(self, payload: bytes) -> bool:
        kind = payload[0] & 0x1F
        if kind == _FU_A:
            return self._append_fragment(payload)
        self._close()
        if 1 <= kind <= 23:
            self._append_nal(payload)
            return True
        if kind == _STAP_A:
            return self._append_aggregate(payload)
        return False

    def _append_nal(self, nal: bytes) -> None:
        self._data += struct.pack(">I", len(nal))
        self._data += nal
        self._see(nal[0], nal)
        # F = 1: a gateway on the way says that bits of this one are damaged (RFC 6184, 5.3).
        if nal[0] & 0x80:
            self._complete = False

    def _see(self, header: int, nal: bytes | None) -> None:
        kind = header & 0x1F
        if kind <= NAL_SLICE_IDR:
            self._picture = True
            self._key = self._key or kind == NAL_SLICE_IDR
        elif kind == _NAL_AUD:
            self._uses_aud = True
        elif nal is not None and kind in (NAL_SPS, NAL_PPS):
            self._sets.append(nal)

    def _append_aggregate(self, payload: bytes) -> bool:
        nals = []
        position = 1
        while position < len(payload):
            if position + 2 > len(payload):
                return False
            size = (payload[position] << 8) | payload[position + 1]
            position += 2
            nal = payload[position : position + size]
            position += size
            if not size or len(nal) < size or not 1 <= nal[0] & 0x1F <= 23:
                return False
            nals.append(nal)
        for nal in nals:
            self._append_nal(nal)
        return bool(nals)

    def _append_fragment(self, payload: bytes) -> bool:
        if len(payload) < 2:
            return False
        indicator, fu = payload[0], payload[1]
        kind, start, end = fu & 0x1F, fu & 0x80, fu & 0x40
        if not 1 <= kind <= 23 or (start and end):
            return False
        if start or self._fragment_at < 0 or kind != self._fragment_type:
            self._close()
            if not start:
                self._complete = False
            self._fragment_at = len(self._data)
            self._fragment_type = kind
            header = (indicator & 0xE0) | kind
            self._data += b"\0\0\0\0"
            self._data.append(header)
            self._see(header, None)
            if header & 0x80:
                self._complete = False
        self._data += memoryview(payload)[2:]
        if end:
            self._end_fragment()
        return True

    def _end_fragment(self) -> None:
        at = self._fragment_at
        struct.pack_into(">I", self._data, at, len(self._data) - at - 4)
        if self._fragment_type in (NAL_SPS, NAL_PPS):
            self._sets.append(bytes(self._data[at + 4 :]))
        self._fragment_at = -1

    def _close(self) -> None:
        if self._fragment_at >= 0:
            self._complete = False
            self._end_fragment()
