"""The other end of the feed (`recorder/feed.py`): connects again and again, says what is wanted and who watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Protocol

import structlog

from recorder.feed import (
    BATCH,
    FULL,
    HEAD,
    KEY_FRAME,
    LARGEST,
    MAPPING,
    PACKETS,
    REPORT,
    TRACKS,
    WANT,
    FeedTrack,
    Presence,
    from_json,
    presence_message,
)

_AT_ONCE = 64  # messages taken from a socket before other work gets its turn
_RETRY_S = 0.25
_WAITING_PRESENCES = 512

log = structlog.get_logger(__name__)


class FeedHandler(Protocol):
    """What the monitor does with the feed; called on its event loop."""

    def tracks(self, tracks: Mapping[int, FeedTrack]) -> None:
        """All that is live now; also, empty, when the recorder is out of reach."""

    def packets(self, track: int, packets: list[bytes], arrival_ns: int) -> None:
        """What the recorder read together of one track."""

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None: ...


class FeedClient:
    """The monitor's side: connects, and connects again. `run()` is a task for the owner to keep and cancel.

    `watching()`: the joinings that still hold, repeated to a recorder that may have started anew.
    """

    def __init__(
        self, path: Path, handler: FeedHandler, watching: Callable[[], Iterable[Presence]] = lambda: ()
    ) -> None:
        self._path, self._handler, self._watching = path, handler, watching
        self._socket: socket.socket | None = None
        self._broken = asyncio.Event()
        self._received = bytearray(LARGEST)
        self._presences: deque[bytes] = deque(maxlen=_WAITING_PRESENCES)

    @property
    def connected(self) -> bool:
        return self._socket is not None

    async def run(self) -> None:
        """Until cancelled. Nothing live is reported while the recorder is out of reach."""
        loop = asyncio.get_running_loop()
        while True:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                await loop.sock_connect(link, str(self._path))
                self._broken.clear()
                self._socket = link
                loop.add_reader(link, self._hear, link)
                for presence in self._watching():
                    link.send(presence_message(presence))
                self._flush()
                await self._broken.wait()
                log.warning("feed-lost")
            except OSError as error:
                log.debug("feed-out-of-reach", error=type(error).__name__)
            finally:
                if self._socket is not None:
                    self._socket = None
                    loop.remove_reader(link)
                    self._handler.tracks({})
                link.close()
            await asyncio.sleep(_RETRY_S)

    def key_frame(self, track: int) -> None:
        """Asks the track's camera for a key frame; lost without a word when the recorder is out of reach."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the reader sees a broken link; a full one will be asked again
                self._socket.send(HEAD.pack(KEY_FRAME, track, time.monotonic_ns()))

    def want(self, track: int, wanted: bool) -> None:
        """Whether the track's packets should come; to be said anew for each index. Lost while the recorder is away."""
        if self._socket is not None:
            try:
                self._socket.send(HEAD.pack(WANT, track, time.monotonic_ns()) + bytes([wanted]))
            except OSError:
                self._broken.set()  # full or gone: all is told anew by a new connection

    def presence(self, presence: Presence) -> None:
        """Reports a joining or leaving; kept while the recorder is out of reach, the oldest of 512 given up first."""
        if len(self._presences) == _WAITING_PRESENCES:
            log.error("feed-presence-given-up", camera=presence.camera)
        self._presences.append(presence_message(presence))
        self._flush()

    def _flush(self) -> None:
        while self._presences and self._socket is not None:
            try:
                self._socket.send(self._presences[0])
            except OSError:
                return
            self._presences.popleft()

    def _hear(self, link: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                size = link.recv_into(self._received)
            except BlockingIOError:
                break
            except OSError:
                size = 0
            if not size:
                self._broken.set()
                return
            self._take(bytes(memoryview(self._received)[:size]))
            if size < FULL:
                break  # there is seldom another one: asking would cost as much as being told
        self._flush()

    def _take(self, message: bytes) -> None:
        kind, track, arrival_ns = HEAD.unpack_from(message)
        if kind == PACKETS:
            at, end = HEAD.size, len(message)
            while at < end:
                track, arrival_ns, count = BATCH.unpack_from(message, at)
                lengths = struct.unpack_from(f"!{count}H", message, at + BATCH.size)
                ends = list(accumulate(lengths, initial=at + BATCH.size + 2 * count))
                self._handler.packets(track, [message[a:b] for a, b in pairwise(ends)], arrival_ns)
                at = ends[-1]
        elif kind == REPORT:
            ntp, rtp = MAPPING.unpack_from(message, HEAD.size)
            self._handler.report(track, ntp, rtp, arrival_ns)
        elif kind == TRACKS:
            tracks = [from_json(item) for item in json.loads(message[HEAD.size :])["tracks"]]
            self._handler.tracks({item.index: item for item in tracks})
