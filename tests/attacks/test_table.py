"""docs/attacks.md against the code: every number is there, its own test first, every line that holds it, and every test
that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.defences import DEFENCES, written
from tests.attacks.test_defences import NUMBERED

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "attacks.md").read_text().splitlines()
    if re.match(r"\| \d+ \|", line)
]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_every_number_is_in_the_table_once() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 39))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_what_holds_and_tests_that_exist(row: list[str]) -> None:
    number = int(row[0])
    assert row[3] == written(DEFENCES[number])
    named = re.findall(r"`(tests/[^`]+)::(test_[^`]+)`", row[4])
    own = NUMBERED[number]
    assert named[0] == (f"{own.__module__.replace('.', '/')}.py", own.__name__)
    for path, test in named:
        assert test in names_in(path), f"{path}::{test}"
