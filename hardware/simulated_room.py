"""A simulated interview room: invented pictures and sound that carry UTC, encoded once, cached, then sent as they are.

`make_clip` gives the loop of one camera as an MP4: H.264 constrained baseline without B-frames, a key frame each
second, Opus 48 kHz stereo in 20 ms packets. How its clock is read back is told in `picture_clock`; the wide camera's
tone is 1000 Hz, the close one's 1500 Hz. The Opus coder's own delay is taken off beforehand, so that a tone starts on
the whole second of the packets' own time.

Pacing to UTC is the sender's work (`clip_stream`). This module runs FFmpeg and blocks: call it from a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import imageio_ffmpeg
import structlog

from hardware.picture_clock import CELLS, STRIP, TONE_SECONDS, picture_clock_cells

RATE = 30  # frames a second
PICTURE_CLOCK_VERSION = 1  # of the bars, which are in no command; a new number makes every cached clip anew
OPUS_DELAY = 120  # samples that libopus puts before the first one it was given, in its low-delay application

FONTS = (
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"),
    Path("/usr/share/fonts/dejavu-sans-fonts/DejaVuSans-Bold.ttf"),
    Path("/usr/share/fonts/TTF/DejaVuSans-Bold.ttf"),
)

_log = structlog.get_logger(__name__)


class ClipFailed(RuntimeError):  # noqa: N818 - said of the clip
    """FFmpeg could not make a clip; carries the end of what it said."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one simulated camera sees and hears. Places are those of a 1920 × 1080 picture."""

    drawing: str
    label: str
    dial: tuple[int, int, int]  # centre and length of the wall clock's hand
    lamp: tuple[int, int, int]  # centre and size of the lamp that flashes on the whole second
    ball: tuple[int, int, int]  # left end, height, and way of the ball that rolls to and fro
    tone: int  # Hz
    murmur: str  # an aevalsrc expression for each side, quiet


SCENES = {
    "wide": Scene(
        "wide.svg", "VID", (1290, 270, 64), (1690, 270, 150), (420, 905, 960), 1000,
        "0.015*sin(2*PI*196*t)*(1+0.5*sin(2*PI*0.3*t))+0.010*sin(2*PI*294*t)|0.015*sin(2*PI*196*t)+0.012*sin(2*PI*247*t)",
    ),
    "close": Scene(
        "close.svg", "NÆR", (1620, 330, 88), (330, 420, 150), (760, 1000, 420), 1500,
        "0.016*sin(2*PI*330*t)*(1+0.4*sin(2*PI*0.5*t))|0.016*sin(2*PI*415*t)*(1+0.4*sin(2*PI*0.2*t))",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a clip depends on.

    `seconds` is the loop's length (1 to 2000, whole, so that the loop keeps step with UTC). `sei` puts that ASCII
    text into an unregistered user data SEI message of every key frame, for tests that look for clear media where none
    may be. Without `lettering`, or where no font is found, label and seconds are left out of the picture; the bars are
    always there. Raises ValueError for what cannot be made.
    """

    scene: str = "wide"
    width: int = 1920
    height: int = 1080
    seconds: int = 10
    video: bool = True
    audio: bool = True
    bitrate: int = 4_000_000
    sei: str | None = None
    lettering: bool = True

    def __post_init__(self) -> None:
        if self.scene not in SCENES:
            raise ValueError(f"no scene {self.scene!r}; there are {', '.join(SCENES)}")
        if not self.video and not self.audio:
            raise ValueError("a clip needs video or audio")
        if self.width % 16 or self.height % 2 or not 160 <= self.width <= 3840 or not 90 <= self.height <= 2160:
            raise ValueError(
                f"{self.width}×{self.height} is not a size for a clip: width in 16s, height even, 160×90 to 3840×2160"
            )
        if not 100_000 <= self.bitrate <= 50_000_000:
            raise ValueError("a bit rate is 100,000 to 50,000,000 bit/s")
        if not 1 <= self.seconds <= 2000:
            raise ValueError("a loop takes 1 to 2000 seconds")
        if self.sei is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", self.sei):
            raise ValueError("an SEI text is 1 to 200 of A–Z, a–z, 0–9, _ . -")

    @property
    def frames(self) -> int:
        """Pictures in the loop."""
        return self.seconds * RATE

    @property
    def file_name(self) -> str:
        """The clip's name in the cache; it carries a hash of everything that FFmpeg is told, and of which FFmpeg."""
        command = _command(self, Path("scene.svg"), Path("clip.mp4"))
        drawing = _drawing(SCENES[self.scene])
        told = repr((PICTURE_CLOCK_VERSION, command[1:], drawing, imageio_ffmpeg.get_ffmpeg_version()))
        kind = f"{self.width}x{self.height}" if self.video else "audio"
        return f"{self.scene}-{kind}-{self.seconds}s-{hashlib.sha256(told.encode()).hexdigest()[:16]}.mp4"


def default_cache_folder() -> Path:
    """`$XDG_CACHE_HOME/vidne`, or `~/.cache/vidne`."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "vidne"


def make_clip(recipe: Recipe, folder: Path | None = None, progress: Callable[[float], None] | None = None) -> Path:
    """The recipe's clip, encoded now if the cache has it not. `progress` hears 0 to 1, at the end always 1.

    Raises ClipFailed, or OSError if the folder cannot be written.
    A crash while encoding leaves a temporary file behind, never a clip that is cut short.
    """
    tell = progress or (lambda _done: None)
    folder = folder or default_cache_folder()
    clip = folder / recipe.file_name
    if not clip.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as making:
            unfinished = Path(making) / "clip.mp4"
            drawing = Path(making) / "scene.svg"
            drawing.write_text(_drawing(SCENES[recipe.scene]), encoding="utf-8")
            _encode(recipe, drawing, unfinished, tell)
            unfinished.replace(clip)
    tell(1.0)
    return clip


def _drawing(scene: Scene) -> str:
    return (resources.files("hardware.scenes") / scene.drawing).read_text(encoding="utf-8")


def _font() -> Path | None:
    return next((font for font in FONTS if font.exists()), None)


def _command(recipe: Recipe, drawing: Path, target: Path) -> list[str]:
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *["-hide_banner", "-nostats", "-v", "warning", "-progress", "pipe:1", "-y"],
    ]
    command += [*_inputs(recipe, drawing), "-filter_complex", ";".join(_filters(recipe))]
    if recipe.video:
        command += ["-map", "[video]", *_video_options(recipe)]
    if recipe.audio:
        coder = "-c:a libopus -b:a 96k -vbr on -application lowdelay -frame_duration 20"
        command += ["-map", "[audio]", *coder.split()]
    command += ["-t", str(recipe.seconds), "-map_metadata", "-1", "-metadata", f"comment=loop_seconds={recipe.seconds}"]
    return [*command, "-fflags", "+bitexact", "-movflags", "+faststart", "-video_track_timescale", "90000", str(target)]


def _encode(recipe: Recipe, drawing: Path, target: Path, tell: Callable[[float], None]) -> None:
    if recipe.video and recipe.lettering and _font() is None:
        _log.warning(
            "simulated_room.no_font", scene=recipe.scene, detail="label and seconds are left out of the picture"
        )
    with subprocess.Popen(
        _command(recipe, drawing, target), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ffmpeg:
        said: list[bytes] = []
        threads = [
            threading.Thread(target=_feed_bars, args=(ffmpeg, recipe)),
            threading.Thread(target=lambda: said.extend(ffmpeg.stderr or ())),
        ]
        for thread in threads:
            thread.start()
        try:
            for line in ffmpeg.stdout or ():
                name, _, value = line.decode().strip().partition("=")
                if name == "out_time_us" and value.isdigit():
                    tell(min(int(value) / 1e6 / recipe.seconds, 0.99))
        except BaseException:
            ffmpeg.kill()
            raise
        finally:
            for thread in threads:
                thread.join()
    if ffmpeg.returncode:
        raise ClipFailed(
            f"FFmpeg ended with {ffmpeg.returncode}: {b''.join(said)[-800:].decode(errors='replace').strip()}"
        )


def _feed_bars(ffmpeg: subprocess.Popen[bytes], recipe: Recipe) -> None:
    """Give FFmpeg the picture clock, one row of cells a frame."""
    assert ffmpeg.stdin is not None  # noqa: S101 - Popen was asked for a pipe
    try:
        with ffmpeg.stdin as pipe:
            if recipe.video:
                pipe.write(b"".join(picture_clock_cells(index) for index in range(recipe.frames)))
    except BrokenPipeError:
        _log.debug(
            "simulated_room.pipe_closed", scene=recipe.scene, detail="FFmpeg ended first; its exit code tells why"
        )


def _inputs(recipe: Recipe, drawing: Path) -> list[str]:
    inputs: list[str] = []
    if recipe.video:
        scale = ["-width", str(recipe.width), "-height", str(recipe.height), "-keep_ar", "0"]
        inputs += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{CELLS}x1", "-r", str(RATE), "-i", "pipe:0"]
        inputs += ["-f", "svg_pipe", *scale, "-i", str(drawing)]
    if recipe.audio:
        scene = SCENES[recipe.scene]
        heard = f"(t+{OPUS_DELAY}/48000)"
        tone = f"0.4*lt(mod({heard},1),{TONE_SECONDS})*sin(2*PI*{scene.tone}*{heard})"
        sides = "|".join(f"{side}+{tone}" for side in scene.murmur.split("|"))
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='{sides}':s=48000:c=stereo:d={recipe.seconds}"]
    return inputs


def _filters(recipe: Recipe) -> list[str]:
    """The filter graph: a still room, and over it what moves, then the bars."""
    audio = ["[2:a]anull[audio]" if recipe.video else "[0:a]anull[audio]"] if recipe.audio else []
    if not recipe.video:
        return audio
    scene = SCENES[recipe.scene]

    def px(length: float) -> int:
        return max(round(length * recipe.height / 1080), 1)

    def across(length: float) -> int:
        return round(length * recipe.width / 1920)

    def disc(colour: str, size: int, softness: float) -> str:
        """A round, soft-edged patch; made once, then held."""
        distance = f"hypot(X-{size / 2},Y-{size / 2})/{size / 2}"
        alpha = f"255*clip((1-{distance})/{softness},0,1)"
        one = f"color=c={colour}:s={size}x{size}:r={RATE},trim=end_frame=1,format=yuva444p"
        return f"{one},geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='{alpha}',loop=-1:1"

    dial_x, dial_y, reach = scene.dial
    hand = 2 * px(reach)
    width = max(px(8), 2)
    lamp, ball = px(2 * scene.lamp[2]), px(56)
    start, way = across(scene.ball[0]), across(scene.ball[2])
    turn = f"2*PI*mod(n,{recipe.frames})/{recipe.frames}"
    end = recipe.seconds
    period = 5 if end % 5 == 0 else end
    graph = [
        f"[1:v]format=yuv420p,loop=-1:1,fps={RATE},setpts=N[room]",
        f"color=c=0xb03a2e@0:s={hand}x{hand}:r={RATE}:d={end},format=yuva420p,"
        f"drawbox=x={(hand - width) // 2}:y=0:w={width}:h={hand // 2}:color=0xb03a2e@1:t=fill:replace=1,"
        f"rotate='{turn}':c=none[hand]",
        f"{disc('0xfff1c4', lamp, 0.9)},setpts=N[lamp]",
        f"{disc('0xd8533f', ball, 0.08)},setpts=N[ball]",
        f"[room][hand]overlay=x={across(dial_x) - hand // 2}:y={px(dial_y) - hand // 2}[a]",
        f"[a][ball]overlay=x='{start}+{way}*(0.5-0.5*cos(2*PI*t/{period}))':y={px(scene.ball[1])}[b]",
        f"[b][lamp]overlay=x={across(scene.lamp[0]) - lamp // 2}:y={px(scene.lamp[1]) - lamp // 2}:"
        f"enable='lt(mod(n,{RATE}),3)'[c]",
        f"[0:v]scale={recipe.width}:{recipe.height // STRIP}:flags=neighbor,format=yuv420p[bars]",
        f"[c]noise=c0s=7:c0f=t:all_seed=1{_words(recipe, px)}[d]",
        "[d][bars]overlay=x=0:y=0:shortest=1,format=yuv420p[video]",
    ]
    return graph + audio


def _words(recipe: Recipe, px: Callable[[float], int]) -> str:
    """The label, the loop's seconds and the frame, for people; nothing where there is no font."""
    font = _font() if recipe.lettering else None
    if font is None:
        return ""
    style = f"fontfile={font}:fontcolor=0xfdfdfb:borderw={px(3)}:bordercolor=0x22313a@0.8"
    label = f"drawtext={style}:text='{SCENES[recipe.scene].label}':fontsize={px(72)}:x={px(48)}:y=h-th-{px(44)}"
    seconds = f"%{{eif\\:mod(floor(n/{RATE})\\,{recipe.seconds})\\:d\\:2}}.%{{eif\\:mod(n\\,{RATE})\\:d\\:2}}"
    return f",{label},drawtext={style}:text='{seconds}':fontsize={px(56)}:x=w-{px(260)}:y=h-{px(92)}"


def _video_options(recipe: Recipe) -> list[str]:
    rate = str(recipe.bitrate)
    options = ["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-profile:v", "baseline", "-bf", "0"]
    options += ["-g", str(RATE), "-keyint_min", str(RATE), "-sc_threshold", "0", "-r", str(RATE)]
    options += [
        "-b:v",
        rate,
        "-maxrate",
        rate,
        "-bufsize",
        str(recipe.bitrate // 2),
        "-x264-params",
        "sliced-threads=0:threads=2",
    ]
    if recipe.sei is not None:
        # A name-based UUID of the text: whoever finds the text in a file can tell ours from chance.
        mark = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:vidne:sei:{recipe.sei}").hex
        options += ["-bsf:v", f"h264_metadata=sei_user_data={mark}+{recipe.sei}"]
    return options
