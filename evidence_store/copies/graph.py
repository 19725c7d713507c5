"""FFmpeg's arguments for the viewing copy. Pure: decides what is shown where and when; runs nothing.

Times within a take are milliseconds after its origin. The canvas begins at the take's first media.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ffmpeg

from evidence_store.copies.timeline import TakeTimeline, TrackTimeline

WIDTH, HEIGHT, RATE = 1280, 720, 30
_INSET_WIDTH, _INSET_HEIGHT, _MARGIN = 400, 225, 16
_SOUND_RATE: Final = 48_000
CARD_SECONDS: Final = 3.0
MARK: Final = "KOPI – afledt, ikke originalen"
_BOX: Final[dict[str, Any]] = {"fontcolor": "white", "box": 1, "boxcolor": "black@0.65", "boxborderw": 6}


@dataclass(frozen=True, slots=True)
class Input:
    """One original: a track's media of one init epoch, how to read it, and its size in bytes."""

    track: TrackTimeline
    read: Callable[[], Iterator[bytes]]
    size: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A take. `number` of `count` as its caption."""

    timeline: TakeTimeline
    inputs: Sequence[Input]
    number: int
    count: int

    @property
    def seconds(self) -> float:
        """Whole frames, so that the next part begins where the last frame ends."""
        milliseconds = self.timeline.end - self.timeline.begin
        return max(-(-milliseconds * RATE // 1000), 1) / RATE


@dataclass(frozen=True, slots=True)
class Card:
    """Says that nothing was recorded here, and for how long."""

    text: str
    seconds: float = CARD_SECONDS


@dataclass(frozen=True, slots=True)
class Look:
    """What is burnt into every picture."""

    copy_id: str
    font: str


def scene_arguments(scene: Scene, pipes: Sequence[int], look: Look, at: float) -> list[str]:
    """One take as MPEG-TS on standard output, its times beginning `at` seconds. `pipes`: a descriptor an input."""
    timeline, seconds = scene.timeline, scene.seconds
    streams = [ffmpeg.input(f"pipe:{pipe}", format="mov", protocol_whitelist="pipe") for pipe in pipes]
    shift = f"PTS-{timeline.begin / 1000:.3f}/TB"
    picture = _canvas(seconds)
    cameras = timeline.of_kind("video")
    for position, camera in enumerate(cameras):
        x, y, width, height = _slot(position)
        for each, stream in zip(scene.inputs, streams, strict=True):
            if each.track is not camera:
                continue
            fitted = (
                stream.video.filter("setpts", shift)
                .filter("scale", width, height, force_original_aspect_ratio="decrease", flags="fast_bilinear")
                .filter("setsar", 1)
            )
            picture = picture.overlay(
                fitted, x=f"{x}+({width}-w)/2", y=f"{y}+({height}-h)/2", eof_action="pass", format="yuv420"
            )
        picture = _holes(picture, camera, timeline, (x, y, width, height), look)
    if not cameras:
        picture = _write(picture, "KUN LYD / AUDIO ONLY", look, fontsize=48, x="(w-text_w)/2", y="(h-text_h)/2")
    picture = _clock(picture, timeline, look)
    caption = f"Optagelse {scene.number}/{scene.count}"
    picture = _write(picture, caption, look, fontsize=20, x="w-text_w-18", y=18)
    sounds = [
        stream.audio.filter("asetpts", shift)
        .filter("aresample", _SOUND_RATE, **{"async": 1, "first_pts": 0})
        .filter("aformat", sample_fmts="fltp", channel_layouts="stereo")
        for each, stream in zip(scene.inputs, streams, strict=True)
        if each.track.entry.kind == "audio"
    ]
    return _output(_mark(picture, look), _sound(sounds, seconds), seconds, at)


def card_arguments(card: Card, look: Look, at: float) -> list[str]:
    """A card without media, as MPEG-TS on standard output."""
    picture = _write(_canvas(card.seconds), card.text, look, fontsize=40, x="(w-text_w)/2", y="(h-text_h)/2")
    return _output(_mark(picture, look), _sound([], card.seconds), card.seconds, at)


def join_arguments() -> list[str]:
    """MPEG-TS on standard input to one fragmented MP4 on standard output; nothing is encoded again."""
    stream = ffmpeg.input("pipe:0", format="mpegts", protocol_whitelist="pipe")
    out = ffmpeg.output(
        stream.video, stream.audio, "pipe:1", format="mp4", c="copy",
        movflags="frag_keyframe+empty_moov+default_base_moof", **{"bsf:a": "aac_adtstoasc"},
    )  # fmt: skip
    return _global(out)


def _canvas(seconds: float) -> Any:
    return ffmpeg.input(f"color=c=black:s={WIDTH}x{HEIGHT}:r={RATE}:d={seconds:.6f}", format="lavfi").video


def _slot(position: int) -> tuple[int, int, int, int]:
    """x, y, width, height: the first camera fills the picture, the others stand in a column at the lower right."""
    if position == 0:
        return 0, 0, WIDTH, HEIGHT
    y = HEIGHT - position * (_INSET_HEIGHT + _MARGIN)
    return WIDTH - _INSET_WIDTH - _MARGIN, y, _INSET_WIDTH, _INSET_HEIGHT


def _holes(
    picture: Any, camera: TrackTimeline, timeline: TakeTimeline, slot: tuple[int, int, int, int], look: Look
) -> Any:
    """Covers a camera's place while it sent nothing: a picture standing still would not look like a gap."""
    begin = timeline.begin
    holes = camera.holes(begin, timeline.end)
    if not holes:
        return picture
    enable = "+".join(f"between(t,{(a - begin) / 1000:.3f},{(b - begin) / 1000:.3f})" for a, b in holes)
    x, y, width, height = slot
    covered = picture.filter(
        "drawbox", x=x, y=y, width=width, height=height, color="black", thickness="fill", enable=enable
    )
    return _write(
        covered,
        "HUL / GAP",
        look,
        fontsize=28,
        x=f"{x}+({width}-text_w)/2",
        y=f"{y}+({height}-text_h)/2",
        enable=enable,
    )


def _clock(picture: Any, timeline: TakeTimeline, look: Look) -> Any:
    """Danish local time, to the second, running with the media. FFmpeg expands it; TZ is in its environment."""
    first, _ = timeline.utc_span
    text = rf"%{{pts:localtime:{first // 10**6 / 1000:.3f}:%Y-%m-%d %H\:%M\:%S %Z}}"
    return picture.filter("drawtext", text=text, fontfile=look.font, fontsize=30, x=18, y=18, **_BOX)


def _mark(picture: Any, look: Look) -> Any:
    return _write(picture, f"{MARK} · {look.copy_id}", look, fontsize=18, x=18, y="h-text_h-18")


def _write(picture: Any, text: str, look: Look, **options: Any) -> Any:
    return picture.filter("drawtext", text=text, fontfile=look.font, expansion="none", **{**_BOX, **options})


def _sound(sounds: list[Any], seconds: float) -> Any:
    """Every microphone, none louder or softer than it was, exactly as long as the picture."""
    if not sounds:
        source = f"anullsrc=r={_SOUND_RATE}:cl=stereo:d={seconds:.3f}"
        return ffmpeg.input(source, format="lavfi").audio
    mixed = sounds[0]
    if len(sounds) > 1:
        mixed = ffmpeg.filter(sounds, "amix", inputs=len(sounds), duration="longest", normalize=0)
    return mixed.filter("apad", whole_dur=f"{seconds:.3f}").filter("atrim", 0, f"{seconds:.3f}")


def _output(picture: Any, sound: Any, seconds: float, at: float) -> list[str]:
    out = ffmpeg.output(
        picture, sound, "pipe:1", format="mpegts", vcodec="libx264", preset="veryfast", crf=24, pix_fmt="yuv420p",
        g=2 * RATE, bf=0, acodec="aac", audio_bitrate="128k", ac=2, t=f"{seconds:.3f}", output_ts_offset=f"{at:.6f}",
        muxdelay=0, muxpreload=0, mpegts_flags="resend_headers",
    )  # fmt: skip
    return ["-copyts", *_global(out)]


def _global(out: Any) -> list[str]:
    return ["-hide_banner", "-nostdin", "-loglevel", "error", *ffmpeg.get_args(out)]
