"""From the recorder's feed to all viewers of a camera: each packet renumbered, protected, and sent in one call.

A viewer is slow alone: its socket is never waited for, what does not fit is dropped and counted, and asked for again by
the viewer. A joiner's first pictures go out in small portions, so that they do not flood its socket; live packets queue
behind them, bounded. Requests for key frames are carried to the camera, at most one in half a second for each.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from monitor_room.counter_offer import accepted, counter_offer
from monitor_room.relay import ClockPair, Renumbering, Source, SourcePacket
from recorder.aiortc_hooks import IceSettings, MediaTransport
from recorder.datagrams import SLOTS
from recorder.feed import FeedTrack
from recorder.outgoing import Burst
from recorder.rtcp import (
    NACK,
    Bye,
    PayloadFeedback,
    RtcpPacket,
    SenderInfo,
    SenderReport,
    SourceDescription,
    SourceInfo,
    TransportFeedback,
)
from recorder.sdp import Choice, Codec, Kind, Offer, answer, canonical

CONNECT_WITHIN_S = 10.0
KEY_FRAME_EVERY_NS = 500_000_000
_PORTION, _PORTION_EVERY_S = 48, 0.004
_LONGEST_QUEUE = 3072
_RESENT_PER_TICK = 1024
_PLI, _FIR = 1, 4

log = structlog.get_logger(__name__)


class _Outlet:
    """One medium of one viewer."""

    def __init__(self, codec: Codec, ssrc: int) -> None:
        self.numbers = Renumbering(ssrc, codec.payload_type, codec.clock_rate)
        self.source: Source | None = None
        self.new_clock = False
        self.packets = self.octets = 0
        self.resent = 0  # since the last tick


class Viewer:
    """One viewer's connection to one camera. `ended(viewer, reason)` is called once; `shown()` when media can flow."""

    def __init__(
        self,
        session: str,
        camera: str,
        ice: IceSettings,
        *,
        shown: Callable[[Viewer], None],
        ended: Callable[[Viewer, str], None],
        want_key_frame: Callable[[str], None],
    ) -> None:
        self.session, self.camera = session, camera
        self._offered: tuple[Choice, ...] = ()
        self._shown, self._ended, self._want_key_frame = shown, ended, want_key_frame
        self._transport = MediaTransport(ice, rtp=self._rtp, rtcp=self._rtcp, state=self._state)
        self._outlets: dict[Kind, _Outlet] = {}
        self._queue: deque[SourcePacket] = deque()
        self._portion: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._closer: asyncio.Task[None] | None = None
        self.connected = False

    @property
    def dropped(self) -> int:
        """Packets that the viewer's socket did not take."""
        return self._transport.dropped

    async def answer(self, offer: Offer, chosen: tuple[Choice, ...]) -> str:
        """The SDP answer. Raises InvalidInput or Unavailable; the viewer must then be closed."""
        kinds = [choice.codec.kind for choice in chosen]
        local = await self._transport.answer(canonical(chosen, "recvonly"), send=kinds)
        self._begin(chosen)
        return answer(offer, chosen, local, rtx=False)

    @property
    def offering(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return bool(self._offered)

    async def offer(self, live: Mapping[Kind, Codec]) -> str:
        """An SDP offer of what the camera sends. Raises Unavailable; the viewer must then be closed."""
        text, self._offered = counter_offer(live, await self._transport.offer(list(live)))
        return text

    async def accept(self, answer: Offer) -> None:
        """The viewer's answer to `offer`. Raises InvalidInput, and may then be given a better one."""
        chosen = accepted(self._offered, answer)
        await self._transport.accept(canonical(chosen, "recvonly"))
        self._begin(chosen)
        self._offered = ()

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        if self._closer is None:
            await self._transport.add_candidates(candidates)

    def _begin(self, chosen: tuple[Choice, ...]) -> None:
        for choice in chosen:
            self._outlets[choice.codec.kind] = _Outlet(choice.codec, self._transport.ssrc(choice.codec.kind))
        self._deadline = asyncio.get_running_loop().call_later(CONNECT_WITHIN_S, self._too_late)

    def attach(self, sources: Mapping[Kind, Source]) -> None:
        """These are the camera's media now; each begins anew, video at a key frame."""
        for kind, outlet in self._outlets.items():
            source = sources.get(kind)
            if source is outlet.source:
                continue
            outlet.new_clock = outlet.new_clock or outlet.source is not None
            outlet.source = source
            outlet.numbers.pause()
            if kind == "video":
                self._queue.clear()
                if source is not None and self.connected:
                    self._begin_video(outlet, source)

    def packets(self, kind: Kind, items: list[SourcePacket], burst: Burst, now_ns: int) -> None:
        """More packets of the camera's, already remembered by their source, and the same laid out for all viewers."""
        outlet = self._outlets.get(kind)
        if outlet is None or outlet.source is None or not self.connected:
            return
        if not outlet.numbers.begun:
            if kind == "audio":
                outlet.numbers.begin(items[:1], now_ns, new_clock=outlet.new_clock)
                outlet.new_clock = False
            elif outlet.source.since_key_frame:
                self._begin_video(outlet, outlet.source)
                return  # these packets are in the burst
            else:
                return
        if kind == "video" and self._queue:
            self._queue.extend(items)
            if len(self._queue) > _LONGEST_QUEUE:
                self._queue.clear()
                outlet.numbers.pause()
                self._want_key_frame(self.camera)
        else:
            self._send(outlet, items, burst, now_ns)

    def tick(self, now_ns: int) -> None:
        """Once a second: sender reports on the camera's own clock, so that picture and sound stay together."""
        for outlet in self._outlets.values():
            outlet.resent = 0
            pair = outlet.numbers.clock(outlet.source, now_ns) if outlet.source is not None else None
            if pair is None or not self.connected:
                continue
            octets, packets = outlet.octets & 0xFFFFFFFF, outlet.packets & 0xFFFFFFFF
            ssrc, info = outlet.numbers.ssrc, SenderInfo(pair[0], pair[1], packets, octets)
            names = SourceDescription(chunks=[SourceInfo(ssrc=ssrc, items=[(1, self.session[:16].encode())])])
            self._transport.send_rtcp(bytes(SenderReport(ssrc=ssrc, sender_info=info)) + bytes(names))

    def end(self, reason: str) -> None:
        """Begins the end, once: the picture is cut at once, sockets follow (`close` waits for them)."""
        if self._closer is not None:
            return
        self.connected = False
        for timer in (self._portion, self._deadline):
            if timer is not None:
                timer.cancel()
        self._queue.clear()
        self._closer = asyncio.create_task(self._transport.close(), name=f"viewer-close-{self.camera}")
        self._ended(self, reason)

    async def close(self, reason: str) -> None:
        self.end(reason)
        if self._closer is not None:
            await asyncio.shield(self._closer)

    def _begin_video(self, outlet: _Outlet, source: Source) -> None:
        if not source.since_key_frame:
            self._want_key_frame(self.camera)
            return
        outlet.numbers.begin(source.since_key_frame, time.monotonic_ns(), new_clock=outlet.new_clock)
        outlet.new_clock = False
        self._queue.extend(source.since_key_frame)
        if self._portion is None:
            self._send_portion()

    def _send_portion(self) -> None:
        self._portion = None
        if not self._queue:
            return  # given up meanwhile
        items = [self._queue.popleft() for _ in range(min(_PORTION, len(self._queue)))]
        self._send(self._outlets["video"], items, _burst(items), time.monotonic_ns())
        if self._queue:
            self._portion = asyncio.get_running_loop().call_later(_PORTION_EVERY_S, self._send_portion)

    def _send(self, outlet: _Outlet, items: list[SourcePacket], burst: Burst, now_ns: int) -> None:
        headers = outlet.numbers.write(items, now_ns)
        if b"" in headers:  # something older than this viewer's beginning, that came late
            items = [item for item, header in zip(items, headers, strict=True) if header]
            headers, burst = [header for header in headers if header], _burst(items)
        sent = self._transport.send_rtp(headers, burst)
        outlet.packets += sent
        outlet.octets += burst.octets if sent == len(items) else sum([len(item[3]) for item in items[:sent]])

    def _state(self, state: str) -> None:
        if self._closer is not None:
            return
        if state != "connected":
            self.end("lost" if self.connected else "never-connected")
            return
        self.connected = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._shown(self)
        outlet = self._outlets.get("video")
        if outlet is not None and outlet.source is not None:
            self._begin_video(outlet, outlet.source)

    def _too_late(self) -> None:
        if not self.connected:
            self.end("never-connected")

    def _rtp(self, packets: list[bytes], arrival_ns: int) -> None:
        """A viewer sends no media: what it sends is not looked at."""

    def _rtcp(self, packet: bytes, arrival_ns: int) -> None:
        try:
            reports = RtcpPacket.parse(packet)
        except (ValueError, struct.error):
            return  # authenticated, but not understood: some new kind of report
        for report in reports:
            if isinstance(report, TransportFeedback) and report.fmt == NACK:
                self._resend(report)
            elif isinstance(report, PayloadFeedback) and report.fmt in (_PLI, _FIR):
                self._want_key_frame(self.camera)
            elif isinstance(report, Bye):
                log.debug("viewer-said-goodbye", camera=self.camera)

    def _resend(self, request: TransportFeedback) -> None:
        outlet = next((o for o in self._outlets.values() if o.numbers.ssrc == request.media_ssrc), None)
        if outlet is None or outlet.source is None or not outlet.numbers.begun:
            return
        for sequence in request.lost:
            if outlet.resent >= _RESENT_PER_TICK:
                return
            packet = outlet.numbers.again(sequence, outlet.source)
            if packet is not None:
                outlet.resent += 1
                self._transport.send_rtp([packet[0]], Burst([packet[1]]))


def _burst(items: Sequence[SourcePacket]) -> Burst:
    return Burst([payload for _, _, _, payload in items])


class Fanout:
    """All live cameras and their viewers; the monitor's `FeedHandler`.

    `ask(track)` asks for a key frame, `want(track, wanted)` says whether its packets should come.
    """

    def __init__(self, ask: Callable[[int], None], want: Callable[[int, bool], None]) -> None:
        self._ask, self._want = ask, want
        self._tracks: dict[int, FeedTrack] = {}
        self._sources: dict[int, Source] = {}
        self._viewers: dict[str, set[Viewer]] = {}  # by camera
        self._asked_ns: dict[str, int] = {}

    def codecs(self, camera: str) -> dict[Kind, Codec]:
        """The camera's live media; empty when it is not live."""
        return {track.kind: track.codec for track in self._tracks.values() if track.camera == camera}

    def viewers(self) -> list[Viewer]:
        return [viewer for group in self._viewers.values() for viewer in group]

    def join(self, viewer: Viewer) -> None:
        """To be called once the viewer has its answer; it is shown from when it connects."""
        group = self._viewers.setdefault(viewer.camera, set())
        if not group:
            self._want_camera(viewer.camera, True)
        group.add(viewer)
        viewer.attach(self._of(viewer.camera))

    def leave(self, viewer: Viewer) -> None:
        group = self._viewers.get(viewer.camera, set())
        if viewer in group:
            group.remove(viewer)
            if not group:
                self._want_camera(viewer.camera, False)

    def _want_camera(self, camera: str, wanted: bool) -> None:
        for index, track in self._tracks.items():
            if track.camera == camera:
                # Remembered from before a pause, the track would have a hole: it begins anew.
                self._sources[index] = Source(track.codec)
                self._want(index, wanted)

    def tracks(self, tracks: Mapping[int, FeedTrack]) -> None:
        cameras = {track.camera for track in (*self._tracks.values(), *tracks.values())}
        kept = {i: s for i, s in self._sources.items() if tracks.get(i) == self._tracks[i]}
        self._tracks = dict(tracks)
        self._sources = {index: kept.get(index) or Source(track.codec) for index, track in tracks.items()}
        for index, track in tracks.items():
            if index not in kept and self._viewers.get(track.camera):
                self._want(index, True)
        for camera in cameras:
            for viewer in self._viewers.get(camera, ()):
                viewer.attach(self._of(camera))

    def packets(self, track: int, packets: list[bytes], arrival_ns: int) -> None:
        source = self._sources.get(track)
        if source is None:
            return
        known, viewers = self._tracks[track], self._viewers.get(self._tracks[track].camera)
        items, now_ns = source.add(packets), time.monotonic_ns()
        for at in range(0, len(items) if viewers else 0, SLOTS):
            some = items[at : at + SLOTS]
            burst = _burst(some)
            for viewer in viewers or ():
                viewer.packets(known.codec.kind, some, burst, now_ns)

    def report(self, track: int, ntp: int, rtp: int, arrival_ns: int) -> None:
        if (source := self._sources.get(track)) is not None:
            source.clock = ClockPair(ntp, rtp, arrival_ns)

    def tick(self, now_ns: int) -> None:
        """Once a second."""
        for viewer in self.viewers():
            viewer.tick(now_ns)

    def want_key_frame(self, camera: str) -> None:
        """Carries a viewer's wish to the camera, throttled."""
        now_ns = time.monotonic_ns()
        if now_ns - self._asked_ns.get(camera, -KEY_FRAME_EVERY_NS) < KEY_FRAME_EVERY_NS:
            return
        self._asked_ns[camera] = now_ns
        for track in self._tracks.values():
            if track.camera == camera and track.kind == "video":
                self._ask(track.index)

    def _of(self, camera: str) -> dict[Kind, Source]:
        return {track.kind: self._sources[index] for index, track in self._tracks.items() if track.camera == camera}
