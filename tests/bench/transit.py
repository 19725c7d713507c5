"""How long a picture takes from our socket to a viewer's: six cameras, four viewers each.

Told by the kernel, from outside: what passes on loopback is tapped (AF_PACKET, so as root), with the kernel's own time
stamps. SRTP leaves the RTP header in the clear, and a viewer gets a camera's time stamps unchanged: a picture's last
packet at the recorder and its last packet to each viewer are found by them. Packets that leave together are one entry
of the tap; each begins with a header, and the last entry of a picture is what counts.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.figures import Figure, percentile
from tests.bench.load import Publishers
from tests.bench.room import MeasuredRoom
from tests.bench.view import watch_ours
from tests.bench.viewers import Viewers

WHAT = "from a picture's last packet at our socket to its last packet to a viewer, 6 cameras, 4 viewers each, p99"
RUNS, SECONDS = 3, 30.0
CAMERAS, VIEWERS = 6, 4
GOAL_MS = 5.0
_SETTLE_S = 4.0
_ETH_P_IP, _SO_TIMESTAMPNS, _SO_ATTACH_FILTER = 0x0800, 35, 26
_RTP = (
    # UDP, whose payload begins like RTP (RFC 7983) and has a dynamic payload type (RFC 3551): 96 octets of it.
    (0x30, 0, 0, 9), (0x15, 0, 8, 17), (0xB1, 0, 0, 0), (0x50, 0, 0, 8), (0x54, 0, 0, 0xC0), (0x15, 0, 4, 0x80),
    (0x50, 0, 0, 9), (0x54, 0, 0, 0x7F), (0x35, 0, 1, 96), (0x6, 0, 0, 96), (0x6, 0, 0, 0),
)  # fmt: skip
"""A classic BPF program (code, jump if true, jump if false, operand)."""


@dataclass
class Passed:
    """When the last packet of each RTP time passed, ns, by source port, target port and time."""

    last: dict[tuple[int, int, int], int] = field(default_factory=dict)


class Tap:
    """What passes on loopback while it is entered, told apart by the recorder's and the monitor's UDP ports."""

    def __init__(self) -> None:
        self.passed = Passed()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tap")

    def __enter__(self) -> Tap:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        program = b"".join(struct.pack("=HBBL", *each) for each in _RTP)
        memory = bytearray(program)
        address = _address_of(memory)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_RTP), address))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind(("lo", _ETH_P_IP))
        self._socket.settimeout(0.2)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        space = socket.CMSG_SPACE(16)
        while not self._over.is_set():
            try:
                data, ancillary, _, _ = self._socket.recvmsg(96, space)
            except TimeoutError:
                continue
            seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2][:16])
            at = 4 * (data[0] & 15)
            source, target = struct.unpack_from("!HH", data, at)
            (timestamp,) = struct.unpack_from("!L", data, at + 12)
            self.passed.last[source, target, timestamp] = seconds * 1_000_000_000 + nanoseconds


def _address_of(memory: bytearray) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def ports_of(pid: int) -> set[int]:
    """The UDP ports that a process has open."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(link)
        except OSError:
            continue  # closed meanwhile
        if name.startswith("socket:["):
            inodes.add(name[8:-1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def delays_ms(passed: Passed, recorder: set[int], monitor: set[int]) -> dict[tuple[int, int], list[float]]:
    """Of each viewer (the monitor's port and its own): milliseconds for each time that came in and went out whole.

    The first and the last quarter second are left out: what was under way then came or went only in part.
    """
    came = {timestamp: at for (_, target, timestamp), at in passed.last.items() if target in recorder}
    if not came:
        return {}
    begin, end = min(came.values()) + 250_000_000, max(came.values()) - 250_000_000
    found: Mapping[tuple[int, int], list[float]] = defaultdict(list)
    for (source, target, timestamp), at in passed.last.items():
        if source in monitor and timestamp in came and begin < came[timestamp] < end:
            found[source, target].append((at - came[timestamp]) / 1e6)
    return dict(found)


def measure(runs: int, seconds: float) -> Figure:
    """Milliseconds, the 99th percentile over all pictures, sounds and viewers. Raises PermissionError but for root."""
    delays: list[float] = []
    for _ in range(runs):
        delays += asyncio.run(_measure(seconds))
    said = ", ".join(f"{name} {percentile(delays, part):.2f} ms" for name, part in (("median", 0.5), ("p95", 0.95)))
    notes = (f"{len(delays)} pictures and sounds to viewers: {said}, greatest {max(delays):.1f} ms",)
    p99 = percentile(delays, 0.99)
    return Figure("transit", "ms", p99, None, "lower", GOAL_MS, runs, shortened=seconds < SECONDS, notes=notes)


async def _measure(seconds: float) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="vidne-bench-") as folder:
        room = MeasuredRoom(Path(folder) / "vidne", CAMERAS)
        async with room, Publishers(room.publishing()) as cameras, room.recording(), Viewers() as viewers:
            for camera in room.cameras:
                for _ in range(VIEWERS):
                    await watch_ours(room, viewers, camera)
            await viewers.ask({"deaf": True})
            await asyncio.sleep(_SETTLE_S)
            recorder, monitor = (ports_of(pid) for pid in room.room_node)
            with Tap() as tap:
                await asyncio.sleep(seconds)
            if not cameras.all_alive():
                raise RuntimeError("a camera stopped sending during the measurement")
            found = delays_ms(tap.passed, recorder, monitor)
    if len(found) < CAMERAS * VIEWERS or min(map(len, found.values())) < 20 * seconds:
        raise RuntimeError(f"not every viewer got every picture: {sorted(map(len, found.values()))}")
    return [each for delays in found.values() for each in delays]
