"""From the vault to media that may be shown, on one core, against `age -d` of the same bytes.

Ours is what a player's requests run through: each segment read from a vault on disk, its records, chain and signatures
and every ciphertext in it checked, then each track's messages decrypted. The peer decrypts one file of as many clear
bytes and checks nothing but its own authentication. The clear bytes of both end in memory, and both are held to the
same core, children included. Beside it: how long one request takes at any point of two hours.
"""

from __future__ import annotations

import random
import secrets
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from evidence_store.sealing.tick import Kind, Message
from recorder.sealer import TICKS_A_SEGMENT, Tick
from tests.bench.figures import Figure, one_core, percentile, take_turns
from tests.bench.seal import MEBIBYTE, MESSAGE
from tests.house import BEGAN, TICK_NS, House, begin, tick

WHAT = "stored media to decrypted, checked media on one core, against age -d"
RUNS, SECONDS = 7, 7200.0
TOTAL = 64 * MEBIBYTE
LONGEST_S = 0.3
"""Within which any point of two hours has to be there."""
POINTS = 100


class Film:
    """A take of two cameras at 16 Mbit/s in a store, and the same bytes in one age file."""

    def __init__(self, memory: Path, disk: Path) -> None:
        self.house = House(disk)
        data = secrets.token_bytes(TOTAL)
        sealer = begin(self.house, self.house.spool(), self.house.interview())
        for t in range(TOTAL // (2 * MESSAGE)):
            messages = [
                Message(Kind.MEDIA, track, 0, data[at : at + MESSAGE], 1, {"from": t, "to": t + 1, "samples": 8})
                for track, at in ((0, 2 * t * MESSAGE), (1, (2 * t + 1) * MESSAGE))
            ]
            sealer.write(Tick(messages, [], t * TICK_NS, BEGAN + t * TICK_NS))
        sealer.close(Tick([], [], BEGAN, 2 * BEGAN))
        self.house.deliver(sealer.folder)
        self.enrolment, self.segments = sealer.folder.enrolment.hex(), TOTAL // (2 * MESSAGE * TICKS_A_SEGMENT)
        (memory / "clear").write_bytes(data)
        made = subprocess.run(["age-keygen", "-o", memory / "key"], capture_output=True, text=True, check=True)
        recipient = made.stderr.strip().rpartition(" ")[2]
        self._age = ["age", "-d", "-i", str(memory / "key"), "-o", str(memory / "out"), str(disk / "sealed.age")]
        subprocess.run(["age", "-r", recipient, "-o", disk / "sealed.age", memory / "clear"], check=True)

    def play(self) -> None:
        length = 0
        for segment in range(self.segments):
            for track in (0, 1):
                length += len(self.house.store.playback.media(self.enrolment, 1, segment, track, 0))
        if length != TOTAL:
            raise RuntimeError(f"{length} octets came back, not {TOTAL}")

    def decrypt(self) -> None:
        subprocess.run(self._age, check=True)


def measure(runs: int, seconds: float) -> Figure:
    """MiB/s. Raises FileNotFoundError where age is missing."""
    with (
        one_core(),
        tempfile.TemporaryDirectory(prefix="vidne-bench-", dir="/dev/shm") as memory,
        tempfile.TemporaryDirectory(prefix="vidne-bench-") as disk,
    ):
        film = Film(Path(memory), Path(disk))
        film.play()  # as a player's second request finds it: the interview is open
        ours, peer = take_turns(film.play, film.decrypt, runs)
        film.house.close()
        waits = _seek(seconds)
    longest, median = max(waits), statistics.median(waits)
    notes = (
        f"`playback`: any point of {seconds / 60:.0f} min: median {median * 1000:.0f} ms, 95 % within "
        f"{percentile(waits, 0.95) * 1000:.0f} ms, slowest {longest * 1000:.0f} ms (goal {LONGEST_S * 1000:.0f}).",
    )
    size = TOTAL / MEBIBYTE
    return Figure(
        "playback", "MiB/s", size / ours, size / peer, "higher", 1.5, runs,
        held=longest <= LONGEST_S, shortened=seconds < SECONDS, notes=notes,
    )  # fmt: skip


def _seek(seconds: float) -> list[float]:
    """Seconds until a segment is there, at places all over a take of that length, there and back."""
    with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
        house = House(Path(folder))
        sealer = begin(house, house.spool(), house.interview())
        count = int(seconds * 10**9 / TICK_NS)
        for t in range(count):
            sealer.write(tick(t, size=60_000 if t % 64 == 0 else 600))
        sealer.close(Tick([], [], count * TICK_NS, BEGAN + (count + 1) * TICK_NS))
        house.deliver(sealer.folder)
        segments, where = count // TICKS_A_SEGMENT, random.Random(7)  # noqa: S311 - places, not secrets
        waits = []
        for _ in range(POINTS):
            at = where.randrange(segments)
            began = time.perf_counter()
            house.store.playback.media(sealer.folder.enrolment.hex(), 1, at, 0, 0)
            waits.append(time.perf_counter() - began)
        house.close()
    return waits
