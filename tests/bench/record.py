"""What recording a camera costs, hashed, encrypted and fsynced, against Janus writing it down in the clear.

Six cameras of 1920×1080, 30 pictures a second, 4 Mbit/s, and their sound. Ours is the whole room node: recorder with
sealing, spool, fsync and delivery, and the monitor with nobody watching; the store and its web application, which
Janus has no counterpart of, are not counted. The two take turns on the same machine with the same clip.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.bench.figures import Figure, cheaper
from tests.bench.janus import Janus
from tests.bench.load import Publishers, core_percent
from tests.bench.room import MeasuredRoom

WHAT = "recording a 1080p30 camera, hashed, encrypted and fsynced, against Janus writing it in the clear"
RUNS, SECONDS = 5, 20.0
CAMERAS = 6


def measure(runs: int, seconds: float) -> Figure:
    """Percent of one core for each camera. Raises JanusMissing."""
    ours, peer = asyncio.run(_measure(runs, seconds))
    shortened = seconds < SECONDS or runs < RUNS
    return cheaper("record", "% of a core per camera", ours, peer, 1.0, shortened=shortened)


async def _measure(runs: int, seconds: float) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    peer: list[float] = []
    with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
        async with MeasuredRoom(Path(folder) / "vidne", CAMERAS) as room, Janus(Path(folder) / "janus") as janus:
            for _ in range(runs):
                ours.append(await _ours(room, seconds))
                peer.append(await _peers(janus, seconds))
    return ours, peer


async def _ours(room: MeasuredRoom, seconds: float) -> float:
    async with Publishers(room.publishing()) as cameras, room.recording():
        used = await core_percent(room.room_node, seconds)
        if not cameras.all_alive():
            raise RuntimeError("a camera stopped sending to us during the measurement")
    return used / CAMERAS


async def _peers(janus: Janus, seconds: float) -> float:
    async with Publishers([(janus.whip, None)] * CAMERAS) as cameras:
        before = janus.recorded()
        used = await core_percent([janus.pid], seconds)
        if not cameras.all_alive() or janus.recorded() == before:
            raise RuntimeError("a camera stopped sending to Janus, or Janus recorded nothing")
    janus.forget_recordings()
    return used / CAMERAS
