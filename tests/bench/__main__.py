"""`scripts/bench NAME [--json] [--write] [--runs N] [--seconds S]`: exit 0 when the goal was reached, 1 when not."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys

import structlog
import typer

from tests.bench import (
    crash,
    eye,
    finish,
    kills,
    ledger,
    loss,
    playback,
    record,
    seal,
    soak,
    table,
    transit,
    verify,
    view,
)  # fmt: skip
from tests.bench.figures import Bench

BENCHES: dict[str, Bench] = {
    "record": record,
    "view": view,
    "transit": transit,
    "seal": seal,
    "eye": eye,
    "loss": loss,
    "crash": crash,
    "kills": kills,
    "soak": soak,
    "playback": playback,
    "finish": finish,
    "verify": verify,
    "ledger": ledger,
}
WHAT = {name: bench.WHAT for name, bench in BENCHES.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measurements against peers, in the same run.")
    parser.add_argument("name", nargs="?", choices=[*BENCHES, "all"], help="which; without it, all are named")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--write", action="store_true", help="put the figure into docs/performance.md")
    parser.add_argument("--runs", type=int, help="turns that each side takes")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="length of a run, for trial: the goal asks for a full one")
    length.add_argument("--minutes", type=float, help="the same in minutes")
    given = parser.parse_args()
    if given.name is None:
        for name, what in WHAT.items():
            typer.echo(f"{name:8} {what}")
        return 0
    if given.name == "all":
        return measure_all()
    seconds = 60 * given.minutes if given.minutes is not None else given.seconds
    return measure(given.name, given.runs, seconds, as_json=given.json, into_table=given.write)


def measure(name: str, runs: int | None, seconds: float | None, *, as_json: bool, into_table: bool) -> int:
    """One bench; the exit code."""
    # Cameras of this process warn of what is done to them on purpose.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    bench = BENCHES[name]
    figure = bench.measure(runs or bench.RUNS, bench.SECONDS if seconds is None else seconds)
    for line in (*figure.notes, str(figure)):
        typer.echo(line, err=as_json)
    if into_table:
        table.write(figure, WHAT)
    if as_json:
        typer.echo(json.dumps(figure.record()))
    return 0 if figure.reached else 1


def measure_all() -> int:
    """Each in a process of its own, full length, into the table: one that fails leaves its row as it was."""
    said = {}
    for name in BENCHES:
        command = [sys.executable, "-m", "tests.bench", name, "--json", "--write"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        said[name] = "reached" if done.returncode == 0 else "NOT reached" if done.stdout.strip() else "FAILED"
    for name, how in said.items():
        typer.echo(f"{name:8} {how}")
    return 0 if set(said.values()) == {"reached"} else 1


if __name__ == "__main__":
    sys.exit(main())
