"""docs/attacks.md against the code: every number is there, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

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
def test_a_row_names_tests_that_exist_or_says_why_it_comes_later(row: list[str]) -> None:
    named = re.findall(r"`(tests/[^`]+)::(test_[^`]+)`", row[3])
    assert named or row[3].startswith("later: "), "nothing shows it, and nothing says why"
    assert all(len(reason.strip()) > 5 for reason in row[3].split("later:")[1:])
    for path, test in named:
        assert test in names_in(path), f"{path}::{test}"
