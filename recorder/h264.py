"""H.264 over RTP (RFC 6184), packetization modes 0 and 1: single NAL units, STAP-A, FU-A.

SEI messages stay where they were: they may carry a camera's own signature.
"""

from __future__ import annotations

from .depacketise import ONE_READING
from .nal_units import NalAssembler
from .rtp import RtpPacket

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


class H264Depacketiser(NalAssembler):
    """See `NalAssembler`."""

    __slots__ = ()

    _SETS = (NAL_SPS, NAL_PPS)

    def middle(self, packets: list[RtpPacket], at: int) -> int:
        """See `Depacketiser`. Middles are fragments (FU-A) that neither start nor end a NAL unit."""
        data, timestamp = self._data, self._timestamp
        if self._fragment_at < 0 or len(data) > self._max_unit - ONE_READING:
            return at
        header = bytes((data[self._fragment_at + 4] & 0xE0 | _FU_A, self._fragment_type))
        begun = at
        for _, time, marker, start, packet in packets[at:]:
            after = start + 2
            if marker or time != timestamp or packet[start:after] != header or len(packet) == after:
                break
            data += packet[after:]
            at += 1
        self._packets += at - begun
        return at

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
        return kind == _STAP_A and self._append_aggregate(payload, 1)

    def _fits(self, nal: bytes) -> bool:
        return bool(nal) and 1 <= nal[0] & 0x1F <= 23

    def _see(self, header: int, nal: bytes | None) -> None:
        kind = header & 0x1F
        # F = 1: a gateway on the way says that bits of this one are damaged (RFC 6184, 5.3).
        if header & 0x80:
            self._complete = False
        if kind <= NAL_SLICE_IDR:
            self._picture = True
            self._key = self._key or kind == NAL_SLICE_IDR
        elif kind == _NAL_AUD:
            self._uses_aud = True
        elif nal is not None and kind in self._SETS:
            self._sets.append(nal)

    def _append_fragment(self, payload: bytes) -> bool:
        if len(payload) < 2:
            return False
        indicator, fu = payload[0], payload[1]
        kind, start, end = fu & 0x1F, fu & 0x80, fu & 0x40
        if not 1 <= kind <= 23 or (start and end):
            return False
        self._append_part(kind, start, end, bytes(((indicator & 0xE0) | kind,)), memoryview(payload)[2:])
        return True
