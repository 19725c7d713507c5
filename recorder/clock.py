"""When a picture or a sound was: from a sender's 32-bit RTP time to the take's own timeline.

Three clocks meet here: the sender's media clock (RTP), the sender's wall clock (NTP, in its sender reports), and this
machine's monotonic clock, on which a take has its origin. Where a stream lies on the timeline is decided as it begins;
within a mapping, differences of media time are exactly differences of RTP time. Drift is measured and told; where it
has grown to 10 ms a new mapping is declared (`recorder.drift`), and no unit is dropped or altered for it. Nothing here
reads a clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from statistics import median_low

SECOND_NS = 1_000_000_000
_NTP_TO_UNIX_S = 2_208_988_800
_JUMP_NS = 10 * SECOND_NS
_DRIFT_ALLOWED = 1000  # one part in this many: 1000 ppm, twice what camera clocks are known to be off by
_BACK_NS = SECOND_NS  # pictures sent out of order go back by less
_AHEAD_NS = SECOND_NS  # nothing comes so much sooner than it can
_LATE_NS, _LATE_FOR_NS = 2 * SECOND_NS, 3 * SECOND_NS  # a network that held something back gives it out in one go
_MOVED_NS = 10_000_000
_REPORTS = 5
_STALE_NS = 30 * SECOND_NS
_EARLIEST_NS = -100_000_000
_LATEST_NS = 2 * SECOND_NS
_STEP_NS = 5 * SECOND_NS


def ntp_to_unix_ns(ntp: int) -> int:
    """64-bit NTP time (RFC 3550, 4) to nanoseconds since 1970, in era 1 when its first bit is 0 (RFC 4330, 3)."""
    seconds = ntp >> 32
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - _NTP_TO_UNIX_S) * SECOND_NS + (((ntp & 0xFFFFFFFF) * SECOND_NS) >> 32)


class Placed(StrEnum):
    """What a stream's place on the timeline was decided by."""

    SENDER_REPORT = "sender-report"
    MEDIA_ARRIVAL = "media-arrival"
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Placement:
    """A sender's wall clock on the local monotonic clock: local = NTP (Unix ns) + `offset_ns`."""

    offset_ns: int
    uncertainty_ns: int
    by: Placed


@dataclass(frozen=True, slots=True)
class Mapping:
    """One stream's place on one take's timeline. `rtp` is extended (64 bit), `media` in the track's timescale.

    `sender_utc_ns` is the sender's own word for when `media` was, None while it has sent no report;
    `uncertainty_ns` is how far apart arrivals were, which the delay on the way can't be told from.
    """

    number: int
    connection: str
    by: Placed
    rtp: int
    media: int
    uncertainty_ns: int
    sender_utc_ns: int | None

    def media_time(self, rtp: int) -> int:
        """Media time of an extended RTP time: exact, in the same unit."""
        return self.media + rtp - self.rtp


class WindowMinimum:
    """The least of the values seen in a window of time, and how far the rest lay above it. Memory is bounded."""

    __slots__ = ("_bucket_ns", "_buckets", "_count", "_least")

    def __init__(self, window_ns: int = 60 * SECOND_NS, buckets: int = 30) -> None:
        self._bucket_ns = window_ns // buckets
        self._count = buckets
        self._buckets: deque[tuple[int, int, int]] = deque(maxlen=buckets)
        self._least: int | None = None

    def add(self, now_ns: int, value: int) -> None:
        """Take a value seen at `now_ns`."""
        bucket = now_ns // self._bucket_ns
        if self._buckets and self._buckets[-1][0] == bucket:
            _, least, most = self._buckets[-1]
            if least <= value <= most:
                return
            self._buckets[-1] = (bucket, min(least, value), max(most, value))
        else:
            while self._buckets and self._buckets[0][0] <= bucket - self._count:
                self._buckets.popleft()
            self._buckets.append((bucket, value, value))
        self._least = min(each[1] for each in self._buckets)

    def least(self) -> int | None:
        """The least value, None when there is none."""
        return self._least

    def spread(self) -> int:
        """The middle bucket's greatest value less the least of all: how uncertain the least is, outliers aside."""
        if not self._buckets:
            return 0
        most = sorted(bucket[2] for bucket in self._buckets)
        return max(0, most[len(most) // 2] - min(bucket[1] for bucket in self._buckets))

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._least = None


class SenderClock:
    """One connection's sender: its wall clock against ours. Shared by the tracks of that connection.

    All of them are placed by the same offset, so sound and picture of one camera stay where the camera put them.
    """

    __slots__ = ("_fixed", "_media", "_reports")

    def __init__(self) -> None:
        self._reports = WindowMinimum()
        self._media = WindowMinimum()
        self._fixed: tuple[int, Placement] | None = None

    def report(self, arrival_ns: int, ntp_ns: int) -> bool:
        """A sender report came. True when the sender's wall clock has stepped, which starts the estimate anew."""
        known = self._reports.least()
        stepped = known is not None and abs(arrival_ns - ntp_ns - known) > _STEP_NS
        if stepped:
            self._reports.clear()
            self._media.clear()
        self._reports.add(arrival_ns, arrival_ns - ntp_ns)
        return stepped

    def media(self, arrival_ns: int, ntp_ns: int) -> None:
        """Media of sender time `ntp_ns` came: it can't have been made after that."""
        self._media.add(arrival_ns, arrival_ns - ntp_ns)

    def offset_ns(self) -> int | None:
        """The offset as estimated now (local − NTP), None before the first report."""
        return self._reports.least()

    def fix(self, origin_ns: int) -> Placement | None:
        """Give the offset for the take of this origin: decided at the first asking, then the same for every track."""
        if self._fixed is not None and self._fixed[0] == origin_ns:
            return self._fixed[1]
        placement = self.estimate()
        if placement is not None:
            self._fixed = (origin_ns, placement)
        return placement

    def follow(self, origin_ns: int) -> Placement | None:
        """As `fix`, but decided anew for every track where the two wall clocks have drifted 10 ms apart since."""
        fixed, now = self.fix(origin_ns), self.estimate()
        if fixed is None or now is None or abs(now.offset_ns - fixed.offset_ns) < _MOVED_NS:
            return fixed
        self._fixed = (origin_ns, now)
        return now

    def estimate(self) -> Placement | None:
        """Give the offset as `fix` would decide it now.

        The reports' offset is believed unless media then would have come before it was made, or over 2 s after: some
        senders' reports are made up. Then media's own arrival decides. None before the first report.
        """
        reports, media = self._reports.least(), self._media.least()
        if reports is None:
            return None
        placement = Placement(reports, self._reports.spread(), Placed.SENDER_REPORT)
        if media is not None and not _EARLIEST_NS <= media - reports <= _LATEST_NS:
            placement = Placement(media, self._media.spread(), Placed.MEDIA_ARRIVAL)
        return placement


class StreamClock:
    """One RTP stream's time: unwrapped to 64 bit, its jumps found, its sender reports kept."""

    __slots__ = (
        "_anchor",
        "_arrivals",
        "_late_since_ns",
        "_line",
        "_lines",
        "_previous",
        "_reported_ns",
        "rate",
        "sender",
    )

    def __init__(self, rate: int, sender: SenderClock) -> None:
        self.rate = rate
        self.sender = sender
        self._previous: int | None = None
        self._anchor: tuple[int, int] | None = None
        self._arrivals = WindowMinimum()
        self._late_since_ns: int | None = None
        self._lines: deque[int] = deque(maxlen=_REPORTS)
        self._line: int | None = None
        self._reported_ns = 0

    def unwrap(self, timestamp: int) -> int:
        """The 64-bit time nearest to the one before: never more than 2³¹ away, forwards or backwards."""
        if self._previous is None:
            return timestamp
        return self._previous + ((timestamp - self._previous + 0x80000000) & 0xFFFFFFFF) - 0x80000000

    def observe(self, timestamp: int, arrival_ns: int) -> tuple[int, bool]:
        """A unit came, in the order of sending: give its extended time, and whether the stream's time jumped.

        After a jump nothing known of the stream's time before holds.
        """
        extended = self.unwrap(timestamp)
        jumped = self.jumped(extended, arrival_ns)
        self._previous = extended
        if jumped or self._anchor is None:
            self._anchor = (extended, arrival_ns)
            self._arrivals.clear()
            self._late_since_ns = None
        if jumped:
            self._lines.clear()
            self._line = None
        self._arrivals.add(arrival_ns, arrival_ns - self.ns(extended))
        utc = self.utc_ns(extended)
        if utc is not None:
            self.sender.media(arrival_ns, utc)
        return extended, jumped

    def jumped(self, extended: int, arrival_ns: int) -> bool:
        """Whether that can't be the time of a unit that came now. Asked once for each unit, before it counts.

        It is over 1 s before the unit sent before it; or over 1 s sooner than the quickest of the last minute; or over
        2 s later, and so was all that came for 3 s; or over 10 s (and 1000 ppm) away from what the arrivals say since
        the stream began. What a network holds back comes late, and then all at once.
        """
        least = self._arrivals.least()
        if self._anchor is None or self._previous is None or least is None:
            return False
        if self.ns(extended - self._previous) < -_BACK_NS:
            return True
        elapsed = arrival_ns - self._anchor[1]
        if abs(self.ns(extended - self._anchor[0]) - elapsed) > _JUMP_NS + elapsed // _DRIFT_ALLOWED:
            return True
        delay = arrival_ns - self.ns(extended)
        if delay <= least + _LATE_NS:
            self._late_since_ns = None
        elif self._late_since_ns is None:
            self._late_since_ns = arrival_ns
        elif arrival_ns - self._late_since_ns >= _LATE_FOR_NS:
            return True
        return delay < least - _AHEAD_NS

    def report(self, ntp: int, timestamp: int, arrival_ns: int) -> bool:
        """A sender report came (RFC 3550, 6.4.1). True when the sender's wall clock has stepped."""
        extended = self.unwrap(timestamp)
        if self._previous is None:
            self._previous = extended
        ntp_ns = ntp_to_unix_ns(ntp)
        stepped = self.sender.report(arrival_ns, ntp_ns)
        if stepped or arrival_ns - self._reported_ns > _STALE_NS:
            self._lines.clear()
        self._reported_ns = arrival_ns
        self._lines.append(ntp_ns - self.ns(extended))
        self._line = median_low(self._lines)
        return stepped

    def utc_ns(self, extended: int) -> int | None:
        """The sender's own word for when that was, ns since 1970; None before its first report.

        The middle one of its last five reports: a single one may be off by what its sender was busy with.
        """
        return None if self._line is None else self._line + self.ns(extended)

    def local_ns(self, extended: int, origin_ns: int | None = None) -> tuple[int, int, Placed]:
        """Where that lies on the local monotonic clock: (ns, uncertainty in ns, what it was decided by).

        With an origin, the sender's offset is fixed for that take; without, nothing is. Ask after a unit was observed.
        """
        utc = self.utc_ns(extended)
        placement = None
        if utc is not None:
            placement = self.sender.estimate() if origin_ns is None else self.sender.fix(origin_ns)
        if utc is not None and placement is not None:
            return utc + placement.offset_ns, placement.uncertainty_ns, placement.by
        return (self._arrivals.least() or 0) + self.ns(extended), self._arrivals.spread(), Placed.ARRIVAL

    def told_ns(self, origin_ns: int, now_ns: int, *, follow: bool) -> int | None:
        """Local monotonic time less RTP time, by the sender's reports; None without one in the last 30 s.

        The tracks of a sender share what its wall clock is on ours: fixed for the take, or followed as that drifts.
        """
        if self._line is None or now_ns - self._reported_ns > _STALE_NS:
            return None
        placement = self.sender.follow(origin_ns) if follow else self.sender.fix(origin_ns)
        return None if placement is None else self._line + placement.offset_ns

    def delay_ns(self) -> int | None:
        """The least (arrival − RTP time) of the last minute. Its change over a take is the drift of the two clocks."""
        return self._arrivals.least()

    def ns(self, ticks: int) -> int:
        """So many ticks of this stream in nanoseconds."""
        return ticks * SECOND_NS // self.rate
