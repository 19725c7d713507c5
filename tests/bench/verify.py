"""A whole evidence copy checked, against `openssl dgst -sha256` of all its files.

Ours is `vidne verify` in a process of its own: signatures, every tick of the journal with its signature, every file's
SHA-256 as the lists have it, and every byte of the originals against the commitments in the device's signed records.
That is two SHA-256 passes over the originals, since lists and commitments hash the same bytes in different company; the
peer makes one, and knows nothing of what it has read. Both read from memory, on one core and then on two; peers take
turns. Beside it stands ours against its own limit: as many bytes through SHA-256 as it has to hash, in one process.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import Figure, one_core, take_turns
from tests.bench.packaged import made

WHAT = "a whole evidence copy checked, on one core, against openssl dgst -sha256 of it"
RUNS, SECONDS = 7, 268.0
"""Of two cameras at 16 Mbit/s: a little more than a gibibyte."""
BYTES_A_SECOND = 4 << 20
GOAL, GOAL_ON_TWO = 0.9, 1.5
_VERIFY = "import sys; from evidence_store.verifying.command import main; sys.exit(main(sys.argv[1:]))"


class Copy:
    """A package in memory, and the two that read it."""

    def __init__(self, folder: Path, size: int) -> None:
        self.bag, fingerprint = made(folder, size)
        self.files = sorted(path for path in self.bag.rglob("*") if path.is_file())
        self.size = sum(path.stat().st_size for path in self.files)
        self.originals = sum(path.stat().st_size for path in self.files if path.parent.name == "original")
        self._verify = [sys.executable, "-c", _VERIFY, str(self.bag), "--fingerprint", fingerprint, "--json"]
        self._digest = ["openssl", "dgst", "-sha256", *map(str, self.files)]

    def verify(self) -> None:
        subprocess.run(self._verify, check=True, stdout=subprocess.DEVNULL)

    def digest(self) -> None:
        subprocess.run(self._digest, check=True, stdout=subprocess.DEVNULL)

    def limit(self) -> None:
        """Every byte that has to be hashed, hashed, and nothing else."""
        block, left = bytes(1 << 20), self.size + self.originals
        digest = hashlib.sha256()
        while left > 0:
            digest.update(block)
            left -= len(block)


def measure(runs: int, seconds: float) -> Figure:
    """MiB/s. Raises FileNotFoundError where openssl is missing, CalledProcessError where the copy does not hold."""
    with tempfile.TemporaryDirectory(prefix="vidne-bench-", dir="/dev/shm") as memory:
        small, whole = Copy(Path(memory) / "small", 0), Copy(Path(memory) / "whole", int(seconds * BYTES_A_SECOND))
        with one_core():
            ours, peer = take_turns(whole.verify, whole.digest, runs)
            limit, start = take_turns(whole.limit, small.verify, runs)
        both, alone = take_turns(whole.verify, whole.digest, runs)
    mebibytes, cores = whole.size / (1 << 20), len(os.sched_getaffinity(0))
    on_two = alone / both
    notes = (
        f"on {cores} cores {mebibytes / both:.0f} against {mebibytes / alone:.0f} MiB/s: {on_two:.2f} × "
        f"(goal {GOAL_ON_TWO:g})",
        f"its own limit, two SHA-256 passes over the originals and one over the rest, is {mebibytes / limit:.0f} MiB/s "
        f"on one core, {peer / limit:.2f} × the peer: ours reaches {limit / ours:.2f} of it",
        f"of each run {start:.2f} s are the start of Python and what a package costs however small",
    )
    return Figure(
        "verify", "MiB/s", mebibytes / ours, mebibytes / peer, "higher", GOAL, runs,
        held=cores > 1 and on_two >= GOAL_ON_TWO, shortened=seconds < SECONDS, notes=notes,
    )  # fmt: skip
