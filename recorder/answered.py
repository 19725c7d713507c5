"""What a store answers a heartbeat: what it has lost, and which takes are not sealed yet. Pure.

The names are the vault's, the hashes those that the store acknowledged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Which takes have interviews that were not sealed when the store was asked, UTC seconds: of each enrolment (hex)
    that it knows for this room."""

    asked: float
    takes: Mapping[str, frozenset[int]]

    def waits(self, enrolment: str, take: int, acknowledged: float) -> bool:
        """Whether a take, the last of which was acknowledged then, may still lack its seal."""
        known = self.takes.get(enrolment)
        return known is None or take in known or acknowledged >= self.asked


def unsealed(answer: Any, asked: float) -> Unsealed | None:
    """Of a heartbeat's answer. None where it does not say: any may be."""
    try:
        return Unsealed(asked, {name: frozenset(map(_number, takes)) for name, takes in answer["unsealed"].items()})
    except (LookupError, TypeError, AttributeError):
        return None


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _one(name: str, sha256: str) -> Lost | None:
    found = _OBJECT.fullmatch(name)
    if found is None or not _SHA256.fullmatch(sha256):
        return None
    enrolment, take, whole, segment = found.groups()
    return Lost(enrolment, int(take), whole or f"{segment}.segment", sha256)
