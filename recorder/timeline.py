"""One track in one take: where each access unit lies, which stretches are missing, and what is cut at each tick.

Decides and lays out bytes; sealing and writing them is the sealer's work. Times without a unit in their name are media
time: the track's own timescale, from the take's origin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

from .boxes import Sample, fragment, initialisation
from .clock import SECOND_NS, Mapping, StreamClock
from .decoder_setup import Setup
from .depacketise import AccessUnit
from .drift import Drift
from .fragments import Codec, Cut, Event, Fragment, Gap, Heard
from .opus import opus_ticks
from .picture_order import USUAL_STEP, DecodingTimes, ShownOrder

MAX_PENDING = 128 * 1024 * 1024
_MAX_UNITS = 65_536
_CLOCK_EVERY_NS = SECOND_NS
_STRENGTH = {reason: strength for strength, reason in enumerate(Gap)}
# Said only when something is missing between what is laid before and after: a take may begin and go on without a hole.
_IF_ANY = frozenset({Gap.PAUSE, Gap.NO_KEY_FRAME, Gap.NO_MEDIA, Gap.NO_CONNECTION})


class _Laid(NamedTuple):
    present: int
    heard: Heard
    epoch: int
    setup: Setup | None
    mapping: Mapping
    pre_roll: bool
    init: bytes | None


@dataclass(slots=True)
class _OpenGap:
    """From `start`; with B-frames, what is missing may be shown until `latest`."""

    reason: Gap
    start: int
    latest: int = -1
    damaged: bool = False
    packets: int = 0
    units: int = 0


@dataclass(slots=True)
class Timeline:
    """Lays units on the timeline. The events, each with `type` and `track`:

    - `gap`: reason, from, to, packets (lost or malformed), units (dropped or incomplete)
    - `mapping`: number, connection, by, rtp, media_time, moved_ns (how much later than by the mapping before, where the
      clocks have drifted apart; else 0), uncertainty_ns, sender_utc_ns (digits, or None)
    - `epoch`: number, media_time, codec
    - `clock`: mapping, rtp, ntp (digits), at_ns (monotonic, from the origin), media_time, deviation_ns (where the
      sender's word would place it now, less where it lies), drift_ns (change of delay since the mapping), stepped (the
      sender's wall clock jumped)
    """

    track: str
    codec: Codec
    origin_ns: int
    started_ns: int
    max_pending: int = MAX_PENDING
    end: int = 0
    _mapping: Mapping | None = None
    _stream: int = -1
    _delay_ns: int | None = None
    _drift: Drift | None = None
    _epoch: int = -1
    _setup: Setup | None = None
    _need_key: bool = False
    _resumed: bool = False
    _index: int = -1
    _certain: int = 0
    _order: ShownOrder = field(init=False)
    _decoded: int = -1
    _decoding: DecodingTimes = field(default_factory=DecodingTimes)
    _delta: int = USUAL_STEP
    _sequence: int = 0
    _clock_ns: int | None = None
    _stepped: bool = False
    _gap: _OpenGap | None = None
    _bytes: int = 0
    _laid: list[_Laid] = field(default_factory=list)
    _events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._order = ShownOrder(self.codec.video)
        self._need_key = self.codec.video

    @property
    def _hole(self) -> int:
        # Opus with DTX still sends a packet every 400 ms (RFC 6716, 2.1.9).
        return self.codec.timescale * 45 // 100

    @property
    def empty(self) -> bool:
        """True until a unit was laid."""
        return self._index < 0

    def need_key(self) -> None:
        """A new decoder state begins: for pictures, nothing is laid before a key frame."""
        self._need_key = self.codec.video

    def resume(self, started_ns: int) -> None:
        """Go on after `close`, on the same timeline."""
        self.started_ns = started_ns
        self._resumed = True
        self.gap(Gap.PAUSE)

    def lay(self, heard: Heard, connection: str, clock: StreamClock) -> None:
        """Place one unit after those before it, or say why it is not there."""
        if heard.number <= self._index:
            return
        unit = heard.unit
        # What was lost before the first unit of a take was lost before the take.
        ours = not (self.empty and unit.complete and unit.arrival_ns < self.started_ns)
        if heard.lost and ours:
            self.gap(Gap.LOSS, packets=heard.lost)
        if heard.malformed and ours:
            self.gap(Gap.MALFORMED, packets=heard.malformed)
        if not unit.complete:
            self.gap(Gap.INCOMPLETE, units=1)
        if self._resumed and heard.number != self._index + 1:
            self.need_key()
        self._resumed = False
        if self._need_key and heard.setup is None:
            self.gap(Gap.NO_KEY_FRAME, units=1)
            return
        if self._bytes + len(unit.data) > self.max_pending or len(self._laid) >= _MAX_UNITS:
            self.need_key()
            self.gap(Gap.OVERFLOW, units=1)
            return
        mapping = self._mapping
        if mapping is None or heard.stream != self._stream:
            mapping = self._map(heard, connection, clock)
        elif self._drift is not None and self._drift.due(unit.arrival_ns):
            mapping = self._follow(self._drift, mapping, heard, clock)
        present = mapping.media_time(heard.rtp)
        if present < 0:
            # Older than the take. A sound before it is none of ours, nor a picture that is sent after the first key
            # frame and shown before it; at a beginning, a picture needs the next key frame instead.
            if self.codec.video and self.empty:
                self.gap(Gap.NO_KEY_FRAME, units=1)
                self.need_key()
            return
        self._need_key = False
        if self._gap is None and present - self._promised(self.end) > self._hole:
            self._gap = _OpenGap(Gap.NO_MEDIA, self._promised(self.end))
        steady = self._gap is None and heard.number == self._index + 1
        if self._gap is not None:
            damaged = bool(heard.lost or heard.malformed or not unit.complete)
            if not unit.complete:
                # It may have come earlier than the steps before it let expect.
                self._gap.start = min(self._gap.start, present)
            if damaged or self._gap.damaged:
                # What was lost in a unit may reach beyond it: the next one tells more.
                self._gap.latest = self._order.latest_missing(present, self._delta)
            self._gap.damaged = damaged
            if unit.complete and present > max(self._order.greatest, self._gap.latest):
                self._close_gap(present)
        init = self._enter_epoch(heard, present)
        if steady and 0 < (step := self._order.step(present)) <= self.codec.timescale // 2:
            self._delta = step
        self._append(heard, mapping, present, init)

    def _append(self, heard: Heard, mapping: Mapping, present: int, init: bytes | None) -> None:
        unit = heard.unit
        certain = self._order.add(present, 0 if self._setup is None else self._setup.reordered)
        self._index = heard.number
        self._bytes += len(unit.data)
        pre_roll = unit.arrival_ns < self.started_ns
        self._laid.append(_Laid(present, heard, self._epoch, self._setup, mapping, pre_roll, init))
        self.end = max(self.end, present + self._estimate(unit))
        self._certain = max(self._certain, certain + self._estimate(unit))

    def gap(self, reason: Gap, packets: int = 0, units: int = 0) -> None:
        """A stretch from the end of what is laid is missing, until the next whole unit."""
        if self._gap is None:
            self._gap = _OpenGap(reason, self._promised(self._certain))
        elif _STRENGTH[reason] > _STRENGTH[self._gap.reason]:
            self._gap.reason = reason
        self._gap.packets += packets
        self._gap.units += units

    def _promised(self, end: int) -> int:
        """Until when nothing can be missing: the end of what is laid; with nothing laid, the start being pressed.

        The origin may lie before that, where another track's pre-roll begins.
        """
        return max(end, self._media(self.started_ns)) if self.empty else end

    def disconnected(self) -> None:
        """The connection is gone; the next one begins with a key frame."""
        self.gap(Gap.RECONNECT)
        self.need_key()

    def clock_report(self, clock: StreamClock, stream: int, ntp: int, rtp: int, arrival_ns: int, stepped: bool) -> None:
        """A sender report came, already known to `clock`: tell how the clocks run, at most once a second."""
        mapping = self._mapping
        self._stepped |= stepped
        if mapping is None or stream != self._stream:
            return
        if self._clock_ns is not None and arrival_ns - self._clock_ns < _CLOCK_EVERY_NS:
            return
        self._clock_ns = arrival_ns
        extended = clock.unwrap(rtp)
        media = mapping.media_time(extended)
        utc, offset, delay = clock.utc_ns(extended), clock.sender.offset_ns(), clock.delay_ns()
        event: Event = {"type": "clock", "mapping": mapping.number, "rtp": rtp, "ntp": str(ntp), "media_time": media}
        event["deviation_ns"] = None if utc is None or offset is None else utc + offset - self._local_ns(media)
        event["drift_ns"] = None if delay is None or self._delay_ns is None else delay - self._delay_ns
        event["stepped"], self._stepped = self._stepped, False
        self._say(event, arrival_ns)

    def cut(self) -> Cut:
        """Give everything laid since the cut before."""
        laid, self._laid = self._laid, []
        events, self._events = self._events, []
        self._bytes = 0
        runs = groupby(laid, key=lambda one: (one.mapping.number, one.epoch))
        return Cut(tuple(self._fragment(list(run)) for _, run in runs), tuple(events))

    @property
    def uncut(self) -> bool:
        """True while there is something for the next cut."""
        return bool(self._laid or self._events)

    def close(self, now_ns: int, clock: StreamClock | None) -> None:
        """Nothing more comes: a gap that is still open, or a silence too long to be one, lasts until now.

        Now, less what this sender's media takes to come here: what was not yet due is not missing.
        """
        now = self._media(now_ns - self._lag_ns(clock))
        if self._gap is None and now - self.end > self._hole:
            self.gap(Gap.NO_MEDIA)
        if self._gap is not None:
            if self._gap.reason is Gap.RECONNECT and clock is None:
                # Nobody came back: that is no reconnection.
                self._gap.reason = Gap.NO_CONNECTION
            self._close_gap(max(now, self.end))

    def _lag_ns(self, clock: StreamClock | None) -> int:
        """From where a unit lies to when it comes, at the least; 0 where nothing is known of it."""
        mapping, delay = self._mapping, None if clock is None else clock.delay_ns()
        if mapping is None or delay is None:
            return 0
        return max(0, delay + self._ns(mapping.rtp) - self._local_ns(mapping.media))

    def _fragment(self, run: list[_Laid]) -> Fragment:
        first, last = run[0], run[-1]
        if first.mapping.number != self._decoded:
            self._decoded = first.mapping.number
            self._decoding.restart()
        decode = self._decoding.of([one.present for one in run], self._order.depth, self._estimate(run[-1].heard.unit))
        samples = [
            Sample(one.heard.unit.data, after - at, _starts(one.heard.unit), one.present - at)
            for one, (at, after) in zip(run, pairwise(decode), strict=True)
        ]
        self._sequence += 1
        mapping, least = first.mapping, min(one.present for one in run)
        utc = mapping.sender_utc_ns
        return Fragment(
            track=self.track,
            epoch=first.epoch,
            init=first.init,
            codec="" if first.setup is None else first.setup.codec,
            data=fragment(self._sequence, decode[0], samples),
            timescale=self.codec.timescale,
            sequence=self._sequence,
            base=decode[0],
            first=least,
            last=max(one.present for one in run),
            duration=decode[-1] - decode[0],
            end=max(one.present + self._estimate(one.heard.unit) for one in run),
            samples=len(run),
            key_frames=tuple(one.present for one in run if self.codec.video and _starts(one.heard.unit)),
            incomplete=sum(not one.heard.unit.complete for one in run),
            pre_roll=sum(one.pre_roll for one in run),
            mapping=mapping.number,
            connection=mapping.connection,
            first_rtp=first.heard.rtp & 0xFFFFFFFF,
            last_rtp=last.heard.rtp & 0xFFFFFFFF,
            first_ns=self._local_ns(least),
            sender_utc_ns=None if utc is None else utc + self._ns(least - mapping.media),
            uncertainty_ns=mapping.uncertainty_ns,
        )

    def _map(self, heard: Heard, connection: str, clock: StreamClock) -> Mapping:
        before = self._mapping
        if before is not None and before.connection == connection:
            self.gap(Gap.DISCONTINUITY)
        local_ns, uncertainty_ns, by = clock.local_ns(heard.rtp, self.origin_ns)
        media = self._media(local_ns)
        if before is not None:
            media = max(media, self.end)
        elif self.codec.video and heard.unit.arrival_ns >= self.started_ns:
            # The first key frame after a start with nothing in memory: rather shown a moment late than lost.
            media = max(media, 0)
        number = 0 if before is None else before.number + 1
        mapping = Mapping(number, connection, by, heard.rtp, media, uncertainty_ns, clock.utc_ns(heard.rtp))
        self._order.restart()
        self._certain = max(self._certain, self.end)
        self._stream = heard.stream
        self._drift = Drift(heard.unit.arrival_ns, self._local_ns(media) - clock.ns(heard.rtp), by)
        return self._declare(mapping, clock)

    def _follow(self, drift: Drift, before: Mapping, heard: Heard, clock: StreamClock) -> Mapping:
        """Where the clocks have drifted apart, what follows lies elsewhere, by a new mapping of the same stream."""
        if self._setup is not None and self._setup.reordered and not heard.unit.key:
            return before  # pictures sent before one that is shown earlier: all of them move together
        was = before.media_time(heard.rtp)
        hole = self._gap is not None or was - self.end > self._hole
        most_ns = None if hole else self._ns(self._estimate(heard.unit)) // 2
        step_ns = drift.step_ns(clock, self.origin_ns, heard.unit.arrival_ns, most_ns)
        if not step_ns:
            return before
        media = was + step_ns * self.codec.timescale // SECOND_NS
        if hole:
            media = max(media, self.end)
        drift.lies(self._local_ns(media) - clock.ns(heard.rtp))
        utc = clock.utc_ns(heard.rtp)
        number, uncertainty_ns = before.number + 1, before.uncertainty_ns
        mapping = Mapping(number, before.connection, before.by, heard.rtp, media, uncertainty_ns, utc)
        return self._declare(mapping, clock, self._ns(media - was))

    def _declare(self, mapping: Mapping, clock: StreamClock, moved_ns: int = 0) -> Mapping:
        self._mapping, self._delay_ns = mapping, clock.delay_ns()
        self._say(
            {
                "type": "mapping",
                "number": mapping.number,
                "connection": mapping.connection,
                "by": mapping.by.value,
                "rtp": mapping.rtp & 0xFFFFFFFF,
                "media_time": mapping.media,
                "moved_ns": moved_ns,
                "uncertainty_ns": mapping.uncertainty_ns,
                "sender_utc_ns": None if mapping.sender_utc_ns is None else str(mapping.sender_utc_ns),
            }
        )
        return mapping

    def _enter_epoch(self, heard: Heard, present: int) -> bytes | None:
        if heard.setup is None or heard.setup == self._setup:
            return None
        self._setup = heard.setup
        self._epoch += 1
        self._say({"type": "epoch", "number": self._epoch, "media_time": present, "codec": heard.setup.codec})
        return initialisation(heard.setup, self.codec.timescale)

    def _close_gap(self, until: int) -> None:
        gap, self._gap = self._gap, None
        if gap is None or (gap.reason in _IF_ANY and until <= gap.start and not gap.units):
            return
        self._say(
            {
                "type": "gap",
                "reason": gap.reason.value,
                "from": min(gap.start, until),
                "to": until,
                "packets": gap.packets,
                "units": gap.units,
            }
        )

    def _say(self, event: Event, now_ns: int | None = None) -> None:
        event["track"] = self.track
        if now_ns is not None:
            event["at_ns"] = now_ns - self.origin_ns
        self._events.append(event)

    def _estimate(self, unit: AccessUnit) -> int:
        if not self.codec.video:
            return opus_ticks(unit.data) or 1
        return self._delta

    def _media(self, local_ns: int) -> int:
        return ((local_ns - self.origin_ns) * self.codec.timescale + SECOND_NS // 2) // SECOND_NS

    def _ns(self, media: int) -> int:
        return media * SECOND_NS // self.codec.timescale

    def _local_ns(self, media: int) -> int:
        return self.origin_ns + self._ns(media)


def _starts(unit: AccessUnit) -> bool:
    return unit.key and unit.complete
