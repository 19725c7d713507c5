"""Keeps a process away from folders of the house that are none of its business, whatever takes it over.

All processes of a house on one machine run as one user, so the file system would let each read everything. Landlock
(Linux 5.13) takes that back for good: from here on this process, its threads and children open no file under these
folders, be they there yet or not. Landlock allows and cannot forbid, so everything else that is there now is allowed:
what lies beside the way to a forbidden folder. What comes to lie on that way later is out of reach too.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from api.settings import Settings

log = structlog.get_logger(__name__)

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_WRITE_FILE, _READ_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 2, 1 << 13, 1 << 14
_REFER_SINCE, _TRUNCATE_SINCE = 2, 3


def forbidden(process: str, settings: Settings) -> tuple[Path, ...]:
    """The folders that each process of a house has no business in (docs/threat-model.md#what-each-process-can-read)."""
    room, second = settings.room_folder, settings.second_vault
    stored = (settings.store_folder, settings.escrow_folder, *(() if second is None else (second,)))
    return {"recorder": stored, "monitor": (*stored, room), "web": (room,)}[process]


def keep_away(process: str, settings: Settings) -> bool:
    """Called once, before any other thread runs. False where the kernel cannot: logged, and all goes on without it.

    Makes the folders that the process itself needs: what is made later could be out of its reach.
    """
    folders = forbidden(process, settings)
    own = [settings.run_folder]
    if process == "recorder":
        own += [settings.room_folder]
    if process == "web":
        own += [settings.store_folder, settings.escrow_folder]
        # Elsewhere it lies in what is there already, or on a disk that is not mounted yet: nothing is made there.
        second = settings.second_vault
        own += [second] if second is not None and second.resolve().is_relative_to(settings.data.resolve()) else []
    for folder in own:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _restrict([folder.resolve() for folder in folders])
    except OSError as error:
        # A recorder that is less confined records; one that does not start doesn't.
        log.warning("process_less_confined", process=process, errno=error.errno)
        return False
    return True


def _restrict(folders: Sequence[Path]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    _check(version)
    files = _READ_FILE | _WRITE_FILE | (_TRUNCATE if version >= _TRUNCATE_SINCE else 0)
    # To move a file from folder to folder is refused unless it is allowed by name.
    trees = files | (_REFER if version >= _REFER_SINCE else 0)
    ruleset = _check(libc.syscall(_CREATE_RULESET, struct.pack("=Q", trees), ctypes.c_size_t(8), ctypes.c_uint(0)))
    try:
        for path in _beside(folders):
            _allow(libc, ruleset, path, files, trees)
        _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)))
    finally:
        os.close(ruleset)


def _beside(folders: Sequence[Path]) -> Iterator[Path]:
    """Everything that lies beside the ways to these folders, from the root on: all that is there, but for them."""
    ways = {above for folder in folders for above in folder.parents}
    for way in sorted(ways):
        if way in folders or not way.is_dir() or any(folder in way.parents for folder in folders):
            continue
        for entry in sorted(way.iterdir()):
            if entry not in ways and entry not in folders:
                yield entry


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, files: int, trees: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # gone meanwhile: a sibling in a busy folder
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):
            return  # what it leads to is allowed or not under its own path
        rule = struct.pack("=Qi", trees if stat.S_ISDIR(mode) else files, descriptor)
        _check(libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0)))
    finally:
        os.close(descriptor)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "the kernel's Landlock")
    return int(result)
