"""A bad line: 1 %, 2 % and 5 % of all packets lost, half of them in bursts, 20 ms of delay each way, some out of order.

Three cameras record side by side, each over its own line (`lossy_link.py`), through a whole house to the sealed
interview; then every picture and sound that was sealed is held against those that were sent. FFmpeg's WHIP muxer sends
again what it is asked for, pictures only; it reads such requests when it has something to send, 80 times a second.
Before that, on a line that loses one packet of a picture at a time, it is measured when that one is there after all.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from hardware.simulated_room import Recipe, make_clip
from recorder.aiortc_hooks import IceSettings
from recorder.peer import Connection
from recorder.rtp import RtpPacket
from recorder.sdp import Kind
from recorder.whip import WhipEndpoint
from tests.bench.figures import Figure, number, percentile
from tests.bench.interview import Camera, interview
from tests.bench.lossy_link import Climate, Line, is_media
from tests.bench.sealed import SECOND, Account
from tests.recorder_webrtc import rig

WHAT = "10 min at 1 %, 2 % and 5 % loss, 20 ms each way, reordering, bursts: frames missing at 2 % and less"
RUNS, SECONDS = 1, 600.0
RATES = {"one": 0.01, "two": 0.02, "five": 0.05}
MENDED_WITHIN_MS = 200.0
MENDS = 40


@dataclass
class OneByOne:
    """Loses one packet of a picture each so often, and knows which and when it would have been there."""

    every: float = 0.4
    delay: float = 0.020
    next: float = 0.0
    lost: dict[int, float] = field(default_factory=dict)

    def __call__(self, datagram: bytes) -> bool:
        now = time.monotonic()
        # A marker ends a picture; its loss shows with the next one only, and is told apart below.
        if now < self.next or not is_media(datagram) or len(datagram) < 500:
            return False
        (sequence,) = struct.unpack_from(">H", datagram, 2)
        if sequence in self.lost:
            return False  # sent again by its own number
        self.next, self.lost[sequence] = now + self.every, now + self.delay
        return True


@dataclass
class Arrivals:
    """A recorder's sink that remembers when each packet of the picture came first (time.monotonic)."""

    came: dict[int, float] = field(default_factory=dict)

    def connected(self, connection: Connection) -> None: ...

    def rtp(
        self, connection: Connection, kind: Kind, packets: list[RtpPacket], in_order: bool, arrival_ns: int
    ) -> None:
        if kind == "video":
            for packet in packets:
                self.came.setdefault(packet[0], arrival_ns / 1e9)

    def sender_report(self, connection: Connection, kind: Kind, ntp: int, rtp: int, arrival_ns: int) -> None: ...

    def disconnected(self, connection: Connection, reason: str) -> None: ...


async def mending(clip: Path, count: int) -> list[float | None]:
    """Milliseconds from when each lost packet would have come to when it came; None: never."""
    sink, one_by_one = Arrivals(), OneByOne()
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=IceSettings())
    climate = Climate(loss=0.0, jitter=0.0, reordered=0.0)
    one_by_one.delay = climate.delay
    line = Line(url, {"wide": climate}, drop=one_by_one)
    async with rig.serving(rig.whip_routes(endpoint), sock), line.open() as door:
        camera = Camera("wide", clip, f"{door}/whip/wide", rig.TOKEN)
        try:
            await rig.until(lambda: len(one_by_one.lost) >= count, 30 + count * 2 * one_by_one.every)
            await asyncio.sleep(1.0)
        finally:
            await camera.stop()
            await endpoint.stop()
    return [
        1000 * (sink.came[sequence] - due) if sequence in sink.came else None
        for sequence, due in one_by_one.lost.items()
    ]


async def record(folder: Path, clip: Path, seconds: float, tell: Callable[[str], None]) -> Account:
    """All three cameras for so long; what was sealed of them."""
    line = Line("", {name: Climate(loss) for name, loss in RATES.items()})
    async with interview(folder, dict.fromkeys(RATES, clip), line) as going:
        await going.start()
        await asyncio.sleep(seconds)
        tell(going.said_of_the_machine())
        await going.stop()
        for name, sessions in line.sessions.items():
            sent, lost = sum(each.sent for each in sessions), sum(each.lost for each in sessions)
            tell(f"line of camera {name!r}: {lost} of {sent} media packets lost ({100 * lost / sent:.2f} %)")
        return await asyncio.to_thread(going.account)


def missing_before_the_end(account: Account, track: str) -> int:
    """Units missing but for the last second: a camera that has stopped sends nothing again."""
    end = max((until for (_, of), (_, until) in account.spans.items() if of == track), default=0) - SECOND
    return sum(hole.missing for hole in account.holes if hole.track == track and hole.end < end)


def measure(runs: int, seconds: float) -> Figure:
    """Pictures missing or damaged at 1 % and 2 %, in the whole of `runs` recordings."""
    clip = make_clip(Recipe())
    notes: list[str] = []
    missing, held = 0, True
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        mends = runner.run(mending(clip, MENDS))
        there = [each for each in mends if each is not None]
        held = len(there) == len(mends) and max(there) <= MENDED_WITHIN_MS
        notes.append(
            f"one packet at a time, {len(mends)} lost: {len(there)} mended, median {percentile(there, 0.5):.0f} ms, "
            f"greatest {max(there):.0f} ms after they were due"
        )
        for _ in range(runs):
            with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
                account = runner.run(record(Path(folder), clip, seconds, notes.append))
            for name, loss in RATES.items():
                video, audio = (missing_before_the_end(account, f"{name}-{kind}") for kind in ("video", "audio"))
                missing += video if loss <= 0.02 else 0
                notes.append(
                    f"at {100 * loss:g} %: {video} of {account.whole[f'{name}-video']} pictures and "
                    f"{audio} of {account.whole[f'{name}-audio']} sounds missing"
                )
            notes.append(f"{len(account.undeclared)} of {len(account.holes)} holes undeclared")
            held = held and not account.undeclared
    notes.append(f"{runs} × {number(seconds)} s, 1080p30 at 4 Mbit/s with sound, three cameras side by side")
    return Figure(
        "loss", "pictures", float(missing), None, "lower", 0, runs,
        held=held, shortened=seconds < SECONDS, notes=tuple(notes),
    )  # fmt: skip
