"""`scripts/bench NAME [--json] [--runs N]`: exit 0 when the goal was reached, 1 when it was not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import typer

from tests.bench import seal
from tests.bench.figures import Figure

BENCHES: dict[str, tuple[Callable[[int], Figure], str]] = {
    "seal": (seal.measure, "sealing on one core, against openssl dgst + age -r + openssl dgst"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measurements against peers, in the same run.")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES), help="which; without it, all are named")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--runs", type=int, default=7, help="turns that each side takes (default 7)")
    given = parser.parse_args()
    if given.name is None:
        for name, (_, what) in BENCHES.items():
            typer.echo(f"{name:8} {what}")
        return 0
    figure = BENCHES[given.name][0](given.runs)
    said = f"{figure.ours:.0f} against {figure.peer:.0f} {figure.unit}: {figure.ratio:.2f} ×, goal {figure.goal} ×"
    typer.echo(f"{figure.name}: {said}, median of {figure.runs}", err=given.json)
    if given.json:
        typer.echo(json.dumps(figure.record()))
    return 0 if figure.reached else 1


if __name__ == "__main__":
    sys.exit(main())
