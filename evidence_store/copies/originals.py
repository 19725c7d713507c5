"""Checks the exact media of a package in one reading: file hash, every range, every commitment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from evidence_store import domains
from evidence_store.copies.bag import Bag
from evidence_store.copies.ranges import Range
from evidence_store.copies.reading import Reading, Told, read_all
from evidence_store.errors import ChainBroken

MAX_RANGE: Final = 256 << 20


@dataclass(slots=True)
class Expected:
    """One file: its ranges without holes, each with the commitment of the signed record."""

    path: str
    ranges: list[tuple[Range, str]] = field(default_factory=list)
    size: int = 0

    def add(self, line: Range, commitment: str) -> None:
        """Raises ChainBroken where the range does not begin at the end of the one before."""
        if line.offset != self.size or line.length > MAX_RANGE:
            raise ChainBroken(f"{self.path}: the list of ranges has a hole", code="ranges-mismatch")
        self.size += line.length
        self.ranges.append((line, commitment))


class Commitments:
    """Takes a file's bytes in blocks of any size and holds each range against its commitment (docs/formats/tick.md)."""

    def __init__(self, expected: Expected) -> None:
        self._path, self._ranges = expected.path, iter(expected.ranges)
        self._begun = hashlib.sha256(domains.prefix(domains.COMMITMENT))
        self.faults: list[str] = []
        self._next()

    def _next(self) -> None:
        line, self._committed = next(self._ranges, (None, ""))
        self._line: Range | None = line
        if line is not None:
            self._left, self._digest = line.length, self._begun.copy()
            self._digest.update(line.salt)

    def take(self, block: memoryview) -> None:
        at = 0
        while self._line is not None and (at < len(block) or not self._left):
            part = block[at : at + self._left]
            self._digest.update(part)
            at, self._left = at + len(part), self._left - len(part)
            if not self._left:
                if self._digest.hexdigest() != self._committed:
                    self.faults.append(f"{self._path}: altered at {self._line.where}")
                self._next()

    def end(self) -> None:
        """There are no more bytes: what was expected of them is missing."""
        self.take(memoryview(b""))
        if self._line is not None:
            self.faults.append(f"{self._path}: altered at {self._line.where}")


def check_originals(
    bag: Bag, files: list[tuple[Expected, str]], told: Told = lambda _: None, workers: int | None = None
) -> list[str]:
    """What is wrong, with track and second, empty when nothing is. `files`: each with its SHA-256 in the manifest."""
    asked = [(expected, sha256, hashlib.sha256(), Commitments(expected)) for expected, sha256 in files]
    readings = [Reading(each.path, (whole.update, committed.take)) for each, _, whole, committed in asked]
    faults = read_all(bag, readings, told, workers)
    for expected, sha256, whole, committed in asked:
        committed.end()
        found = committed.faults
        if bag.size(expected.path) != expected.size:
            found.append(f"{expected.path}: {bag.size(expected.path)} bytes, {expected.size} expected")
        if whole.hexdigest() != sha256 and not found:
            found.append(f"{expected.path}: its SHA-256 is not the one in the manifest")
        faults += found
    return faults


def check_sums(bag: Bag, sums: dict[str, str], told: Told = lambda _: None, workers: int | None = None) -> list[str]:
    """Paths whose bytes have another SHA-256 than `sums` say, and what could not be read."""
    digests = {path: hashlib.sha256() for path in sums}
    faults = read_all(bag, [Reading(path, (digest.update,)) for path, digest in digests.items()], told, workers)
    return faults + [path for path, digest in digests.items() if digest.hexdigest() != sums[path]]
