"""The recorder's own disk: take numbers, spool files, and what the store has acknowledged.

    <room folder>/counter                     the highest take number ever given, durable before anything else
    <room folder>/removed                     the highest number whose folder the store has made needless
    <room folder>/recording.json              the interview being recorded: what a restart goes on with
    <room folder>/spool/<enrolment>-<n>/      one take: start.json, 000000.segment …, tail, close.json, <object>.ack
    <room folder>/spool/reserve               space kept back, so that a take can be closed on a full disk

When a function here returns, what it wrote is durable (write, fsync, rename, fsync folder).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evidence_store.errors import NoSpace

RESERVE_SIZE = 1 << 20
"""Holds the last tick and the close of a take, start of another, and both device signatures, many times over."""

_TAKE_FOLDER = re.compile(r"([0-9a-f]{32})-(\d{1,12})")


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def space_errors() -> Iterator[None]:
    """ENOSPC and EDQUOT as NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("the spool's disk is full", code="spool-full") from error
        raise


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replaces `path`. A crash leaves the old content or the new, and perhaps a `.part` that nothing reads."""
    part = path.with_name(path.name + ".part")
    with space_errors():
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        part.rename(path)
    fsync_folder(path.parent)


@dataclass(frozen=True, slots=True, order=True)
class TakeFolder:
    """Where one take lies."""

    enrolment: bytes
    take: int
    path: Path

    @property
    def start(self) -> Path:
        return self.path / "start.json"

    @property
    def close(self) -> Path:
        return self.path / "close.json"

    @property
    def tail(self) -> Path:
        return self.path / "tail"

    def segment(self, index: int) -> Path:
        return self.path / f"{index:06d}.segment"

    def segments(self) -> list[Path]:
        return sorted(self.path.glob("*.segment"))

    def acknowledged(self, item: Path) -> bool:
        return item.with_name(item.name + ".ack").exists()

    def acknowledge(self, item: Path) -> None:
        """The store has it. Lost in a crash, the object is delivered again, which is harmless."""
        item.with_name(item.name + ".ack").touch(mode=0o600)


class SegmentFile:
    """A spool file that grows by whole frames. A frame that does not fit leaves no trace."""

    def __init__(self, path: Path, spool: Spool) -> None:
        self._path = path
        self._spool = spool
        self._descriptor: int | None = None
        self.size = 0

    def append(self, frame: bytes, *, urgent: bool = False) -> None:
        """Durable when it returns. Raises NoSpace: the file is then as before. `urgent` ignores the limit."""
        self._spool.claim(len(frame), urgent=urgent)
        try:
            with space_errors():
                created = self._descriptor is None
                if self._descriptor is None:
                    self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                written = 0
                while written < len(frame):
                    written += os.pwrite(self._descriptor, memoryview(frame)[written:], self.size + written)
                os.fdatasync(self._descriptor)
                if created:
                    fsync_folder(self._path.parent)
        except BaseException:
            self._spool.release(len(frame))
            self._undo()
            raise
        self.size += len(frame)

    def _undo(self) -> None:
        if self._descriptor is None:
            return
        if self.size:
            os.ftruncate(self._descriptor, self.size)
        else:
            self.finish()
            self._path.unlink(missing_ok=True)

    def finish(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Spool:
    """The folder of takes. `limit_bytes` bounds what they may fill; None leaves it to the disk."""

    def __init__(self, room_folder: Path, limit_bytes: int | None = None) -> None:
        self._room = room_folder
        self.folder = room_folder / "spool"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.limit_bytes = limit_bytes
        self.used_bytes = sum(file.stat().st_size for file in self.folder.glob("*/*") if file.is_file())
        self._reserve = self.folder / "reserve"

    # Space

    def claim(self, size: int, *, urgent: bool = False) -> None:
        """Raises NoSpace where `size` more bytes would pass the limit."""
        if not urgent and self.limit_bytes is not None and self.used_bytes + size > self.limit_bytes:
            raise NoSpace("the spool has reached its limit", code="spool-full")
        self.used_bytes += size

    def release(self, size: int) -> None:
        self.used_bytes -= size

    def free_bytes(self) -> int:
        """What may still be written."""
        free = shutil.disk_usage(self.folder).free
        return free if self.limit_bytes is None else max(0, min(free, self.limit_bytes - self.used_bytes))

    def hold_reserve(self) -> None:
        """Keeps RESERVE_SIZE bytes back, where there is room for them."""
        if self._reserve.exists():
            return
        descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_SIZE)
        except OSError:
            # No room for a reserve: the spool is as good as full and says so by itself at the next append.
            self._reserve.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def spend_reserve(self) -> None:
        self._reserve.unlink(missing_ok=True)

    # Takes

    def highest_take(self) -> int:
        """The highest number given so far; 0 before the first."""
        try:
            return int((self._room / "counter").read_text())
        except FileNotFoundError:
            return 0

    def new_take(self, enrolment: bytes) -> TakeFolder:
        """The next number, durable before anything else of the take: after a crash here the number is a void take."""
        number = self.highest_take() + 1
        write_durably(self._room / "counter", f"{number}\n".encode())
        folder = self.folder / f"{enrolment.hex()}-{number}"
        with space_errors():
            folder.mkdir(mode=0o700)
        fsync_folder(self.folder)
        return TakeFolder(enrolment, number, folder)

    def takes(self) -> list[TakeFolder]:
        """Every take that still lies here, oldest first."""
        found = []
        for path in self.folder.iterdir():
            if match := _TAKE_FOLDER.fullmatch(path.name):
                found.append(TakeFolder(bytes.fromhex(match[1]), int(match[2]), path))
        return sorted(found, key=lambda take: take.take)

    def lost_number(self, enrolment: bytes) -> TakeFolder | None:
        """The highest number, where a crash came between the counter and its folder; it gets its folder now."""
        number = self.highest_take()
        if number <= self._highest_removed() or any(take.take == number for take in self.takes()):
            return None
        folder = self.folder / f"{enrolment.hex()}-{number}"
        folder.mkdir(mode=0o700)
        fsync_folder(self.folder)
        return TakeFolder(enrolment, number, folder)

    def _highest_removed(self) -> int:
        try:
            return int((self._room / "removed").read_text())
        except FileNotFoundError:
            return 0

    def remove(self, take: TakeFolder) -> None:
        """Forgets a take that the store has had for long enough."""
        if take.take > self._highest_removed():
            write_durably(self._room / "removed", f"{take.take}\n".encode())
        size = sum(file.stat().st_size for file in take.path.iterdir())
        shutil.rmtree(take.path)
        fsync_folder(self.folder)
        self.release(size)

    # What is being recorded

    @property
    def recording(self) -> Path:
        return self._room / "recording.json"

    def remember_recording(self, order: bytes) -> None:
        write_durably(self.recording, order)

    def forget_recording(self) -> None:
        self.recording.unlink(missing_ok=True)
        fsync_folder(self._room)
