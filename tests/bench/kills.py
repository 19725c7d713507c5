"""Kill −9 of the store at random moments of its work, as many in each of five phases; then everything is counted.

Intake from a recorder's spool, sealing, bringing to a second vault, stamping by a real authority, erasure by two and
rotation of the key-encryption key. What was acknowledged to the room and to people has to be there once, in both
vaults, sealed, stamped, erased where it was erased; `vidne audit` has to be clean, and proofs taken early have to hold.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from tests.bench.figures import Figure
from tests.kills.phases import Phase
from tests.kills.run import Account
from tests.kills.run import kills as killed

WHAT = "kill −9 of the store at 200 random moments across intake, seal, replicate, stamp, shred: faults found after"
RUNS, SECONDS = 200, 0.0
SEED = 7


def measure(runs: int, seconds: float) -> Figure:
    """How much was not as it had been acknowledged."""
    with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
        account = killed(Path(folder), runs, SEED)
    return Figure(
        "kills", "faults", float(len(account.faults)), None, "lower", 0.0, runs,
        held=not account.faults, shortened=runs < RUNS, notes=(*said(account), *account.faults[:20]),
    )  # fmt: skip


def said(account: Account) -> tuple[str, ...]:
    """What happened, in sentences."""
    done = Counter(kill.phase for kill in account.kills)
    within = Counter(kill.phase for kill in account.kills if kill.within)
    each = ", ".join(f"{phase.value} {within[phase]} of {done[phase]}" for phase in Phase)
    acknowledged = account.acknowledged
    return (
        f"{len(account.kills)} kills, seed {account.seed}; within the act, the others just behind its end: {each}",
        f"{len(acknowledged.objects)} objects of {account.takes} takes acknowledged, {len(acknowledged.closed)} "
        f"interviews sealed, {len(acknowledged.erased)} erased, {acknowledged.rotations} rotations; "
        f"{account.proofs} early proofs; {account.custody} entries in the ledger",
    )
