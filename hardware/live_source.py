"""A camera's own stream, as it runs: over RTSP, or from a capture device (V4L2) and a microphone.

Each is read by a child process that writes NUT to a pipe (exact time bases, a packet at a time), so that a stream which
breaks its reader breaks no more, and so that reader and FFmpeg both end with this process, however that happens: their
pipes do. Times in it are seconds from `epoch` by this machine's clock.

RTSP: the camera's packets are relayed as they came (`rtsp_reader`); its address, with user and password, goes to the
reader through its standard input and is in no process list. A device that gives H.264 is relayed too; one that gives
raw pictures or JPEG is encoded here, once, as the camera that it then is. Sound that is not Opus in stereo is encoded
here too: WebRTC takes no other, and this is before the evidence begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

import imageio_ffmpeg

from hardware.clip_stream import NUT_SYNCPOINT

HEAD_AT_MOST = 256 * 1024
_FIRST_PACKET = 15.0  # seconds for a source to give its first packet
_CHUNK = 64 * 1024

Gives = Literal["h264", "mjpeg", "yuyv422"]
_GIVES: tuple[str, ...] = get_args(Gives)
Trouble = Literal["out-of-reach", "refused", "unsuitable", "lost"]


class SourceTrouble(Exception):  # noqa: N818 - said of the source
    """`kind`, and a sentence for whoever looks after the camera: no address, user or password is in it."""

    def __init__(self, kind: Trouble, sentence: str) -> None:
        super().__init__(sentence)
        self.kind: Trouble = kind


@dataclass(frozen=True, slots=True)
class Rtsp:
    """A camera's RTSP address, as in rtsp://user:password@host/path. Raises ValueError for another address."""

    address: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in {"rtsp", "rtsps"} or not parts.hostname or any(c.isspace() for c in self.address):
            raise ValueError("a camera's address begins with rtsp:// or rtsps:// and names its host")

    def __repr__(self) -> str:
        return "Rtsp(…)"

    def command(self, epoch: int) -> list[str]:
        return [sys.executable, "-m", "hardware.rtsp_reader", str(epoch)]

    @property
    def told(self) -> bytes:
        """What its reader is given on standard input."""
        return self.address.encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Device:
    """A V4L2 device, and a PulseAudio or PipeWire source for its sound.

    `gives`: what it is asked for; `h264` is relayed, the others are encoded at `bitrate` (bits a second).
    """

    video: Path
    sound: str | None = None
    gives: Gives = "mjpeg"
    size: str = "1280x720"
    rate: int = 30
    bitrate: int = 4_000_000

    @staticmethod
    def named(video: Path, *, sound: str | None, gives: str, size: str, rate: int) -> Device:
        """As somebody typed it. Raises ValueError."""
        if gives not in _GIVES:
            raise ValueError(f"a device gives {', '.join(_GIVES)}, not {gives!r}")
        if not re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", size):
            raise ValueError("a size is like 1280x720")
        return Device(video, sound, cast(Gives, gives), size, rate)

    @property
    def inputs(self) -> list[list[str]]:
        """FFmpeg's arguments for each input, the picture first."""
        picture = ["-f", "v4l2", "-input_format", self.gives, "-video_size", self.size, "-framerate", str(self.rate)]
        pictures = [[*picture, "-i", str(self.video)]]
        return [*pictures, ["-f", "pulse", "-i", self.sound]] if self.sound is not None else pictures

    def command(self, epoch: int) -> list[str]:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-nostdin", "-v", "error", "-copyts"]
        for arguments in self.inputs:
            command += ["-use_wallclock_as_timestamps", "1", "-itsoffset", str(-epoch), "-thread_queue_size", "64"]
            command += arguments
        for number in range(len(self.inputs)):
            command += ["-map", str(number)]
        command += ["-c:v", "copy", "-bsf:v", "setts=dts=PTS"] if self.gives == "h264" else self._encoding
        command += ["-c:a", "libopus", "-b:a", "64k", "-ac", "2", "-application", "lowdelay"] if self.sound else []
        return [*command, "-flush_packets", "1", "-max_interleave_delta", "100000", "-f", "nut", "pipe:1"]

    @property
    def _encoding(self) -> list[str]:
        # A key frame a second and no frame held back; parameter sets at each key frame, as the recorder wants them.
        options = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "main", "-bf", "0"]
        options += ["-pix_fmt", "yuv420p", "-g", str(self.rate), "-fps_mode", "passthrough"]
        options += ["-b:v", str(self.bitrate), "-maxrate", str(self.bitrate), "-bufsize", str(self.bitrate // 2)]
        return [*options, "-bsf:v", "dump_extra=freq=keyframe"]

    @property
    def told(self) -> bytes:
        return b""


Source = Rtsp | Device


class LiveStream:
    """`head`: up to the mark before the first packet, by which FFmpeg knows the tracks."""

    def __init__(self, head: bytes, rest: bytes, process: asyncio.subprocess.Process) -> None:
        self.head = head
        self._rest, self._process = rest, process

    async def read(self) -> bytes:
        """The next bytes, as soon as there are some. Raises SourceTrouble when there are no more."""
        if rest := self._rest:
            self._rest = b""
            return rest
        if data := await _output(self._process).read(_CHUNK):
            return data
        raise await _trouble(self._process)


@contextlib.asynccontextmanager
async def open_live(source: Source, epoch: int, stop: asyncio.Event) -> AsyncIterator[LiveStream]:
    """The source's stream from its first packet on. Raises SourceTrouble, also when `stop` is set before there is one;
    on leaving its reader has ended."""
    pipe = asyncio.subprocess.PIPE
    # FFmpeg's own messages are not read: unread they would hold it up some day.
    errors = pipe if isinstance(source, Rtsp) else asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *source.command(epoch), stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True
    )
    first = asyncio.create_task(_first(process))
    stopped = asyncio.create_task(stop.wait())
    try:
        if process.stdin is None:
            raise RuntimeError("the reader was started without a pipe for its input")
        with contextlib.suppress(ConnectionError):
            process.stdin.write(source.told)
            await process.stdin.drain()
        process.stdin.close()
        await asyncio.wait({first, stopped}, timeout=_FIRST_PACKET, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            raise SourceTrouble("out-of-reach", "The camera gave no picture in time.")
        yield first.result()
    finally:
        first.cancel()
        stopped.cancel()
        await asyncio.gather(first, stopped, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # to the pipes' ends: they are closed by that


async def _first(process: asyncio.subprocess.Process) -> LiveStream:
    if process.stderr is not None:
        # One line of JSON: the tracks, or why there are none.
        said = _said(await process.stderr.readline())
        if "trouble" in said:
            raise SourceTrouble(said["trouble"], said["sentence"])
    data = b""
    while (mark := data.find(NUT_SYNCPOINT)) < 0:
        more = await _output(process).read(_CHUNK)
        if not more:
            raise await _trouble(process, before_any=True)
        data += more
        if len(data) > HEAD_AT_MOST:
            raise SourceTrouble("unsuitable", "The camera's stream does not begin like one.")
    end = mark + len(NUT_SYNCPOINT)
    return LiveStream(data[:end], data[end:], process)


async def _trouble(process: asyncio.subprocess.Process, *, before_any: bool = False) -> SourceTrouble:
    """Why the reader has ended, from the last line that it wrote."""
    lines = (await process.stderr.read()).splitlines() if process.stderr is not None else []
    said = _said(lines[-1]) if lines else {}
    if "trouble" in said:
        return SourceTrouble(said["trouble"], said["sentence"])
    if before_any:
        return SourceTrouble("out-of-reach", "The device cannot be read: is it there, and does it give this format?")
    return SourceTrouble("lost", "The camera's stream has ended.")


def _said(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise RuntimeError("the reader was started without a pipe for its output")
    return process.stdout
