"""Where media leaves: packets one right behind the other, protected where they lie, and sent in one call.

What goes to several viewers differs in headers and keys alone: a burst is laid out once, and for each viewer only its
headers are new. A picture's packets are equal but the last, so that a picture is one call and goes through the kernel
once (UDP_SEGMENT, udp(7), Linux 4.18).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

from recorder.datagrams import FFI, SLOT, SLOTS, Address

HEADER_OCTETS = 12
SEGMENT_OCTETS = 60_000
"""At most so much in one call; UDP allows 65,507."""
_UDP_SEGMENT = 103
_SIZE = struct.Struct("=H")


class Outgoing:
    """Memory for 64 datagrams on their way out. `address`: where it lies."""

    def __init__(self) -> None:
        self._data = FFI.new(f"char[{SLOTS * SLOT}]")
        self.octets = FFI.buffer(self._data)
        self.memory = memoryview(self.octets)
        self.address = int(FFI.cast("uintptr_t", self._data))

    @classmethod
    def shared(cls) -> Outgoing:
        """The running loop's own, for whoever sends on it, within one call."""
        loop = asyncio.get_running_loop()
        outgoing = _outgoing.get(loop)
        if outgoing is None:
            outgoing = _outgoing[loop] = cls()
        return outgoing


_outgoing: WeakKeyDictionary[asyncio.AbstractEventLoop, Outgoing] = WeakKeyDictionary()


class Run(NamedTuple):
    """`packets` datagrams from `begin` to `end` of the memory that leave in one call: all of `size`, the last perhaps
    shorter."""

    begin: int
    end: int
    size: int
    packets: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a burst lies in memory. `parts`: of each packet the header, to be filled in, the payload, and the room for
    what protecting it adds; `places`: where each begins, and its octets before that; `runs`: once all are protected."""

    parts: list[bytes]
    octets: int
    places: list[tuple[int, int]]
    runs: list[Run]


class Burst:
    """Payloads of RTP packets that go out together: at most 64, none larger than a slot holds."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = payloads
        self.octets = sum(map(len, payloads))
        self._layouts: dict[int, Layout] = {}

    def layout(self, tag: int) -> Layout:
        """Where protecting a packet adds `tag` octets."""
        layout = self._layouts.get(tag)
        if layout is None:
            layout = self._layouts[tag] = _lay_out(self.payloads, tag)
        return layout


def _lay_out(payloads: Sequence[bytes], tag: int) -> Layout:
    room, parts, sizes = b"\0" * tag, list[bytes](), list[int]()
    for payload in payloads:
        parts += (b"", payload, room)
        sizes.append(HEADER_OCTETS + len(payload) + tag)
    begins = list(accumulate(sizes, initial=0))
    places = [(at, size - tag) for at, size in zip(begins, sizes, strict=False)]
    return Layout(parts, begins[-1], places, runs(begins))


def runs(begins: Sequence[int]) -> list[Run]:
    """Datagrams, one right behind the other, as few calls. `begins`: where each begins, and where the last ends."""
    sizes = [after - at for at, after in pairwise(begins)]
    found, first = list[Run](), 0
    while first < len(sizes):
        end = _run(sizes, first, min(len(sizes), first + SEGMENT_OCTETS // sizes[first]))
        found.append(Run(begins[first], begins[end], sizes[first], end - first))
        first = end
    return found


def _run(sizes: list[int], begin: int, end: int) -> int:
    """Where a run that can leave in one call ends: all of one size, the last perhaps shorter."""
    size, rest = sizes[begin], sizes[begin:end]
    alike = rest.count(size)
    if alike == len(rest) or (alike == len(rest) - 1 and rest[-1] < size):
        return end
    after = begin + next(n for n, each in enumerate(rest) if each != size)
    return after + 1 if sizes[after] < size else after


class Segments:
    """Sends runs of datagrams to one address, each in one call, cut up by the kernel."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._together = True

    def send(self, outgoing: Outgoing, ready: Sequence[Run], to: Address) -> int:
        """How many datagrams were sent, the first ones; the rest would have had to wait, or could not go just now."""
        sent = 0
        for run in ready:
            done = self._send(outgoing.memory, run, to) if self._together or run.packets == 1 else None
            if done is None:
                done = self._send_singly(outgoing.memory, run, to)
            sent += done
            if done < run.packets:
                break
        return sent

    def _send(self, memory: memoryview, run: Run, to: Address) -> int | None:
        """How many were sent, all or none; None where the kernel, the card or the way can't send them together."""
        begin, end, size, packets = run
        try:
            if packets == 1:
                self._sock.sendto(memory[begin:end], to)
            else:
                self._sock.sendmsg([memory[begin:end]], [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SIZE.pack(size))], 0, to)
        except OSError as error:
            if packets > 1 and error.errno in (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT):
                self._together = False
                return None
            # Full, or the other side cannot be reached just now: consent checks end a connection, not one packet.
            return 0
        return packets

    def _send_singly(self, memory: memoryview, run: Run, to: Address) -> int:
        for n, at in enumerate(range(run.begin, run.end, run.size)):
            if not self._send(memory, Run(at, min(at + run.size, run.end), run.size, 1), to):
                return n
        return run.packets
