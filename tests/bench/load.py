"""What both sides of a measurement are given, and how what they spend is read.

Cameras are FFmpeg's own WHIP muxer sending a clip that was encoded once, so that they cost little and every recorder
gets the same bytes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import imageio_ffmpeg

CLIP_SECONDS, RATE, BITRATE = 20, 30, "4M"
SETTLE_S = 13.0
"""From the first camera's start until all are sending evenly: neither handshakes nor the ten seconds in which a
camera's clock is learnt are part of a measurement."""
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def clip() -> Path:
    """1920×1080 at 30 pictures a second and 4 Mbit/s, baseline H.264, a key frame each 2 s, and Opus; made once."""
    path = Path(tempfile.gettempdir()) / f"vidne-bench-1080p{RATE}-{BITRATE}-{CLIP_SECONDS}s.mp4"
    if not path.exists():
        part = path.with_suffix(".part.mp4")
        subprocess.run(
            [
                imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y",
                "-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate={RATE},noise=alls=8:allf=t",
                "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", str(CLIP_SECONDS),
                "-c:v", "libx264", "-profile:v", "baseline", "-preset", "veryfast", "-tune", "zerolatency",
                "-pix_fmt", "yuv420p", "-g", str(2 * RATE), "-bf", "0",
                "-b:v", BITRATE, "-maxrate", BITRATE, "-bufsize", BITRATE,
                "-c:a", "libopus", "-ac", "2", "-b:a", "64k", str(part),
            ],
            check=True,
        )  # fmt: skip
        part.rename(path)
    return path


async def end(process: asyncio.subprocess.Process) -> None:
    """Ends a process that we started; the hard way after 5 s."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""Before a command that would go on for ever: a bench that is killed leaves nothing behind."""


class Publishers:
    """Cameras for as long as they are entered. `to`: each one's WHIP address and bearer token (None: none)."""

    def __init__(self, to: Sequence[tuple[str, str | None]]) -> None:
        self._to = to
        self._running: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        source = await asyncio.to_thread(clip)
        for address, token in self._to:
            self._running.append(
                await asyncio.create_subprocess_exec(
                    *DIES_WITH_US, imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-re",
                    "-stream_loop", "-1", "-i", str(source), "-c", "copy",
                    *(["-authorization", token] if token else []), "-f", "whip", address,
                    stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                )
            )  # fmt: skip
        await asyncio.sleep(SETTLE_S)
        return self

    def all_alive(self) -> bool:
        return all(each.returncode is None for each in self._running)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*map(end, self._running))


def tree(pid: int) -> list[int]:
    """The process and all that came of it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, to_visit = [], [pid]
    while to_visit:
        found.append(to_visit.pop())
        to_visit += children.get(found[-1], [])
    return found


def spent(pids: Iterable[int]) -> float:
    """CPU seconds, user and system, of these process trees so far."""
    total = 0
    for root in pids:
        for pid in tree(root):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += int(stat[11]) + int(stat[12])
    return total / _TICKS_A_SECOND


async def core_percent(pids: Sequence[int], seconds: float) -> float:
    """What these process trees spend from now on for so long, in percent of one core."""
    loop = asyncio.get_running_loop()
    before, began = spent(pids), loop.time()
    await asyncio.sleep(seconds)
    return (spent(pids) - before) / (loop.time() - began) * 100
