"""A network of one's own (a Linux namespace) with loopback and one address that is not loopback.

Firefox offers no candidate on 127.0.0.1, whatever its preferences, and pairs none with one: it needs another address of
this machine, and the machine's real ones are nobody's to test on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

ADDRESS = "198.51.100.1"
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def own_network() -> Iterator[str]:
    """ADDRESS; while this lasts, sockets of this thread and its child processes are in there. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(_CLONE_NEWNET):
        os.close(home)
        raise OSError(ctypes.get_errno(), "no network of one's own can be had")
    try:
        for command in (
            "link set lo up",
            "link add inner type veth peer name outer",
            f"address add {ADDRESS}/24 dev inner",
            "link set inner up",
            "link set outer up",
            "route add default dev inner",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield ADDRESS
    finally:
        libc.setns(home, _CLONE_NEWNET)
        os.close(home)
