"""A camera agent in a process of its own: `hardware.camera`, with its token from a file."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import structlog

from api.processes.serving import configure_logs, die_with_parent
from hardware.camera import CameraSettings, Report, run_camera
from hardware.live_source import Device, Rtsp, Source
from hardware.simulated_room import Recipe, make_clip

log = structlog.get_logger()


def chosen_source(
    *,
    clip: Path | None,
    scene: str | None,
    rtsp_file: Path | None,
    device: Path | None,
    sound: str | None,
    gives: str,
    size: str,
    rate: int,
) -> Path | Source:
    """What one of them names. Raises ValueError for what cannot be meant.

    An RTSP address is read from a file, like the token: with user and password in it, it must be on no command line.
    """
    if clip is not None:
        return clip
    if rtsp_file is not None:
        return Rtsp(rtsp_file.read_text().strip())
    if device is not None:
        return Device.named(device, sound=sound, gives=gives, size=size, rate=rate)
    return make_clip(Recipe(scene or "wide"))


def run_one_camera(name: str, endpoint: str, token_file: Path, source: Path | Source, *, audio_only: bool) -> None:
    """Until told to stop."""
    configure_logs()
    die_with_parent()
    settings = CameraSettings(name, endpoint, token_file.read_text().strip(), source, audio_only)
    asyncio.run(_run(settings))


async def _run(settings: CameraSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def tell(report: Report) -> None:
        log.info("camera", camera=settings.name, state=report.state, attempt=report.attempt)

    await run_camera(settings, stop, tell)
