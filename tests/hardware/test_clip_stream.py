from __future__ import annotations

import io
import subprocess
from fractions import Fraction
from itertools import pairwise, takewhile
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from av.bitstream import BitStreamFilterContext

from hardware.clip_stream import Chunk, Clip, UnsuitableClip, open_clip, paced_chunks, primer

from .conftest import SMALL

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def first_seconds(clip: Clip, offset: Fraction, seconds: float) -> list[Chunk]:
    return list(takewhile(lambda chunk: chunk.due < seconds, paced_chunks(clip, offset)))


def packets_of(data: bytes, media: str) -> list[tuple[int, bytes]]:
    """What a reader finds in the stream, as (time in ticks of the track, bytes)."""
    with av.open(io.BytesIO(data), "r", format="nut") as container:
        track = container.streams.video[0] if media == "video" else container.streams.audio[0]
        assert track.time_base == (Fraction(1, 90_000) if media == "video" else Fraction(1, 48_000))
        return [(packet.pts, bytes(packet)) for packet in container.demux(track) if packet.pts is not None]


def packets_of_file(path: Path, media: str, seconds: int) -> list[bytes]:
    with av.open(str(path)) as container:
        if media == "audio":
            return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size][
                : seconds * 50
            ]
        to_byte_stream = BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0])
        read = [packet for packet in container.demux(container.streams.video[0]) if packet.pts is not None]
        return [bytes(out) for packet in read for out in to_byte_stream.filter(packet)]


@pytest.mark.parametrize(("media", "step"), [("video", 3_000), ("audio", 960)])
def test_every_packet_goes_out_unchanged_loop_after_loop(small_clip: Path, media: str, step: int) -> None:
    data = b"".join(chunk.data for chunk in first_seconds(open_clip(small_clip), Fraction(0), 2.5 * SMALL.seconds))
    sent, stored = packets_of(data, media), packets_of_file(small_clip, media, SMALL.seconds)
    assert len(sent) > 2 * len(stored)
    for place, (time, packet) in enumerate(sent):
        assert time == place * step
        assert packet == stored[place % len(stored)]


def test_an_offset_begins_at_that_seconds_key_frame(small_clip: Path) -> None:
    data = b"".join(chunk.data for chunk in first_seconds(open_clip(small_clip), Fraction(2), 0.5))
    stored = packets_of_file(small_clip, "video", SMALL.seconds)
    assert packets_of(data, "video")[0] == (0, stored[60])
    assert packets_of(data, "audio")[0] == (0, packets_of_file(small_clip, "audio", SMALL.seconds)[100])


def test_chunks_come_in_order_and_at_the_pictures_pace(small_clip: Path) -> None:
    dues = [chunk.due for chunk in first_seconds(open_clip(small_clip), Fraction(0), 4)]
    assert dues == sorted(dues)
    assert dues[0] == 0
    assert max(later - earlier for earlier, later in pairwise(dues)) < 0.034


@pytest.mark.parametrize("audio_only", [False, True])
def test_every_stream_of_a_clip_begins_with_its_primer(small_clip: Path, audio_only: bool) -> None:
    clip = open_clip(small_clip, audio_only=audio_only)
    assert clip.video is not audio_only
    for second in range(SMALL.seconds):
        data = b"".join(chunk.data for chunk in first_seconds(clip, Fraction(second), 0.3))
        assert data.startswith(primer(clip))


def test_a_clip_of_ours_is_in_step_with_utc_and_knows_its_loop(small_clip: Path) -> None:
    clip = open_clip(small_clip)
    assert clip == Clip(small_clip, Fraction(3), video=True, audio=True, in_step=True)


UNSUITABLE = {
    "b_frames": ("testsrc2=s=160x90:r=30", ["-c:v", "libx264", "-bf", "2"], "-bf 0"),
    "other_codec": ("testsrc2=s=160x90:r=30", ["-c:v", "mpeg4"], "H.264"),
    "mono": ("sine=r=48000", ["-c:a", "libopus", "-ac", "1"], "stereo"),
    "other_sound": ("sine=r=48000", ["-c:a", "aac", "-ac", "2"], "Opus"),
}


@pytest.mark.parametrize(("source", "options", "reason"), UNSUITABLE.values(), ids=UNSUITABLE.keys())
def test_unsuitable_files_are_refused_with_what_to_change(
    tmp_path: Path, source: str, options: list[str], reason: str
) -> None:
    path = tmp_path / "clip.mp4"
    subprocess.run([FFMPEG, "-v", "error", "-f", "lavfi", "-i", source, "-t", "0.5", *options, str(path)], check=True)
    with pytest.raises(UnsuitableClip, match=reason):
        open_clip(path)


def test_what_is_no_media_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("not a film")
    with pytest.raises(UnsuitableClip, match="cannot be read"):
        open_clip(path)
    with pytest.raises(UnsuitableClip, match="cannot be read"):
        open_clip(tmp_path / "missing.mp4")
