"""From the recorder to the monitor room: a local socket that drops rather than waits.

A Unix SOCK_SEQPACKET socket, so that each message arrives whole or not at all. The recorder serves, readable by its own
user only. Each message begins with

    type 1 octet ‖ track 2 octets ‖ arrival 8 octets (time.monotonic_ns(), same machine), big-endian

and goes on, recorder → monitor:

    1 tracks    JSON {"tracks": [{"index", "camera", "kind", "name", "payload_type", "clock_rate", "channels",
                "fmtp"}]}: everything that is live, at the beginning and at every change; track and arrival are 0
    2 packets   what was read together of one track or several, one after the other:
                track 2 ‖ arrival 8 ‖ count 2 ‖ count × length 2 ‖ whole decrypted RTP packets; the head's are 0
    3 report    8 octets NTP time ‖ 4 octets RTP time of one instant of the camera's clock (from its sender report)
    4 unit      one access unit (`recorder/watching/messages.py`): to the watch, which gets these instead of packets

and monitor → recorder:

    16 key frame  nothing more: the track's camera should send one
    17 presence   JSON {"event": "joined" | "left", "viewer", "camera", "utc_ns"}, `viewer` opaque
    18 watch      nothing more: whoever says so is the watch over content from then on, no monitor, and is well
    19 observation  from the watch alone (`recorder/watching/messages.py`)
    20 want       1 octet: 1, the track's packets are wanted from now on, and first those of the last seconds; 0, they
                  are not. Until it is said, packets stay with the recorder: what nobody watches costs nothing

Full socket: the message is dropped and counted; nothing ever waits for the monitor. A monitor whose socket is too full
for the `tracks` message is cut off, so that it connects and hears it again. A monitor that connects first repeats who
is watching, as `joined` with the time it began: a repetition is not a second joining. An index is used again only after
65,535 others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal, Protocol

import structlog

from recorder.sdp import KINDS, Codec, Kind
from recorder.watching.door import OBSERVATION, UNIT, WATCH, Watch, WatchDoor

_HEAD = struct.Struct("!BHQ")
_BATCH = struct.Struct("!HQH")
_MAPPING = struct.Struct("!QL")
_TRACKS, _PACKETS, _REPORT, _KEY_FRAME, _PRESENCE, _WANT = 1, 2, 3, 16, 17, 20
_LARGEST = 256 * 1024
_LARGEST_WORD = 64 * 1024
_FULL = 64 * 1024  # octets of packets that are sent without waiting for the end of the reading
_SEND_BUFFER = 4 * 1024 * 1024
_SO_SNDBUFFORCE = 32
_MOST_MONITORS = 4
KEPT_PACKETS = 2048
REPORT_EVERY_NS = 500_000_000
"""Packets of each track that wait for somebody to want them: some seconds of picture."""
_AT_ONCE = 64  # messages taken from a socket before other work gets its turn
_RETRY_S = 0.25
_WAITING_PRESENCES = 512

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Presence:
    """A viewer's coming or going, for the room's journal. `viewer` is opaque; `utc_ns` nanoseconds since 1970."""

    event: Literal["joined", "left"]
    viewer: str
    camera: str
    utc_ns: int


def _batch(track: int, packets: list[bytes], arrival_ns: int) -> bytes:
    lengths = [len(packet) for packet in packets]
    return b"".join(
        (_BATCH.pack(track, arrival_ns, len(lengths)), struct.pack(f"!{len(lengths)}H", *lengths), *packets)
    )


def head(kind: int, track: int = 0, arrival_ns: int = 0) -> bytes:
    """What each message begins with."""
    return _HEAD.pack(kind, track, arrival_ns)


def unpack_head(message: bytes) -> tuple[int, int, int, bytes]:
    """Type, track, arrival, and the rest. Raises struct.error where there is less than a head."""
    return *_HEAD.unpack_from(message), message[_HEAD.size :]


def _presence_message(presence: Presence) -> bytes:
    return _HEAD.pack(_PRESENCE, 0, 0) + json.dumps(asdict(presence)).encode()


@dataclass(frozen=True, slots=True)
class FeedTrack:
    """One live medium of one camera. A camera that reconnects has new tracks with new indices."""

    index: int
    camera: str
    codec: Codec

    @property
    def kind(self) -> Kind:
        return self.codec.kind


def _to_json(track: FeedTrack) -> dict[str, object]:
    codec = track.codec
    return {
        "index": track.index,
        "camera": track.camera,
        "kind": codec.kind,
        "name": codec.name,
        "payload_type": codec.payload_type,
        "clock_rate": codec.clock_rate,
        "channels": codec.channels,
        "fmtp": codec.fmtp,
    }


def _from_json(data: dict[str, object]) -> FeedTrack:
    channels = data["channels"]
    codec = Codec(
        kind=next(kind for kind in KINDS if kind == data["kind"]),
        name=str(data["name"]),
        payload_type=int(str(data["payload_type"])),
        clock_rate=int(str(data["clock_rate"])),
        channels=None if channels is None else int(str(channels)),
        fmtp=str(data["fmtp"]),
    )
    return FeedTrack(int(str(data["index"])), str(data["camera"]), codec)


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
        self._flushing = False
        self.dropped = 0
        """Messages not sent to a monitor whose socket was full."""

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
        for wants in self._monitors.values():
            wants.intersection_update(self._tracks)
        self._tell()
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
        batch = b""
        for monitor, wanted in self._monitors.items():
            if track in wanted:
                batch = batch or _batch(track, packets, arrival_ns)
                self._waiting.setdefault(monitor, []).append(batch)
        if batch and not self._flushing:
            # All sockets are read in one turn of the loop: after it everything goes in one message.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        """One pair of the camera's own clock, from its sender report."""
        before_ns = self._reports[track][0] if track in self._reports else -REPORT_EVERY_NS
        if track not in self._tracks or arrival_ns - before_ns < REPORT_EVERY_NS:
            return  # FFmpeg sends dozens a second; two say as much
        message = _HEAD.pack(_REPORT, track, arrival_ns) + _MAPPING.pack(ntp, rtp & 0xFFFFFFFF)
        self._reports[track] = arrival_ns, message
        for monitor, wanted in list(self._monitors.items()):
            if track in wanted:
                self._send(monitor, [message])
        self._show([message])

    def unit(self, track: int, about: bytes, data: bytes, arrival_ns: int) -> None:
        """One access unit of a track, to the watch, if there is one. `about`: `watching.messages.unit_message`."""
        self._show([_HEAD.pack(UNIT, track, arrival_ns), about, data])

    def _show(self, parts: list[bytes]) -> None:
        if not self.door.show(parts) and self.door.client is not None:
            self._cut(self.door.client)

    def _clients(self) -> list[socket.socket]:
        return [*self._monitors] if self.door.client is None else [*self._monitors, self.door.client]

    def _flush(self) -> None:
        self._flushing = False
        waiting, self._waiting = self._waiting, {}
        for monitor, batches in waiting.items():
            if monitor in self._monitors:
                self._send_batches(monitor, batches)

    def _send_batches(self, monitor: socket.socket, batches: list[bytes]) -> None:
        parts, octets = [_HEAD.pack(_PACKETS, 0, 0)], 0
        for batch in batches:
            parts.append(batch)
            octets += len(batch)
            if octets >= _FULL:
                self._send(monitor, parts)
                parts, octets = parts[:1], 0
        if octets:
            self._send(monitor, parts)

    def _want(self, monitor: socket.socket, track: int, wanted: bool) -> None:
        wants = self._monitors[monitor]
        if not wanted or track not in self._tracks:
            wants.discard(track)
        elif track not in wants:
            kept = list(self._kept[track])
            now_ns = time.monotonic_ns()
            self._send_batches(monitor, [_batch(track, kept[at : at + 64], now_ns) for at in range(0, len(kept), 64)])
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
        body = json.dumps({"tracks": [_to_json(track) for track in self._tracks.values()]}).encode()
        for monitor in [only] if only is not None else list(self._clients()):
            try:
                monitor.sendmsg([_HEAD.pack(_TRACKS, 0, 0), body])
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
            message = monitor.recv(_LARGEST_WORD)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._cut(monitor)
            return
        try:
            kind, index, _ = _HEAD.unpack_from(message)
            if kind == _KEY_FRAME:
                if (track := self._tracks.get(index)) is not None:
                    self._key_frame(track.camera, track.kind)
                return
            if kind == _WANT and monitor in self._monitors:
                self._want(monitor, index, message[_HEAD.size] == 1)
                return
            if kind in (WATCH, OBSERVATION) or monitor is self.door.client:
                self._hear_watch(monitor, kind, message[_HEAD.size :])
                return
            if kind != _PRESENCE:
                raise ValueError("unknown type")
            data = json.loads(message[_HEAD.size :])
            event: Literal["joined", "left"] = "joined" if data["event"] == "joined" else "left"
            presence = Presence(event, str(data["viewer"]), str(data["camera"]), int(data["utc_ns"]))
        except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("feed-monitor-cut-off", error=type(error).__name__)
            self._cut(monitor)
            return
        self._presence(presence)


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
        self._received = bytearray(_LARGEST)
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
                    link.send(_presence_message(presence))
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
                self._socket.send(_HEAD.pack(_KEY_FRAME, track, time.monotonic_ns()))

    def want(self, track: int, wanted: bool) -> None:
        """Whether the track's packets should come; to be said anew for each index. Lost while the recorder is away."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the reader sees a broken link; its tracks are told anew
                self._socket.send(_HEAD.pack(_WANT, track, time.monotonic_ns()) + bytes([wanted]))

    def presence(self, presence: Presence) -> None:
        """Reports a joining or leaving; kept while the recorder is out of reach, the oldest of 512 given up first."""
        if len(self._presences) == _WAITING_PRESENCES:
            log.error("feed-presence-given-up", camera=presence.camera)
        self._presences.append(_presence_message(presence))
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
            if size < _FULL:
                break  # there is seldom another one: asking would cost as much as being told
        self._flush()

    def _take(self, message: bytes) -> None:
        kind, track, arrival_ns = _HEAD.unpack_from(message)
        if kind == _PACKETS:
            at, end = _HEAD.size, len(message)
            while at < end:
                track, arrival_ns, count = _BATCH.unpack_from(message, at)
                lengths = struct.unpack_from(f"!{count}H", message, at + _BATCH.size)
                ends = list(accumulate(lengths, initial=at + _BATCH.size + 2 * count))
                self._handler.packets(track, [message[a:b] for a, b in pairwise(ends)], arrival_ns)
                at = ends[-1]
        elif kind == _REPORT:
            ntp, rtp = _MAPPING.unpack_from(message, _HEAD.size)
            self._handler.report(track, ntp, rtp, arrival_ns)
        elif kind == _TRACKS:
            tracks = [_from_json(item) for item in json.loads(message[_HEAD.size :])["tracks"]]
            self._handler.tracks({item.index: item for item in tracks})
