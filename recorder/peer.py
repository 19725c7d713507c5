"""One camera's connection: its packets to the recorder's sink, and the feedback that keeps it sending.

RTP packets are handed on as they were read, many together, in the order of arrival, duplicates included, RTX (RFC 4588)
unwrapped; putting them in order is the track's work. This side asks by itself for what is missing, of media for which
the camera has offered to answer (`feedback.Missing`: five times within 120 ms after it was missed, given up at 200 ms),
and for a key frame when a video packet was given up; `key_frame()` is for what only the track can see.
Bandwidth: a fixed ceiling is announced (REMB), in the first two seconds often, because Chromium jumps to what it is
told then and otherwise climbs slowly; it reacts to loss by our receiver reports.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from recorder.aiortc_hooks import IceSettings, MediaTransport
from recorder.capture_time import capture_ntp
from recorder.datagrams import READ_AT_LEISURE_S, READ_SOON_S, DatagramReader
from recorder.feedback import Missing, Reception
from recorder.rtcp import (
    Bye,
    PayloadFeedback,
    ReceiverReport,
    RtcpPacket,
    SenderReport,
    generic_nack,
    pack_remb_fci,
)
from recorder.rtp import HEADER, RtpPacket, unpadded
from recorder.sdp import Choice, Codec, Kind, Offer, answer, canonical

CONNECT_WITHIN_S = 10.0
KEY_FRAME_EVERY_NS = 500_000_000
REPORT_EVERY_S = 1.0
CAPTURE_TIME_EVERY_NS = 1_000_000_000
BITRATE_CEILING = 6_000_000
# Chromium begins at 300 kbit/s, at which it shrinks the picture and keeps it small, unless the answer says otherwise.
_BITRATE_HINT = f"x-google-start-bitrate=4000;x-google-max-bitrate={BITRATE_CEILING // 1000}"
_ASK_AGAIN_S = 0.02
_CALM_NS = 10_000_000_000
"""So long after it connected, or lost a packet, a camera is read soon: its clock is being learnt, or its line loses."""
_QUIET_NS, _LINGER_NS = 100_000_000, 500_000_000
_PLI, _REMB = 1, 15

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """A camera that has connected. `fingerprint`: of its DTLS certificate, `sha-256 AB:CD:…`; `address`: `ip:port`."""

    id: str
    camera: str
    fingerprint: str
    address: str | None
    codecs: Mapping[Kind, Codec]


class Sink(Protocol):
    """The recording way's entrance. Called on the event loop while a datagram is handled: no wait, disk or cipher."""

    def connected(self, connection: Connection) -> None: ...

    def rtp(
        self, connection: Connection, kind: Kind, packets: list[RtpPacket], in_order: bool, arrival_ns: int
    ) -> None:
        """What was read together, in the order of arrival; `arrival_ns` is time.monotonic_ns(). `in_order`: each number
        is the one after the number before it, beginning with the last one of the call before."""

    def sender_report(self, connection: Connection, kind: Kind, ntp: int, rtp: int, arrival_ns: int) -> None:
        """The camera's own clock: 64-bit NTP time and the RTP time of the same instant (RFC 3550, section 6.4.1)."""

    def disconnected(self, connection: Connection, reason: str) -> None:
        """Once for each `connected`. `reason`: a code, such as `ended-by-camera`, `lost`, `replaced`, `stopped`."""


class _Inbound:
    """One medium of the camera: its format and what its present source has sent."""

    def __init__(self, choice: Choice) -> None:
        self.codec = choice.codec
        self.announced = choice.section.ssrc
        self.capture_time = choice.section.capture_time
        self.captured_ns = 0
        self.reception: Reception | None = None
        self.missing = Missing()
        self.key_frame_asked_ns = -KEY_FRAME_EVERY_NS
        self.batch: list[RtpPacket] = []
        self.expected = -1
        """The sequence number that would be no surprise; −1 before the first packet of a source."""
        self.in_order = True
        self.uncounted = 0
        """Packets that came as expected since the statistics were brought up to date."""

    @property
    def ssrc(self) -> int | None:
        return self.reception.ssrc if self.reception is not None else self.announced

    def count(self, arrival_ns: int) -> None:
        """Brings the statistics up to date with what went on in order."""
        if self.uncounted and self.reception is not None:
            self.reception.went_on(self.uncounted, self.batch[-1][1], arrival_ns)
            self.missing.went_on(self.uncounted)
        self.uncounted = 0

    def surprise(self, sequence: int, timestamp: int, ssrc: int, arrival_ns: int) -> None:
        """Another one came: a loss, a late one, a duplicate, or another source's, whose statistics begin afresh."""
        self.count(arrival_ns)
        self.in_order = False
        if self.reception is None or self.reception.ssrc != ssrc:
            self.reception, self.missing = Reception(ssrc, self.codec.clock_rate), Missing()
        self.reception.received(sequence, timestamp, arrival_ns)
        self.missing.received(sequence, arrival_ns)
        self.expected = self.missing.expected

    def repaired(self, sequence: int, arrival_ns: int) -> None:
        """One came again on request (RTX)."""
        self.count(arrival_ns)
        self.in_order = False
        self.missing.received(sequence, arrival_ns)
        self.expected = self.missing.expected


class Peer:
    """From an accepted offer to the end of one camera's connection.

    `ended(peer)` is called once, when everything of it is closed. `heard_ns`: when the last RTP packet came (monotonic;
    until the first, when the peer was made), by which a stale publisher is known.
    """

    def __init__(
        self,
        camera: str,
        offer: Offer,
        sink: Sink,
        ice: IceSettings,
        ended: Callable[[Peer], None],
        *,
        connect_within_s: float = CONNECT_WITHIN_S,
    ) -> None:
        self.camera = camera
        self.id = secrets.token_hex(8)
        self.heard_ns = time.monotonic_ns()
        self.connection: Connection | None = None
        self.unreadable = 0
        """Packets of an unknown payload type, or not whole."""
        self._offer, self._chosen = offer, offer.publisher()
        self._sink, self._ended, self._connect_within_s = sink, ended, connect_within_s
        self._transport = MediaTransport(ice, rtp=self._rtp, rtcp=self._rtcp, state=self._state)
        self._inbound: dict[Kind, _Inbound] = {c.codec.kind: _Inbound(c) for c in self._chosen}
        self._formats = {i.codec.payload_type: (i, False) for i in self._inbound.values()}
        self._formats |= {i.codec.rtx: (i, True) for i in self._inbound.values() if i.codec.rtx is not None}
        self._up = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._asking: asyncio.TimerHandle | None = None
        self._reader = DatagramReader.shared()
        self._restless_ns = self.heard_ns
        self._reader.pace(self, READ_SOON_S)

    async def answer(self) -> str:
        """The SDP answer, all candidates in it. Raises InvalidInput or Unavailable; the peer must then be closed."""
        local = await self._transport.answer(canonical(self._chosen, "sendonly"))
        self._runner = asyncio.create_task(self._run(), name=f"peer-{self.id}")
        return answer(self._offer, self._chosen, local, rtx=True, bitrate_hint=_BITRATE_HINT)

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        """More of the camera's ICE candidates, see `MediaTransport.add_candidates`."""
        if self._closer is None:
            await self._transport.add_candidates(candidates)

    @property
    def ufrag(self) -> str:
        """The camera's ICE username fragment: a change of it would be a restart."""
        return self._chosen[0].section.ufrag or ""

    @property
    def lost(self) -> int:
        """Video and audio packets that never came, or came too late to be asked for again."""
        return sum(i.missing.given_up for i in self._inbound.values())

    @property
    def refused(self) -> int:
        """Datagrams that SRTP refused."""
        return self._transport.refused

    def key_frame(self, kind: Kind = "video") -> None:
        """Asks for a key frame (PLI), at most one request in half a second. FFmpeg's muxer cannot answer it."""
        inbound, now_ns = self._inbound.get(kind), time.monotonic_ns()
        if inbound is None or inbound.ssrc is None or now_ns - inbound.key_frame_asked_ns < KEY_FRAME_EVERY_NS:
            return
        inbound.key_frame_asked_ns = now_ns
        self._transport.send_rtcp(
            bytes(PayloadFeedback(fmt=_PLI, ssrc=self._transport.ssrc(kind), media_ssrc=inbound.ssrc))
        )

    async def linger(self) -> None:
        """Until nothing came for 0.1 s, at most 0.5 s: a goodbye (TCP) can overtake the last pictures (UDP)."""
        self._hurry()
        end_ns = time.monotonic_ns() + _LINGER_NS
        while self._closer is None:
            await asyncio.sleep(_ASK_AGAIN_S)
            now_ns = time.monotonic_ns()
            if now_ns >= end_ns or now_ns - self.heard_ns >= _QUIET_NS:
                return

    async def close(self, reason: str) -> None:
        """Ends the connection; returns when its sockets and tasks are gone."""
        self.end(reason)
        if self._closer is not None:
            await asyncio.shield(self._closer)

    def end(self, reason: str) -> None:
        """Begins the end, once: the sink is told at once, sockets and tasks follow (`close` waits for them)."""
        if self._closer is not None:
            return
        if self._asking is not None:
            self._asking.cancel()
        self._closer = asyncio.create_task(self._close(), name=f"peer-{self.id}-close")
        log.info(
            "camera-disconnected", camera=self.camera, connection=self.id, reason=reason,
            lost=self.lost, refused=self.refused, unreadable=self.unreadable,
        )  # fmt: skip
        if self.connection is not None:
            self._sink.disconnected(self.connection, reason)

    async def _close(self) -> None:
        try:
            if self._runner is not None:
                self._runner.cancel()
                await asyncio.wait([self._runner])
            await self._transport.close()
        finally:
            self._reader.pace(self, None)
            self._ended(self)

    def _state(self, state: str) -> None:
        if self._closer is not None:
            return
        if state != "connected":
            self.end("lost" if self.connection is not None else "never-connected")
            return
        self.connection = Connection(
            id=self.id,
            camera=self.camera,
            fingerprint=self._offer.fingerprint,
            address=self._transport.remote_address,
            codecs={kind: inbound.codec for kind, inbound in self._inbound.items()},
        )
        log.info("camera-connected", camera=self.camera, connection=self.id)
        self._sink.connected(self.connection)
        self._hurry()
        self._up.set()

    def _hurry(self) -> None:
        self._restless_ns = time.monotonic_ns()
        self._reader.pace(self, READ_SOON_S)

    def _rtp(self, packets: list[bytes], arrival_ns: int) -> None:
        connection = self.connection
        if connection is None or self._closer is not None:
            return
        formats, unpack = self._formats, HEADER.unpack_from
        for packet in packets:
            first, second, sequence, timestamp, ssrc = unpack(packet)
            found = formats.get(second & 0x7F)
            start = 12
            if first != 0x80:
                if (whole := unpadded(packet)) is None:
                    self.unreadable += 1
                    continue
                start, packet = whole
            if found is None:
                self.unreadable += 1
                continue
            inbound, again = found
            reception = inbound.reception
            if again:
                if len(packet) < start + 2 or reception is None:
                    continue  # a bandwidth probe of padding, or nothing yet that it could repeat
                sequence = (packet[start] << 8) | packet[start + 1]
                second = (second & 0x80) | inbound.codec.payload_type
                packet = HEADER.pack(0x80, second, sequence, timestamp, reception.ssrc) + packet[start + 2 :]
                start = 12
                inbound.repaired(sequence, arrival_ns)
            elif sequence == inbound.expected and reception is not None and ssrc == reception.ssrc:
                inbound.expected = (sequence + 1) & 0xFFFF
                inbound.uncounted += 1
            else:
                inbound.surprise(sequence, timestamp, ssrc, arrival_ns)
            inbound.batch.append((sequence, timestamp, second > 127, start, packet))
        self.heard_ns = arrival_ns
        for kind, inbound in self._inbound.items():
            if inbound.batch:
                inbound.count(arrival_ns)
                batch, in_order = inbound.batch, inbound.in_order
                inbound.batch, inbound.in_order = [], True
                if inbound.capture_time is not None and arrival_ns - inbound.captured_ns >= CAPTURE_TIME_EVERY_NS:
                    self._captured(connection, kind, inbound, batch, arrival_ns)
                self._sink.rtp(connection, kind, batch, in_order, arrival_ns)
        # Last: what goes wrong here costs nothing of what came.
        if self._asking is None and any(inbound.missing for inbound in self._inbound.values()):
            self._ask()

    def _captured(
        self, connection: Connection, kind: Kind, inbound: _Inbound, packets: list[RtpPacket], arrival_ns: int
    ) -> None:
        """A packet may say when it was captured: to the clock that is a sender report."""
        for _, timestamp, _, _, packet in packets:
            ntp = capture_ntp(packet, inbound.capture_time or 0)
            if ntp is not None:
                inbound.captured_ns = arrival_ns
                self._sink.sender_report(connection, kind, ntp, timestamp, arrival_ns)
                return

    def _ask(self) -> None:
        """Asks for what is due, and goes on every 20 ms while anything is missing."""
        self._asking = None  # whatever happens here, the next loss asks again
        self._hurry()
        now_ns, waiting = time.monotonic_ns(), False
        for kind, inbound in self._inbound.items():
            before = inbound.missing.given_up
            # Asking where nothing was offered is worse than in vain: FFmpeg reads one datagram for each of its own.
            due, source = inbound.missing.due(now_ns), inbound.ssrc
            if due and source is not None and "nack" in inbound.codec.feedback:
                self._transport.send_rtcp(generic_nack(self._transport.ssrc(kind), source, due))
            if kind == "video" and inbound.missing.given_up > before:
                self.key_frame()
            waiting = waiting or bool(inbound.missing)
        if waiting:
            self._asking = asyncio.get_running_loop().call_later(_ASK_AGAIN_S, self._ask)

    def _rtcp(self, packet: bytes, arrival_ns: int) -> None:
        if self.connection is None or self._closer is not None:
            return
        try:
            reports = RtcpPacket.parse(packet)
        except (ValueError, struct.error):
            self.unreadable += 1
            return
        for report in reports:
            for kind, inbound in self._inbound.items():
                if isinstance(report, SenderReport) and report.ssrc == inbound.ssrc:
                    info = report.sender_info
                    if inbound.reception is not None:
                        inbound.reception.sender_report(info.ntp_timestamp, arrival_ns)
                    self._sink.sender_report(self.connection, kind, info.ntp_timestamp, info.rtp_timestamp, arrival_ns)
                elif isinstance(report, Bye) and inbound.ssrc in report.sources:
                    log.info("camera-said-goodbye", camera=self.camera, connection=self.id, kind=kind)

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._connect_within_s):
                await self._up.wait()
        except TimeoutError:
            self.end("never-connected")
            return
        for turn in range(1 << 62):
            try:
                self._report()
            except Exception as error:  # noqa: BLE001 - one report that fails is not the last one
                log.error("peer-feedback-failed", connection=self.id, error=repr(error))
            await asyncio.sleep(REPORT_EVERY_S if turn > 10 else REPORT_EVERY_S / 5)

    def _report(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._restless_ns > _CALM_NS:
            self._reader.pace(self, READ_AT_LEISURE_S)
        for kind, inbound in self._inbound.items():
            if inbound.reception is None:
                continue
            ours = self._transport.ssrc(kind)
            data = bytes(ReceiverReport(ssrc=ours, reports=[inbound.reception.report(now_ns)]))
            if "goog-remb" in inbound.codec.feedback:
                fci = pack_remb_fci(BITRATE_CEILING, [inbound.reception.ssrc])
                data += bytes(PayloadFeedback(fmt=_REMB, ssrc=ours, media_ssrc=0, fci=fci))
            self._transport.send_rtcp(data)
