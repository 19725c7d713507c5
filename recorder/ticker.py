"""From what the tracks gave to what a tick holds: messages to seal, and events for the journal. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from evidence_store.canonical import Record
from evidence_store.sealing.journal import TrackEntry
from evidence_store.sealing.tick import Kind, Message
from recorder.box_reader import parse_init
from recorder.feed import Presence
from recorder.fragments import Codec, Event, Fragment
from recorder.peer import Connection
from recorder.sealer import Tick, gap_record

AUDIO_STEP, VIDEO_STEP, INIT_STEP = 4096, 1, 1024
"""What messages are padded to: docs/formats/tick.md#messages."""
CODEC_OF = {"video": Codec.H264, "audio": Codec.OPUS}
"""What a track is taken for until a camera connects and says what it sends."""
_MOST_EVENTS = 4096


@dataclass(frozen=True, slots=True)
class CameraProfile:
    """A camera of the room and which media are expected of it. `video`, `audio`: track ids, or None.
    `keeps_certificate`: whether each of its connections comes under the same DTLS certificate."""

    id: str
    video: str | None
    audio: str | None
    keeps_certificate: bool = False


@dataclass(frozen=True, slots=True)
class RoomProfile:
    room: str
    cameras: tuple[CameraProfile, ...]

    def tracks(self) -> list[TrackEntry]:
        """Every track, in the order that its index in start records comes from."""
        found: list[TrackEntry] = []
        for camera in self.cameras:
            for track, kind, codec in (
                (camera.video, "video", Codec.H264),
                (camera.audio, "audio", Codec.OPUS),
            ):
                if track is not None:
                    found.append(TrackEntry(len(found), track, camera.id, kind, codec.timescale))
        return found


@dataclass(slots=True)
class Refused:
    """Ticks that the sealing thread had no room for: their media is given up, what happened meanwhile is not."""

    from_utc_ns: int
    to_utc_ns: int
    reason: str
    """As it was when the first was refused: when the gap is declared the disk writes again."""
    events: list[Record] = field(default_factory=list)
    uncounted: int = 0

    def declaration(self) -> list[Record]:
        """The gap, and the events of its time; `events_dropped` of them were too many to keep."""
        gap = gap_record(self.from_utc_ns, self.to_utc_ns, self.reason)
        return [gap | {"events_dropped": self.uncounted}, *self.events]

    def add(self, tick: Tick) -> None:
        room = _MOST_EVENTS - len(self.events)
        self.events += tick.events[:room]
        self.uncounted += max(0, len(tick.events) - room)
        self.to_utc_ns = tick.utc_ns


def fragment_messages(entry: TrackEntry, fragment: Fragment) -> list[Message]:
    """A fragment, and its init before it where a new epoch begins, as messages to seal."""
    messages = []
    if fragment.init is not None:
        about: Record = describe_init(fragment.init)
        messages.append(Message(Kind.INIT, entry.index, fragment.epoch, fragment.init, INIT_STEP, about))
    about = {
        "from": fragment.first,
        "incomplete": fragment.incomplete,
        "keys": list(fragment.key_frames),
        "preroll": fragment.pre_roll,
        "rtp": [fragment.first_rtp, fragment.last_rtp],
        "samples": fragment.samples,
        "to": fragment.end,
    }
    step = VIDEO_STEP if entry.kind == "video" else AUDIO_STEP
    messages.append(Message(Kind.MEDIA, entry.index, fragment.epoch, fragment.data, step, about))
    return messages


def connection_event(connection: Connection, *, connected: bool, reason: str | None = None) -> Record:
    return {
        "address": connection.address,
        "camera": connection.camera,
        "connected": connected,
        "connection": connection.id,
        "fingerprint": connection.fingerprint,
        "reason": reason,
        "type": "connection",
    }


def viewer_event(presence: Presence) -> Record:
    return {
        "act": presence.event,
        "camera": presence.camera,
        "type": "viewer",
        "utc": str(presence.utc_ns),
        "viewer": presence.viewer,
    }


def describe_init(init: bytes) -> Record:
    """What may be known of an init without a key: the codec (RFC 6381), and a picture's size in pixels."""
    setup = parse_init(init).setup
    return (
        {"codec": setup.codec, "height": setup.height, "width": setup.width} if setup.width else {"codec": setup.codec}
    )


def track_event(entry: TrackEntry, event: Event, origin_utc_ns: int) -> Record:
    """A track's event as it goes into the journal: by the track's index, gaps with times that stand alone."""
    record: Record = {**event, "track": entry.index}
    if record["type"] == "gap":
        for name in ("from", "to"):
            media = int(record[name])
            record[f"media_{name}"] = media
            record[name] = str(origin_utc_ns + media * 10**9 // entry.timescale)
    return record
