"""H.265 over RTP (RFC 7798): single NAL units, aggregation packets, fragmentation units; no decoding order numbers."""

from __future__ import annotations

import struct

from .depacketise import MAX_UNIT, Assembler

NAL_VPS, NAL_SPS, NAL_PPS = 32, 33, 34
_NAL_AUD = 35
_AP, _FU = 48, 49
_IRAP = range(16, 24)  # where a decoder can begin (ITU-T H.265, table 7-1)
_SETS = (NAL_VPS, NAL_SPS, NAL_PPS)


def kind_of(nal: bytes | bytearray) -> int:
    """nal_unit_type of a NAL unit's first octet (7.3.1.2)."""
    return nal[0] >> 1 & 0x3F


def begins_key_frame(payload: bytes) -> bool:
    """Whether a payload holds the start of a parameter set or of a picture that a decoder can begin at."""
    if len(payload) < 3:
        return False
    kind = kind_of(payload)
    if kind == _FU:
        return bool(payload[2] & 0x80) and _begins(payload[2] & 0x3F)
    if kind == _AP:
        at = 2
        while at + 3 <= len(payload):
            if _begins(payload[at + 2] >> 1 & 0x3F):
                return True
            at += 2 + ((payload[at] << 8) | payload[at + 1])
        return False
    return _begins(kind)


def _begins(kind: int) -> bool:
    return kind in _IRAP or kind in _SETS


class H265Depacketiser(Assembler):
    """Builds access units of NAL units; what holds of `H264Depacketiser` holds here."""

    __slots__ = ("_fragment_at", "_fragment_type", "_uses_aud")

    def __init__(self, max_unit: int = MAX_UNIT) -> None:
        self._uses_aud = False
        super().__init__(max_unit)

    def _reset(self) -> None:
        super()._reset()
        self._fragment_at = -1
        self._fragment_type = 0

    def _surely_first(self, payload: bytes) -> bool:
        if len(payload) < 2:
            return False
        kind = kind_of(payload)
        if kind == _AP and len(payload) > 4:
            kind = kind_of(payload[4:])
        return kind == _NAL_AUD or (kind == NAL_VPS and not self._uses_aud)

    def _append(self, payload: bytes) -> bool:
        if len(payload) < 3:
            return False
        kind = kind_of(payload)
        if kind == _FU:
            return self._append_fragment(payload)
        self._close()
        if kind < _AP:
            self._append_nal(payload)
            return True
        return kind == _AP and self._append_aggregate(payload)

    def _append_nal(self, nal: bytes) -> None:
        self._data += struct.pack(">I", len(nal))
        self._data += nal
        self._see(nal[0], nal)

    def _see(self, header: int, nal: bytes | None) -> None:
        kind = header >> 1 & 0x3F
        if header & 0x80:
            self._complete = False
        if kind < NAL_VPS:
            self._picture = True
            self._key = self._key or kind in _IRAP
        elif kind == _NAL_AUD:
            self._uses_aud = True
        elif nal is not None and kind in _SETS:
            self._sets.append(nal)

    def _append_aggregate(self, payload: bytes) -> bool:
        nals = []
        position = 2
        while position < len(payload):
            if position + 2 > len(payload):
                return False
            size = (payload[position] << 8) | payload[position + 1]
            position += 2
            nal = payload[position : position + size]
            position += size
            if size < 3 or len(nal) < size or kind_of(nal) >= _AP:
                return False
            nals.append(nal)
        for nal in nals:
            self._append_nal(nal)
        return bool(nals)

    def _append_fragment(self, payload: bytes) -> bool:
        if len(payload) < 4:
            return False
        fu = payload[2]
        kind, start, end = fu & 0x3F, fu & 0x80, fu & 0x40
        if kind >= _AP or (start and end):
            return False
        if start or self._fragment_at < 0 or kind != self._fragment_type:
            self._close()
            if not start:
                self._complete = False
            self._fragment_at = len(self._data)
            self._fragment_type = kind
            header = payload[0] & 0x81 | kind << 1
            self._data += b"\0\0\0\0"
            self._data += bytes((header, payload[1]))
            self._see(header, None)
        self._data += memoryview(payload)[3:]
        if end:
            self._end_fragment()
        return True

    def _end_fragment(self) -> None:
        at = self._fragment_at
        struct.pack_into(">I", self._data, at, len(self._data) - at - 4)
        if self._fragment_type in _SETS:
            self._sets.append(bytes(self._data[at + 4 :]))
        self._fragment_at = -1

    def _close(self) -> None:
        if self._fragment_at >= 0:
            self._complete = False
            self._end_fragment()
