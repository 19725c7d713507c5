"""From RTP payloads to access units: what was sent, byte for byte, and whether all of it came.

One file for each codec (`h264`, `h265`, `vp8`, `vp9`, `av1`, `opus`); here is what they give and what they share.
Payloads come in sequence order, holes told by `lost()`. Nothing is decoded, filtered, reordered or repaired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .rtp import RtpPacket

MAX_UNIT = 16 * 1024 * 1024
_MAX_PREAMBLE = 256 * 1024
ONE_READING = 64 * 2048
"""More octets than are ever read together."""


class AccessUnit(NamedTuple):
    """One picture, or one Opus packet.

    `rtp_time` is 32-bit, `arrival_ns` the local monotonic time of its first packet. `data` is what a file's sample
    holds: H.264 and H.265 each NAL unit behind a 4-byte big-endian length, in the order sent; AV1 each OBU with its
    size; VP8 and VP9 the frame, Opus the packet. `complete` is True only when every packet of it is known to have
    come: a unit that is not holds what did come, and no more. `key` means that a decoder can begin here.
    `parameter_sets` are what tells a decoder of the stream, in this unit: parameter set NAL units, AV1's sequence
    header, the header of a VP8 or VP9 key frame. They also stay in `data`.
    """

    rtp_time: int
    data: bytes
    key: bool
    complete: bool
    arrival_ns: int
    packets: int
    parameter_sets: tuple[bytes, ...] = ()


@dataclass(slots=True)
class PayloadCounters:
    """Payloads since the stream began. `empty` ones are senders' padding, which is no media."""

    malformed: int = 0
    empty: int = 0
    oversized: int = 0

    @property
    def dropped(self) -> int:
        """Payloads that were not kept: malformed, or beyond the greatest size of a unit."""
        return self.malformed + self.oversized


class Depacketiser(Protocol):
    """All kinds, seen from the track. No payload makes one raise."""

    counters: PayloadCounters

    @property
    def between_units(self) -> bool:
        """Whether nothing is under construction."""

    def push(
        self, payload: bytes, marker: bool, timestamp: int, sequence: int, arrival_ns: int
    ) -> list[AccessUnit]: ...

    def middle(self, packets: list[RtpPacket], at: int) -> int:
        """Takes packets from `at` on, in order, as long as each is nothing but a middle of what is under construction:
        most packets are. The index of the first one that was not taken."""

    def lost(self) -> None: ...

    def flush(self) -> list[AccessUnit]: ...


class Assembler:
    """What all pictures have in common: payloads of one timestamp are one unit.

    It is complete on the marker bit, or when the timestamp changes, whichever comes first; a marker before any part of
    the picture itself (`_picture`) ends nothing. A codec says what a payload adds to the unit (`_append`), whether one
    proves after a hole that nothing of its unit came before it (`_surely_first`), and what is left to do at the end of
    a unit (`_close`).
    """

    __slots__ = (
        "_arrival_ns",
        "_complete",
        "_data",
        "_key",
        "_max_unit",
        "_packets",
        "_picture",
        "_sets",
        "_timestamp",
        "_uncertain",
        "counters",
    )

    def __init__(self, max_unit: int = MAX_UNIT) -> None:
        self._max_unit = max_unit
        self._uncertain = False
        self.counters = PayloadCounters()
        self._timestamp: int | None = None
        self._packets = 0
        self._reset()

    def push(self, payload: bytes, marker: bool, timestamp: int, sequence: int, arrival_ns: int) -> list[AccessUnit]:
        """Take one payload; give the access units that it completes (none, one, or two).

        `sequence` is not looked at: order is what `Reorder` gives.
        """
        if not payload:
            self.counters.empty += 1
            return []
        units: list[AccessUnit] = []
        if timestamp != self._timestamp:
            if self._picture or len(self._data) > _MAX_PREAMBLE:
                units.append(self._finish())
            elif not self._data:
                self._reset()
            self._timestamp = timestamp
        if not self._packets:
            self._arrival_ns = arrival_ns
            self._complete = not self._uncertain or self._surely_first(payload)
        self._uncertain = False
        self._packets += 1
        if len(self._data) + len(payload) > self._max_unit:
            self.counters.oversized += 1
            self._complete = False
        elif not self._append(payload):
            self.counters.malformed += 1
            self._complete = False
        if marker and self._picture:
            units.append(self._finish())
        return units

    @property
    def between_units(self) -> bool:
        """See `Depacketiser`."""
        return not self._data

    def middle(self, packets: list[RtpPacket], at: int) -> int:
        """See `Depacketiser`; a codec may know better than that there is none."""
        return at

    def lost(self) -> None:
        """One packet or more is missing here: the unit under construction is, and the next may be, incomplete."""
        if self._packets:
            self._complete = False
        self._uncertain = True

    def flush(self) -> list[AccessUnit]:
        """Give what is under construction, as incomplete: its end never came."""
        if not self._data:
            self._reset()
            return []
        self._complete = False
        # Should the rest of it come after all, that is no whole unit either.
        self._uncertain = True
        return [self._finish()]

    def _reset(self) -> None:
        self._data = bytearray()
        self._sets: list[bytes] = []
        self._key = False
        self._picture = False
        self._complete = True
        self._packets = 0
        self._arrival_ns = 0

    def _finish(self) -> AccessUnit:
        self._close()
        unit = AccessUnit(
            self._timestamp or 0,
            bytes(self._data),
            self._key,
            self._complete,
            self._arrival_ns,
            self._packets,
            tuple(self._sets),
        )
        self._reset()
        return unit

    def _append(self, payload: bytes) -> bool:
        """Add a payload that is not empty; False when it is malformed, and then nothing was added."""
        raise NotImplementedError

    def _surely_first(self, payload: bytes) -> bool:
        raise NotImplementedError

    def _close(self) -> None:
        """The unit ends here."""
