"""The room's cameras: their packets go to their tracks and, by the way that drops, to the monitor.

Implements `recorder.peer.Sink`: called on the event loop while a datagram is handled, so nothing here waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from evidence_store.canonical import Record
from evidence_store.sealing.journal import TrackEntry
from recorder.checks import heard_just_now
from recorder.clock import SenderClock
from recorder.datagrams import READ_LIVE_S, DatagramReader
from recorder.feed import Presence
from recorder.feed_server import FeedServer
from recorder.fragments import Codec, Heard
from recorder.known_cameras import KnownCameras
from recorder.peer import Connection
from recorder.rtp import RtpPacket
from recorder.sdp import KINDS, Kind
from recorder.ticker import CODEC_OF, RoomProfile, connection_event, viewer_event
from recorder.track import Track
from recorder.watching.door import Watch
from recorder.watching.messages import unit_message

_SMOOTHING = 0.2
_SOURCES = 16


@dataclass(slots=True)
class Meter:
    """One camera's stream. `feed`: its tracks' indices in the monitor's feed. `sources`: the SSRC of each medium as
    octets, the present one last."""

    id: str
    connection: Connection | None = None
    feed: dict[Kind, int] = field(default_factory=dict)
    sender: SenderClock = field(default_factory=SenderClock)
    sources: dict[Kind, list[bytes]] = field(default_factory=dict)
    heard_ns: int = 0
    octets: int = 0
    octets_before: int = 0
    bitrate: float = 0.0

    def measure(self, seconds: float) -> None:
        """Asked every so many seconds: the rate, smoothed."""
        gained = (self.octets - self.octets_before) * 8 / seconds
        self.bitrate += (gained - self.bitrate) * _SMOOTHING
        self.octets_before = self.octets

    def heard(self, now_ns: int) -> bool:
        """Whether the camera is connected and has sent something just now."""
        return self.connection is not None and heard_just_now(self.heard_ns, now_ns)

    def describe(self, now_ns: int, picture: Record) -> Record:
        """`picture`: what is known of its current picture, see `ticker.describe_init`."""
        return {
            "bitrate": round(self.bitrate),
            "connected": self.connection is not None,
            "height": picture.get("height"),
            "id": self.id,
            "silence": None if not self.heard_ns else (now_ns - self.heard_ns) / 1e9,
            "width": picture.get("width"),
        }


def _source_of(packet: RtpPacket) -> bytes:
    return packet[4][8:12]


def _set_pace(watched: bool) -> None:
    """Datagrams are read more often while somebody watches: to the recording a few milliseconds are nothing."""
    DatagramReader.shared().pace(_set_pace, READ_LIVE_S if watched else None)


class Cameras:
    """Tracks, meters and feed of one room. `tell(event)` hears what belongs into the journal."""

    def __init__(
        self,
        profile: RoomProfile,
        entries: list[TrackEntry],
        feed_path: Path,
        ask_key_frame: Callable[[str], None],
        tell: Callable[[Record], None],
        known: KnownCameras,
        watch: Watch | None = None,
    ) -> None:
        """`ask_key_frame(camera)` reaches the camera's peer. `known`: what each camera is held against when it comes.
        `watch` hears what the watch over content observes."""
        self.known = known
        self.tracks = {entry.id: Track(entry.id, CODEC_OF[entry.kind]) for entry in entries}
        self.meters = {camera.id: Meter(camera.id) for camera in profile.cameras}
        self.feed = FeedServer(
            feed_path,
            key_frame=lambda camera, _kind: ask_key_frame(camera),
            presence=self._told,
            deserted=self._deserted,
            watched=_set_pace,
            watch=watch,
        )
        for entry, kind in ((entry, kind) for entry in entries for kind in KINDS if entry.kind == kind):
            self.tracks[entry.id].on_unit = partial(self._show_unit, entry.camera, kind)
        self._of = {(entry.camera, entry.kind): entry.id for entry in entries}
        self._tell = tell
        self._watching: dict[tuple[str, str], Presence] = {}

    def present(self) -> list[Record]:
        """What holds now, as events for the beginning of a take: who sends, held against whom, and who watches."""
        connections = [meter.connection for meter in self.meters.values() if meter.connection is not None]
        return [
            *(connection_event(connection, connected=True) for connection in connections),
            *self.known.present(),
            *map(viewer_event, self._watching.values()),
        ]

    def connected(self, connection: Connection) -> None:
        meter = self.meters.get(connection.camera)
        if meter is None:
            return
        meter.connection = connection
        meter.sources, meter.sender = {}, SenderClock()
        now, sender = time.monotonic_ns(), meter.sender
        for kind, sent in connection.codecs.items():
            if (track := self._track(connection, kind)) is not None:
                track.connect(connection.id, now, sender, sent.parameter_sets, Codec(sent.name.lower()))
        # Only now: what still waited in the tracks was shown to the watch under its own index.
        meter.feed = self.feed.announce(connection.camera, connection.codecs)
        self._tell(connection_event(connection, connected=True))
        for event in self.known.connected(connection, time.time_ns()):
            self._tell(event)

    def rtp(
        self, connection: Connection, kind: Kind, packets: list[RtpPacket], in_order: bool, arrival_ns: int
    ) -> None:
        if in_order:  # and so of one source
            if self._is_present(connection, kind, _source_of(packets[0]), arrival_ns):
                self._hand_on(connection, kind, packets, True, arrival_ns)
            return
        for source, run in groupby(packets, key=_source_of):
            if self._is_present(connection, kind, source, arrival_ns):
                self._hand_on(connection, kind, list(run), False, arrival_ns)

    def _hand_on(
        self, connection: Connection, kind: Kind, packets: list[RtpPacket], in_order: bool, arrival_ns: int
    ) -> None:
        meter = self.meters[connection.camera]
        if (track := self._track(connection, kind)) is not None:
            track.take(packets, in_order, arrival_ns)
        whole = [packet[4] for packet in packets]
        meter.heard_ns = arrival_ns
        meter.octets += sum(map(len, whole))
        if (index := meter.feed.get(kind)) is not None:
            self.feed.send(index, whole, arrival_ns)

    def _is_present(self, connection: Connection, kind: Kind, source: bytes, arrival_ns: int) -> bool:
        """A sender may go on under another SSRC (RFC 3550, 8): its numbers and times begin anew, its wall clock does
        not. False for what still comes of a source it has left."""
        meter, track = self.meters[connection.camera], self._track(connection, kind)
        known = meter.sources.setdefault(kind, [source])
        if source in known:
            return source == known[-1]
        meter.sources[kind] = [*known[-_SOURCES:], source]
        if track is not None:
            track.connect(connection.id, arrival_ns, meter.sender, connection.codecs[kind].parameter_sets)
        meter.feed = self.feed.announce(connection.camera, connection.codecs)
        return True

    def sender_report(self, connection: Connection, kind: Kind, ntp: int, rtp: int, arrival_ns: int) -> None:
        track = self._track(connection, kind)
        if track is not None:
            track.sender_report(ntp, rtp, arrival_ns)
        if (index := self.meters[connection.camera].feed.get(kind)) is not None:
            self.feed.report(index, ntp, rtp, arrival_ns)

    def _show_unit(self, camera: str, kind: Kind, heard: Heard) -> None:
        index = self.meters[camera].feed.get(kind)
        if index is not None and self.feed.door.client is not None:
            self.feed.unit(index, *unit_message(heard), heard.unit.arrival_ns)

    def disconnected(self, connection: Connection, reason: str) -> None:
        meter = self.meters.get(connection.camera)
        if meter is None or meter.connection is None or meter.connection.id != connection.id:
            return
        for kind in connection.codecs:
            if (track := self._track(connection, kind)) is not None:
                track.disconnect()
        meter.connection, meter.feed = None, {}
        self.feed.withdraw(connection.camera)
        self._tell(connection_event(connection, connected=False, reason=reason))

    def _track(self, connection: Connection, kind: Kind) -> Track | None:
        name = self._of.get((connection.camera, kind))
        return None if name is None else self.tracks[name]

    def _told(self, presence: Presence) -> None:
        who = presence.viewer, presence.camera
        if presence.event == "joined":
            if self._watching.get(who) == presence:
                return  # repeated by a monitor that connected anew
            self._watching[who] = presence
        else:
            self._watching.pop(who, None)
        self._tell(viewer_event(presence))

    def _deserted(self) -> None:
        """The monitor process is gone, and with it every picture that it sent."""
        now = time.time_ns()
        for viewer, camera in list(self._watching):
            self._told(Presence("left", viewer, camera, now))
