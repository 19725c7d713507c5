"""What a receiver tells a sender: what arrived, what to send again, how fast it may send. Pure; time is an argument.

Receiver reports after RFC 3550 (appendix A.3, A.8), retransmission requests after RFC 4585. A request is repeated,
since it can be lost as well, and given up when the packet would come too late to be recorded in order.
"""

from __future__ import annotations

from recorder.rtcp import ReceptionReport

ASK_AFTER_MS = (0, 30, 60, 90, 120)
"""When a missing packet is asked for, counted from when it was missed.

Evenly, and the last time so that an answer over 40 ms, from a sender that reads requests only between its pictures, is
still in time. Simulated at 5 % loss in both directions, half of it in bursts: no packet came too late in an hour, where
asking at 0, 20, 60 and 140 ms lost fifty (tests/recorder_webrtc/test_repair.py)."""
GIVE_UP_MS = 200
_MOST_MISSING = 512
_MS = 1_000_000


class Reception:
    """Statistics of one source, as its receiver reports give them."""

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.packets = 0
        self._clock_rate = clock_rate
        self._first = -1
        self._highest = -1  # extended: 65,536 for each turn of the sequence number
        self._jitter = 0.0
        self._timestamp = -1
        self._transit: int | None = None
        self._expected_before = self._packets_before = 0
        self._report_middle = 0
        self._report_arrival_ns = 0

    def received(self, sequence: int, timestamp: int, arrival_ns: int) -> None:
        self.packets += 1
        if self._highest < 0:
            self._first = self._highest = sequence
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead >= 0x8000:
            return
        self._highest += ahead
        self._time(timestamp, arrival_ns)

    def went_on(self, count: int, timestamp: int, arrival_ns: int) -> None:
        """So many more came in order, the last of them with this timestamp."""
        self.packets += count
        self._highest += count
        self._time(timestamp, arrival_ns)

    def _time(self, timestamp: int, arrival_ns: int) -> None:
        if timestamp != self._timestamp:  # one measure for each picture: its packets are sent in a burst
            self._timestamp = timestamp
            transit = (arrival_ns * self._clock_rate // 1_000_000_000 - timestamp) & 0xFFFFFFFF
            if self._transit is not None:
                difference = (transit - self._transit) & 0xFFFFFFFF
                self._jitter += (min(difference, (1 << 32) - difference) - self._jitter) / 16
            self._transit = transit

    def sender_report(self, ntp: int, arrival_ns: int) -> None:
        self._report_middle, self._report_arrival_ns = (ntp >> 16) & 0xFFFFFFFF, arrival_ns

    @property
    def lost(self) -> int:
        """Packets missing so far; negative when duplicates came (RFC 3550, section 6.4.1)."""
        return (self._highest - self._first + 1) - self.packets if self._highest >= 0 else 0

    def report(self, now_ns: int) -> ReceptionReport:
        """One report block; the loss fraction is since the block before."""
        expected = self._highest - self._first + 1
        interval, came = expected - self._expected_before, self.packets - self._packets_before
        self._expected_before, self._packets_before = expected, self.packets
        missing = interval - came
        delay = (now_ns - self._report_arrival_ns) * 65536 // 1_000_000_000 if self._report_middle else 0
        return ReceptionReport(
            ssrc=self.ssrc,
            fraction_lost=min(255, (missing << 8) // interval) if interval > 0 and missing > 0 else 0,
            packets_lost=max(-(1 << 23), min((1 << 23) - 1, self.lost)),
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=min(int(self._jitter), 0xFFFFFFFF),
            lsr=self._report_middle,
            dlsr=min(delay, 0xFFFFFFFF),
        )


class Missing:
    """The packets of one source that did not come, and when to ask for each again.

    Bounded: a jump of more than 512 packets is a new start of the source, not a loss to be repaired.
    """

    def __init__(self) -> None:
        self._highest: int | None = None
        self._missing: dict[int, tuple[int, int]] = {}  # sequence → missed at (ns), times asked
        self.given_up = 0

    def __bool__(self) -> bool:
        return bool(self._missing)

    @property
    def expected(self) -> int:
        """The number after the highest; −1 before the first."""
        return -1 if self._highest is None else (self._highest + 1) & 0xFFFF

    def went_on(self, count: int) -> None:
        """So many more came in order."""
        if self._highest is not None:
            self._highest = (self._highest + count) & 0xFFFF

    def received(self, sequence: int, now_ns: int) -> bool:
        """Whether anything is missing now."""
        if self._highest is None:
            self._highest = sequence
            return False
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead == 1:
            self._highest = sequence
        elif ahead == 0 or ahead >= 0x8000:
            self._missing.pop(sequence, None)
        elif ahead > _MOST_MISSING:
            self._missing.clear()
            self._highest = sequence
        else:
            for step in range(1, ahead):
                self._missing[(self._highest + step) & 0xFFFF] = (now_ns, 0)
            self._highest = sequence
            while len(self._missing) > _MOST_MISSING:
                del self._missing[next(iter(self._missing))]
                self.given_up += 1
        return bool(self._missing)

    def due(self, now_ns: int) -> list[int]:
        """Sequence numbers to ask for now, in the order missed. Those too late are counted and given up."""
        ask = []
        for sequence, (since_ns, asked) in list(self._missing.items()):
            late_ms = (now_ns - since_ns) // _MS
            if late_ms >= GIVE_UP_MS:
                del self._missing[sequence]
                self.given_up += 1
            elif asked < len(ASK_AFTER_MS) and late_ms >= ASK_AFTER_MS[asked]:
                self._missing[sequence] = (since_ns, asked + 1)
                ask.append(sequence)
        return ask
