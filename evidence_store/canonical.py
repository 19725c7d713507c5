"""Canonical JSON (RFC 8785): the one form in which a record is hashed, signed and stored.

Integers above 2⁵³ − 1 do not survive every JSON reader: nanoseconds and other large numbers are decimal strings.
"""

from __future__ import annotations

import json
from typing import Any

import rfc8785

from evidence_store.errors import InvalidInput

Record = dict[str, Any]


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a value. Raises InvalidInput for what has no canonical form."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise InvalidInput("value has no canonical JSON form", code="not-canonical") from error


def parse(data: bytes) -> Record:
    """One JSON object, refused unless `data` is exactly its canonical form (parse → write gives the input back)."""
    value = parse_known(data)
    if canonical(value) != data:
        raise InvalidInput("not in canonical form", code="not-canonical")
    return value


def parse_known(data: bytes) -> Record:
    """One JSON object of whatever form: of bytes that were found canonical before, and that a hash still names."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("not a JSON text", code="not-canonical") from error
    if not isinstance(value, dict):
        raise InvalidInput("not a JSON object", code="not-canonical")
    return value
