"""From the recorder to the monitor room: a local socket that drops rather than waits.

A Unix SOCK_SEQPACKET socket, so that each message arrives whole or not at all. The recorder serves, readable by its own
user only. Each message begins with

    type 1 octet ‖ track 2 octets ‖ arrival 8 octets (time.monotonic_ns(), same machine), big-endian

and goes on, recorder → monitor:

    1 tracks    JSON {"tracks": [{"index", "camera", "kind", "name", "payload_type", "clock_rate", "channels",
                "fmtp"}]}: everything that is live, at the beginning and at every change; track and arrival are 0
    2 packet    one whole decrypted RTP packet
    3 report    8 octets NTP time ‖ 4 octets RTP time of one instant of the camera's clock (from its sender report)

and monitor → recorder:

    16 key frame  nothing more: the track's camera should send one
    17 presence   JSON {"event": "joined" | "left", "viewer", "camera", "utc_ns"}, `viewer` opaque

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
from pathlib import Path
from typing import Literal, Protocol

import structlog

from recorder.sdp import KINDS, Codec, Kind

_HEAD = struct.Struct("!BHQ")
_MAPPING = struct.Struct("!QL")
_TRACKS, _PACKET, _REPORT, _KEY_FRAME, _PRESENCE = 1, 2, 3, 16, 17
_LARGEST = 64 * 1024
_SEND_BUFFER = 4 * 1024 * 1024
_SO_SNDBUFFORCE = 32
_MOST_MONITORS = 4
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
    last monitor is gone, without a word of who watched there.
    """

    def __init__(
        self,
        path: Path,
        *,
        key_frame: Callable[[str, Kind], None],
        presence: Callable[[Presence], None],
        deserted: Callable[[], None] = lambda: None,
    ) -> None:
        self._path, self._key_frame, self._presence, self._deserted = path, key_frame, presence, deserted
        self._tracks: dict[int, FeedTrack] = {}
        self._next_index = 1
        self._listener: socket.socket | None = None
        self._monitors: list[socket.socket] = []
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
        for monitor in list(self._monitors):
            self._cut(monitor)
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def announce(self, camera: str, codecs: Mapping[Kind, Codec]) -> dict[Kind, int]:
        """A camera connected: its media are live under these new indices, its former ones are gone."""
        self._tracks = {index: track for index, track in self._tracks.items() if track.camera != camera}
        made: dict[Kind, int] = {}
        for kind, codec in codecs.items():
            index, self._next_index = self._next_index, self._next_index % 0xFFFF + 1
            self._tracks[index] = FeedTrack(index, camera, codec)
            made[kind] = index
        self._tell()
        return made

    def withdraw(self, camera: str) -> None:
        """The camera is gone."""
        self.announce(camera, {})

    def send(self, track: int, packet: bytes, arrival_ns: int) -> None:
        """One RTP packet of a track, to whoever watches."""
        if self._monitors:
            self._send([_HEAD.pack(_PACKET, track, arrival_ns), packet])

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        """One pair of the camera's own clock, from its sender report."""
        if self._monitors:
            self._send([_HEAD.pack(_REPORT, track, arrival_ns), _MAPPING.pack(ntp, rtp & 0xFFFFFFFF)])

    def _send(self, parts: list[bytes]) -> None:
        for monitor in list(self._monitors):
            try:
                monitor.sendmsg(parts)
            except BlockingIOError:
                self.dropped += 1
            except OSError:
                self._cut(monitor)

    def _tell(self, only: socket.socket | None = None) -> None:
        body = json.dumps({"tracks": [_to_json(track) for track in self._tracks.values()]}).encode()
        for monitor in [only] if only is not None else list(self._monitors):
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
        if len(self._monitors) >= _MOST_MONITORS:
            monitor.close()
            return
        monitor.setblocking(False)
        try:
            monitor.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        except PermissionError:
            monitor.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._monitors.append(monitor)
        asyncio.get_running_loop().add_reader(monitor, self._hear, monitor)
        self._tell(monitor)

    def _cut(self, monitor: socket.socket) -> None:
        if monitor in self._monitors:
            self._monitors.remove(monitor)
            asyncio.get_running_loop().remove_reader(monitor)
            monitor.close()
            if not self._monitors:
                self._deserted()

    def _hear(self, monitor: socket.socket) -> None:
        try:
            message = monitor.recv(_LARGEST)
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
            if kind != _PRESENCE:
                raise ValueError("unknown type")
            data = json.loads(message[_HEAD.size :])
            event: Literal["joined", "left"] = "joined" if data["event"] == "joined" else "left"
            presence = Presence(event, str(data["viewer"]), str(data["camera"]), int(data["utc_ns"]))
        except (struct.error, ValueError, KeyError, TypeError) as error:
            log.warning("feed-monitor-cut-off", error=type(error).__name__)
            self._cut(monitor)
            return
        self._presence(presence)


class FeedHandler(Protocol):
    """What the monitor does with the feed; called on its event loop."""

    def tracks(self, tracks: Mapping[int, FeedTrack]) -> None:
        """All that is live now; also, empty, when the recorder is out of reach."""

    def packet(self, track: int, packet: bytes, arrival_ns: int) -> None: ...

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
                message = link.recv(_LARGEST)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:
                self._broken.set()
                return
            self._take(message)
        self._flush()

    def _take(self, message: bytes) -> None:
        kind, track, arrival_ns = _HEAD.unpack_from(message)
        if kind == _PACKET:
            self._handler.packet(track, message[_HEAD.size :], arrival_ns)
        elif kind == _REPORT:
            ntp, rtp = _MAPPING.unpack_from(message, _HEAD.size)
            self._handler.report(track, ntp, rtp, arrival_ns)
        elif kind == _TRACKS:
            tracks = [_from_json(item) for item in json.loads(message[_HEAD.size :])["tracks"]]
            self._handler.tracks({item.index: item for item in tracks})
