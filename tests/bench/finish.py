"""From the end of a recording to sealed in two vaults and entered in the ledger, however long the recording was.

A take of made-up ticks, delivered up to its close, as it is when somebody presses stop: what is measured is what is
left to do then. The recorder closes; the last two segments and the close are taken in, checked and put into both
vaults; the manifest is made, signed, put into both, and entered. Two folders on this machine's disk.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from evidence_store.kept import KeptVault
from evidence_store.scrub import Scrub
from evidence_store.vault.disk import DiskVault
from recorder.delivery import objects
from recorder.sealer import Tick
from tests.bench.figures import Figure
from tests.house import BEGAN, TICK_NS, House, begin, tick

WHAT = "stop → sealed in two vaults and in the ledger, after 2 h"
RUNS, SECONDS = 3, 7200.0
SHORT_S = 600.0


def measure(runs: int, seconds: float) -> Figure:
    """Seconds, the median of the longer recording's; a note has the shorter one's."""
    short = [_finish(min(SHORT_S, seconds)) for _ in range(runs)]
    long = [_finish(seconds) for _ in range(runs)]
    ours, before = statistics.median(long), statistics.median(short)
    notes = (
        f"`finish`: {before * 1000:.0f} ms after {min(SHORT_S, seconds) / 60:.0f} min, {ours * 1000:.0f} ms after "
        f"{seconds / 60:.0f} min (slowest {max(long) * 1000:.0f} ms).",
    )
    return Figure("finish", "s", ours, None, "lower", 1.0, runs, shortened=seconds < SECONDS, notes=notes)


def _finish(seconds: float) -> float:
    with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
        house = House(Path(folder))
        book = house.store.book
        book.vault = KeptVault(book.vault.holdings, [*book.vault.vaults, DiskVault(Path(folder) / "second")])
        while Scrub(book, book.vault).bring().brought:  # certificates, which the first one has had from the start
            pass
        order, spool = house.interview(), house.spool()
        sealer, count = begin(house, spool, order), int(seconds * 10**9 / TICK_NS)
        for t in range(count):
            sealer.write(tick(t))
        delivered = set()
        for kind, path in objects(sealer.folder)[:-1]:
            house.deliver_one(sealer.folder, kind, path.read_bytes())
            delivered.add(path)
        began = time.perf_counter()
        sealer.close(Tick([], [], count * TICK_NS, BEGAN + (count + 1) * TICK_NS))
        for kind, path in objects(sealer.folder):
            if path not in delivered:
                house.deliver_one(sealer.folder, kind, path.read_bytes())
        if not house.store.sealing.seal(order.interview.hex()) or not book.vault.complete([""]):
            raise RuntimeError("not sealed in both vaults")
        took = time.perf_counter() - began
        house.close()
    return took
