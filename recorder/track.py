"""One track of a room: a camera's picture or a microphone, from RTP packets to fragments.

Ties order, access units, time and boxes together; knows no socket, no task and no clock of its own, and decodes
nothing. While no take runs it keeps in memory what a take would have to begin with: the pictures since the last key
frame, or the last seconds of sound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from evidence_store.errors import Conflict

from .clock import SECOND_NS, SenderClock, StreamClock
from .codecs import WAYS
from .depacketise import AccessUnit, Depacketiser
from .fragments import Codec, Cut, Gap, Heard
from .reorder import PATIENCE_NS, Lost, Reorder
from .rtp import RtpPacket, payload_of
from .timeline import Timeline

PREROLL_NS = 10 * SECOND_NS
PREROLL_BYTES = 64 * 1024 * 1024
KEY_EVERY_NS = 2 * SECOND_NS
LEEWAY_NS = SECOND_NS // 2
_MOST_WAITING = 4096


@dataclass(slots=True)
class TrackCounters:
    """Since the track was made. Packets, except `incomplete` (access units)."""

    incomplete: int = 0
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    recovered: int = 0
    malformed: int = 0
    unconnected: int = 0


_Packet = tuple[bytes, bool, int, int, int]


class _Report(NamedTuple):
    ntp: int
    rtp: int
    arrival_ns: int


class _Connection:
    """All that begins anew with a connection."""

    __slots__ = ("clock", "identifier", "packets", "payloads", "setups")

    def __init__(self, identifier: str, codec: Codec, sender: SenderClock, patience_ns: int) -> None:
        self.identifier = identifier
        self.packets: Reorder[_Packet] = Reorder(patience_ns)
        self.payloads: Depacketiser = WAYS[codec].depacketiser()
        self.clock = StreamClock(codec.timescale, sender)
        self.setups = WAYS[codec].setups()


class Track:
    """See the module. Times are ns on the local monotonic clock; they are expected not to go backwards."""

    def __init__(
        self,
        identifier: str,
        codec: Codec,
        *,
        patience_ns: int = PATIENCE_NS,
        preroll_ns: int = PREROLL_NS,
        preroll_bytes: int = PREROLL_BYTES,
    ) -> None:
        self.identifier = identifier
        self.codec = codec
        self.last_arrival_ns: int | None = None
        self.on_unit: Callable[[Heard], None] = _nobody
        self._patience_ns = patience_ns
        self._preroll_ns = preroll_ns
        self._preroll_bytes = preroll_bytes
        self._connection: _Connection | None = None
        self._timeline: Timeline | None = None
        self._running = False
        self._kept: deque[Heard] = deque()
        self._kept_bytes = 0
        self._index = 0
        self._stream = 0
        self._lost = 0
        self._dropped = 0
        self._broken = False
        self._past = TrackCounters()
        self._waiting: list[tuple[list[RtpPacket], bool, int] | _Report] = []
        self._waiting_packets = 0

    @property
    def counters(self) -> TrackCounters:
        """A copy of the counters as they are now."""
        self._read()
        now = replace(self._past)
        if self._connection is not None:
            _add(now, self._connection)
        return now

    @property
    def connected(self) -> bool:
        """True between `connect` and `disconnect`."""
        return self._connection is not None

    def connect(
        self,
        connection_id: str,
        now_ns: int,
        sender: SenderClock,
        parameter_sets: Iterable[bytes] = (),
        codec: Codec | None = None,
    ) -> None:
        """A sender's stream (one SSRC) begins; one that is still there ends first.

        The tracks of one sender share its `sender`. `parameter_sets` are those told in the SDP
        (sprop-parameter-sets), for senders that don't repeat them in the stream. `codec`: another of the same kind, as
        when a browser comes in the place of a camera.
        """
        if self._connection is not None:
            self.disconnect()
        if codec is not None:
            self.codec = codec
        self._connection = _Connection(connection_id, self.codec, sender, self._patience_ns)
        self._past.malformed += self._connection.setups.see(parameter_sets)
        self._new_stream()

    def disconnect(self) -> None:
        """The stream has ended. What was under construction is kept, marked incomplete. Nothing if there was none."""
        self._read()
        connection = self._connection
        if connection is None:
            return
        self._flush(connection)
        _add(self._past, connection)
        self._connection = None
        self._forget()
        if self._timeline is not None and self._running:
            self._tell_trailing_loss(self._timeline)
            self._timeline.disconnected()
        self._lost = self._dropped = 0

    def take(self, packets: list[RtpPacket], in_order: bool, arrival_ns: int) -> None:
        """What was read together. `in_order`: see `recorder.peer.Sink`.

        It waits here for the next cut, at most a quarter of a second: many packets in one go cost a third of what they
        cost one by one as they come.
        """
        if self._connection is None:
            self._past.unconnected += len(packets)
            return
        self.last_arrival_ns = arrival_ns
        self._waiting.append((packets, in_order, arrival_ns))
        self._waiting_packets += len(packets)
        if self._waiting_packets > _MOST_WAITING:
            self._read()

    def _read(self) -> None:
        """Everything that waits, in the order it came."""
        connection = self._connection
        waiting, self._waiting, self._waiting_packets = self._waiting, [], 0
        if connection is None:
            return
        for each in waiting:
            if isinstance(each, _Report):
                self._read_report(connection, each)
                continue
            packets, in_order, arrival_ns = each
            if in_order and connection.packets.went_on(packets[0][0], len(packets)):
                self._in_order(connection, packets, arrival_ns)
                continue
            for packet in packets:
                for event in connection.packets.push(packet[0], _held(packet, arrival_ns), arrival_ns):
                    self._take(connection, event)

    def _in_order(self, connection: _Connection, packets: list[RtpPacket], arrival_ns: int) -> None:
        payloads, at, count = connection.payloads, 0, len(packets)
        while at < count:
            after = payloads.middle(packets, at)
            if after == at:
                self._take(connection, _held(packets[at], arrival_ns))
                after += 1
            at = after

    def sender_report(self, ntp: int, rtp: int, arrival_ns: int) -> None:
        """One RTCP sender report of this stream: 64-bit NTP time and 32-bit RTP time (RFC 3550, 6.4.1)."""
        if self._connection is None:
            self._past.unconnected += 1
            return
        self._waiting.append(_Report(ntp, rtp, arrival_ns))

    def _read_report(self, connection: _Connection, report: _Report) -> None:
        ntp, rtp, arrival_ns = report
        stepped = connection.clock.report(ntp, rtp, arrival_ns)
        if self._timeline is not None and self._running:
            self._timeline.clock_report(connection.clock, self._stream, ntp, rtp, arrival_ns, stepped)

    @property
    def wants_key_frame(self) -> bool:
        """True when the sender should be asked for a key frame (PLI); asking not too often is the caller's work.

        There is none yet, a loss has damaged the picture since, or the last one is over 2 s old.
        """
        self._read()
        if not self.codec.video or self._connection is None:
            return False
        if not self._kept or self._broken or self._lost or self.last_arrival_ns is None:
            return True
        return self.last_arrival_ns - self._kept[0].unit.arrival_ns > KEY_EVERY_NS

    @property
    def between_units(self) -> bool:
        """False while a unit has come in part: a take that ends now would end with a picture that is not whole."""
        self._read()
        return self._connection is None or self._connection.payloads.between_units

    def pre_roll_ns(self, now_ns: int) -> int | None:
        """When that was, on the monotonic clock, which a take beginning now should begin with.

        A take's origin is the least of these over its tracks, or now. A picture says its last key frame. Sound, of
        which more is kept, says half a second ago at most, so that it goes back further only for a picture's sake; and
        so does a picture that is still to come, because it may be on its way, or None when its camera is not there.
        """
        self._read()
        if self._connection is None:
            return None
        self._forget_stale(now_ns)
        if self.codec.video and not self._kept:
            return now_ns - LEEWAY_NS
        for heard in self._kept:
            if self.codec.video or now_ns - heard.unit.arrival_ns <= LEEWAY_NS:
                return min(self._connection.clock.local_ns(heard.rtp)[0], now_ns)
        return None

    def begin(self, origin_ns: int, now_ns: int) -> None:
        """A take runs from here on; what is in memory goes first, marked pre-roll. Raises Conflict while one runs.

        `origin_ns` is the take's, the same for all its tracks: see `pre_roll_ns`. With the origin of the take before,
        that one goes on after a pause. Raises Conflict too while the take before has something left to cut.
        """
        self._read()
        timeline = self._timeline
        if self._running or (timeline is not None and timeline.uncut):
            raise Conflict("a take is running on this track", code="take-running")
        if timeline is not None and timeline.origin_ns == origin_ns:
            timeline.resume(now_ns)
        else:
            timeline = self._timeline = Timeline(self.identifier, self.codec, origin_ns, now_ns)
        self._running = True
        connection = self._connection
        if connection is None:
            timeline.gap(Gap.NO_CONNECTION)
            return
        self._forget_stale(now_ns)
        for heard in self._kept:
            timeline.lay(heard, connection.identifier, connection.clock)
        if timeline.empty and self.codec.video:
            timeline.gap(Gap.NO_KEY_FRAME)

    def cut(self, now_ns: int) -> Cut:
        """What was completed since the cut before, or left by `end`. Holes waited for too long end here."""
        self._read()
        connection = self._connection
        if connection is not None:
            for event in connection.packets.expire(now_ns):
                self._take(connection, event)
        return Cut() if self._timeline is None else self._timeline.cut()

    def end(self, now_ns: int) -> None:
        """The take is over. The next `cut` gives what is left, the unit under construction included (incomplete).

        Raises Conflict when no take runs. The connection goes on.
        """
        if self._timeline is None or not self._running:
            raise Conflict("no take is running on this track", code="no-take")
        self._read()
        if self._connection is not None:
            self._flush(self._connection)
        self._tell_trailing_loss(self._timeline)
        self._running = False
        self._timeline.close(now_ns, None if self._connection is None else self._connection.clock)

    def _flush(self, connection: _Connection) -> None:
        for event in connection.packets.flush():
            self._take(connection, event)
        for unit in connection.payloads.flush():
            self._hear(connection, unit)

    def _tell_trailing_loss(self, timeline: Timeline) -> None:
        if self._lost:
            timeline.gap(Gap.LOSS, packets=self._lost)
        if self._dropped:
            timeline.gap(Gap.MALFORMED, packets=self._dropped)
        self._lost = self._dropped = 0

    def _take(self, connection: _Connection, event: _Packet | Lost) -> None:
        payloads = connection.payloads
        if isinstance(event, Lost):
            self._lost += event.count
            payloads.lost()
            return
        before = payloads.counters.dropped
        units = payloads.push(*event)
        dropped = payloads.counters.dropped - before
        if not dropped:
            for unit in units:
                self._hear(connection, unit)
            return
        # A unit that ends because of this packet's timestamp does not contain it; one that ends by its marker does.
        ended_by_marker = units.pop() if units and event[1] else None
        for unit in units:
            self._hear(connection, unit)
        self._dropped += dropped
        if ended_by_marker is not None:
            self._hear(connection, ended_by_marker)

    def _hear(self, connection: _Connection, unit: AccessUnit) -> None:
        rtp, jumped = connection.clock.observe(unit.rtp_time, unit.arrival_ns)
        if jumped:
            self._new_stream()
        if unit.parameter_sets:
            self._past.malformed += connection.setups.see(unit.parameter_sets)
        setup = connection.setups.setup() if unit.key and unit.complete else None
        if setup is not None:
            self._broken = False
        elif self._lost or self._dropped or not unit.complete:
            self._broken = True
        heard = Heard(self._index, self._stream, rtp, unit, setup, self._lost, self._dropped)
        self._index += 1
        self._lost = self._dropped = 0
        self._past.incomplete += not unit.complete
        self.on_unit(heard)
        self._keep(heard)
        if self._timeline is not None and self._running:
            self._timeline.lay(heard, connection.identifier, connection.clock)

    def _keep(self, heard: Heard) -> None:
        kept = self._kept
        if heard.setup is not None and self.codec.video:
            self._forget()
        elif self.codec.video and not kept:
            return
        kept.append(heard)
        self._kept_bytes += len(heard.unit.data)
        self._forget_stale(heard.unit.arrival_ns)

    def _forget_stale(self, now_ns: int) -> None:
        kept, oldest_ns = self._kept, now_ns - self._preroll_ns
        while kept and (kept[0].unit.arrival_ns < oldest_ns or self._kept_bytes > self._preroll_bytes):
            if self.codec.video:
                # Without its key frame nothing of the rest could be shown.
                self._forget()
            else:
                self._kept_bytes -= len(kept.popleft().unit.data)

    def _new_stream(self) -> None:
        self._stream += 1
        self._forget()

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0


def _held(packet: RtpPacket, arrival_ns: int) -> _Packet:
    """What a depacketiser takes of a packet."""
    sequence, timestamp, marker = packet[:3]
    return payload_of(packet), marker, timestamp, sequence, arrival_ns


def _nobody(_heard: Heard) -> None:
    """Nobody listens to this track's units."""


def _add(counters: TrackCounters, connection: _Connection) -> None:
    packets, payloads = connection.packets.counters, connection.payloads.counters
    counters.lost += packets.lost
    counters.late += packets.late
    counters.duplicates += packets.duplicates
    counters.recovered += packets.recovered
    counters.malformed += payloads.dropped
