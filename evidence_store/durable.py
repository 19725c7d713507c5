"""Files that are there after a power cut: written, synced, named, and the name synced (fsync(2): the folder too)."""

from __future__ import annotations

import os
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Names made, changed or removed in a folder are durable when this returns. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Replaces `path` in one step, readable by its owner only. Raises OSError, and then the old content is there still.

    A crash leaves the old content or the new, and perhaps a `.part` that nothing reads.
    """
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
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


def destroy(path: Path) -> None:
    """Overwrites a file where it lies, then removes it; both durable when this returns. Raises OSError.

    A crash leaves the overwritten file or none. On a disk that writes in place the bytes are gone. An SSD, a
    file system that copies on write, a snapshot or a backup may keep them where no program can reach: only a disk
    that was encrypted from its first day answers for those.
    """
    with path.open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for filling in (os.urandom(size), bytes(size)):
            file.seek(0)
            file.write(filling)
            os.fsync(file.fileno())
    path.unlink()
    fsync_folder(path.parent)
