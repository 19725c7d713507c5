"""The ledger of a house that has grown old: entering an event, proving one, and auditing them, on both databases.

An event is entered as the product enters one: row and ledger entry and signed checkpoint in one transaction, which is
durable when it ends; how long until the checkpoint is in the vault too is told beside it. `runs` counts millions of
events. PostgreSQL is Debian's own on loopback and syncs each commit.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from evidence_store.audit import Audit
from evidence_store.custody import Actor, ActorKind, CustodyEvent, Verb
from evidence_store.identifiers import CaseNumber, new_interview_id
from tests.bench.figures import Figure, percentile
from tests.bench.ledger_rows import load
from tests.house import BEGAN, CASE, House
from tests.postgres import postgres

WHAT = "an event entered (custody, ledger, signed checkpoint, durable) among 10 million, p99 of the slower database"
RUNS, SECONDS = 10, 0.0
MILLION = 1_000_000
LONGEST_MS, AUDITED_WITHIN_S = 5.0, 60.0
APPENDS, PROOFS = 2_000, 1_000
_SIGNED_EACH = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one database. Milliseconds: `append` up to the commit, `kept` up to the checkpoint in the vault, `proof` of
    either kind; `audit`: seconds for the first million."""

    append: list[float]
    kept: list[float]
    proof: list[float]
    audit: float

    def __str__(self) -> str:
        def said(values: list[float]) -> str:
            return f"{percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms"

        return (
            f"entered: median {said(self.append)}; with its checkpoint in the vault {said(self.kept)}; "
            f"proof: median {said(self.proof)} (goal {LONGEST_MS:.0f} ms); "
            f"a million events audited in {self.audit:.0f} s (goal {AUDITED_WITHIN_S:.0f} s)"
        )


def measure(runs: int, seconds: float) -> Figure:
    """Milliseconds. Takes about 9 GB of disk at a time."""
    del seconds
    seen = {name: look(name == "PostgreSQL", runs * MILLION) for name in ("SQLite", "PostgreSQL")}
    slowest = max(percentile(each.append, 0.99) for each in seen.values())
    held = all(percentile(each.proof, 0.99) <= LONGEST_MS and each.audit <= AUDITED_WITHIN_S for each in seen.values())
    notes = tuple(f"{name}: {each}" for name, each in seen.items())
    return Figure(
        "ledger", "ms", slowest, None, "lower", LONGEST_MS, runs, held=held, shortened=runs < RUNS, notes=notes
    )


def look(in_postgresql: bool, count: int) -> Seen:
    """One database with `count` events in it, a million of which have a checkpoint each."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidne-bench-")))
        address = None
        if in_postgresql:
            address = stack.enter_context(postgres(folder / "cluster", durable=True)).make_database()
        house = House(folder, database=address)
        stack.callback(house.close)
        first = min(count, MILLION)
        load(house, first, 1)
        audit = _timed(lambda: _audit(house))
        if count > first:
            load(house, count - first, _SIGNED_EACH)
        gc.freeze()  # as the web application's process does
        append, kept = _append(house)
        return Seen(append, kept, _prove(house, count), audit / 1000)


def _audit(house: House) -> None:
    report = Audit(house.store.book, house.store.authority).run()
    if not report.ok:
        raise RuntimeError(f"not what was laid down: {[each for each in report.findings if not each.ok]}")


def _append(house: House) -> tuple[list[float], list[float]]:
    book = house.store.book
    keep, committed = book.keep, [0.0]

    def noted(note: bytes) -> None:
        committed[0] = time.perf_counter()
        keep(note)

    book.keep = noted  # type: ignore[method-assign]
    actor, number = Actor(ActorKind.PERSON, "a" * 32, "Person", "prosecutor"), CaseNumber(CASE)
    append, kept = [], []
    for k in range(APPENDS):
        event = CustodyEvent(Verb.MEDIA_VIEWED, BEGAN + k, actor, new_interview_id(), number, "Forberedelse")
        began = time.perf_counter()
        book.record(event)
        append.append((committed[0] - began) * 1000)
        kept.append((time.perf_counter() - began) * 1000)
    return append, kept


def _prove(house: House, count: int) -> list[float]:
    """Of inclusion in the latest checkpoint, and of the tree having grown from an earlier size to the present one, each
    for entries and sizes from everywhere."""
    book, where = house.store.book, random.Random(7)  # noqa: S311 - places, not secrets
    took = []
    for _ in range(PROOFS):
        at = where.randrange(count)
        with book.reading() as session:
            took.append(_timed(lambda: book.ledger.prove(session, at)))  # noqa: B023
        with book.reading() as session:
            took.append(_timed(lambda: book.ledger.consistency(session, at + 1, count)))  # noqa: B023
    return took


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
