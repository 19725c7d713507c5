"""H.265 over RTP (RFC 7798): single NAL units, aggregation packets, fragmentation units; no decoding order numbers."""

from __future__ import annotations

from .nal_units import NalAssembler

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


class H265Depacketiser(NalAssembler):
    """See `NalAssembler`."""

    __slots__ = ()

    _SETS = _SETS

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
        return kind == _AP and self._append_aggregate(payload, 2)

    def _fits(self, nal: bytes) -> bool:
        return len(nal) > 2 and kind_of(nal) < _AP

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

    def _append_fragment(self, payload: bytes) -> bool:
        if len(payload) < 4:
            return False
        fu = payload[2]
        kind, start, end = fu & 0x3F, fu & 0x80, fu & 0x40
        if kind >= _AP or (start and end):
            return False
        header = bytes((payload[0] & 0x81 | kind << 1, payload[1]))
        self._append_part(kind, start, end, header, memoryview(payload)[3:])
        return True
