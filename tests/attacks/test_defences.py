"""Each attack's test fails when its defence is taken out, by the assertion that the attack came to nothing."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from evidence_store.errors import VidneError
from tests.attacks.defence import AnotherHeld, Line, without
from tests.attacks.defences import DEFENCES, Group
from tests.attacks.place import Place

HERE = Path(__file__).parent
NUMBERED: dict[int, Callable[[Place], Any]] = {}
"""The test of each attack: it takes nothing but a place."""
for _path in sorted(HERE.glob("test_*.py")):
    if _path != Path(__file__):
        for _name, _test in vars(importlib.import_module(f"tests.attacks.{_path.stem}")).items():
            _match = re.match(r"test_(\d\d)_", _name)
            if _match and list(inspect.signature(_test).parameters) == ["place"]:
                assert int(_match[1]) not in NUMBERED, _name
                NUMBERED[int(_match[1])] = _test

CASES = [(number, group) for number, groups in DEFENCES.items() for group in groups]


def test_every_attack_has_its_test_and_its_defence() -> None:
    assert sorted(NUMBERED) == sorted(DEFENCES) == list(range(1, 39))


async def succeeds(place: Place, number: int, lines: Group) -> bool:
    """Whether the attack comes to something without these lines: an assertion of its own test fails."""
    with without(lines):
        try:
            done = NUMBERED[number](place)
            if inspect.isawaitable(done):
                await done
        except (AssertionError, pytest.fail.Exception) as failure:
            return of_the_attack(failure)
    return False


@pytest.mark.parametrize(
    ("number", "group"), CASES, ids=[f"{number:02}-{group[0].file}-{group[0].place}" for number, group in CASES]
)
async def test_without_its_defence_the_attack_succeeds(place: Place, number: int, group: Group) -> None:
    assert await succeeds(place, number, group), "another line holds too, or none is needed"


DEEP = [
    (number, group, line)
    for number, group in CASES
    if len(group) > 1
    for line in group
    # What is left out may be the whole of another defence against the same attack.
    if not any(set(other) <= set(group) - {line} for other in DEFENCES[number])
]


@pytest.mark.parametrize(
    ("number", "group", "line"), DEEP, ids=[f"{number:02}-{line.file}-{line.place}" for number, _, line in DEEP]
)
async def test_each_line_of_a_defence_in_depth_holds_by_itself(
    place: Place, number: int, group: Group, line: Line
) -> None:
    others = tuple(each for each in group if each is not line)
    with contextlib.suppress(AnotherHeld, VidneError):
        assert not await succeeds(place, number, others), "this line is not needed"


def of_the_attack(failure: BaseException) -> bool:
    """Whether an assertion of the attack's own files failed, and no error of somebody else's: a refusal that was
    expected and did not come, or something that is not as it has to be."""
    if isinstance(failure, pytest.fail.Exception):
        return str(failure).startswith("DID NOT RAISE")
    trace: TracebackType | None = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(trace.tb_frame.f_code.co_filename).parent == HERE
