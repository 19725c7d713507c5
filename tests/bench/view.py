"""What one more viewer costs, against a subscriber of Janus's videoroom.

One camera of 1920×1080, 30 pictures a second, 4 Mbit/s and its sound. The server is measured without a viewer and with
eight; the difference, divided by eight, is a viewer. Ours is the whole room node (recorder, feed and monitor): the
first viewer brings the feed with it. The viewers are the same for both, and of both is asked that every packet comes.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from api.settings import Secrets
from tests.bench.figures import Figure, cheaper
from tests.bench.janus import Janus
from tests.bench.load import Publishers, core_percent
from tests.bench.room import MeasuredRoom
from tests.bench.viewers import Viewers

WHAT = "what one more viewer costs, of eight, against a subscriber of Janus's videoroom"
RUNS, SECONDS = 5, 15.0
VIEWERS = 8
_SETTLE_S = 3.0
_LEAST_PACKETS = 400  # a second of picture and sound; the camera sends about 510


def measure(runs: int, seconds: float) -> Figure:
    """Percent of one core for each viewer. Raises JanusMissing."""
    ours, peer = asyncio.run(_measure(runs, seconds))
    shortened = seconds < SECONDS or runs < RUNS
    return cheaper("view", "% of a core per viewer", ours, peer, 0.5, shortened=shortened)


async def _measure(runs: int, seconds: float) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    peer: list[float] = []
    with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
        async with MeasuredRoom(Path(folder) / "vidne", 1) as room, Janus(Path(folder) / "janus") as janus:
            for _ in range(runs):
                async with Publishers(room.publishing()), room.recording():
                    ours.append(
                        await _added(
                            room.room_node, seconds, lambda viewers: watch_ours(room, viewers, room.cameras[0])
                        )
                    )
                async with Publishers([(janus.whip, None)]):
                    peer.append(await _added([janus.pid], seconds, lambda viewers: _watch_janus(janus, viewers)))
    return ours, peer


async def _added(pids: list[int], seconds: float, watch: Callable[[Viewers], Awaitable[None]]) -> float:
    """Percent of a core that each viewer adds. Raises RuntimeError when one of them did not get everything."""
    without = await core_percent(pids, seconds)
    async with Viewers() as viewers:
        for _ in range(VIEWERS):
            await watch(viewers)
        await asyncio.sleep(_SETTLE_S)
        watched = await core_percent(pids, seconds)
        received = await viewers.received()
    if min(received) < _LEAST_PACKETS * seconds:
        raise RuntimeError(f"viewers received only {received} packets in {seconds} s")
    return (watched - without) / VIEWERS


async def watch_ours(room: MeasuredRoom, viewers: Viewers, camera: str) -> None:
    """One more viewer of that camera, by WHEP at the monitor as the web application speaks it."""
    offer = (await viewers.ask({"offer": None}))["sdp"]
    token = Secrets(room.settings.run_folder).token("monitor")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp", "Vidne-Viewer": "bench"}
    async with httpx.AsyncClient(base_url=room.settings.monitor_url, trust_env=False, timeout=20) as client:
        reply = await client.post(f"/whep/{camera}", content=offer, headers=headers)
        reply.raise_for_status()
        await viewers.ask({"answer": reply.text})
    room.keep(reply.headers["Location"], token)


async def _watch_janus(janus: Janus, viewers: Viewers) -> None:
    offer, where = await janus.subscribe(janus.rooms[-1])
    await janus.answer(where, (await viewers.ask({"offer": offer}))["sdp"])
