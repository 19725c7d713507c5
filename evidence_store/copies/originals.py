"""Checks the exact media of a package in one reading: file hash, every range, every commitment. Two files at a time."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from evidence_store.copies.bag import Bag
from evidence_store.copies.ranges import Range
from evidence_store.errors import ChainBroken
from evidence_store.sealing.tick import commitment

_WORKERS: Final = 2
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


def check_originals(bag: Bag, files: list[tuple[Expected, str]]) -> list[str]:
    """What is wrong, with track and second, empty when nothing is. `files`: each with its SHA-256 in the manifest."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        return [fault for faults in pool.map(lambda each: _check_file(bag, *each), files) for fault in faults]


def _check_file(bag: Bag, expected: Expected, sha256: str) -> list[str]:
    whole, faults = hashlib.sha256(), []
    with bag.open(expected.path) as file:
        for line, committed in expected.ranges:
            data = file.read(line.length)
            whole.update(data)
            if commitment(line.salt, data).hex() != committed:
                faults.append(f"{expected.path}: altered at {line.where}")
        rest = file.read(1)
        whole.update(rest)
        while rest:
            rest = file.read(1 << 20)
            whole.update(rest)
    if bag.size(expected.path) != expected.size:
        faults.append(f"{expected.path}: {bag.size(expected.path)} bytes, {expected.size} expected")
    if whole.hexdigest() != sha256 and not faults:
        faults.append(f"{expected.path}: its SHA-256 is not the one in the manifest")
    return faults
