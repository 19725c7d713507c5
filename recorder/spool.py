"""The recorder's own disk: take numbers, spool files, and what the store has acknowledged.

    <room folder>/counter                     the highest take number ever given, durable before anything else
    <room folder>/removed                     the highest number whose folder the store has made needless
    <room folder>/last-close.json             the close of the last removed take that has a journal
    <room folder>/recording.json              the interview being recorded: what a restart goes on with
    <room folder>/spool/<enrolment>-<n>/      one take: start.json, 000000.segment …, tail, close.json, <object>.ack
    <room folder>/spool/removed-…/            a take that is being removed
    <room folder>/spool/reserve               space kept back, so that a take can be closed on a full disk

When a function here returns, what it wrote is durable (write, fsync, rename, fsync folder).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evidence_store import durable
from evidence_store.durable import fsync_folder
from evidence_store.errors import NoSpace
from evidence_store.sealing import journal

RESERVE_SIZE = 1 << 20
"""Holds the last tick and the close of a take, start of another, and both device signatures, many times over."""

_TAKE_FOLDER = re.compile(r"([0-9a-f]{32})-(\d{1,12})")
_REMOVED = "removed-"
_COUNTED = (".segment", "tail")
_PARTS_AT_ONCE = 512
"""Fewer than any system takes in one call (IOV_MAX)."""


@contextlib.contextmanager
def space_errors() -> Iterator[None]:
    """ENOSPC and EDQUOT as NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("the spool's disk is full", code="spool-full") from error
        raise


def write_durably(path: Path, data: bytes) -> None:
    """See `durable.write_durably`. Raises NoSpace too."""
    with space_errors():
        durable.write_durably(path, data)


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

    def names(self) -> set[str]:
        """Every file's name, by one look into the folder: a long take has thousands."""
        return set(os.listdir(self.path))

    def acknowledge(self, item: Path) -> None:
        """The store has it. Lost in a crash, the object is delivered again, which is harmless."""
        item.with_name(item.name + ".ack").touch(mode=0o600)

    def deliver_again(self, item: Path) -> None:
        """The store had it and has lost it."""
        item.with_name(item.name + ".ack").unlink(missing_ok=True)


class SegmentFile:
    """A spool file that grows by whole frames. A frame that does not fit leaves no trace."""

    def __init__(self, path: Path, spool: Spool) -> None:
        self._path = path
        self._spool = spool
        self._descriptor: int | None = None
        self._spoilt = False
        self.size = 0

    def append(self, *parts: bytes | memoryview, urgent: bool = False) -> None:
        """The parts as one frame, durable when it returns. Raises NoSpace, OSError: the file is then as before.

        `urgent` ignores the limit."""
        size = sum(map(len, parts))
        self._spool.claim(size, urgent=urgent)
        try:
            with space_errors():
                created = self._descriptor is None
                if self._descriptor is None:
                    # Nothing was ever promised of a file without a whole frame: what an undo could not take away goes.
                    afresh = 0 if self.size else os.O_TRUNC
                    self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | afresh, 0o600)
                elif self._spoilt:
                    os.ftruncate(self._descriptor, self.size)
                self._spoilt = True
                _write_all(self._descriptor, parts, self.size)
                os.fdatasync(self._descriptor)
                if created:
                    fsync_folder(self._path.parent)
        except BaseException:
            self._spool.release(size)
            self._undo()
            raise
        self._spoilt = False
        self.size += size

    def _undo(self) -> None:
        """A disk that fails here too leaves it to the next append: `_spoilt`."""
        with contextlib.suppress(OSError):
            if self.size == 0:
                self.finish()
                self._path.unlink(missing_ok=True)
            elif self._descriptor is not None:
                os.ftruncate(self._descriptor, self.size)

    def finish(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):  # what was promised of it is synced: a close has nothing more to say
                os.close(descriptor)


class Appending:
    """An append under way, in a thread of its own, or done at once where there is none to be had. It ends with its
    process: what a disk that hangs has not taken by then is a crash's to find."""

    __slots__ = ("_error", "_thread")

    def __init__(self, file: SegmentFile, parts: Sequence[bytes | memoryview]) -> None:
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, args=(file, parts), name="spool", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            self._run(file, parts)

    def _run(self, file: SegmentFile, parts: Sequence[bytes | memoryview]) -> None:
        try:
            file.append(*parts)
        except BaseException as error:  # noqa: BLE001 - it is raised where the parts are waited for
            self._error = error

    def wait(self) -> None:
        """Returns when the parts are durable. Raises what kept them from being so."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error


def _write_all(descriptor: int, parts: Sequence[bytes | memoryview], at: int) -> None:
    """Without joining them: a copy of a tick costs as much as encrypting it."""
    rest = [memoryview(part) for part in parts if len(part)]
    while rest:
        written = os.pwritev(descriptor, rest[:_PARTS_AT_ONCE], at)
        at += written
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


class Spool:
    """The folder of takes, used by one process, from several threads.

    `limit_bytes` bounds what segments and torn tails may fill; None leaves it to the disk.
    """

    def __init__(self, room_folder: Path, limit_bytes: int | None = None) -> None:
        self._room = room_folder
        self.folder = room_folder / "spool"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.limit_bytes = limit_bytes
        self._counting = threading.Lock()
        self.standing = threading.RLock()
        """Held while takes are removed, and by whoever needs them to stay where they are."""
        self.used_bytes = sum(_counted_size(take.path) for take in self.takes())
        self._reserve = self.folder / "reserve"
        self._highest = max(
            self._number("counter"), self._highest_removed(), *(each.take for each in self._all_takes())
        )

    # Space

    def claim(self, size: int, *, urgent: bool = False) -> None:
        """Raises NoSpace where `size` more bytes would pass the limit."""
        with self._counting:
            if not urgent and self.limit_bytes is not None and self.used_bytes + size > self.limit_bytes:
                raise NoSpace("the spool has reached its limit", code="spool-full")
            self.used_bytes += size

    def release(self, size: int) -> None:
        with self._counting:
            self.used_bytes -= size

    def free_bytes(self) -> int:
        """What may still be written. Asks the disk: not for the event loop."""
        free = shutil.disk_usage(self.folder).free
        return free if self.limit_bytes is None else max(0, min(free, self.limit_bytes - self.used_bytes))

    def hold_reserve(self) -> bool:
        """Keeps RESERVE_SIZE bytes back. False where there is no room for them: the spool is as good as full."""
        descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with space_errors():
                # A crash can have left it shorter; what it has already stays.
                os.posix_fallocate(descriptor, 0, RESERVE_SIZE)
        except NoSpace:
            self._reserve.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
        return True

    def spend_reserve(self) -> None:
        self._reserve.unlink(missing_ok=True)

    # Takes

    def highest_take(self) -> int:
        """The highest number given so far; 0 before the first. Kept in memory."""
        return self._highest

    def new_take(self, enrolment: bytes) -> TakeFolder:
        """The next number, durable before anything else of the take: after a crash here the number is a void take.

        Raises NoSpace: the number may be given all the same, and is then found by `lost_number`.
        """
        number = self._highest + 1
        write_durably(self._room / "counter", f"{number}\n".encode())
        self._highest = number
        return self._make_folder(enrolment, number)

    def _make_folder(self, enrolment: bytes, number: int) -> TakeFolder:
        folder = self.folder / f"{enrolment.hex()}-{number}"
        with space_errors():
            folder.mkdir(mode=0o700)
            fsync_folder(self.folder)
        return TakeFolder(enrolment, number, folder)

    def takes(self) -> list[TakeFolder]:
        """Every take that still lies here, oldest first."""
        found = []
        for name in os.listdir(self.folder):
            if match := _TAKE_FOLDER.fullmatch(name):
                found.append(TakeFolder(bytes.fromhex(match[1]), int(match[2]), self.folder / name))
        return sorted(found, key=lambda take: take.take)

    def lost_number(self, enrolment: bytes) -> TakeFolder | None:
        """The highest number, where counting it was all that happened; it gets its folder now. Raises NoSpace."""
        number = self._highest
        if number <= self._highest_removed() or any(take.take == number for take in self._all_takes()):
            return None
        return self._make_folder(enrolment, number)

    def _all_takes(self) -> list[TakeFolder]:
        """Those that are being removed too."""
        going = []
        for name in os.listdir(self.folder):
            if name.startswith(_REMOVED) and (match := _TAKE_FOLDER.fullmatch(name.removeprefix(_REMOVED))):
                going.append(TakeFolder(bytes.fromhex(match[1]), int(match[2]), self.folder / name))
        return [*self.takes(), *sorted(going, key=lambda take: take.take)]

    def _number(self, name: str) -> int:
        try:
            return int((self._room / name).read_text())
        except FileNotFoundError:
            return 0

    def _highest_removed(self) -> int:
        return self._number("removed")

    def remove(self, take: TakeFolder) -> None:
        """Forgets a take that the store has had for long enough. Raises NoSpace: most of it is gone all the same.

        The name changes first, in one step: a crash never leaves half a take that looks like an open one. The
        folder, emptied, keeps the number until that is written down.
        """
        with self.standing:
            size = _counted_size(take.path)
            going = take.path.with_name(_REMOVED + take.path.name)
            take.path.rename(going)
            fsync_folder(self.folder)
            self.release(size)
            self._finish_removal(TakeFolder(take.enrolment, take.take, going))

    def finish_removals(self) -> None:
        """What a crash or a full disk left of `remove`. Raises NoSpace."""
        with self.standing:
            for take in self._all_takes():
                if take.path.name.startswith(_REMOVED):
                    self._finish_removal(take)

    def _finish_removal(self, going: TakeFolder) -> None:
        for path in going.path.iterdir():
            if path != going.close:
                path.unlink()
        if going.take > self._highest_removed():
            if going.close.exists():
                close = going.close.read_bytes()
                if journal.decode_envelope(close)[0]["head"] is not None:
                    write_durably(self._room / "last-close.json", close)
            write_durably(self._room / "removed", f"{going.take}\n".encode())
        going.close.unlink(missing_ok=True)
        going.path.rmdir()

    def last_removed_close(self) -> bytes | None:
        """The close of the last removed take that has a journal: what the next take's start refers to."""
        try:
            return (self._room / "last-close.json").read_bytes()
        except FileNotFoundError:
            return None

    # What is being recorded

    @property
    def recording(self) -> Path:
        return self._room / "recording.json"

    def remember_recording(self, order: bytes) -> None:
        write_durably(self.recording, order)

    def forget_recording(self) -> None:
        self.recording.unlink(missing_ok=True)
        fsync_folder(self._room)


def _counted_size(folder: Path) -> int:
    """What of a take counts towards the limit."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.name.endswith(_COUNTED))
