"""Takes a line of the product out while it runs, and says what kind of failure that makes of an attack's test."""

from __future__ import annotations

import ast
import functools
import importlib
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evidence_store.errors import VidneError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a function: `text`, as it stands there but for its indentation, and once in its file. `instead`: what
    is there without it; None: a condition never holds, anything else is not done."""

    file: str
    text: str
    instead: str | None = None

    @property
    def place(self) -> int:
        """Its number, from 1. Raises ValueError where the file has no such line, or more than one."""
        found = [at for at, line in enumerate(_source(self.file), start=1) if line.strip() == self.text]
        if len(found) != 1:
            raise ValueError(f"{self.file} has {len(found)} lines `{self.text}`")
        return found[0]

    @property
    def without(self) -> str:
        if self.instead is not None:
            return self.instead
        for word in ("if", "elif"):
            if self.text.startswith(f"{word} ") and self.text.endswith(":"):
                return f"{word} False:"
        return "pass"


@functools.cache
def _source(file: str) -> tuple[str, ...]:
    return tuple((ROOT / file).read_text().splitlines())


class AnotherHeld(Exception):  # noqa: N818 - says what happened
    """The attack failed all the same, for another reason than the one that its test is about."""


def refused(work: Callable[[], object], *codes: str) -> VidneError:
    """The attack's own assertion where it is to be refused. Raises AnotherHeld where it is, and not for this."""
    with pytest.raises(VidneError) as caught:
        work()
    if caught.value.code not in codes:
        raise AnotherHeld(caught.value.code)
    return caught.value


def found_out(findings: dict[str, str], words: str) -> None:
    """The attack's own assertion where somebody has to find it."""
    assert findings, "nobody found anything"
    if not any(words in detail for detail in findings.values()):
        raise AnotherHeld(str(findings))


@contextmanager
def without(lines: tuple[Line, ...]) -> Iterator[None]:
    """The lines are not there while the block runs: the functions that they are in run other code."""
    replaced: list[tuple[types.FunctionType, types.CodeType]] = []
    try:
        for file in dict.fromkeys(line.file for line in lines):
            ours = [line for line in lines if line.file == file]
            for function, code in _mutated(file, ours):
                replaced.append((function, function.__code__))
                function.__code__ = code
        yield
    finally:
        for function, code in reversed(replaced):
            function.__code__ = code


def _mutated(file: str, lines: list[Line]) -> Iterator[tuple[types.FunctionType, types.CodeType]]:
    """Each function that one of the lines is in, and its code without them."""
    source = list(_source(file))
    for line in lines:
        there = source[line.place - 1]
        source[line.place - 1] = there[: len(there) - len(there.lstrip())] + line.without
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    compiled = compile("\n".join(source), str(ROOT / file), "exec", dont_inherit=True)
    for name in dict.fromkeys(_function(file, line.place) for line in lines):
        function = _plain(module, name)
        (code,) = [each for each in _codes(compiled) if each.co_qualname == name and _same_place(each, function)]
        yield function, code


def _same_place(code: types.CodeType, function: types.FunctionType) -> bool:
    return code.co_firstlineno == function.__code__.co_firstlineno


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield each
            yield from _codes(each)


def _function(file: str, place: int) -> str:
    """Qualified name of the outermost function that the line is in."""
    pending: list[tuple[str, ast.AST]] = [("", ast.parse("\n".join(_source(file))))]
    while pending:
        name, node = pending.pop()
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not child.lineno <= place <= (child.end_lineno or 0):
                continue
            if not isinstance(child, ast.ClassDef):
                return name + child.name
            pending.append((f"{name}{child.name}.", child))
    raise ValueError(f"line {place} of {file} is in no function")


def _plain(module: types.ModuleType, name: str) -> types.FunctionType:
    """The function behind its decorators."""
    owner: Any = module
    *outer, last = name.split(".")
    for each in outer:
        owner = getattr(owner, each)
    found: Any = vars(owner)[last]
    while not isinstance(found, types.FunctionType) or hasattr(found, "__wrapped__"):
        found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found.__wrapped__
    return found
