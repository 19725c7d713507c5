"""Whether the kernel's clock follows a time service, as the kernel itself says (adjtimex(2), Linux)."""

from __future__ import annotations

import ctypes
from typing import Final

_UNSYNCHRONISED: Final = 0x40
"""STA_UNSYNC."""


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_rest", ctypes.c_byte * 256),
    )


def clock_is_set() -> bool | None:
    """None where the kernel does not tell."""
    asked = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked))
    return None if state < 0 else not asked.status & _UNSYNCHRONISED
