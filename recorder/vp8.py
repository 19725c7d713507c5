"""VP8 over RTP (RFC 7741): the frame is what is left of the payloads when their descriptors are taken off."""

from __future__ import annotations

from evidence_store.errors import InvalidInput

from .depacketise import Assembler

_X, _START_BITS, _START = 0x80, 0x17, 0x10  # S = 1 and partition 0: the frame begins here
_I, _L, _T_OR_K = 0x80, 0x40, 0x30
_START_CODE = b"\x9d\x01\x2a"
KEY_HEADER = 10
"""Octets of a key frame's header: frame tag, start code, size (RFC 6386, 9.1)."""


def frame_at(payload: bytes) -> int:
    """Where the frame's own octets begin in a payload (RFC 7741, 4.2); 0 when there are none."""
    at = 1
    if payload[0] & _X:
        if len(payload) < 2:
            return 0
        extension = payload[1]
        at = 2
        if extension & _I:
            if len(payload) <= at:
                return 0
            at += 2 if payload[at] & 0x80 else 1
        at += bool(extension & _L) + bool(extension & _T_OR_K)
    return at if at < len(payload) else 0


def _begins(payload: bytes) -> bool:
    return payload[0] & _START_BITS == _START


def begins_key_frame(payload: bytes) -> bool:
    """Whether a payload holds the start of a key frame (RFC 6386, 9.1: the first bit is 0)."""
    if not payload or not _begins(payload):
        return False
    at = frame_at(payload)
    return at > 0 and not payload[at] & 1


def parse_key_header(frame: bytes) -> tuple[int, int, int]:
    """Give (version 0 to 3, width, height in pixels) of a key frame. Raises InvalidInput `bad-parameter-set`."""
    if len(frame) < KEY_HEADER or frame[0] & 1 or frame[3:6] != _START_CODE:
        raise InvalidInput("not a VP8 key frame", code="bad-parameter-set")
    width, height = (frame[6] | frame[7] << 8) & 0x3FFF, (frame[8] | frame[9] << 8) & 0x3FFF
    version = frame[0] >> 1 & 7
    if not width or not height or version > 3:
        raise InvalidInput("VP8 key frame has a value out of range", code="bad-parameter-set")
    return version, width, height


class Vp8Depacketiser(Assembler):
    """Builds frames. One whose first packet is not its start (S = 1, PID = 0) is marked incomplete."""

    __slots__ = ("_begun",)

    def _reset(self) -> None:
        super()._reset()
        self._begun = False

    def _surely_first(self, payload: bytes) -> bool:
        return _begins(payload)

    def _append(self, payload: bytes) -> bool:
        at = frame_at(payload)
        if not at:
            return False
        if _begins(payload) != (not self._picture):
            self._complete = False
        elif not self._picture:
            self._begun = True
        self._picture = True
        self._data += memoryview(payload)[at:]
        return True

    def _close(self) -> None:
        data = self._data
        if self._begun and len(data) >= KEY_HEADER and not data[0] & 1 and data[3:6] == _START_CODE:
            self._key = True
            self._sets.append(bytes(data[:KEY_HEADER]))
