"""evidence/ranges.txt: which bytes of which file are which tick (docs/formats/package.md#ranges). Pure.

A flipped byte is traced by it to track and second, by this code and by awk, tail, head and sha256sum alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from evidence_store.errors import InvalidInput
from evidence_store.identifiers import utc_text

HEADER: Final = "# vidne/ranges/1: sha256 offset length tick salt second utc track kind file"
_LINE = re.compile(
    r"([0-9a-f]{64}) (0|[1-9][0-9]{0,15}) (0|[1-9][0-9]{0,9}) (0|[1-9][0-9]{0,15}) ([0-9a-f]{64}) "
    r"(-?[0-9]{1,9}\.[0-9]{3}) ([0-9TZ:.-]{30}) ([^ \n]{1,64}) (init|media) ([^ \n]{1,200})"
)


@dataclass(frozen=True, slots=True)
class Range:
    """One message's clear bytes in one file.

    `second`: milliseconds of media time at which it begins, after the take's origin. `utc`: of the tick's record.
    """

    sha256: str
    offset: int
    length: int
    tick: int
    salt: bytes
    milliseconds: int
    utc: str
    track: str
    kind: str
    path: str

    def line(self) -> str:
        sign, whole = "-" if self.milliseconds < 0 else "", abs(self.milliseconds)
        second = f"{sign}{whole // 1000}.{whole % 1000:03}"
        return (
            f"{self.sha256} {self.offset} {self.length} {self.tick} {self.salt.hex()} {second} {self.utc} "
            f"{self.track} {self.kind} {self.path}\n"
        )

    @classmethod
    def parse(cls, line: str) -> Range:
        """Raises InvalidInput `range-form`; `parse(x).line() == x + newline`."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidInput("not a line of ranges", code="range-form")
        return cls(
            sha256=match[1],
            offset=int(match[2]),
            length=int(match[3]),
            tick=int(match[4]),
            salt=bytes.fromhex(match[5]),
            milliseconds=int(match[6].replace(".", "")),
            utc=match[7],
            track=match[8],
            kind=match[9],
            path=match[10],
        )

    @property
    def where(self) -> str:
        """For people: track, second, UTC."""
        return f"track {self.track}, second {self.milliseconds / 1000:.3f} ({self.utc}, tick {self.tick})"


def measured(data: bytes, *, offset: int, tick: int, salt: bytes, milliseconds: int, utc_ns: int, track: str,
             kind: str, path: str) -> Range:  # fmt: skip
    """The range of these bytes."""
    return Range(
        hashlib.sha256(data).hexdigest(),
        offset,
        len(data),
        tick,
        salt,
        milliseconds,
        utc_text(utc_ns),
        track,
        kind,
        path,
    )


def parse(data: bytes) -> Iterator[Range]:
    """Every line in order. Raises InvalidInput `range-form`."""
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput("ranges are ASCII", code="range-form") from error
    if lines[0] != HEADER or lines[-1] != "":
        raise InvalidInput("not a list of ranges", code="range-form")
    return map(Range.parse, lines[1:-1])
