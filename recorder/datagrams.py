"""Where a datagram enters: many at once, into memory that is used again and again.

A loop that wakes for each datagram spends most of its time waking: at six cameras 3,000 times a second. All sockets of
a loop are read together while anything comes, with one `recvmmsg` a socket, as often as whoever is in the greatest
hurry needs: 1 ms after the first one for a viewer, each 20 ms for a handshake or a line that loses, else each 130 ms
and at each cut.
Nothing is allocated on the way in: SRTP is opened where the datagram lies. While nothing comes, the loop sleeps and the
first datagram wakes it.

Linux only: epoll, recvmmsg(2).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import cffi
import structlog

# Octets of UDP receive buffer wanted: several key frames at once, about 250 kB each, counted double by the kernel.
RECEIVE_BUFFER = 2 * 1024 * 1024
READ_LIVE_S, READ_SOON_S, READ_AT_LEISURE_S = 0.001, 0.02, 0.13
"""What reading together may delay a datagram by. While somebody watches live, 1 ms: a picture's packets come one right
behind the other. While a camera connects, or packets have to be asked for again, 20 ms; else so much that of two
readings a tick one is the cut's own. A wake costs more than what is read in it: from 20 ms to 100 ms, a quarter of the
recorder's whole cost goes."""
SLOTS = 64
SLOT = 2304
LARGEST = 2048
"""Octets of a slot, and of the largest datagram taken: the rest is room for what SRTP adds (at most 148, libsrtp)."""
_ONCE = select.EPOLLIN | select.EPOLLONESHOT
_TURNS = 8  # batches from one socket before the others get theirs
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@QiiQQ")
"""One control message (cmsg(3)): its length, level and type, then seconds and nanoseconds of UTC."""
_LONGEST_WAIT_NS = 1_000_000_000
_ADDRESS = 32  # octets kept for each address: sockaddr_in6 has 28

FFI: Any = cffi.FFI()
FFI.cdef(
    """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr { void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
                    void *msg_control; size_t msg_controllen; int msg_flags; };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int recvmmsg(int, struct mmsghdr *, unsigned int, int, void *);
    """
)
_libc: Any = FFI.dlopen(None)

Address = tuple[str, int]

log = structlog.get_logger(__name__)


class Slots:
    """Memory for 64 datagrams as the kernel fills it.

    The i-th is `octets[i * SLOT : i * SLOT + lengths[i]]`; the kernel stamps each as it comes.
    `octets` gives bytes, `memory` one octet's number; `addresses` are where each slot lies.
    """

    def __init__(self) -> None:
        self._data = FFI.new(f"char[{SLOTS * SLOT}]")
        self._names = FFI.new(f"char[{SLOTS * _ADDRESS}]")
        self._stamps = FFI.new(f"char[{SLOTS * _STAMP.size}]")
        self._iovecs = FFI.new(f"struct iovec[{SLOTS}]")
        self._headers = FFI.new(f"struct mmsghdr[{SLOTS}]")
        for i in range(SLOTS):
            self._iovecs[i].iov_base, self._iovecs[i].iov_len = self._data + i * SLOT, LARGEST
            header = self._headers[i].msg_hdr
            header.msg_name, header.msg_namelen = self._names + i * _ADDRESS, _ADDRESS
            header.msg_iov, header.msg_iovlen = self._iovecs + i, 1
            header.msg_control, header.msg_controllen = self._stamps + i * _STAMP.size, _STAMP.size
        self._fresh = bytes(FFI.buffer(self._headers))
        self._all = FFI.buffer(self._headers)
        self._name_octets, self._stamp_octets = FFI.buffer(self._names), FFI.buffer(self._stamps)
        size = FFI.sizeof("struct mmsghdr") // 4
        at = FFI.offsetof("struct mmsghdr", "msg_len") // 4
        self.octets = FFI.buffer(self._data)
        self.memory = memoryview(self.octets)
        self.lengths = memoryview(self._all).cast("I")[at::size]
        self.addresses = [int(FFI.cast("uintptr_t", self._data + i * SLOT)) for i in range(SLOTS)]

    def receive(self, descriptor: int) -> int:
        """How many datagrams there were, at most 64; each one's octets are in `lengths`. Raises nothing."""
        # The kernel writes into the headers what it found: they are made anew for each turn.
        self._all[:] = self._fresh
        got: int = _libc.recvmmsg(descriptor, self._headers, SLOTS, socket.MSG_DONTWAIT, FFI.NULL)
        # An error is EAGAIN, or what an earlier datagram of ours met at the other side (ECONNREFUSED): nothing is here.
        return max(0, got)

    def sender(self, index: int) -> Address:
        """Who sent the i-th datagram."""
        name = self._name_octets[index * _ADDRESS : (index + 1) * _ADDRESS]
        family = struct.unpack_from("=H", name)[0]
        port = struct.unpack_from("!H", name, 2)[0]
        if family == socket.AF_INET6:
            return str(ipaddress.IPv6Address(name[8:24])), port
        return socket.inet_ntoa(name[4:8]), port

    def waited_ns(self, index: int) -> int:
        """How long ago the i-th datagram came, by the kernel's stamp; 0 where there is none, or the clock was set."""
        if not self._headers[index].msg_hdr.msg_controllen:
            return 0
        _, level, kind, seconds, nanoseconds = _STAMP.unpack_from(self._stamp_octets, index * _STAMP.size)
        waited = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
        known = (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
        return waited if known and 0 <= waited < _LONGEST_WAIT_NS else 0

    def by_arrival(self, packets: list[bytes], found: list[int], now_ns: int) -> Iterator[tuple[list[bytes], int]]:
        """RTP packets read together at `now_ns`, in order, and when to say that they came; `found`: each one's slot.

        Where they were let wait, the first of each payload type is given alone, with its own time: what is read seldom
        would otherwise make every clock look late. The others are said to have come as they were read.
        """
        done, known = 0, set[int]()
        if self.waited_ns(found[0]) > READ_SOON_S * 1e9:
            for n, packet in enumerate(packets):
                if packet[1] & 0x7F not in known:
                    known.add(packet[1] & 0x7F)
                    if done < n:
                        yield packets[done:n], now_ns
                    yield packets[n : n + 1], now_ns - self.waited_ns(found[n])
                    done = n + 1
        if done < len(packets):
            yield packets[done:], now_ns


class DatagramReader:
    """Reads all media sockets of one event loop. Use `shared()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._slots = Slots()
        self._takers: dict[int, Callable[[Slots, int], None]] = {}
        self._busy: set[int] = set()
        """Sockets to be read at the next turn; the others wake the loop when something comes."""
        self.every_s = READ_SOON_S
        """Seconds from one reading to the next while anything comes."""
        self._paces: dict[object, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def shared(cls) -> DatagramReader:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        reader = _readers.get(loop)
        if reader is None:
            reader = _readers[loop] = cls(loop)
        return reader

    def add(self, sock: socket.socket, take: Callable[[Slots, int], None]) -> None:
        """`take(slots, count)` is called on the loop with what came; the slots are filled anew when it returns."""
        descriptor = sock.fileno()
        if not self._takers:
            self._loop.add_reader(self._epoll.fileno(), self._woken)
        self._takers[descriptor] = take
        self._epoll.register(descriptor, _ONCE)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER:
            self.pace(descriptor, READ_SOON_S)  # it holds no key frame and more

    def remove(self, descriptor: int) -> None:
        """To be called before the socket is closed."""
        if self._takers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
            self._busy.discard(descriptor)
            if not self._takers:
                self._loop.remove_reader(self._epoll.fileno())
        self.pace(descriptor, None)

    def pace(self, who: object, every_s: float | None) -> None:
        """`who` needs a reading at least each so many seconds; None: no more. Where nobody said, READ_SOON_S."""
        if every_s is None:
            self._paces.pop(who, None)
        else:
            self._paces[who] = every_s
        before, self.every_s = self.every_s, min(self._paces.values(), default=READ_SOON_S)
        if self.every_s < before and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(self.every_s, self._turn)

    def read(self) -> None:
        """At once; the next reading follows after the usual time. Not from within a taker."""
        if self._timer is not None:
            self._timer.cancel()
        self._look()
        self._turn()

    def _look(self) -> None:
        self._busy.update([descriptor for descriptor, _ in self._epoll.poll(0)])

    def _woken(self) -> None:
        self._look()
        if self._timer is None:
            if self.every_s == READ_LIVE_S:
                self._timer = self._loop.call_later(READ_LIVE_S, self._turn)
            else:
                self._turn()

    def _turn(self) -> None:
        """One turn over all sockets that have something. One that is to be read again does not wake the loop before."""
        self._timer = None
        if self.every_s == READ_LIVE_S:
            self._look()
        for descriptor in list(self._busy):
            if not self._read(descriptor) or self.every_s == READ_LIVE_S:
                self._busy.discard(descriptor)
                if descriptor in self._takers:
                    self._epoll.modify(descriptor, _ONCE)
        if self._busy and self._timer is None:
            self._timer = self._loop.call_later(self.every_s, self._turn)

    def _read(self, descriptor: int) -> bool:
        """Whether anything was there. A taker that raises has lost its datagrams, nobody else's."""
        count = 0
        for turn in range(_TURNS):
            take = self._takers.get(descriptor)
            count = self._slots.receive(descriptor) if take is not None else 0
            if take is None or not count:
                return turn > 0
            try:
                take(self._slots, count)
            except Exception as error:  # noqa: BLE001 - the other cameras' datagrams are still to be read
                log.error("datagrams-not-taken", error=repr(error))
            if count < SLOTS:
                break
        return True


_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, DatagramReader] = WeakKeyDictionary()


class SocketTransport(asyncio.DatagramTransport):
    """What aioice needs of a transport: a socket that is read by somebody else, and sent to without waiting."""

    def __init__(self, sock: socket.socket, protocol: asyncio.DatagramProtocol, closing: Callable[[], None]) -> None:
        super().__init__({"sockname": sock.getsockname(), "socket": sock})
        self._sock, self._protocol, self._closing = sock, protocol, closing
        self._closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Sends at once or not at all: STUN and DTLS send again what is lost."""
        if self._closed:
            return
        try:
            self._sock.sendto(data, addr)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                self._protocol.error_received(error)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._closing()
            self._sock.close()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


@cache
def _warn_small_buffer(got: int) -> None:
    log.warning("udp-receive-buffer-capped", got=got, wanted=RECEIVE_BUFFER, remedy="sysctl net.core.rmem_max")


def open_socket(address: str, ports: tuple[int, int] | None) -> socket.socket:
    """A bound, non-blocking UDP socket with a raised receive buffer. Raises OSError when no port is free."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if got < RECEIVE_BUFFER:
            _warn_small_buffer(got)
        if ports is None:
            sock.bind((address, 0))
            return sock
        for port in range(ports[0], ports[1] + 1):
            try:
                sock.bind((address, port))
            except OSError as error:
                if port == ports[1]:
                    raise OSError(error.errno, f"no free UDP port from {ports[0]} to {ports[1]}") from error
            else:
                return sock
        raise ValueError("the UDP port range is empty")
    except BaseException:
        sock.close()
        raise
