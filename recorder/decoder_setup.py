"""What a decoder is told before a stream's first sample; a change of it begins a new init epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from evidence_store.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Setup:
    """`codec` is the browser's name of it (RFC 6381), `entry` the sample entry box. `width` and `height` in pixels, 0
    for sound. `reordered`: the most pictures that may be sent before one that is shown earlier (B-frames). `sets`: the
    parameter set NAL units in the entry, in the order that a stream has them."""

    codec: str
    entry: bytes
    width: int = 0
    height: int = 0
    reordered: int = 0
    sets: tuple[bytes, ...] = ()


class Setups(Protocol):
    """What is in force on one connection, learnt from `AccessUnit.parameter_sets`."""

    def see(self, sets: Iterable[bytes]) -> int:
        """Take those of one access unit, in order; give how many were malformed and not taken."""

    def setup(self) -> Setup | None:
        """What a key frame that came now would be decoded with; None while too little is known."""


class LatestHeader:
    """Where one header says everything: the last one that could be read. `read` raises InvalidInput."""

    def __init__(self, read: Callable[[bytes], Setup]) -> None:
        self._read = read
        self._latest: Setup | None = None

    def see(self, sets: Iterable[bytes]) -> int:
        malformed = 0
        for header in sets:
            try:
                self._latest = self._read(header)
            except InvalidInput:
                malformed += 1
        return malformed

    def setup(self) -> Setup | None:
        return self._latest
