"""Looks for clear media where there may be none: in files, in deleted files that are open, in shared memory."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.journeys.stage import SEI_TEXT

ENCODER = b"x264 - core"
"""What libx264 writes into every stream it encodes: the clip's, and the viewing copy's."""
SHARED = Path("/dev/shm")


def forms(text: bytes) -> list[bytes]:
    """The text as it is, in hexadecimal, and in base64 at each of its three alignments."""
    found = [text, text.hex().encode(), text.hex().upper().encode()]
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + text)
        found.append(whole[4 if before else 0 : len(whole) // 4 * 4 - 4])
    return found


MARKS = [*forms(SEI_TEXT.encode()), *forms(ENCODER)]


def clear(data: bytes) -> bool:
    """Whether the data holds a mark of clear media, with or without H.264's emulation prevention bytes (7.4.1)."""
    plain = data.replace(b"\0\0\x03", b"\0\0")
    return any(mark in data or mark in plain for mark in MARKS)


def files_of(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def clear_files(folders: Iterable[Path]) -> list[str]:
    """Every file with a mark in it. A file that went away meanwhile is passed over."""
    found = []
    for path in files_of(folders):
        try:
            if clear(path.read_bytes()):
                found.append(str(path))
        except FileNotFoundError:
            continue
    return found


@dataclass(slots=True)
class OpenFiles:
    """Files without a name that processes had open. `readable` is False where the system does not let us look."""

    seen: set[str] = field(default_factory=set)
    clear: set[str] = field(default_factory=set)
    readable: bool = True

    def look(self, pids: Iterable[int]) -> None:
        for pid in family(pids):
            folder = Path(f"/proc/{pid}/fd")
            try:
                links = list(folder.iterdir())
            except FileNotFoundError:
                continue
            except PermissionError:
                self.readable = False
                continue
            for link in links:
                self._look_at(link)

    def _look_at(self, link: Path) -> None:
        try:
            target = os.readlink(link)
            if not target.endswith(" (deleted)"):
                return
            self.seen.add(target)
            if clear(link.read_bytes()):
                self.clear.add(target)
        except (FileNotFoundError, ProcessLookupError):
            return  # closed, or its process ended, while we looked


def family(pids: Iterable[int]) -> list[int]:
    """The processes and all their descendants."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = list(pids)
    for parent in found:
        found += [child for child, its in parents.items() if its == parent and child not in found]
    return found
