"""One track in one take: where each access unit lies, which stretches are missing, and what is cut at each tick.

Decides and lays out bytes; sealing and writing them is the sealer's work. Times without a unit in their name are media
time: the track's own timescale, from the take's origin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, pairwise

from .boxes import VIDEO_TIMESCALE, Sample, audio_init, fragment, video_init
from .clock import SECOND_NS, Mapping, StreamClock
from .depacketise import AccessUnit, opus_ticks
from .fragments import Codec, Cut, Event, Fragment, Gap, Heard, ParameterSetPair
from .parameter_sets import codec_string

MAX_PENDING = 128 * 1024 * 1024
_MAX_UNITS = 65_536
_CLOCK_EVERY_NS = SECOND_NS
_DEFAULT_PICTURE = VIDEO_TIMESCALE // 30
_STRENGTH = {reason: strength for strength, reason in enumerate(Gap)}
# Said only when something is missing between what is laid before and after: a take may begin and go on without a hole.
_IF_ANY = frozenset({Gap.PAUSE, Gap.NO_KEY_FRAME, Gap.NO_MEDIA, Gap.NO_CONNECTION})


@dataclass(frozen=True, slots=True)
class _Laid:
    present: int
    heard: Heard
    epoch: int
    codec: str
    mapping: Mapping
    pre_roll: bool
    init: bytes | None


@dataclass(slots=True)
class _OpenGap:
    reason: Gap
    start: int
    packets: int = 0
    units: int = 0


@dataclass(slots=True)
class Timeline:
    """Lays units on the timeline. The events, each with `type` and `track`:

    - `gap`: reason, from, to, packets (lost or malformed), units (dropped or incomplete)
    - `mapping`: number, connection, by, rtp, media_time, uncertainty_ns, sender_utc_ns (digits, or None)
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
    _epoch: int = -1
    _epoch_codec: str = ""
    _sets: ParameterSetPair | None = None
    _need_key: bool = False
    _resumed: bool = False
    _index: int = -1
    _decode: int = -1
    _delta: int = _DEFAULT_PICTURE
    _sequence: int = 0
    _clock_ns: int | None = None
    _stepped: bool = False
    _gap: _OpenGap | None = None
    _bytes: int = 0
    _laid: list[_Laid] = field(default_factory=list)
    _events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._need_key = self.codec is Codec.H264

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
        self._need_key = self.codec is Codec.H264

    def resume(self, started_ns: int) -> None:
        """Go on after `close`, on the same timeline."""
        self.started_ns = started_ns
        self._resumed = True
        self.gap(Gap.PAUSE)

    def lay(self, heard: Heard, connection: str, clock: StreamClock) -> None:
        """Place one unit after those before it, or say why it is not there."""
        if heard.index <= self._index:
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
        if self._resumed and heard.index != self._index + 1:
            self.need_key()
        self._resumed = False
        if self._need_key and heard.sets is None:
            self.gap(Gap.NO_KEY_FRAME, units=1)
            return
        if self._bytes + len(unit.data) > self.max_pending or len(self._laid) >= _MAX_UNITS:
            self.need_key()
            self.gap(Gap.OVERFLOW, units=1)
            return
        mapping = self._mapping
        if mapping is None or heard.stream != self._stream:
            mapping = self._map(heard, connection, clock)
        present = mapping.media_time(heard.rtp)
        if present < 0:
            # Older than the take. A sound before it is none of ours; a picture needs the next key frame instead.
            if self.codec is Codec.H264:
                self.gap(Gap.NO_KEY_FRAME, units=1)
                self.need_key()
            return
        self._need_key = False
        if self._gap is None and present - self._promised() > self._hole:
            self.gap(Gap.NO_MEDIA)
        if self._gap is not None and unit.complete:
            self._close_gap(present)
        self._append(heard, mapping, present, self._enter_epoch(heard, present))

    def _append(self, heard: Heard, mapping: Mapping, present: int, init: bytes | None) -> None:
        if self._laid and self._laid[-1].mapping is mapping:
            step = present - self._laid[-1].present
            if 0 < step <= self.codec.timescale // 2:
                self._delta = step
        self._index = heard.index
        self._bytes += len(heard.unit.data)
        pre_roll = heard.unit.arrival_ns < self.started_ns
        self._laid.append(_Laid(present, heard, self._epoch, self._epoch_codec, mapping, pre_roll, init))
        self.end = max(self.end, present + self._estimate(heard.unit))

    def gap(self, reason: Gap, packets: int = 0, units: int = 0) -> None:
        """A stretch from the end of what is laid is missing, until the next whole unit."""
        if self._gap is None:
            self._gap = _OpenGap(reason, self._promised())
        elif _STRENGTH[reason] > _STRENGTH[self._gap.reason]:
            self._gap.reason = reason
        self._gap.packets += packets
        self._gap.units += units

    def _promised(self) -> int:
        """Until when nothing can be missing: the end of what is laid; with nothing laid, the start being pressed.

        The origin may lie before that, where another track's pre-roll begins.
        """
        return max(self.end, self._media(self.started_ns)) if self.empty else self.end

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
        decode = self._decoding(run)
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
            codec=first.codec,
            data=fragment(self._sequence, decode[0], samples),
            timescale=self.codec.timescale,
            sequence=self._sequence,
            base=decode[0],
            first=least,
            last=max(one.present for one in run),
            duration=decode[-1] - decode[0],
            samples=len(run),
            key_frames=tuple(one.present for one in run if self.codec is Codec.H264 and _starts(one.heard.unit)),
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

    def _decoding(self, run: list[_Laid]) -> list[int]:
        """When each sample is decoded, and when the last one ends.

        RTP tells when to show, not when to decode: the same, while that rises. Pictures sent out of order are decoded
        at an even pace in the order they came, each with an offset back or forth to its own time.
        """
        shown = [one.present for one in run]
        if all(before < after for before, after in pairwise([self._decode, *shown])):
            decode = [*shown, shown[-1] + self._estimate(run[-1].heard.unit)]
        else:
            count, least, greatest = len(shown), min(shown), max(shown)
            begin = max(self._decode + 1, least)
            end = max(greatest + ((greatest - least) // (count - 1) if count > 1 else self._delta), begin + count)
            decode = [begin + (end - begin) * index // count for index in range(count + 1)]
        self._decode = decode[-2]
        return decode

    def _map(self, heard: Heard, connection: str, clock: StreamClock) -> Mapping:
        before = self._mapping
        if before is not None and before.connection == connection:
            self.gap(Gap.DISCONTINUITY)
        local_ns, uncertainty_ns, by = clock.local_ns(heard.rtp, self.origin_ns)
        media = self._media(local_ns)
        if before is not None:
            media = max(media, self.end)
        elif self.codec is Codec.H264 and heard.unit.arrival_ns >= self.started_ns:
            # The first key frame after a start with nothing in memory: rather shown a moment late than lost.
            media = max(media, 0)
        utc = clock.utc_ns(heard.rtp)
        number = 0 if before is None else before.number + 1
        mapping = Mapping(number, connection, by, heard.rtp, media, uncertainty_ns, utc)
        self._mapping, self._stream, self._delay_ns = mapping, heard.stream, clock.delay_ns()
        self._say(
            {
                "type": "mapping",
                "number": number,
                "connection": connection,
                "by": by.value,
                "rtp": heard.rtp & 0xFFFFFFFF,
                "media_time": media,
                "uncertainty_ns": uncertainty_ns,
                "sender_utc_ns": None if utc is None else str(utc),
            }
        )
        return mapping

    def _enter_epoch(self, heard: Heard, present: int) -> bytes | None:
        if self.codec is Codec.OPUS:
            if self._epoch >= 0:
                return None
            # RFC 7587, 7: Opus is always announced as two channels; each packet says for itself what it has.
            init, codec = audio_init(2), "opus"
        else:
            if heard.sets is None or heard.sets == self._sets:
                return None
            self._sets = heard.sets
            init, codec = video_init(*heard.sets), codec_string(heard.sets[0][0])
        self._epoch += 1
        self._epoch_codec = codec
        self._say({"type": "epoch", "number": self._epoch, "media_time": present, "codec": codec})
        return init

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
        if self.codec is Codec.OPUS:
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
