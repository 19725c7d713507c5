"""`python -m hardware.rtsp_reader EPOCH`: an RTSP camera on standard output, as NUT, its picture packet for packet.

Its address comes on the first line of standard input. The first line of standard error is JSON: {"picture", "sound"}
(codec names; null where there is none), or {"trouble", "sentence"}; so is the last, where the stream ends in trouble.
RTP comes inside the RTSP connection (TCP), whose losses are mended before they are seen. Times are seconds from EPOCH
(Unix time): the arrival of the first packet, and from there the camera's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import av.error

_OPEN_WITHIN, _READ_WITHIN = 8.0, 5.0
_SPS = 7
_EARLY_AT_MOST = 64
_HOLE = 4_800
_B_FRAMES = (
    "The camera's picture has B-frames, which WebRTC cannot carry. Switch them off in the camera: profile Baseline, or "
    "Main or High with a GOP of I and P frames alone."
)


class Trouble(Exception):  # noqa: N818 - said of the camera
    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def main() -> int:
    epoch, address = int(sys.argv[1]), sys.stdin.readline().strip()
    try:
        relay(address, epoch, sys.stdout.buffer.write)
        raise Trouble("lost", "The camera has ended its stream.")
    except BrokenPipeError:
        return 0  # whoever reads has gone
    except Trouble as trouble:
        said = {"trouble": trouble.kind, "sentence": str(trouble)}
    except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
        said = {"trouble": "refused", "sentence": "The camera refuses the user or the password."}
    except av.error.HTTPClientError:
        said = {"trouble": "refused", "sentence": "The camera has nothing at this address."}
    except (av.FFmpegError, OSError) as error:
        # Its text holds the address, with the password: only what went wrong is said.
        said = {"trouble": "out-of-reach", "sentence": f"The camera cannot be read: {os.strerror(error.errno or 0)}."}
    tell(said)
    return 1


def tell(said: Mapping[str, str | None]) -> None:
    sys.stderr.write(json.dumps(said) + "\n")
    sys.stderr.flush()


def relay(address: str, epoch: int, write: Callable[[bytes], object]) -> None:
    """Until the camera ends its stream. Raises Trouble, what av raises, BrokenPipeError."""
    options = {"rtsp_transport": "tcp", "allowed_media_types": "video+audio"}
    with av.open(address, format="rtsp", options=options, timeout=(_OPEN_WITHIN, _READ_WITHIN)) as camera:
        picture = next(iter(camera.streams.video), None)
        sound = next(iter(camera.streams.audio), None)
        check(picture, sound)
        tell({"picture": picture_of(picture), "sound": sound_of(sound)})
        pipe = Pipe(write)
        nut = av.open(pipe, "w", format="nut", options={"flush_packets": "1", "max_interleave_delta": "100000"})
        lanes: dict[int, PictureLane | SoundLane | EncodedSoundLane] = {}
        if picture is not None:
            lanes[picture.index] = PictureLane(picture, nut)
        if sound is not None:
            lanes[sound.index] = (SoundLane if sound_of(sound) == "opus" else EncodedSoundLane)(sound, nut)
        nut.start_encoding()
        began: Fraction | None = None
        seen = picture is None
        for packet in camera.demux(*(lane.track for lane in lanes.values())):
            seen = seen or (packet.stream.type == "video" and packet.is_keyframe)
            if not seen or not packet.size:
                continue  # nothing can be seen before the first key frame
            lane = lanes[packet.stream.index]
            at = None if packet.pts is None or packet.time_base is None else packet.pts * packet.time_base
            if began is None and at is not None:
                began = at - Fraction(time.time() - epoch).limit_denominator(1_000_000)
            for out in lane.out(packet, None if at is None or began is None else at - began):
                nut.mux(out)


def check(picture: Any, sound: Any) -> None:
    """Raises Trouble (`unsuitable`) for what cannot be relayed."""
    if picture is None and sound is None:
        raise Trouble("unsuitable", "The camera sends neither picture nor sound.")
    if picture is None:
        return
    name = picture.codec_context.name
    if name != "h264":
        spoken = {"hevc": "H.265", "mjpeg": "JPEG"}.get(name, name)
        raise Trouble("unsuitable", f"The camera sends {spoken}. Choose H.264 for this stream in the camera.")
    if picture.codec_context.has_b_frames:
        raise Trouble("unsuitable", _B_FRAMES)


def picture_of(picture: Any) -> str | None:
    return None if picture is None else str(picture.codec_context.name)


def sound_of(sound: Any) -> str | None:
    """The codec's name; `opus` only where it can be sent as it is."""
    if sound is None:
        return None
    name = str(sound.codec_context.name).removeprefix("lib")
    return "opus-mono" if name == "opus" and sound.codec_context.channels != 2 else name


class PictureLane:
    """The picture on its way, packet for packet."""

    def __init__(self, track: Any, nut: Any) -> None:
        self.track = track
        self._out = nut.add_stream_from_template(track)
        self._sets = bytes(track.codec_context.extradata or b"")
        self._frame = 1 / (track.average_rate or Fraction(25))
        self._early: list[Any] = []  # the first pictures, while the camera's clock is not known yet
        self._last: int | None = None

    def out(self, packet: Any, at: Fraction | None) -> Iterator[Any]:
        """At its time, seconds. Raises Trouble for pictures that are not in the order in which they are shown."""
        if at is None:
            if self._last is None:
                self._early = [*self._early, packet][-_EARLY_AT_MOST:]
            return
        early, self._early = self._early, []
        for number, each in enumerate(early):
            yield self._made(each, at - (len(early) - number) * self._frame)
        yield self._made(packet, at)

    def _made(self, packet: Any, at: Fraction) -> Any:
        time_stamp = round(at * 90_000)
        if self._last is not None and time_stamp <= self._last:
            raise Trouble("unsuitable", _B_FRAMES)
        self._last = time_stamp
        data = bytes(packet)
        if self._sets and packet.is_keyframe and not has_sps(data):
            data = self._sets + data  # told in the SDP only: who begins at this key frame needs them in the stream
        return copied(data, self._out, Fraction(1, 90_000), time_stamp, packet.is_keyframe)


class SoundLane:
    """Sound in Opus on its way, packet for packet."""

    def __init__(self, track: Any, nut: Any) -> None:
        self.track = track
        self._out = nut.add_stream_from_template(track)
        self._last = -1

    def out(self, packet: Any, at: Fraction | None) -> Iterator[Any]:
        """At its time, seconds; nothing for what would go back in it."""
        time_stamp = self._last if at is None else round(at * 48_000)
        if time_stamp > self._last:
            self._last = time_stamp
            yield copied(bytes(packet), self._out, Fraction(1, 48_000), time_stamp, True)


class EncodedSoundLane:
    """Sound of another kind, decoded and encoded as Opus."""

    def __init__(self, track: Any, nut: Any) -> None:
        self.track = track
        self._out = nut.add_stream("libopus", rate=48_000, layout="stereo")
        self._out.bit_rate = 96_000
        self._resampler = av.AudioResampler(format="flt", layout="stereo", rate=48_000, frame_size=960)
        self._next: int | None = None

    def out(self, packet: Any, at: Fraction | None) -> Iterator[Any]:
        """At its time, seconds; sound runs on, and begins anew after a hole of a tenth of a second."""
        if at is None and self._next is None:
            return
        for decoded in packet.decode():
            decoded.pts = None
            for frame in self._resampler.resample(decoded):
                wanted = None if at is None else round(at * 48_000)
                if wanted is not None and (self._next is None or wanted - self._next > _HOLE):
                    self._next = wanted
                frame.pts, frame.time_base = self._next, Fraction(1, 48_000)
                self._next = (self._next or 0) + frame.samples
                yield from self._out.encode(frame)


def copied(data: bytes, out: Any, clock: Fraction, time_stamp: int, key_frame: bool) -> Any:
    packet: Any = av.Packet(data)
    packet.stream, packet.time_base, packet.is_keyframe = out, clock, key_frame
    packet.pts = packet.dts = time_stamp
    return packet


def has_sps(data: bytes) -> bool:
    """Whether a picture in the byte-stream format brings its sequence parameter set."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        if data[at + 3] & 0x1F == _SPS:
            return True
        at = data.find(b"\0\0\1", at + 3)
    return False


class Pipe:
    """What the muxer writes into."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        self._write(data)
        sys.stdout.flush()
        return len(data)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        status = main()
    # The container's own end would write a trailer into a pipe that may be gone.
    sys.stderr.flush()
    os._exit(status)
