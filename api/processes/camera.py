"""A camera agent in a process of its own: `hardware.camera`, with its token from a file."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import structlog

from api.processes.serving import configure_logs, die_with_parent
from hardware.camera import CameraSettings, Report, run_camera
from hardware.simulated_room import Recipe, make_clip

log = structlog.get_logger()


def run_one_camera(
    name: str, endpoint: str, token_file: Path, clip: Path | None, scene: str | None, *, audio_only: bool
) -> None:
    """Until told to stop."""
    configure_logs()
    die_with_parent()
    source = clip if clip is not None else make_clip(Recipe(scene or "wide"))
    settings = CameraSettings(name, endpoint, token_file.read_text().strip(), source, audio_only)
    asyncio.run(_run(settings))


async def _run(settings: CameraSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def tell(report: Report) -> None:
        log.info("camera", camera=settings.name, state=report.state, attempt=report.attempt)

    await run_camera(settings, stop, tell)
