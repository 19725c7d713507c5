"""Takes from this process, for good, what decoding strangers' streams does not need: files, networks, other programs.

Landlock (Linux 5.13) forbids opening any file from now on, so that no key or token can be read however the process is
taken over; seccomp forbids sockets that are not local, starting programs, and looking into other processes. What is
open stays open. Modules that are not imported yet can no longer be. Neither can it touch a neighbour of the same user:
no signals, limits or priorities, no new processes (threads only), no changes to what a path leads to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
# Rights that each version of Landlock knows: how many bits of files and of networks, and of what lies beyond.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16}
_NET_SINCE, _NET_RIGHTS = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_AF_UNIX = 1
_X32 = 0x40000000

# Kernel's numbers, x86-64 and arm64: architecture, socket, clone (both looked at more closely), and what is refused.
_SYSTEM_CALLS: Final = {
    "x86_64": (
        0xC000003E, 41, 56,
        (
            57, 58, 59, 101, 155, 165, 248, 249, 250, 272, 298, 304, 308, 310, 311, 321, 322, 323,
            62, 129, 200, 234, 297,  # kill, rt_sigqueueinfo, tkill, tgkill, rt_tgsigqueueinfo
            160, 302, 141, 142, 144, 203, 251, 314,  # limits, priorities, scheduling, affinity
            90, 91, 92, 93, 94, 132, 235, 260, 261, 268, 280,  # modes, owners and times of files
            188, 189, 190, 197, 198, 199,  # extended attributes
        ),
    ),
    "aarch64": (
        0xC00000B7, 198, 220,
        (
            40, 41, 97, 117, 217, 218, 219, 221, 241, 265, 268, 270, 271, 280, 281, 282,
            129, 130, 131, 138, 240,
            164, 261, 30, 118, 119, 122, 140, 274,
            52, 53, 54, 55, 88,
            5, 6, 7, 14, 15, 16,
        ),
    ),
}  # fmt: skip
_EVERYWHERE: Final = (424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 452)
"""The same everywhere: signals by descriptor; io_uring, which could open what is refused here; mounts; other processes'
files; fchmodat2."""
_CLONE3 = 435
"""Its arguments lie in memory, where no filter sees them: it is said not to exist, and glibc takes clone instead."""
_CLONE_THREAD = 0x00010000


def confine() -> tuple[str, ...]:
    """Gives up what can be given up on this machine, and says what was: `landlock`, `seccomp`. Logs what was not.

    Raises OSError where not even gaining rights can be given up.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    done = (*_forbid_files(libc), *_forbid_calls(libc))
    if len(done) < 2:
        log.warning("watch_less_confined", by=list(done))
    return done


def _forbid_files(libc: ctypes.CDLL) -> tuple[str, ...]:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        return ()
    files = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    networks = _NET_RIGHTS if version >= _NET_SINCE else 0
    scopes = _SCOPES if version >= _SCOPES_SINCE else 0
    rules = struct.pack("=QQQ", files, networks, scopes)
    size = 24 if version >= _SCOPES_SINCE else 16 if version >= _NET_SINCE else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        return ()
    refused = libc.syscall(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)
    return () if refused else ("landlock",)


def _forbid_calls(libc: ctypes.CDLL) -> tuple[str, ...]:
    known = _SYSTEM_CALLS.get(platform.machine())
    if known is None:
        return ()
    architecture, socket_call, clone_call, refused = known
    lines = [
        _line(_LOAD, _ARCHITECTURE_AT),
        _line(_EQUAL, architecture, 1, 0),
        _line(_RETURN, _REFUSE),
        _line(_LOAD, _NUMBER_AT),
        _line(_AT_LEAST, _X32, 0, 1),  # the same calls under other numbers
        _line(_RETURN, _REFUSE),
    ]
    for number in (*refused, *_EVERYWHERE):
        lines += [_line(_EQUAL, number, 0, 1), _line(_RETURN, _REFUSE)]
    lines += [
        _line(_EQUAL, _CLONE3, 0, 1),
        _line(_RETURN, _UNKNOWN),
        _line(_EQUAL, clone_call, 0, 4),
        _line(_LOAD, _FIRST_ARGUMENT_AT),
        _line(_HAS_BITS, _CLONE_THREAD, 0, 1),
        _line(_RETURN, _ALLOW),
        _line(_RETURN, _REFUSE),
        _line(_EQUAL, socket_call, 1, 0),
        _line(_RETURN, _ALLOW),
        _line(_LOAD, _FIRST_ARGUMENT_AT),
        _line(_EQUAL, _AF_UNIX, 0, 1),
        _line(_RETURN, _ALLOW),
        _line(_RETURN, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(lines))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    return () if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) else ("seccomp",)


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction of the kernel's filter (struct sock_filter)."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
