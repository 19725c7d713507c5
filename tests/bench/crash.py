"""Kill −9 of the recorder at random moments of a running recording: what was durable, and what was declared.

One house with two cameras; the supervisor starts the recorder again each time, and the cameras come back by themselves.
Their packets pass through a line that loses nothing and remembers when it handed each camera's first and last one to
the recorder's socket. After the last kill the interview is sealed, and every picture and sound of every take is looked
up: from the end of what a take holds of a track to that camera's last packet may pass at most half a second, and every
hole between takes or within one has to be covered by a gap of the manifest.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import uvloop

from hardware.simulated_room import Recipe, make_clip
from tests.bench.figures import Figure, percentile
from tests.bench.interview import WITHIN, Interview, interview, until
from tests.bench.lossy_link import Line, Traffic
from tests.bench.sealed import SECOND, Account, said

WHAT = "kill −9 of the recorder at 100 random moments: from the last packet received back to what was durable"
RUNS, SECONDS = 100, 0.0
GOAL_S = 0.5

CAMERAS = {"wide": Recipe("wide", 640, 360, bitrate=500_000), "close": Recipe("close", 640, 360, bitrate=500_000)}
AT_MOST_AFTER = 1.5
SEED = 9


@dataclass(frozen=True, slots=True)
class Kill:
    """Of one kill: the take that was running, and of each camera that was sending its first and last packet, as the
    line handed them on (ns UTC). `back`: seconds until the next take's first tick was durable."""

    take: int
    packets: dict[str, tuple[int, int]]
    back: float


def span(sessions: dict[str, list[Traffic]]) -> dict[str, tuple[int, int]]:
    """First and last packet of each camera's present session, ns UTC."""
    offset = time.time() - time.monotonic()
    return {
        camera: (int((last.first + offset) * SECOND), int((last.last + offset) * SECOND))
        for camera, traffic in sessions.items()
        if (last := traffic[-1]).first is not None and last.last is not None
    }


async def kill_once(going: Interview, dice: Random) -> Kill:
    """At some moment after every camera is heard and the take is durable; returns when the next one is."""
    await asyncio.sleep(AT_MOST_AFTER * dice.random())
    before = await until(going.house.room, lambda room: room.get("take") is not None)
    os.kill(going.house.pid("recorder"), signal.SIGKILL)
    killed = time.monotonic()
    packets = span(going.line.sessions)
    for sessions in going.line.sessions.values():
        sessions.append(Traffic())
    await until(going.house.room, lambda room: room.get("durable_tick") is not None and room["take"] != before["take"])
    back = time.monotonic() - killed
    async with asyncio.timeout(WITHIN):
        await going.house.cameras_send()
    return Kill(before["take"], packets, back)


def lost_before(kill: Kill, account: Account) -> float:
    """Seconds of the worst track from the end of what is durable of it, or where it began in that take, to its camera's
    last packet. Pure."""
    worst = 0.0
    for camera, (first, last) in kill.packets.items():
        for track in (f"{camera}-video", f"{camera}-audio"):
            _, durable = account.spans.get((kill.take, track), (first, first))
            worst = max(worst, (last - max(durable, first)) / SECOND)
    return worst


async def kills(folder: Path, count: int) -> tuple[list[Kill], Account]:
    clips = {name: make_clip(recipe) for name, recipe in CAMERAS.items()}
    dice, done = Random(SEED), []  # noqa: S311 - no secret
    async with interview(folder, clips, Line("")) as going:
        await going.start()
        for _ in range(count):
            done.append(await kill_once(going, dice))
        await going.stop()
        return done, await asyncio.to_thread(going.account)


def measure(runs: int, seconds: float) -> Figure:
    """Seconds lost by the worst of so many kills."""
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder,
    ):
        done, account = runner.run(kills(Path(folder), runs))
    lost = [lost_before(kill, account) for kill in done]
    backs = [kill.back for kill in done]
    undeclared = account.undeclared
    notes = [
        f"{len(done)} kills, 2 cameras: lost before the last packet median {percentile(lost, 0.5):.2f} s, "
        f"p95 {percentile(lost, 0.95):.2f} s, greatest {max(lost):.2f} s",
        f"the next take was durable after median {percentile(backs, 0.5):.1f} s, greatest {max(backs):.1f} s",
        f"{len(account.holes)} holes in the sealed tracks, {len(undeclared)} of them undeclared; "
        f"{sum(account.damaged.values())} damaged units",
    ]
    notes += [said(hole, account.gaps) for hole in undeclared[:10]]
    return Figure(
        "crash", "s", max(lost), None, "lower", GOAL_S, runs,
        held=not undeclared, shortened=runs < RUNS, notes=tuple(notes),
    )  # fmt: skip
