"""Canonical JSON (RFC 8785): the one form in which a record is hashed, signed and stored.

Integers above 2⁵³ − 1 do not survive every JSON reader: nanoseconds and other large numbers are decimal strings.
"""

from __future__ import annotations

import json
from typing import Any, Final

import rfc8785

from evidence_store.errors import InvalidInput

Record = dict[str, Any]

_PLAIN_DIGITS: Final = 15
"""Below 10¹⁵ an integer is within what RFC 8785 allows, sign or not."""


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a value. Raises InvalidInput for what has no canonical form."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise InvalidInput("value has no canonical JSON form", code="not-canonical") from error


class _NotPlain(Exception):  # noqa: N818 - says what was met, and never leaves this file
    """A number of which RFC 8785 has more to say than the standard library's writer knows."""


def _integer(text: str) -> int:
    if len(text) > _PLAIN_DIGITS:
        raise _NotPlain
    return int(text)


def _other(_text: str) -> Any:
    raise _NotPlain


def parse(data: bytes) -> Record:
    """One JSON object, refused unless `data` is exactly its canonical form (parse → write gives the input back)."""
    value, written = _plain(data)
    if value is None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidInput("not a JSON text", code="not-canonical") from error
    if not isinstance(value, dict):
        raise InvalidInput("not a JSON object", code="not-canonical")
    if (canonical(value) if written is None else written) != data:
        raise InvalidInput("not in canonical form", code="not-canonical")
    return value


def _plain(data: bytes) -> tuple[Any, bytes | None]:
    """Value and canonical form of a text in ASCII whose numbers are small integers, as nearly every record is: there
    the standard library's writer, in C, does what RFC 8785 says. Keys in ASCII sort alike by any rule; what `\\u` hides
    is written otherwise than it came, and so refused. None for any other text."""
    if not data.isascii():
        return None, None
    try:
        value = json.loads(data, parse_int=_integer, parse_float=_other, parse_constant=_other)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return value, text.encode("utf-8")
    except (_NotPlain, ValueError, RecursionError):
        return None, None
