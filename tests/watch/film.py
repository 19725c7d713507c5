"""Short clips with a fault in the middle, made by FFmpeg, and a room without a clock, whose parts are real.

Time is the clip's own: packets come when they are due by it, however quickly the test runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import imageio_ffmpeg
from av.bitstream import BitStreamFilterContext

from evidence_store.canonical import Record
from recorder.cameras import Cameras
from recorder.known_cameras import KnownCameras
from recorder.observed import Observed
from recorder.peer import Connection
from recorder.rtp import HEADER, RtpPacket
from recorder.sdp import Codec, Kind
from recorder.ticker import CameraProfile, RoomProfile
from recorder.watching.content import ContentWatch, Expected
from recorder.watching.link import WatchLink
from tests.house import until
from tests.recorder_media.payloads import packetise, split_annex_b

SECOND = 1_000_000_000
BEGIN, END, SECONDS = 4.1, 10.1, 14.0
"""The fault's, in the clip's seconds."""
WHILE = f"enable='gte(t,{BEGIN})*lt(t,{END})'"
UTC_AHEAD = 1_795_000_000 * SECOND
STEP = SECOND // 10

ROOM = RoomProfile("watch", (CameraProfile("wide", "wide-video", "wide-audio"),))
CODECS: dict[Kind, Codec] = {
    "video": Codec("video", "H264", 96, 90_000, None, "packetization-mode=1;profile-level-id=42e01f"),
    "audio": Codec("audio", "opus", 111, 48_000, 2),
}


def make_film(path: Path, video: str = "", audio: str = "", key_every: int = 30, coder: str = "") -> Path:
    """Moving bars with noise and pink noise, changed by FFmpeg filters; a key frame each so many pictures."""
    pictures = f"testsrc2=s=480x270:r=30:d={SECONDS},noise=c0s=6:c0f=t:all_seed=1,format=yuv420p{video}"
    sounds = f"anoisesrc=c=pink:a=0.1:r=48000:d={SECONDS}:seed=1{audio},aformat=sample_fmts=s16,pan=stereo|c0=c0|c1=c0"
    coder = coder or "-c:v libx264 -preset ultrafast -tune zerolatency -x264-params scenecut=0"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y",
        "-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sounds, *coder.split(),
        "-b:v", "800k", "-g", str(key_every), "-fps_mode", "vfr", "-c:a", "libopus", "-b:a", "64k", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return path


@dataclass(frozen=True, slots=True)
class Due:
    """One RTP packet, and when in the clip it is sent."""

    at_ns: int
    kind: Kind
    packet: RtpPacket


def sent(sequence: int, timestamp: int, marker: bool, payload: bytes) -> RtpPacket:
    """A packet of this payload, all from one source."""
    parts = sequence & 0xFFFF, timestamp, marker
    return *parts, HEADER.size, HEADER.pack(0x80, 96 | marker << 7, *parts[:2], 1) + payload


def rtp_of(film: Path) -> list[Due]:
    """The clip as the packets of its camera, in the order they are due."""
    found: list[Due] = []
    pictures: list[tuple[int, list[bytes]]] = []
    with av.open(str(film)) as source:
        to_byte_stream = BitStreamFilterContext("h264_mp4toannexb", source.streams.video[0])
        for packet in source.demux():
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            seconds = packet.pts * packet.time_base
            if packet.stream.type == "video":
                for out in to_byte_stream.filter(packet):
                    pictures.append((round(seconds * 90_000), split_annex_b(bytes(out))))
            else:
                rtp = round(seconds * 48_000) & 0xFFFFFFFF
                found.append(Due(round(seconds * SECOND), "audio", sent(len(found), rtp, True, bytes(packet))))
    lengths = {len(nal) for _, nals in pictures for nal in nals}
    # Not one that leaves a NAL unit in a single fragment.
    size = next(size for size in range(1100, 900, -1) if not {size, size + 1} & lengths)
    for each in packetise(pictures, size=size):
        picture = sent(each.sequence, each.timestamp, each.marker, each.payload)
        found.append(Due(each.timestamp * SECOND // 90_000, "video", picture))
    return sorted(found, key=lambda each: each.at_ns)


@dataclass
class Room:
    """`now_ns` is the only clock. `events`: what went to the journal, each with when it did, in the clip's seconds."""

    cameras: Cameras = field(init=False)
    observed: Observed = field(init=False)
    link: WatchLink = field(init=False)
    now_ns: int = 1000 * SECOND
    events: list[tuple[float, Record]] = field(default_factory=list)
    connections: int = 0
    _began_ns: int = 0

    def connect(self) -> Connection:
        self.connections += 1
        connection = Connection(f"c{self.connections}", "wide", "sha-256 AB", "127.0.0.1:5000", CODECS)
        self.cameras.connected(connection)
        self._began_ns = self.now_ns
        return connection

    async def play(self, film: list[Due], *, clock_off_s: float | None = None, sound: bool = True) -> None:
        """From its first packet to its last, in steps of a tenth of a second."""
        connection = self.connect()
        waiting = iter(film)
        packet = next(waiting, None)
        while packet is not None:
            self.now_ns += STEP
            while packet is not None and self._began_ns + packet.at_ns <= self.now_ns:
                if sound or packet.kind == "video":
                    self.cameras.rtp(connection, packet.kind, [packet.packet], False, self._began_ns + packet.at_ns)
                packet = next(waiting, None)
            if clock_off_s is not None and (self.now_ns - self._began_ns) % SECOND == 0:
                utc = self.now_ns + UTC_AHEAD + int(clock_off_s * SECOND)
                self.cameras.sender_report(connection, "video", _ntp(utc), 0, self.now_ns)
            await self.pass_on()
        self.cameras.disconnected(connection, "ended-by-camera")
        await self.pass_on()

    async def wait(self, seconds: float) -> None:
        """So long nothing comes."""
        for _ in range(round(seconds * SECOND / STEP)):
            self.now_ns += STEP
            await self.pass_on()

    async def pass_on(self) -> None:
        """What was sent reaches the watch, and what it says the recorder."""
        for track in self.cameras.tracks.values():
            track.cut(self.now_ns)
        for _ in range(4):
            await asyncio.sleep(0)
        self.link.tick(self.now_ns, self.now_ns + UTC_AHEAD)
        self.link.well()
        for _ in range(3):
            await asyncio.sleep(0)

    def tell(self, event: Record) -> None:
        self.events.append(((self.now_ns - self._began_ns) / SECOND, event))

    def told(self, kind: str) -> list[tuple[str, float, Record]]:
        """What was observed of that kind: act, when it was told, and the event."""
        return [(e["act"], at, e) for at, e in self.events if e["type"] == "observation" and e["kind"] == kind]

    def kinds(self) -> set[str]:
        return {event["kind"] for _, event in self.events if event["type"] == "observation"}

    def seconds_of(self, utc: str) -> float:
        """A moment of an event, in the clip's seconds."""
        return (int(utc) - UTC_AHEAD - self._began_ns) / SECOND


def _ntp(utc_ns: int) -> int:
    seconds, rest = divmod(utc_ns, SECOND)
    return (((seconds + 2_208_988_800) & 0xFFFFFFFF) << 32) | (rest << 32) // SECOND


@asynccontextmanager
async def room(folder: Path, frame_rate: int | None = 30) -> AsyncIterator[Room]:
    made = Room()
    entries = ROOM.tracks()
    made.observed = Observed(
        entries, made.tell, expected=True, monotonic=lambda: made.now_ns, utc=lambda: made.now_ns + UTC_AHEAD
    )
    path = folder / "feed"
    known = KnownCameras(folder / "cameras.json")
    made.cameras = Cameras(ROOM, entries, path, lambda _camera: None, made.tell, known, made.observed)
    await made.cameras.feed.start()
    expected = [Expected("wide", ("video", "audio"), frame_rate)]
    made.link = WatchLink(path, lambda tell: ContentWatch(expected, tell), monotonic=lambda: made.now_ns)
    running = asyncio.create_task(made.link.run())
    try:
        await until(lambda: made.cameras.feed.door.client is not None)
        yield made
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await made.cameras.feed.stop()


def units_of(film: Path) -> Iterator[tuple[float, bool, bytes]]:
    """Pictures of any format as a container has them: seconds, key frame, bytes."""
    with av.open(str(film)) as source:
        for packet in source.demux(source.streams.video[0]):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                yield float(packet.pts * packet.time_base), packet.is_keyframe, bytes(packet)
