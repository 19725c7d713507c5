"""Hours of a camera in seconds of a test: media clocks, wall clock and network of a sender, each with its own error.

True time is that of the recorder's monotonic clock and of UTC; all else is off by so many parts in a million of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Cut, Event, Fragment
from recorder.track import Track

from .payloads import IDR, PPS, SLICE, SPS, Packet, give, packetise, stap
from .senders import MS, T0, UNIX_NS

HOUR_NS = 3600 * SECOND_NS
OPUS_120_MS = b"\x1b\x02" + bytes(4)
"""Code 3, two frames of 60 ms: as few packets for an hour of sound as can be."""


def at_rate(elapsed_ns: int, ppm: int) -> int:
    """What a clock shows that is off by so much."""
    return elapsed_ns + elapsed_ns * ppm // 1_000_000


@dataclass(slots=True)
class Medium:
    """One track's sender. `ppm` is its media clock's, `delay_ms` what encoding takes.

    `breaks`: (from, to) in ns since the beginning, when nothing is sent though its clock goes on; `jumps`: ns since the
    beginning, and by how many ticks its RTP time jumps there. `step_ns`: from one unit to the next.
    """

    track: Track
    ppm: int
    delay_ms: int
    step_ns: int
    rtp: int
    breaks: list[tuple[int, int]] = field(default_factory=list)
    jumps: list[tuple[int, int]] = field(default_factory=list)
    sequence: int = 65_000
    sent: list[tuple[int, int]] = field(default_factory=list)
    """(true time since the beginning in ns, number) of each unit; the number is in the unit's bytes."""
    pictures: list[list[bytes]] = field(default_factory=list)
    """Real ones, as NAL units, sent over and over instead of made-up ones; `sounds` likewise."""
    sounds: list[bytes] = field(default_factory=list)
    fragments: list[Fragment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def rtp_at(self, true_ns: int) -> int:
        ticks = at_rate(true_ns, self.ppm) * self.track.codec.timescale // SECOND_NS
        return self.rtp + ticks + sum(by for at, by in self.jumps if at <= true_ns)

    def silent(self, true_ns: int) -> bool:
        return any(begin <= true_ns < end for begin, end in self.breaks)

    def unit(self, true_ns: int, arrival_ns: int) -> None:
        number = len(self.sent)
        timestamp = self.rtp_at(true_ns) & 0xFFFFFFFF
        if self.pictures or self.sounds:
            self._real(number, timestamp, arrival_ns)
            self.sent.append((true_ns, number))
            return
        words = number.to_bytes(4, "big").replace(b"\0", b"\xfe")
        if self.track.codec is Codec.H264:
            if number % 20 == 0:
                self._packet(timestamp, False, stap(SPS, PPS), arrival_ns)
            self._packet(timestamp, True, (SLICE if number % 20 else IDR)[:8] + words, arrival_ns)
        else:
            self._packet(timestamp, False, OPUS_120_MS + words, arrival_ns)
        self.sent.append((true_ns, number))

    def _real(self, number: int, timestamp: int, arrival_ns: int) -> None:
        if self.sounds:
            self._packet(timestamp, False, self.sounds[number % len(self.sounds)], arrival_ns)
            return
        for each in packetise([(timestamp, self.pictures[number % len(self.pictures)])], self.sequence):
            give(self.track, each, each.payload, arrival_ns)
            self.sequence += 1

    def _packet(self, timestamp: int, marker: bool, payload: bytes, arrival_ns: int) -> None:
        give(self.track, Packet(self.sequence & 0xFFFF, timestamp, marker, payload), payload, arrival_ns)
        self.sequence += 1

    def take(self, cut: Cut) -> None:
        self.fragments += cut.fragments
        self.events += cut.events


@dataclass(slots=True)
class Camera:
    """A sender of several media. `wall_ppm`: its wall clock's error, on top of being set `wall_off_ns` wrong.

    `reports`: "honest" ones tell both clocks of one instant; "nominal" ones reckon RTP time from the wall clock at its
    nominal rate, as FFmpeg does, whatever its media do; "none". `held`: (from, to) in ns since the beginning, when the
    network lets nothing through and then all at once. `at_leisure`: read as `recorder.datagrams` does while nobody
    watches: each 20 ms for ten seconds, then 130 ms after each cut and at the next; when the first of each medium
    that is read together came, and when a report did, is known all the same.
    """

    media: list[Medium]
    wall_ppm: int = 0
    wall_off_ns: int = 0
    reports: str = "honest"
    jitter_ms: int = 15
    path_ms: int = 2
    first_report_ns: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)
    at_leisure: bool = False
    seed: int = 0

    def run(self, duration_ns: int) -> None:
        random = Random(self.seed)  # noqa: S311
        sender = SenderClock()
        for medium in self.media:
            medium.track.connect("one", T0, sender)
            medium.track.begin(T0, T0)
        cut_ns = T0
        for arrival_ns, medium, true_ns in self._arrivals(duration_ns, random):
            if true_ns < 0:
                self._report(medium, -true_ns - 1, arrival_ns)
            else:
                medium.unit(true_ns, arrival_ns)
            if arrival_ns >= cut_ns:
                cut_ns = arrival_ns + SECOND_NS
                for each in self.media:
                    each.take(each.track.cut(arrival_ns))
        for medium in self.media:
            medium.track.end(T0 + duration_ns)
            medium.take(medium.track.cut(T0 + duration_ns))

    def _arrivals(self, duration_ns: int, random: Random) -> Iterator[tuple[int, Medium, int]]:
        """In the order of coming: (arrival, medium, true time of the unit; −1 − true time for a report)."""
        coming: list[tuple[int, int, Medium, int]] = []
        for index, medium in enumerate(self.media):
            last_ns = 0
            for true_ns in range(0, duration_ns, medium.step_ns):
                if medium.silent(true_ns):
                    continue
                late_ms = self.path_ms + medium.delay_ms + random.random() * self.jitter_ms
                arrival_ns = self._let_through(T0 + true_ns + int(late_ms * MS))
                last_ns = max(last_ns + 1, arrival_ns)
                coming.append((last_ns, index, medium, true_ns))
            if self.reports != "none":
                for true_ns in range(self.first_report_ns, duration_ns, 5 * SECOND_NS):
                    late_ms = self.path_ms + random.random() * self.jitter_ms
                    arrival_ns = self._let_through(T0 + true_ns + int(late_ms * MS))
                    coming.append((arrival_ns, index, medium, -1 - true_ns))
        coming.sort(key=lambda each: each[:2])
        before_ns = [0] * len(self.media)
        for arrival_ns, index, medium, true_ns in coming:
            read_ns = _read_ns(arrival_ns)
            exact = not self.at_leisure or true_ns < 0 or read_ns > before_ns[index]
            if true_ns >= 0:
                before_ns[index] = read_ns
            yield arrival_ns if exact else read_ns, medium, true_ns

    def _let_through(self, arrival_ns: int) -> int:
        return next((T0 + end for begin, end in self.held if begin <= arrival_ns - T0 < end), arrival_ns)

    def _report(self, medium: Medium, true_ns: int, arrival_ns: int) -> None:
        if medium.silent(true_ns):
            return
        wall_ns = UNIX_NS + self.wall_off_ns + at_rate(true_ns, self.wall_ppm)
        rtp = medium.rtp_at(true_ns)
        if self.reports == "nominal":
            rate = medium.track.codec.timescale
            rtp = medium.rtp_at(0) + (wall_ns - UNIX_NS - self.wall_off_ns) * rate // SECOND_NS
        seconds, rest = divmod(wall_ns, SECOND_NS)
        ntp = ((seconds + 2_208_988_800) & 0xFFFFFFFF) << 32 | (rest << 32) // SECOND_NS
        medium.track.sender_report(ntp, rtp & 0xFFFFFFFF, arrival_ns)


def _read_ns(arrival_ns: int) -> int:
    """When a datagram is read that comes then."""
    since_ns = arrival_ns - T0
    if since_ns < 10 * SECOND_NS:
        return arrival_ns + -since_ns % (20 * MS)
    after_cut_ns = since_ns % (250 * MS)
    return arrival_ns - after_cut_ns + (130 * MS if after_cut_ns <= 130 * MS else 250 * MS)


def picture(ppm: int, delay_ms: int = 40, step_ms: int = 400) -> Medium:
    return Medium(Track("wide-video", Codec.H264), ppm, delay_ms, step_ms * MS, 2**32 - 9_000_000)


def sound(ppm: int, delay_ms: int = 5, step_ms: int = 400) -> Medium:
    return Medium(Track("wide-audio", Codec.OPUS), ppm, delay_ms, step_ms * MS, 2**32 - 4_800_000)
