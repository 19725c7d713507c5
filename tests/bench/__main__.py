"""`scripts/bench NAME [--json] [--runs N] [--seconds S]`: exit 0 when the goal was reached, 1 when it was not."""

from __future__ import annotations

import argparse
import json
import logging
import sys

import structlog
import typer

from tests.bench import crash, eye, loss, seal, soak
from tests.bench.figures import Bench

BENCHES: dict[str, Bench] = {
    "seal": seal,
    "eye": eye,
    "loss": loss,
    "crash": crash,
    "soak": soak,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measurements against peers, in the same run.")
    parser.add_argument("name", nargs="?", choices=BENCHES, help="which; without it, all are named")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--runs", type=int, help="turns that each side takes")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="length of a run, for trial: the goal asks for a full one")
    length.add_argument("--minutes", type=float, help="the same in minutes")
    given = parser.parse_args()
    if given.name is None:
        for name, bench in BENCHES.items():
            typer.echo(f"{name:8} {bench.WHAT}")
        return 0
    # Cameras of this process warn of what is done to them on purpose.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    bench = BENCHES[given.name]
    seconds = bench.SECONDS if given.seconds is None else given.seconds
    if given.minutes is not None:
        seconds = 60 * given.minutes
    figure = bench.measure(given.runs or bench.RUNS, seconds)
    for line in (*figure.notes, str(figure)):
        typer.echo(line, err=given.json)
    if given.json:
        typer.echo(json.dumps(figure.record()))
    return 0 if figure.reached else 1


if __name__ == "__main__":
    sys.exit(main())
