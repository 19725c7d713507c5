"""Decodes as little as it takes to measure: a picture a second, as a grid of cells; sound as samples of 16 bits.

The only place where media is decoded while it is recorded, and only ever in the watch's own process. What cannot be
decoded raises nothing: it gives nothing, and is counted.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from recorder.watching.measures import CELLS, COLUMNS, ROWS, Unwrapped

_MOST_PIXELS = 8192 * 4352
_EVERY_S, _OFTEN_S, _SELDOM_S = 0.95, 1.3, 4.0
_LONGEST_SOUND = 5760 * 2


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit as the recorder's track heard it.

    `number` counts the track's units: a hole in it is the feed's, that dropped some. `rtp` is 32-bit. `data`: as
    `recorder.depacketise.AccessUnit` has it, parameter sets first where a key frame needs them.
    """

    number: int
    key: bool
    complete: bool
    rtp: int
    data: bytes


def _byte_stream(data: bytes) -> bytes:
    """NAL units behind 4-byte lengths, made a byte stream (H.264 and H.265, Annex B). A last one cut short stays so."""
    stream, at = bytearray(data), 0
    while at + 4 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, at)
        stream[at : at + 4] = b"\0\0\0\1"
        at += 4 + length
    return bytes(stream)


def _as_it_is(data: bytes) -> bytes:
    return data


PICTURE_DECODERS: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "H264": ("h264", _byte_stream),
    "H265": ("hevc", _byte_stream),
    "VP8": ("vp8", _as_it_is),
    "VP9": ("vp9", _as_it_is),
    "AV1": ("libdav1d", _as_it_is),
}
"""By the format's name in RTP: FFmpeg's decoder, and what makes its input of an access unit."""
SOUND_DECODERS: Mapping[str, str] = {"opus": "libopus"}


class PictureDecoder:
    """One camera's pictures, about one a second.

    Key frames that come often enough are decoded alone. Where they come less often, pictures are decoded on from the
    last one; where that is known to end soon, only as far as the next second. A hole or a damaged picture ends it
    until the next key frame.
    """

    def __init__(self, name: str, clock_rate: int) -> None:
        """`name`: a key of PICTURE_DECODERS."""
        decoder, self._prepare = PICTURE_DECODERS[name]
        self._decoder, self._clock_rate = decoder, clock_rate
        self._context = self._open()
        self._shrink = VideoReformatter()
        self._unwrap = Unwrapped()
        self._number: int | None = None
        self._key_rtp: int | None = None
        self._intervals: deque[float] = deque(maxlen=2)
        self._decoding = False
        self._enough_rtp: int | None = None
        self._taken_rtp: int | None = None
        self._gave = True
        self.failed = 0
        """Key frames in succession, whole, of which no picture came."""

    def _open(self) -> VideoCodecContext:
        context = av.CodecContext.create(self._decoder, "r")
        if not isinstance(context, VideoCodecContext):
            raise ValueError(f"{self._decoder} decodes no pictures")
        context.thread_count = 1
        context.options = {"skip_loop_filter": "all", "max_pixels": str(_MOST_PIXELS)}
        return context

    def grid(self, unit: Unit) -> bytes | None:
        """Takes each unit of the track in order; now and then there is a picture."""
        rtp = self._unwrap(unit.rtp)
        follows = self._number is None or unit.number == self._number + 1
        self._number = unit.number
        if not follows or not unit.complete:
            self._decoding = False
        if not unit.complete:
            return None
        if unit.key:
            return self._key_frame(unit, rtp)
        if not self._decoding or (self._enough_rtp is not None and rtp > self._enough_rtp):
            return None
        return self._decode(unit.data, rtp)

    def _key_frame(self, unit: Unit, rtp: int) -> bytes | None:
        if self._key_rtp is not None:
            self._intervals.append(abs(rtp - self._key_rtp) / self._clock_rate)
        self._key_rtp = rtp
        interval = max(self._intervals, default=math.inf)
        alone = interval <= _OFTEN_S
        if alone and not self._due(rtp):
            self._decoding = False
            return None
        grid = self._drain(rtp) if self._decoding else None
        self.failed = 0 if self._gave else self.failed + 1
        self._gave = False
        self._decoding = not alone
        self._enough_rtp = rtp + int((interval - _EVERY_S) * self._clock_rate) if interval < _SELDOM_S else None
        grid = self._decode(unit.data, rtp) or grid
        return (self._drain(rtp) or grid) if alone else grid

    def _due(self, rtp: int) -> bool:
        return self._taken_rtp is None or abs(rtp - self._taken_rtp) >= _EVERY_S * self._clock_rate

    def _decode(self, data: bytes, rtp: int) -> bytes | None:
        return self._take(av.Packet(self._prepare(data)), rtp)

    def _drain(self, rtp: int) -> bytes | None:
        grid = self._take(None, rtp)
        self._context.flush_buffers()
        return grid

    def _take(self, packet: av.Packet[Any] | None, rtp: int) -> bytes | None:
        try:
            frames = self._context.decode(packet)
            if not frames:
                return None
            self._gave, self.failed = True, 0
            if not self._due(rtp):
                return None
            grid = self._cells(frames[-1])
        except (av.FFmpegError, ValueError, MemoryError):
            # The stream is hostile or broken: a decoder of which that is known no longer helps.
            self._context, self._decoding = self._open(), False
            return None
        self._taken_rtp = rtp
        return grid

    def _cells(self, frame: VideoFrame) -> bytes:
        small = self._shrink.reformat(
            frame, width=COLUMNS, height=ROWS, format="gray", interpolation=Interpolation.AREA
        )
        plane = small.planes[0]
        rows, step = memoryview(plane), plane.line_size
        grid = b"".join(bytes(rows[row * step : row * step + COLUMNS]) for row in range(ROWS))
        if len(grid) != CELLS:
            raise ValueError("not a whole picture")
        return grid


class SoundDecoder:
    """One microphone's sound, all of it: a decoder of sound lives by what came before."""

    def __init__(self, name: str) -> None:
        """`name`: a key of SOUND_DECODERS."""
        self._decoder = SOUND_DECODERS[name]
        self._context: AudioCodecContext | None = None
        self._stereo = False
        self.failed = 0
        """Packets in succession of which no sound came."""

    def samples(self, data: bytes) -> tuple[array[int], int] | None:
        """One packet's samples, channels mixed in any order, and how long they sound in nanoseconds."""
        stereo = bool(data and data[0] & 0x04)  # RFC 6716, 3.1
        found = array("h")
        length = 0
        try:
            if self._context is None or stereo != self._stereo:
                self._context, self._stereo = self._open(stereo), stereo
            for frame in self._context.decode(av.Packet(data)):
                count = frame.samples * frame.layout.nb_channels
                if count > _LONGEST_SOUND or not frame.sample_rate:
                    raise ValueError("longer than a packet may be")
                found.frombytes(memoryview(frame.planes[0])[: 2 * count])
                length += frame.samples * 1_000_000_000 // frame.sample_rate
        except (av.FFmpegError, ValueError, MemoryError):
            self._context = None
        if not found:
            self.failed += 1
            return None
        self.failed = 0
        return found, length

    def _open(self, stereo: bool) -> AudioCodecContext:
        context = av.CodecContext.create(self._decoder, "r")
        if not isinstance(context, AudioCodecContext):
            raise ValueError(f"{self._decoder} decodes no sound")
        context.sample_rate, context.format = 48_000, "s16"
        context.layout = "stereo" if stereo else "mono"
        return context
