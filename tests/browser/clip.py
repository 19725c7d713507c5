"""A short take as the vault would give it: fragmented MP4, one file a track, cut into segments of about 2 s.

Pictures are a test pattern. Key frames come each 4 s, so that every other segment holds none.
"""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import imageio_ffmpeg

from api.services import Gap, MediaInit, MediaSegment, MediaTake, MediaTrack
from evidence_store.errors import CiphertextInvalid, NotFound
from tests.api.fake_people import NOON
from tests.api.fake_store import FakeMedia

SECONDS = 16
PATTERNS = {"wide": ("testsrc2", 330), "close": ("smptehdbars", 550)}


def boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind.decode(), data[at : at + size]
        at += size


def fragmented(arguments: str) -> tuple[bytes, list[bytes]]:
    """The initialisation segment and the fragments of what ffmpeg makes of these arguments."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments.split()]
    command += ["-f", "mp4", "-movflags", "empty_moov+default_base_moof", "-frag_duration", "2000000", "pipe:1"]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    init, fragments = b"", []
    for kind, box in boxes(made):
        if kind in ("ftyp", "moov"):
            init += box
        elif kind == "moof":
            fragments.append(box)
        elif kind == "mdat":
            fragments[-1] += box
    return init, fragments


@cache
def tracks() -> dict[str, tuple[bytes, list[bytes]]]:
    made = {}
    for camera, (pattern, tone) in PATTERNS.items():
        made[f"{camera}-video"] = fragmented(
            f"-f lavfi -i {pattern}=size=640x360:rate=25:duration={SECONDS} -c:v libx264 -profile:v baseline "
            "-level 3.0 -pix_fmt yuv420p -preset ultrafast -g 100 -sc_threshold 0 -video_track_timescale 90000"
        )
        made[f"{camera}-audio"] = fragmented(
            f"-f lavfi -i sine=frequency={tone}:sample_rate=48000:duration={SECONDS} -c:a libopus"
        )
    return made


def take() -> MediaTake:
    described = []
    for name, (_, fragments) in tracks().items():
        camera, kind = name.split("-")
        timescale = 90_000 if kind == "video" else 48_000
        key_frames = range(0, SECONDS * timescale, 4 * timescale) if kind == "video" else ()
        length = 2 * timescale
        segments = tuple(
            MediaSegment(i, 0, i * length, length, tuple(k for k in key_frames if i * length <= k < (i + 1) * length))
            for i in range(len(fragments))
        )
        codec = "avc1.42c01e" if kind == "video" else "opus"
        described.append(MediaTrack(name, camera, kind, timescale, (MediaInit(0, codec),), segments))
    gaps = (Gap(6.0, 0.4, "loss", "wide-video"),)
    return MediaTake(1, 41, NOON, float(SECONDS), "stopped", tuple(described), gaps)


def _undecodable(fragment: bytes) -> bytes:
    """Each NAL unit keeps its length and its first octet, and holds nonsense."""
    data = bytearray(fragment)
    at = data.index(b"mdat") + 4
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        data[at + 5 : at + 4 + size] = (bytes(range(1, 256)) * (size // 255 + 1))[: size - 1]
        at += 4 + size
    return bytes(data)


@dataclass
class ClipMedia(FakeMedia):
    """`FakeMedia` with pictures in it; `asked` is every segment that was asked for, in order.

    `undecodable`: segments of pictures, by camera, whose own bytes are something else. `slow`: seconds to an answer.
    """

    asked: list[tuple[str, int]] = field(default_factory=list)
    undecodable: dict[str, set[int]] = field(default_factory=dict)
    slow: float = 0.0

    def init(self, interview: str, ordinal: int, track: str, epoch: int) -> bytes:
        return tracks()[track][0]

    def segment(self, interview: str, ordinal: int, track: str, number: int) -> bytes:
        self.asked.append((track, number))
        time.sleep(self.slow)
        if number in self.damaged:
            raise CiphertextInvalid("the segment does not open")
        fragments = tracks()[track][1]
        if number >= len(fragments):
            raise NotFound("no such segment")
        camera, kind = track.split("-")
        if kind == "video" and number in self.undecodable.get(camera, ()):
            return _undecodable(fragments[number])
        return fragments[number]
