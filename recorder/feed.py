"""From the recorder to the monitor room: a local socket that drops rather than waits.

A Unix SOCK_SEQPACKET socket, so that each message arrives whole or not at all. The recorder serves, readable by its own
user only. Each message begins with

    type 1 octet ‖ track 2 octets ‖ arrival 8 octets (time.monotonic_ns(), same machine), big-endian

and goes on, recorder → monitor:

    1 tracks    JSON {"tracks": [{"index", "camera", "kind", "name", "payload_type", "clock_rate", "channels",
                "fmtp"}]}: everything that is live, at the beginning and at every change; track and arrival are 0
    2 packets   what was read together of one track or several, one after the other:
                track 2 ‖ arrival 8 ‖ count 2 ‖ count × length 2 ‖ whole decrypted RTP packets; the head's are 0
    3 report    8 octets NTP time ‖ 4 octets RTP time of one instant of the camera's clock (from its sender report)
    4 unit      one access unit (`recorder/watching/messages.py`): to the watch, which gets these instead of packets

and monitor → recorder:

    16 key frame  nothing more: the track's camera should send one
    17 presence   JSON {"event": "joined" | "left", "viewer", "camera", "utc_ns"}, `viewer` opaque
    18 watch      nothing more: whoever says so is the watch over content from then on, no monitor, and is well
    19 observation  from the watch alone (`recorder/watching/messages.py`)
    20 want       1 octet: 1, the track's packets are wanted from now on, and first those of the last seconds; 0, they
                  are not. Until it is said, packets and reports stay with the recorder, the last seconds of them: what
                  nobody watches costs almost nothing

Full socket: the message is dropped and counted; nothing ever waits for the monitor. A monitor whose socket is too full
for the `tracks` message is cut off, so that it connects and hears it again. A monitor that connects first repeats who
is watching, as `joined` with the time it began: a repetition is not a second joining. An index is used again only after
65,535 others.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Literal

from recorder.sdp import KINDS, Codec, Kind

HEAD = struct.Struct("!BHQ")
BATCH = struct.Struct("!HQH")
MAPPING = struct.Struct("!QL")
TRACKS, PACKETS, REPORT, KEY_FRAME, PRESENCE, WANT = 1, 2, 3, 16, 17, 20
LARGEST = 256 * 1024
LARGEST_WORD = 64 * 1024
FULL = 64 * 1024  # octets of packets that are sent without waiting for the end of the reading


@dataclass(frozen=True, slots=True)
class Presence:
    """A viewer's coming or going, for the room's journal. `viewer` is opaque; `utc_ns` nanoseconds since 1970."""

    event: Literal["joined", "left"]
    viewer: str
    camera: str
    utc_ns: int


def batch(track: int, packets: list[bytes], arrival_ns: int) -> bytes:
    """One entry of a `packets` message."""
    lengths = [len(packet) for packet in packets]
    return b"".join((BATCH.pack(track, arrival_ns, len(lengths)), struct.pack(f"!{len(lengths)}H", *lengths), *packets))


def head(kind: int, track: int = 0, arrival_ns: int = 0) -> bytes:
    """What each message begins with."""
    return HEAD.pack(kind, track, arrival_ns)


def unpack_head(message: bytes) -> tuple[int, int, int, bytes]:
    """Type, track, arrival, and the rest. Raises struct.error where there is less than a head."""
    return *HEAD.unpack_from(message), message[HEAD.size :]


def presence_message(presence: Presence) -> bytes:
    return HEAD.pack(PRESENCE, 0, 0) + json.dumps(asdict(presence)).encode()


@dataclass(frozen=True, slots=True)
class FeedTrack:
    """One live medium of one camera. A camera that reconnects has new tracks with new indices."""

    index: int
    camera: str
    codec: Codec

    @property
    def kind(self) -> Kind:
        return self.codec.kind


def to_json(track: FeedTrack) -> dict[str, object]:
    codec = track.codec
    return {
        "index": track.index,
        "camera": track.camera,
        "kind": codec.kind,
        "name": codec.name,
        "payload_type": codec.payload_type,
        "clock_rate": codec.clock_rate,
        "channels": codec.channels,
        "fmtp": codec.fmtp,
    }


def from_json(data: dict[str, object]) -> FeedTrack:
    channels = data["channels"]
    codec = Codec(
        kind=next(kind for kind in KINDS if kind == data["kind"]),
        name=str(data["name"]),
        payload_type=int(str(data["payload_type"])),
        clock_rate=int(str(data["clock_rate"])),
        channels=None if channels is None else int(str(channels)),
        fmtp=str(data["fmtp"]),
    )
    return FeedTrack(int(str(data["index"])), str(data["camera"]), codec)
