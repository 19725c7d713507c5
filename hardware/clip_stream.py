"""A clip as an endless, paced stream of bytes for FFmpeg's standard input: nothing decoded, nothing re-encoded.

FFmpeg's own `-re -stream_loop -1` will not do: its clock starts whenever the handshake happens to end, it sends the
first half second in a burst, and each loop is as long as its longest track, so that picture and UTC drift apart. Here
each chunk carries the time when it is due, counted from a start that the caller chooses, and every loop is exactly as
long as the clip says.

The container on the pipe is NUT: exact time bases (90,000 and 48,000 Hz), written and read a packet at a time. H.264
goes out in the byte-stream format with parameter sets at each key frame (FFmpeg's `h264_mp4toannexb`); every NAL unit
is the file's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.bitstream import BitStreamFilterContext

# Muxers interleave by time. Ours has sound this much ahead, so that a picture need not wait for sound of the same
# time; FFmpeg's then holds each picture until it hears of the next, so pictures with sound are handed over one frame
# (of 30 a second) early.
SOUND_AHEAD = Fraction(40, 1000)
ONE_FRAME = Fraction(1, 30)

Packet: TypeAlias = "av.Packet[Any]"
NUT_SYNCPOINT = bytes.fromhex("4e4be4adeeca4569")
_BYTE_STREAM = "h264_mp4toannexb"


class UnsuitableClip(ValueError):  # noqa: N818 - said of the clip
    """A file that cannot be sent over WHIP as it is. The sentence tells what to change."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A file that can be sent as it is.

    `seconds` is one loop; `video`, `audio` say which tracks to send; `in_step` clips are to start where UTC is in
    their loop.
    """

    path: Path
    seconds: Fraction
    video: bool
    audio: bool
    in_step: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes to be written `due` seconds after the start."""

    due: float
    data: bytes


def open_clip(path: Path, *, audio_only: bool = False) -> Clip:
    """Look through a file. Raises UnsuitableClip for what FFmpeg's WHIP muxer or WebRTC would refuse."""
    try:
        with av.open(str(path)) as container:
            video = None if audio_only else next(iter(container.streams.video), None)
            audio = next(iter(container.streams.audio), None)
            if video is None and audio is None:
                raise UnsuitableClip("the file has no track to send")
            if video is not None:
                _check_video(container, video)
            if audio is not None and (audio.codec_context.name not in {"opus", "libopus"} or audio.channels != 2):
                raise UnsuitableClip("sound must be Opus in stereo: encode with -c:a libopus -ac 2")
            told = _told_seconds(container)
            seconds = told or max(_duration(track) for track in (video, audio) if track is not None)
    except (av.FFmpegError, OSError) as error:
        raise UnsuitableClip(f"the file cannot be read as media: {error}") from error
    return Clip(path, seconds, video is not None, audio is not None, in_step=told is not None)


def _check_video(container: av.container.InputContainer, video: av.VideoStream) -> None:
    if video.codec_context.name != "h264":
        raise UnsuitableClip("the picture must be H.264: encode with -c:v libx264 -bf 0 -g 30")
    packets = [packet for packet in container.demux(video) if packet.pts is not None]
    container.seek(0)
    if not packets:
        raise UnsuitableClip("the picture has no frames")
    if any(packet.pts != packet.dts for packet in packets):
        raise UnsuitableClip("the picture has B-frames, which WebRTC cannot carry: encode with -bf 0")
    if not packets[0].is_keyframe:
        raise UnsuitableClip("the picture does not begin with a key frame")


def _told_seconds(container: av.container.InputContainer) -> Fraction | None:
    """What `simulated_room` wrote: the loop is that many whole seconds, with a key frame at each."""
    told = re.fullmatch(r"loop_seconds=([1-9]\d{0,3})", container.metadata.get("comment", ""))
    return Fraction(int(told[1])) if told else None


def _duration(track: av.VideoStream | av.AudioStream) -> Fraction:
    if track.duration and track.time_base is not None:
        return track.duration * track.time_base
    raise UnsuitableClip("the file does not say how long it is: put it into an MP4")


def primer(clip: Clip) -> bytes:
    """What every stream of this clip begins with, whatever its offset: the tracks, and the mark that packets follow.

    A reader that has this much knows the tracks and waits for the first packet.
    """
    head = b""
    for chunk in paced_chunks(clip, Fraction(0)):
        head += chunk.data
        if (mark := head.find(NUT_SYNCPOINT)) >= 0:
            return head[: mark + len(NUT_SYNCPOINT)]
    raise AssertionError("a loop has no end")


def paced_chunks(clip: Clip, offset: Fraction, begin: Fraction = Fraction(0)) -> Generator[Chunk, None, None]:
    """The clip from `offset` seconds into its loop, over and over, without end.

    Times in the container begin at `begin`; `due` counts from zero. Chunks are in order of `due`; the first holds what
    comes before any packet too. With a picture, `offset` must be the time of a key frame, or nothing can be seen until
    the next one.
    """
    pipe = _Pipe()
    held = ONE_FRAME if clip.video and clip.audio else Fraction(0)
    with av.open(str(clip.path)) as source, av.open(pipe, "w", format="nut", options={"flush_packets": "1"}) as nut:
        lanes = []
        if clip.video:
            out = nut.add_stream_from_template(source.streams.video[0])
            BitStreamFilterContext(_BYTE_STREAM, source.streams.video[0], out)  # gives the track its parameters
            lanes.append(_due_packets(clip, "video", out, offset, begin, Fraction(0)))
        if clip.audio:
            out_audio = nut.add_stream_from_template(source.streams.audio[0])
            lanes.append(
                _due_packets(clip, "audio", out_audio, offset, begin, SOUND_AHEAD if clip.video else Fraction(0))
            )
        nut.start_encoding()
        for due, packet in merge(*lanes, key=lambda item: item[0]):
            nut.mux(packet)
            if data := pipe.take():
                yield Chunk(max(float(due - held), 0.0), data)


def _due_packets(
    clip: Clip, media: str, out: av.VideoStream | av.AudioStream, offset: Fraction, begin: Fraction, ahead: Fraction
) -> Iterator[tuple[Fraction, Packet]]:
    """One track's packets, each with the time when it is to be handed over, without end."""
    clock = Fraction(1, 90_000) if media == "video" else Fraction(1, 48_000)
    for lap in count():
        for within, read in _packets(clip, media):
            if (at := lap * clip.seconds + within - offset) < 0:
                continue
            packet = av.Packet(bytes(read))
            packet.stream, packet.time_base, packet.is_keyframe = out, clock, read.is_keyframe
            packet.pts = packet.dts = round((begin + at) / clock)
            yield at - ahead, packet


def _packets(clip: Clip, media: str) -> Iterator[tuple[Fraction, Packet]]:
    """One lap of a track: packets with their times from its first one.

    MP4 puts an Opus coder's delay before zero; RTP has no word for that, so sound begins at zero with its first packet.
    """
    with av.open(str(clip.path)) as source:
        track = source.streams.video[0] if media == "video" else source.streams.audio[0]
        to_byte_stream = BitStreamFilterContext(_BYTE_STREAM, track) if media == "video" else None
        first: int | None = None
        for packet in source.demux(track):
            if packet.pts is None or packet.time_base is None:
                continue
            first = packet.pts if first is None else first
            within = (packet.pts - first) * packet.time_base
            if within < clip.seconds:
                for out in to_byte_stream.filter(packet) if to_byte_stream else (packet,):
                    yield within, out


class _Pipe(io.RawIOBase):
    """Collects what the muxer writes."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data
