"""The quick way of `canonical.parse` says what RFC 8785's own writer says, of whatever text."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import rfc8785

from evidence_store.canonical import canonical, parse
from evidence_store.errors import InvalidInput


def by_the_book(data: bytes) -> bool:
    try:
        value = json.loads(data)
        return isinstance(value, dict) and rfc8785.dumps(value) == data
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        return False


def ours(data: bytes) -> bool:
    try:
        return canonical(parse(data)) == data
    except InvalidInput:
        return False


@pytest.mark.parametrize(
    "text",
    [
        "{}", "[]", "1", "", "{", '{"a":1}', '{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":1}', '{"a":-0}', '{"a":-1}',
        '{"a":01}',
        '{"a":1.0}', '{"a":1.5}', '{"a":1e3}', '{"a":1e21}', '{"a":1e+21}', '{"a":NaN}', '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":999999999999999}', '{"a":-99999999999999}', '{"a":1000000000000000}', '{"a":9007199254740991}',
        '{"a":9007199254740992}', '{"a":-9007199254740992}', '{"a":123456789012345678901234567890}',
        r'{"a":"\u00e6"}', '{"a":"æ"}', r'{"a":"\u001f"}', r'{"a":"\u001F"}', r'{"a":"\n\t\b\f\r"}', r'{"a":"\/"}',
        '{"a":"/"}', r'{"a":"\ud800"}', r'{"a":"\ud83d\ude00"}', '{"a":"😀"}', '{"\\u20ac":1}', '{"€":1,"😀":2}',
        '{"😀":2,"\ufb33":1}', '{"\ufb33":1,"😀":2}', '{"a":"\x7f"}', '{"a":"\x1f"}', '{"a":true,"b":false,"c":null}',
        '{"a":[1,[2,{}],{"z":{}}]}', '{"a":1}\n', ' {"a":1}', '\ufeff{"a":1}', '{"A":1,"a":2,"_":3}',
        '{"A":1,"_":3,"a":2}',
        '{"a":' * 3000 + "1" + "}" * 3000,
    ],
)  # fmt: skip
def test_both_ways_agree(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert ours(data) is by_the_book(data)


def test_both_ways_agree_on_many_records() -> None:
    source = random.Random(7)  # noqa: S311 - texts, no secrets

    def value(depth: int) -> Any:
        kinds: list[Any] = [None, True, 0, -7, 10**14, 2**53 - 1, 0.5, "x", 'æ\n"\\', "\u007f", ""]
        if depth and source.random() < 0.5:
            if source.random() < 0.5:
                return [value(depth - 1) for _ in range(source.randrange(4))]
            return {source.choice("abzæ😀_A") * source.randrange(1, 3): value(depth - 1) for _ in range(3)}
        return source.choice(kinds)

    for _ in range(2_000):
        data = rfc8785.dumps({"v": value(3)})
        spoilt = bytearray(data)
        spoilt[source.randrange(len(spoilt))] ^= 1 << source.randrange(8)
        for each in (data, bytes(spoilt)):
            assert ours(each) is by_the_book(each), each
        assert ours(data)
