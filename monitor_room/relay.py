"""One track on its way to viewers: what is remembered of it, and how its packets are renumbered for each. Pure.

Packets are not cut anew: payloads go on as they came, only the header is written again. A viewer begins at a key frame.
The packets since the last key frame are kept, so that a joiner gets a picture at once; their time stamps are pressed
together to a millisecond a picture, since a browser would otherwise show them at their old pace and stay behind.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from recorder.codecs import WAYS
from recorder.datagrams import LARGEST
from recorder.fragments import Codec as Format
from recorder.rtp import HEADER, unpadded
from recorder.sdp import Codec

REMEMBERED = 2048
"""Packets of a track that can be sent again, and that a joiner's burst may hold."""
_SEQUENCE, _TIMESTAMP = 0xFFFF, 0xFFFFFFFF
_SQUEEZED_TICKS = 90  # 1 ms of video's 90 kHz


SourcePacket = tuple[int, int, int, bytes]
"""16-bit sequence number, 32-bit timestamp, marker (0x80 or 0, as it lies beside the payload type), payload. A plain
tuple, since one is made for each packet."""


class ClockPair(NamedTuple):
    """One instant on the camera's clock: 64-bit NTP, RTP, and when we heard of it (monotonic ns)."""

    ntp: int
    rtp: int
    arrival_ns: int

    def at(self, now_ns: int, clock_rate: int) -> tuple[int, int]:
        """The pair moved along the camera's own line to now: (NTP, RTP)."""
        passed_ns = now_ns - self.arrival_ns
        ntp = self.ntp + (passed_ns << 32) // 1_000_000_000
        return ntp & 0xFFFFFFFFFFFFFFFF, (self.rtp + passed_ns * clock_rate // 1_000_000_000) & _TIMESTAMP


class Source:
    """What is remembered of one track: packets to send again, those since the last key frame, its clock."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.clock: ClockPair | None = None
        self.since_key_frame: list[SourcePacket] = []
        self._video = codec.kind == "video"
        self._begins_key_frame = WAYS[Format(codec.name.lower())].begins_key_frame
        self._history: list[SourcePacket | None] = [None] * REMEMBERED
        self._newest: int | None = None
        self._picture: list[SourcePacket] = []  # of the picture now arriving, before it is known to be a key frame
        self._key_timestamp: int | None = None

    def add(self, packets: Sequence[bytes]) -> list[SourcePacket]:
        """The parts of each, remembered, without what is not RTP, is too large, or came before."""
        items: list[SourcePacket] = []
        history, unpack = self._history, HEADER.unpack_from
        for packet in packets:
            if not 12 <= len(packet) <= LARGEST:
                continue
            first, second, sequence, timestamp, _ = unpack(packet)
            start = 12
            if first != 0x80:
                if (whole := unpadded(packet)) is None:
                    continue
                start, packet = whole
            known = history[sequence % REMEMBERED]
            if known is not None and known[0] == sequence:
                continue
            item = sequence, timestamp, second & 0x80, packet[start:]
            history[sequence % REMEMBERED] = item
            items.append(item)
            late = self._newest is not None and (sequence - self._newest) & _SEQUENCE >= 0x8000
            if not late:
                self._newest = sequence
            if self._video:
                self._remember(item, late)
        return items

    def again(self, sequence: int) -> SourcePacket | None:
        """The packet of that number, if it is among the last ones."""
        item = self._history[sequence % REMEMBERED]
        return item if item is not None and item[0] == sequence else None

    def _remember(self, item: SourcePacket, late: bool) -> None:
        _, timestamp, _, payload = item
        if not late:
            if self._picture and self._picture[-1][1] != timestamp:
                self._picture.clear()
            self._picture.append(item)
            if timestamp != self._key_timestamp and self._begins_key_frame(payload):
                self._key_timestamp = timestamp
                self.since_key_frame = list(self._picture)
                return
        if self.since_key_frame:
            self.since_key_frame.append(item)
            if len(self.since_key_frame) > REMEMBERED:
                self.since_key_frame.clear()  # too long ago: a joiner waits for the next, which is asked for


class Renumbering:
    """One viewer's numbers for one medium: they run on without a jump when the camera starts again."""

    def __init__(self, ssrc: int, payload_type: int, clock_rate: int) -> None:
        self.ssrc, self._payload_type, self._clock_rate = ssrc, payload_type, clock_rate
        # The lower half, so that the first turn-over comes late (SRTP's roll-over counter, RFC 3711, section 3.3.1).
        self._next_sequence = secrets.randbelow(0x8000)
        self._sequence_offset = self._timestamp_offset = 0
        self._newest = 0
        self._span = -1  # packets from the first of this beginning to the newest; −1: not begun
        self._last_timestamp: int | None = None
        self._last_ns = 0
        self._squeezed: dict[int, int] = {}

    @property
    def begun(self) -> bool:
        return self._span >= 0

    def pause(self) -> None:
        """Nothing more is sent until `begin`."""
        self._span = -1

    def begin(self, burst: Sequence[SourcePacket], now_ns: int, *, new_clock: bool) -> None:
        """`burst` goes next, then the live packets. `new_clock`: its time stamps do not continue those sent before."""
        first, live = burst[0][0], burst[-1][1]
        self._sequence_offset = (self._next_sequence - first) & _SEQUENCE
        if new_clock and self._last_timestamp is not None:
            passed = max(1, (now_ns - self._last_ns) * self._clock_rate // 1_000_000_000)
            self._timestamp_offset = (self._last_timestamp + passed - live) & _TIMESTAMP
        self._newest, self._span = first, 0
        older = [timestamp for timestamp in dict.fromkeys(item[1] for item in burst) if timestamp != live]
        live_out = (live + self._timestamp_offset) & _TIMESTAMP
        step = _SQUEEZED_TICKS
        if self._last_timestamp is not None:
            room = (live_out - self._last_timestamp) & _TIMESTAMP
            step = min(step, room // (len(older) + 1)) if room < 1 << 31 else 0
        count = len(older)
        self._squeezed = {t: (live_out - (count - n) * step) & _TIMESTAMP for n, t in enumerate(older)} if step else {}

    def write(self, items: Sequence[SourcePacket], now_ns: int) -> list[bytes]:
        """A header for each, for this viewer: empty for what is older than its beginning. Not before `begin`."""
        headers: list[bytes] = []
        # What follows runs for each packet of each viewer.
        newest, sequence_offset, pack, ssrc = self._newest, self._sequence_offset, HEADER.pack, self.ssrc
        payload_type, stamped, stamp = self._payload_type, -1, 0
        for sequence, timestamp, marker, _ in items:
            if timestamp != stamped:
                stamped, stamp = timestamp, self._stamp(timestamp)
            ahead = (sequence - newest) & _SEQUENCE
            if ahead < 0x8000:
                newest = sequence
                self._span += ahead
                self._last_timestamp = stamp
            elif 0x10000 - ahead > self._span:
                headers.append(b"")
                continue
            headers.append(pack(0x80, payload_type | marker, (sequence + sequence_offset) & _SEQUENCE, stamp, ssrc))
        self._newest, self._last_ns = newest, now_ns
        self._next_sequence = (newest + sequence_offset + 1) & _SEQUENCE
        return headers

    def again(self, sequence: int, source: Source) -> tuple[bytes, bytes] | None:
        """What this viewer got under its own `sequence`, if it is still remembered."""
        behind = (self._newest - (sequence - self._sequence_offset)) & _SEQUENCE
        item = source.again((sequence - self._sequence_offset) & _SEQUENCE) if behind <= self._span else None
        if item is None:
            return None
        _, timestamp, marker, payload = item
        second = self._payload_type | marker
        return HEADER.pack(0x80, second, sequence & _SEQUENCE, self._stamp(timestamp), self.ssrc), payload

    def clock(self, source: Source, now_ns: int) -> tuple[int, int] | None:
        """NTP and this viewer's RTP time of now, on the camera's clock; None while the camera has not told it."""
        if source.clock is None or not self.begun:
            return None
        ntp, rtp = source.clock.at(now_ns, self._clock_rate)
        return ntp, (rtp + self._timestamp_offset) & _TIMESTAMP

    def _stamp(self, timestamp: int) -> int:
        if self._squeezed and (squeezed := self._squeezed.get(timestamp)) is not None:
            return squeezed
        return (timestamp + self._timestamp_offset) & _TIMESTAMP
