"""Real fragmented MP4, made by FFmpeg and cut into init and quarter-second fragments."""

from __future__ import annotations

import functools
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import imageio_ffmpeg

from recorder.clock import SenderClock
from recorder.track import Track
from tests.recorder_media.clips import paced, run
from tests.recorder_media.streams import Stream

_FRAGMENTED = [
    "-movflags",
    "frag_keyframe+empty_moov+default_base_moof",
    "-frag_duration",
    "250000",
    "-f",
    "mp4",
    "pipe:1",
]
_VIDEO = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "30", "-pix_fmt", "yuv420p"]


@dataclass(frozen=True)
class Fragment:
    """moof + mdat, with its media time in the track's timescale."""

    begin: int
    end: int
    data: bytes


@dataclass(frozen=True)
class Film:
    init: bytes
    fragments: tuple[Fragment, ...]
    codec: str = ""


@functools.cache
def video(source: str, seconds: float) -> Film:
    """H.264 from a test picture of libavfilter, 320×180 at 30 a second, timescale 90000."""
    picture = f"{source}=size=320x180:rate=30:duration={seconds}"
    return _cut(_run(["-f", "lavfi", "-i", picture, *_VIDEO, "-video_track_timescale", "90000", *_FRAGMENTED]), 90_000)


@functools.cache
def audio(seconds: float) -> Film:
    """Opus at 48 kHz."""
    sound = f"sine=frequency=440:sample_rate=48000:duration={seconds}"
    return _cut(_run(["-f", "lavfi", "-i", sound, "-c:a", "libopus", *_FRAGMENTED]), 48_000)


def _run(arguments: list[str]) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and whole bytes of each box."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at : at + size]
        at += size


def _cut(data: bytes, scale: int) -> Film:
    init, pieces, moof = b"", [], b""
    for kind, whole in boxes(data):
        if kind in (b"ftyp", b"moov"):
            init += whole
        elif kind == b"moof":
            moof = whole
        elif kind == b"mdat":
            pieces.append((_decode_time(moof), moof + whole))
    ends = [begin for begin, _ in pieces[1:]] + [pieces[-1][0] + scale // 4]
    return Film(init, tuple(Fragment(begin, end, piece) for (begin, piece), end in zip(pieces, ends, strict=True)))


def _decode_time(moof: bytes) -> int:
    at = moof.index(b"tfdt") + 4
    version = moof[at]
    form, start = (">Q", at + 4) if version else (">I", at + 4)
    return int(struct.unpack_from(form, moof, start)[0])


def recorded(stream: Stream) -> Film:
    """A stream as the recorder itself lays it out."""
    track = Track("track", stream.codec)
    track.connect("one", 10**12, SenderClock())
    track.begin(10**12, 10**12)
    cuts, _ = run({"track": track}, [(at, "track", each) for at, each in paced(stream.sent, stream.codec, 10**12)])
    fragments = [Fragment(each.first, each.end, each.data) for each in cuts["track"]]
    first = cuts["track"][0]
    return Film(first.init or b"", tuple(fragments), first.codec)
