"""What a store says that it has lost, as it answers a heartbeat. Pure.

The names are the vault's, the hashes those that the store acknowledged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from evidence_store.errors import InvalidInput

_OBJECT: Final = re.compile(
    r"takes/([0-9a-f]{32})/([0-9]{6,10})/(?:(start\.json|tail|close\.json)|segments/([0-9]{6}))"
)
AT_ONCE: Final = 64
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Lost:
    """One object: its take, its file in the take's folder of the spool, and its SHA-256 in hex."""

    enrolment: str
    take: int
    file: str
    sha256: str


def lost(answer: Any) -> list[Lost]:
    """Of a heartbeat's answer, at most `AT_ONCE`; names that no recorder delivers are passed over. Raises InvalidInput
    `answer-form`."""
    try:
        found = [_one(each["object"], each["sha256"]) for each in answer["lost"][:AT_ONCE]]
    except (LookupError, TypeError) as error:
        raise InvalidInput("the store's answer to a heartbeat is none", code="answer-form") from error
    return [each for each in found if each is not None]


def _one(name: str, sha256: str) -> Lost | None:
    found = _OBJECT.fullmatch(name)
    if found is None or not _SHA256.fullmatch(sha256):
        return None
    enrolment, take, whole, segment = found.groups()
    return Lost(enrolment, int(take), whole or f"{segment}.segment", sha256)
