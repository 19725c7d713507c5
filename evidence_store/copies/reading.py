"""Reads the files of a package once, and gives each block to everything that wants its bytes, on as many cores as
there are. What the bytes have to be is not here.

Hashing a block gives up Python's lock, so threads hash side by side. A file belongs to one thread, which reads block
after block into two buffers by turns; whoever has nothing to do takes over what else is to be done with a block. On
one core there is no thread at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import BinaryIO, Final

from evidence_store.copies.bag import Bag
from evidence_store.errors import Tampered

BLOCK: Final = 1 << 20
"""Fits the cache of a core, so that what reads it after the first finds it there."""

Wants = Callable[[memoryview], None]
"""Is given every block of a file in order, and keeps none of it."""
Told = Callable[[int], None]
"""Is told, from any thread, how many more bytes were read. Must not block."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One file, and what wants its bytes."""

    path: str
    wants: tuple[Wants, ...]


Progress = Callable[[int, int], None]
"""Is told, from any thread, how many bytes of how many were read. Must not block."""


class Counted:
    """Adds up what several readings tell. `whole`: bytes to read in all."""

    def __init__(self, whole: int, progress: Progress) -> None:
        self._whole, self._done, self._progress, self._lock = whole, 0, progress, threading.Lock()

    def more(self, count: int) -> None:
        with self._lock:
            self._done += count
            done = self._done
        self._progress(min(done, self._whole), self._whole)


def cores() -> int:
    """How many processors this process may use."""
    allowed: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def read_all(bag: Bag, readings: Sequence[Reading], told: Told, workers: int | None = None) -> list[str]:
    """Reads every file to its end. Gives what could not be read, in words; whatever wants bytes raises nothing.

    An interruption (KeyboardInterrupt) stops every thread at its next block.
    """
    largest_first = sorted(readings, key=lambda each: -bag.size(each.path))
    workers = cores() if workers is None else workers
    if workers == 1:
        return [fault for each in largest_first for fault in _Alone(bag, told).read(each)]
    return _Together(bag, told, workers).read_all(largest_first)


class _Alone:
    """Everything in turn, by whoever asks."""

    def __init__(self, bag: Bag, told: Told) -> None:
        self._bag, self._told, self.stopping = bag, told, threading.Event()

    def read(self, reading: Reading) -> list[str]:
        try:
            with self._bag.open(reading.path) as file:
                self._blocks(file, reading.wants)
        except (OSError, Tampered) as error:
            return [f"{reading.path} cannot be read: {error}"]
        return []

    def _blocks(self, file: BinaryIO, wants: tuple[Wants, ...]) -> None:
        buffer = memoryview(bytearray(BLOCK))
        while not self.stopping.is_set() and (block := _fill(file, buffer)):
            for want in wants:
                want(block)
            self._told(len(block))


class _Together(_Alone):
    def __init__(self, bag: Bag, told: Told, workers: int) -> None:
        super().__init__(bag, told)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="vidne-reading")
        self._workers, self._left, self._lock = workers, 0, threading.Lock()

    def read_all(self, readings: Sequence[Reading]) -> list[str]:
        self._left = len(readings)
        with self._pool:
            try:
                done = [self._pool.submit(self._file, each) for each in readings]
                return [fault for future in as_completed(done) for fault in future.result()]
            finally:
                self.stopping.set()

    def _file(self, reading: Reading) -> list[str]:
        try:
            return self.read(reading)
        finally:
            with self._lock:
                self._left -= 1

    def _blocks(self, file: BinaryIO, wants: tuple[Wants, ...]) -> None:
        here, there = memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))
        block = _fill(file, here)
        while block and not self.stopping.is_set():
            # With as many files left as there are threads, each has enough to do with its own.
            idle = self._left < self._workers
            offered = (wants[1:] or wants) if idle else ()
            futures = [(want, self._pool.submit(want, block)) for want in offered]
            for want in wants[: len(wants) - len(offered)]:
                want(block)
            following = _fill(file, there)
            for want, future in futures:
                _settle(want, future, block)
            self._told(len(block))
            here, there, block = there, here, following


def _settle(want: Wants, future: Future[None], block: memoryview) -> None:
    """What nobody took is done here."""
    if future.cancel():
        want(block)
    else:
        future.result()


def _fill(file: BinaryIO, buffer: memoryview) -> memoryview:
    """The next bytes of a file; none at its end. A raw file may give fewer than there is room for."""
    return buffer[: file.readinto(buffer) or 0]  # type: ignore[attr-defined]
