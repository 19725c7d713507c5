"""Two hours of six cameras, with viewers coming and going: is memory flat, and is all of it there?

Each minute gives the median of the resident set of recorder and monitor, looked at once a second. What counts is the
greatest minute after the tenth against the tenth: in the first ten the pools, rings and caches fill that are meant to
be full. Viewers are peers that take the encrypted media and decode nothing; up to four at once stay for a random while.
At the end every picture and sound that was sealed is held against those that were sent.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription

from api.drill.visitor import Visitor
from hardware.simulated_room import Recipe, make_clip
from tests.bench.figures import Figure
from tests.bench.interview import Interview, interview
from tests.bench.sealed import Account, said

WHAT = "2 h, 6 cameras, viewers coming and going: growth of memory after 10 min; 0 lost"
RUNS, SECONDS = 1, 7200.0
GOAL_PERCENT = 5.0

CAMERAS = 6
RECIPE = Recipe("wide", 640, 360, bitrate=500_000)
VIEWERS = 4
STAY_SECONDS, AWAY_SECONDS = (5.0, 60.0), (1.0, 10.0)
SETTLED_AFTER = 10
WATCHED = ("recorder", "monitor")


@dataclass(slots=True)
class Memory:
    """Resident sets by process, in MiB, a list for each minute."""

    minutes: dict[str, list[list[float]]] = field(default_factory=lambda: {name: [] for name in WATCHED})

    def look(self, name: str, minute: int, pid: int) -> None:
        series = self.minutes[name]
        while len(series) <= minute:
            series.append([])
        series[minute].append(resident(pid))

    def medians(self, name: str) -> list[float]:
        return [statistics.median(minute) for minute in self.minutes[name] if minute]


def resident(pid: int) -> float:
    """MiB that a process has in memory (proc_pid_status(5), VmRSS). Raises OSError when it is gone."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def growth(medians: Sequence[float], settled: int) -> float:
    """Percent by which the greatest minute from `settled` on exceeds that one; of a shorter run, its second half's
    first. Pure."""
    rest = medians[min(settled, len(medians) // 2) :]
    return 100 * (max(rest) / rest[0] - 1)


async def _nothing(parameters: object) -> None:
    """In place of a receiver's decoders."""


class Viewer:
    """One person at one camera, who takes what comes and looks at none of it."""

    def __init__(self, visitor: Visitor, token: str, camera: str) -> None:
        self._visitor = visitor
        self._headers = {"Content-Type": "application/sdp", "Vidne-CSRF": token}
        self._path = f"/live/bench/{camera}"

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """Twice where the kept connection was closed meanwhile, as any browser does."""
        try:
            return await self._visitor.send(method, path, body, self._headers)
        except (httpx.ReadError, httpx.RemoteProtocolError):
            return await self._visitor.send(method, path, body, self._headers)

    async def watch(self, seconds: float) -> int:
        """Packets that came within so long; the lease is kept meanwhile."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        for kind in ("video", "audio"):
            vars(peer.addTransceiver(kind, direction="recvonly").receiver)["receive"] = _nothing
        try:
            await peer.setLocalDescription(await peer.createOffer())
            offer = peer.localDescription.sdp.encode()
            reply = await self._ask("POST", self._path, offer)
            if reply.status_code != 201:
                return 0
            session = reply.headers["location"]
            await peer.setRemoteDescription(RTCSessionDescription(reply.text, "answer"))
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, 5.0))
                await self._ask("PUT", f"{session}/lease")
            packets = _received(peer.getTransceivers()[0].receiver)
            await self._ask("DELETE", session)
            return packets
        finally:
            await peer.close()


def _received(receiver: RTCRtpReceiver) -> int:
    stats: dict[str, Any] = receiver.transport._get_stats()
    return sum(each.packetsReceived for each in stats.values())


@dataclass(slots=True)
class Audience:
    """`came`: viewers that got something; `saw`: packets of all of them; `nothing`: those that got none."""

    came: int = 0
    saw: int = 0
    nothing: int = 0

    async def visit(self, going: Interview, visitor: Visitor, dice: Random) -> None:
        """Until cancelled: one seat in the monitor room, taken by one after another."""
        token = await visitor.csrf("/monitorrum")
        while True:
            camera = dice.choice([*going.cameras])
            try:
                packets = await Viewer(visitor, token, camera).watch(dice.uniform(*STAY_SECONDS))
            except httpx.HTTPError:
                packets = 0  # counted; whoever watches is no concern of the recording
            self.saw += packets
            self.came += packets > 0
            self.nothing += packets == 0
            await asyncio.sleep(dice.uniform(*AWAY_SECONDS))


async def sit(folder: Path, seconds: float, tell: Callable[[str], None]) -> tuple[Memory, Audience, Account]:
    clip = make_clip(RECIPE)
    memory, audience = Memory(), Audience()
    async with interview(folder, {f"camera-{n}": clip for n in range(1, CAMERAS + 1)}) as going:
        await going.start()
        async with going.house.visitor() as visitor:
            await going.house.admit(visitor, "barnehus")
            seats = [
                asyncio.create_task(audience.visit(going, visitor, Random(seat)))  # noqa: S311 - no secret
                for seat in range(VIEWERS)
            ]
            try:
                began, looked = time.monotonic(), 0
                while (passed := time.monotonic() - began) < seconds:
                    if passed // 60 > looked:
                        looked = int(passed // 60)
                        await going.look()
                    for seat in seats:
                        if seat.done():
                            seat.result()
                    for name in WATCHED:
                        memory.look(name, int(passed // 60), going.house.pid(name))
                    await asyncio.sleep(1.0)
            finally:
                for seat in seats:
                    seat.cancel()
                await asyncio.gather(*seats, return_exceptions=True)
        tell(going.said_of_the_machine())
        await going.stop()
        return memory, audience, await asyncio.to_thread(going.account)


def measure(runs: int, seconds: float) -> Figure:
    """Percent by which recorder or monitor, whichever grew more, grew after the tenth minute."""
    notes: list[str] = []
    grown, held = 0.0, True
    for _ in range(runs):
        with (
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder,
        ):
            memory, audience, account = runner.run(sit(Path(folder), seconds, notes.append))
        for name in WATCHED:
            medians = memory.medians(name)
            grown = max(grown, growth(medians, SETTLED_AFTER))
            notes.append(f"{name}, MiB, median of each minute: {' '.join(f'{each:.1f}' for each in medians)}")
        missing, whole = sum(hole.missing for hole in account.holes), sum(account.whole.values())
        held = held and not missing and not sum(account.damaged.values())
        notes.append(f"{missing} units missing, {sum(account.damaged.values())} damaged, {whole} sealed whole")
        notes += [said(hole, account.gaps) for hole in account.holes[:10]]
        notes.append(f"{audience.came} viewers took {audience.saw} packets; {audience.nothing} got nothing")
    notes.append(f"{CAMERAS} cameras of 640 × 360 at 0.5 Mbit/s with sound, up to {VIEWERS} viewers, {seconds:.0f} s")
    return Figure(
        "soak", "%", grown, None, "lower", GOAL_PERCENT, runs,
        held=held, shortened=seconds < SECONDS, notes=tuple(notes),
    )  # fmt: skip
