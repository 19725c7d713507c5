"""Memory that holds keys and clear media: locked, so that it never lies in swap (mlockall(2)).

All of the process, since keys are copied on their way through Python and OpenSSL, and each page as it is first touched
(MCL_ONFAULT), so that what is only reserved costs nothing. Asked for only where nothing limits it: under a limit a
later allocation would fail where an earlier one did not, and a recorder that runs out of memory is worse than a page in
swap. What runs with another program in it (FFmpeg) has to be started anew, and holds no key.
"""

from __future__ import annotations

import ctypes
import resource
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK: Final = 14
_PROCESS: Final = Path("/proc/self/status")
_SWAPS: Final = Path("/proc/swaps")


class Memory(StrEnum):
    """How this process's memory is kept out of swap."""

    LOCKED = "locked"
    NO_SWAP = "no-swap"
    """Not locked, and the machine has no swap now."""
    SWAPPABLE = "swappable"


def lock_memory(process: str) -> Memory:
    """Called once, when the process has begun. What could not be done is logged, and all goes on without it."""
    if _unlimited():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
            log.warning("memory_lock_failed", process=process, errno=ctypes.get_errno())
    found = memory()
    if found is not Memory.LOCKED:
        log.warning(
            "memory_not_locked", process=process, swap=found is Memory.SWAPPABLE,
            remedy="LimitMEMLOCK=infinity, or CAP_IPC_LOCK; else no swap",
        )  # fmt: skip
    return found


def memory() -> Memory:
    """As it is now, from the kernel's own word."""
    if _of_process("VmLck").split()[0] != "0":
        return Memory.LOCKED
    return judged(_SWAPS.read_text() if _SWAPS.exists() else "")


def judged(swaps: str) -> Memory:
    """What `/proc/swaps` says of memory that is not locked; empty where the kernel knows no swap. Pure."""
    return Memory.SWAPPABLE if len(swaps.splitlines()) > 1 else Memory.NO_SWAP


def _unlimited() -> bool:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    return bool(int(_of_process("CapEff"), 16) >> _CAP_IPC_LOCK & 1)


def _of_process(field: str) -> str:
    lines = (line.partition(":") for line in _PROCESS.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name == field), "0")
