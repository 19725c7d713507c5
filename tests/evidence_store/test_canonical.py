"""The one form of a record: what is written quickly is what RFC 8785 asks for, byte for byte."""

from __future__ import annotations

import random
from typing import Any

import pytest
import rfc8785

from evidence_store.canonical import canonical, parse
from evidence_store.errors import InvalidInput

_TEXT = ["", "a", "æøå", '\u2028\u2029\x7f\x00\x1f\b\f\n\r\t"\\/', "\U0001f600", "\ufb33\ud7ff\ue000", "€"]


def _made(where: random.Random, depth: int = 0) -> Any:
    pick = where.randrange(8 if depth < 4 else 5)
    if pick < 2:
        return "".join(where.choices(_TEXT, k=where.randrange(4)))
    if pick < 5:
        return where.choice([None, True, False, 0, -1, 2**53 - 1, 1 - 2**53, 1.5, 1e30, 0.0])
    if pick < 6:
        return [_made(where, depth + 1) for _ in range(where.randrange(4))]
    return {where.choice(_TEXT) + str(where.randrange(20)): _made(where, depth + 1) for _ in range(where.randrange(6))}


def test_it_writes_what_the_library_writes() -> None:
    where = random.Random(8785)  # noqa: S311 - values, not secrets
    for _ in range(3_000):
        value = {"it": _made(where)}
        assert canonical(value) == rfc8785.dumps(value), value
        assert parse(canonical(value)) == value


@pytest.mark.parametrize("value", [2**53, -(2**53), [2**64], {"a": "\ud800"}, {1: 2}, float("nan"), {"a": b"x"}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical(value)
    assert caught.value.code == "not-canonical"
