"""The watch's end of the feed: units in, observations and a sign of life out."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from recorder.feed import FeedTrack, head, unpack_head
from recorder.feed_client import FeedClient
from recorder.watching.content import ContentWatch
from recorder.watching.decode import Unit
from recorder.watching.door import LARGEST_UNIT, OBSERVATION, UNIT, WATCH
from recorder.watching.judge import Observation
from recorder.watching.kinds import SECOND_NS
from recorder.watching.messages import KEY, WHOLE, observation_body
from recorder.watching.messages import UNIT as UNIT_HEAD

_AT_ONCE = 64
_WAITING = 256
BEHIND_NS = SECOND_NS


class WatchLink(FeedClient):
    """A client of the feed that says it is the watch. `run()` is a task for the owner to keep and cancel.

    `tick(now_ns, utc_ns)` several times a second, `well()` each second.
    """

    def __init__(
        self,
        path: Path,
        watch: Callable[[Callable[[Observation], None]], ContentWatch],
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`watch(tell)` makes the watch; `monotonic` gives nanoseconds, by the clock of the recorder's arrivals."""
        super().__init__(path, self)
        self._monotonic = monotonic
        self._content = watch(self._say)
        self._said: deque[bytes] = deque(maxlen=_WAITING)
        self._buffer = bytearray(LARGEST_UNIT)
        self._taken_ns = 0
        """When the unit that was taken last came."""

    def tick(self, now_ns: int, utc_ns: int) -> None:
        self._content.tick(now_ns, utc_ns, behind=self._behind(now_ns))
        self._hand_over()

    def _behind(self, now_ns: int) -> bool:
        """Takes some of what waits. Whether more does, and what was taken last is old: this process gets only what
        nobody else wants, and must not take its own absence for a camera's."""
        if self._socket is None:
            return False
        self._hear(self._socket)
        try:
            waits = bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False  # nothing waits, or the link is broken, which its reader sees
        return waits and now_ns - self._taken_ns > BEHIND_NS

    def well(self) -> None:
        """Says that the watch is there; lost without a word when the recorder is out of reach."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the reader sees a broken link; a full one hears it next time
                self._socket.send(head(WATCH))

    def tracks(self, tracks: Mapping[int, FeedTrack]) -> None:
        if self.connected:
            self.well()
        else:
            self._said.clear()  # what was observed belongs to the recorder that it was said to
        self._content.tracks(tracks, self._monotonic(), connected=self.connected)

    def packets(self, track: int, packets: list[bytes], arrival_ns: int) -> None:
        """Nothing: one may come before the recorder knows who we are."""

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        self._content.report(track, ntp, rtp, arrival_ns)

    def _say(self, observation: Observation) -> None:
        self._said.append(head(OBSERVATION) + observation_body(observation))
        self._hand_over()

    def _hand_over(self) -> None:
        while self._said and self._socket is not None:
            try:
                self._socket.send(self._said[0])
            except OSError:
                return
            self._said.popleft()

    def _hear(self, link: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                count = link.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if not count:
                self._broken.set()
                return
            self._take(bytes(memoryview(self._buffer)[:count]))

    def _take(self, message: bytes) -> None:
        kind, track, arrival_ns, body = unpack_head(message)
        if kind != UNIT:
            super()._take(message)
            return
        number, flags, rtp = UNIT_HEAD.unpack_from(body)
        unit = Unit(number, bool(flags & KEY), bool(flags & WHOLE), rtp, body[UNIT_HEAD.size :])
        self._taken_ns = arrival_ns
        self._content.unit(track, unit, arrival_ns)
