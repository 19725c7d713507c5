"""The recorder's end of the feed (`recorder/feed.py`): sends what is wanted, keeps what is not, and never waits."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import structlog

from recorder.feed import (
    FULL,
    HEAD,
    KEY_FRAME,
    LARGEST_WORD,
    MAPPING,
    PACKETS,
    PRESENCE,
    REPORT,
    TRACKS,
    WANT,
    FeedTrack,
    Presence,
    batch,
    to_json,
)
from recorder.sdp import Codec, Kind
from recorder.watching.door import OBSERVATION, UNIT, WATCH, Watch, WatchDoor

KEPT_PACKETS = 2048
"""Packets of each track that wait for somebody to want them: some seconds of picture."""
REPORT_EVERY_NS = 500_000_000
_SEND_BUFFER = 4 * 1024 * 1024
_SO_SNDBUFFORCE = 32
_MOST_MONITORS = 4

log = structlog.get_logger(__name__)


class FeedServer:
    """The recorder's side. All but `start` and `stop` are synchronous and never wait.

    `key_frame(camera, kind)` and `presence(presence)` are called when the monitor asks or tells; `deserted()` when the
    last monitor is gone, without a word of who watched there; `watched(wanted)` when what anybody wants has changed.
    """

    def __init__(
        self,
        path: Path,
        *,
        key_frame: Callable[[str, Kind], None],
        presence: Callable[[Presence], None],
        deserted: Callable[[], None] = lambda: None,
        watched: Callable[[bool], None] = lambda wanted: None,
        watch: Watch | None = None,
    ) -> None:
        self._path, self._key_frame, self._presence, self._deserted = path, key_frame, presence, deserted
        self._watched = watched
        self.door = WatchDoor(watch)
        self._tracks: dict[int, FeedTrack] = {}
        self._next_index = 1
        self._listener: socket.socket | None = None
        self._monitors: dict[socket.socket, set[int]] = {}  # with the tracks that each wants
        self._kept: dict[int, deque[bytes]] = {}
        self._reports: dict[int, tuple[int, bytes]] = {}  # the newest of each track, and when it came
        self._waiting: dict[socket.socket, list[bytes]] = {}
        self._waiting_octets = 0
        self._flushing = False
        self.dropped = 0
        """Messages not sent to a monitor whose socket was full."""

    @property
    def monitored(self) -> bool:
        """Whether a monitor is connected."""
        return bool(self._monitors)

    async def start(self) -> None:
        """Listens. Raises OSError when the path cannot be used; a socket left by a former process is replaced."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)  # before listen: until then nobody can connect
            listener.listen(_MOST_MONITORS)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    async def stop(self) -> None:
        for monitor in list(self._clients()):
            self._cut(monitor)
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def announce(self, camera: str, codecs: Mapping[Kind, Codec]) -> dict[Kind, int]:
        """A camera connected: its media are live under these new indices, its former ones are gone."""
        self._tracks = {index: track for index, track in self._tracks.items() if track.camera != camera}
        self._kept = {index: kept for index, kept in self._kept.items() if index in self._tracks}
        self._reports = {index: report for index, report in self._reports.items() if index in self._tracks}
        made: dict[Kind, int] = {}
        for kind, codec in codecs.items():
            index, self._next_index = self._next_index, self._next_index % 0xFFFF + 1
            self._tracks[index] = FeedTrack(index, camera, codec)
            self._kept[index] = deque(maxlen=KEPT_PACKETS)
            made[kind] = index
        before = self.wanted
        for wants in self._monitors.values():
            wants.intersection_update(self._tracks)
        self._tell()
        if self.wanted != before:
            self._watched(self.wanted)
        return made

    def withdraw(self, camera: str) -> None:
        """The camera is gone."""
        self.announce(camera, {})

    @property
    def wanted(self) -> bool:
        """Whether anybody watches anything now."""
        return any(self._monitors.values())

    def send(self, track: int, packets: list[bytes], arrival_ns: int) -> None:
        """RTP packets of a track that were read together, to whoever wants them, with what else this reading brings."""
        if (kept := self._kept.get(track)) is not None:
            kept.extend(packets)
        ready = b""
        for monitor, wanted in self._monitors.items():
            if track in wanted:
                ready = ready or batch(track, packets, arrival_ns)
                self._waiting.setdefault(monitor, []).append(ready)
        self._waiting_octets += len(ready)
        if self._waiting_octets >= FULL:
            # Of a key frame, the first part is on its way to viewers while the rest is read.
            self._flush()
        elif ready and not self._flushing:
            # All sockets are read in one turn of the loop: after it everything goes in one message.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_turn)

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        """One pair of the camera's own clock, from its sender report."""
        before_ns = self._reports[track][0] if track in self._reports else -REPORT_EVERY_NS
        if track not in self._tracks or arrival_ns - before_ns < REPORT_EVERY_NS:
            return  # FFmpeg sends dozens a second; two say as much
        message = HEAD.pack(REPORT, track, arrival_ns) + MAPPING.pack(ntp, rtp & 0xFFFFFFFF)
        self._reports[track] = arrival_ns, message
        for monitor, wanted in list(self._monitors.items()):
            if track in wanted:
                self._send(monitor, [message])
        self._show([message])

    def unit(self, track: int, about: bytes, data: bytes, arrival_ns: int) -> None:
        """One access unit of a track, to the watch, if there is one. `about`: `watching.messages.unit_message`."""
        self._show([HEAD.pack(UNIT, track, arrival_ns), about, data])

    def _show(self, parts: list[bytes]) -> None:
        if not self.door.show(parts) and self.door.client is not None:
            self._cut(self.door.client)

    def _clients(self) -> list[socket.socket]:
        return [*self._monitors] if self.door.client is None else [*self._monitors, self.door.client]

    def _flush_turn(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._waiting_octets = self._waiting, {}, 0
        for monitor, batches in waiting.items():
            if monitor in self._monitors:
                self._send_batches(monitor, batches)

    def _send_batches(self, monitor: socket.socket, batches: list[bytes]) -> None:
        parts, octets = [HEAD.pack(PACKETS, 0, 0)], 0
        for each in batches:
            parts.append(each)
            octets += len(each)
            if octets >= FULL:
                self._send(monitor, parts)
                parts, octets = parts[:1], 0
        if octets:
            self._send(monitor, parts)

    def _want(self, monitor: socket.socket, track: int, wanted: bool) -> None:
        wants = self._monitors[monitor]
        if not wanted or track not in self._tracks:
            wants.discard(track)
        elif track not in wants:
            kept = _newest(self._kept[track], monitor.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2)
            now_ns = time.monotonic_ns()
            self._send_batches(monitor, [batch(track, kept[at : at + 64], now_ns) for at in range(0, len(kept), 64)])
            if track in self._reports:
                self._send(monitor, [self._reports[track][1]])
            wants.add(track)
        self._watched(self.wanted)

    def _send(self, monitor: socket.socket, parts: list[bytes]) -> None:
        try:
            monitor.sendmsg(parts)
        except BlockingIOError:
            self.dropped += 1
        except OSError:
            self._cut(monitor)

    def _tell(self, only: socket.socket | None = None) -> None:
        self._flush()
        body = json.dumps({"tracks": [to_json(track) for track in self._tracks.values()]}).encode()
        for monitor in [only] if only is not None else list(self._clients()):
            try:
                monitor.sendmsg([HEAD.pack(TRACKS, 0, 0), body])
            except OSError:
                self._cut(monitor)

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            monitor, _ = self._listener.accept()
        except OSError as error:
            log.warning("feed-accept-failed", error=str(error))
            return
        if len(self._clients()) >= _MOST_MONITORS:
            monitor.close()
            return
        monitor.setblocking(False)
        try:
            monitor.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        except PermissionError:
            monitor.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            if (got := monitor.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)) < _SEND_BUFFER:
                log.warning("feed-send-buffer-capped", got=got, wanted=_SEND_BUFFER, remedy="sysctl net.core.wmem_max")
        self._monitors[monitor] = set()
        asyncio.get_running_loop().add_reader(monitor, self._hear, monitor)
        self._tell(monitor)

    def _cut(self, monitor: socket.socket) -> None:
        if monitor in self._monitors:
            self._forget(monitor)
            self._close(monitor)
            if not self._monitors:
                self._deserted()
        elif self.door.leave(monitor):
            self._close(monitor)

    def _forget(self, monitor: socket.socket) -> None:
        del self._monitors[monitor]
        self._waiting.pop(monitor, None)
        self._watched(self.wanted)

    def _close(self, client: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(client)
        client.close()

    def _hear_watch(self, client: socket.socket, kind: int, body: bytes) -> None:
        """Raises ValueError for what this client may not say."""
        former = self.door.hear(client, kind, body)
        if client in self._monitors:
            self._forget(client)
        if former is not None:
            self._close(former)

    def _hear(self, monitor: socket.socket) -> None:
        try:
            message = monitor.recv(LARGEST_WORD)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._cut(monitor)
            return
        try:
            kind, index, _ = HEAD.unpack_from(message)
            if kind == KEY_FRAME:
                if (track := self._tracks.get(index)) is not None:
                    self._key_frame(track.camera, track.kind)
                return
            if kind == WANT and monitor in self._monitors:
                self._want(monitor, index, message[HEAD.size] == 1)
                return
            if kind in (WATCH, OBSERVATION) or monitor is self.door.client:
                self._hear_watch(monitor, kind, message[HEAD.size :])
                return
            if kind != PRESENCE:
                raise ValueError("unknown type")
            data = json.loads(message[HEAD.size :])
            event: Literal["joined", "left"] = "joined" if data["event"] == "joined" else "left"
            presence = Presence(event, str(data["viewer"]), str(data["camera"]), int(data["utc_ns"]))
        except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("feed-monitor-cut-off", error=type(error).__name__)
            self._cut(monitor)
            return
        self._presence(presence)


def _newest(kept: deque[bytes], octets: int) -> list[bytes]:
    """The last packets that fit: of more than the socket takes, the newest would be dropped, with the key frame."""
    found: list[bytes] = []
    for packet in reversed(kept):
        octets -= len(packet)
        if octets < 0:
            break
        found.append(packet)
    return found[::-1]
