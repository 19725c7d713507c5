"""The one place that reaches into aiortc and aioice. Everything else uses `MediaTransport`.

aiortc negotiates, does ICE and DTLS, and makes the SRTP keys. From there on media goes past it: a datagram is
unprotected into one reused buffer and handed on in the same call: no queue, task, jitter buffer, decoder or thread; a
packet to send is protected and given to the socket in the same call, and dropped when the socket is full.

What is reached into is listed in `_RELIED_ON` and checked by `verify()`, which the contract test and every process that
starts a transport call. The pins are exact: on an upgrade, read the named places again, then move the pins.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import inspect
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import structlog
from aioice import ice, stun
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RtcpByePacket as Bye
from aiortc.rtp import RtcpPacket, pack_remb_fci
from aiortc.rtp import RtcpPsfbPacket as PayloadFeedback
from aiortc.rtp import RtcpReceiverInfo as ReceptionReport
from aiortc.rtp import RtcpRrPacket as ReceiverReport
from aiortc.rtp import RtcpRtpfbPacket as TransportFeedback
from aiortc.rtp import RtcpSdesPacket as SourceDescription
from aiortc.rtp import RtcpSenderInfo as SenderInfo
from aiortc.rtp import RtcpSourceInfo as SourceInfo
from aiortc.rtp import RtcpSrPacket as SenderReport
from pylibsrtp import _binding

from evidence_store.errors import InvalidInput, Unavailable

__all__ = [
    "Bye",
    "IceSettings",
    "MediaTransport",
    "PayloadFeedback",
    "ReceiverReport",
    "ReceptionReport",
    "RtcpPacket",
    "SenderInfo",
    "SenderReport",
    "SourceDescription",
    "SourceInfo",
    "TransportFeedback",
    "pack_remb_fci",
    "verify",
]

PINS = {"aiortc": "1.16.0", "aioice": "0.13.0", "pylibsrtp": "1.0.0"}
_RELIED_ON: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        ice.Connection,
        ("_protocols", "_nominated", "_queue", "get_component_candidates", "gather_candidates", "query_consent"),
    ),
    (ice.Connection, ("add_remote_candidate", "remote_candidates")),
    (ice.StunProtocol, ("datagram_received", "receiver", "local_candidate")),
    (RTCDtlsTransport, ("_rx_srtp", "_tx_srtp", "transport")),
    (RTCRtpReceiver, ("receive", "stop", "transport")),
    (RTCRtpSender, ("send", "stop", "_ssrc")),
)
# Octets of UDP receive buffer wanted: several key frames at once, about 250 kB each, counted double by the kernel.
RECEIVE_BUFFER = 2 * 1024 * 1024
_SO_RCVBUFFORCE = 33
_LARGEST = 2048
_TRAILER = 4 + 16 + 128  # SRTCP index, tag and key identifier (libsrtp's maxima)
_WAITING_LIMIT = 256
MOST_REMOTE = 32
"""Remote candidates of one connection, given and learnt, beyond which no more are taken from a client's list."""
CONSENT_EVERY_S = 5.0
CONSENT_WITHIN_S = 30.0
_AIORTC_ERRORS = (ValueError, AssertionError, InternalError, InvalidAccessError, InvalidStateError, OperationError)

log = structlog.get_logger(__name__)


@cache
def verify() -> None:
    """Raises RuntimeError, naming each difference, when the libraries are not those the hooks were written for."""
    wrong = [
        f"{name} is {importlib.metadata.version(name)}, the hooks were written for {pin}"
        for name, pin in PINS.items()
        if importlib.metadata.version(name) != pin
    ]
    for owner, names in _RELIED_ON:
        source = inspect.getsource(owner)
        wrong += [
            f"{owner.__module__}.{owner.__name__} has no {name} any more"
            for name in names
            if not hasattr(owner, name) and f"self.{name}" not in source
        ]
    expected = ["self", "component", "addresses", "timeout"]
    if list(inspect.signature(ice.Connection.get_component_candidates).parameters) != expected:
        wrong.append(f"aioice's get_component_candidates no longer takes {expected}")
    if wrong:
        raise RuntimeError("recorder/aiortc_hooks.py does not fit the installed libraries: " + "; ".join(wrong) + ".")


@dataclass(frozen=True, slots=True)
class IceSettings:
    """`addresses`: local IP addresses to offer, best first (FFmpeg uses only the first). `port_range`: inclusive."""

    addresses: Sequence[str] = ("127.0.0.1",)
    port_range: tuple[int, int] | None = None


@cache
def _warn_small_buffer(got: int) -> None:
    log.warning("udp-receive-buffer-capped", got=got, wanted=RECEIVE_BUFFER, remedy="sysctl net.core.rmem_max")


def open_socket(address: str, ports: tuple[int, int] | None) -> socket.socket:
    """A bound, non-blocking UDP socket with a raised receive buffer. Raises OSError when no port is free."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
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


class _Endpoint(ice.StunProtocol):
    """aioice's protocol of one socket; SRTP and SRTCP (RFC 7983: first octet 128 to 191) taken out once keys exist."""

    def __init__(self, receiver: ice.Connection, sock: socket.socket) -> None:
        super().__init__(receiver)
        self.sock = sock
        self.take: Callable[[bytes], None] | None = None

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        first: Any = data[0] if data else 0
        if self.take is not None and 127 < first < 192:
            self.take(data)  # type: ignore[arg-type] # UDP gives bytes
        elif first < 4 or self.receiver._queue.qsize() < _WAITING_LIMIT:
            # First octets 0 to 3 are STUN and answered at once; the rest waits in aioice's queue, which has no bound of
            # its own: DTLS sends again what is dropped here.
            super().datagram_received(data, addr)


class _Cipher:
    """One SRTP session of pylibsrtp, with one buffer for its life: no allocation but the result."""

    def __init__(self, session: Any) -> None:
        self._session = session  # owns the keys; freed with it
        self._srtp = session._srtp[0]
        self._cdata = _binding.ffi.new("char[]", _LARGEST + _TRAILER)
        self._buffer = _binding.ffi.buffer(self._cdata)
        self._length = _binding.ffi.new("int *")

    def run(self, function: Any, packet: bytes) -> bytes | None:
        """The packet protected or unprotected; None when it is too large, forged or replayed."""
        size = len(packet)
        if size > _LARGEST:
            return None
        self._buffer[0:size] = packet
        self._length[0] = size
        if function(self._srtp, self._cdata, self._length):
            return None
        result: bytes = self._buffer[0 : self._length[0]]
        return result


def _same(endpoint: _Endpoint) -> _Endpoint:
    return endpoint


async def _nothing(parameters: object) -> None:
    """In place of RTCRtpReceiver.receive and RTCRtpSender.send: no decoder thread, encoder or RTCP task is begun."""


class MediaTransport:
    """One peer connection with one bundled transport; media goes in and out as whole, decrypted RTP and RTCP packets.

    Callbacks run on the event loop inside the arrival of a datagram and must be cheap:
    `rtp(packet, arrival_ns)`, `rtcp(packet, arrival_ns)`, `state("connected" | "failed" | "closed")`.
    `arrival_ns` is time.monotonic_ns().
    """

    def __init__(
        self,
        settings: IceSettings,
        *,
        rtp: Callable[[bytes, int], None],
        rtcp: Callable[[bytes, int], None],
        state: Callable[[str], None],
    ) -> None:
        verify()
        self._settings = settings
        self._rtp, self._rtcp, self._state = rtp, rtcp, state
        # No servers given would mean a public STUN server.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._ice: Any = None
        self._dtls: Any = None
        self._inward: Any = None
        self._outward: Any = None
        self._heard_ns = time.monotonic_ns()
        self.refused = 0
        """Datagrams that SRTP refused: forged, replayed, or too large."""
        self.dropped = 0
        """Packets not sent because the socket was full or not connected."""

    async def answer(self, canonical_offer: str, *, send: Sequence[str] = ()) -> str:
        """aiortc's answer with all candidates; `send` names the kinds that we send, in the order of the offer.

        Raises InvalidInput (`sdp-refused`) when aiortc refuses, Unavailable (`no-udp-port`) when nothing can be bound.
        """
        try:
            for kind in send:
                self._pc.addTransceiver(kind, direction="sendonly")
            await self._pc.setRemoteDescription(RTCSessionDescription(canonical_offer, "offer"))
            self._attach()
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        except _AIORTC_ERRORS as error:
            raise InvalidInput(f"The offer cannot be answered: {error}.", code="sdp-refused") from error
        return str(self._pc.localDescription.sdp)

    async def offer(self, send: Sequence[str]) -> str:
        """aiortc's own offer with all candidates, to send these kinds. Raises Unavailable (`no-udp-port`)."""
        for kind in send:
            self._pc.addTransceiver(kind, direction="sendonly")
        self._attach()
        await self._pc.setLocalDescription(await self._pc.createOffer())
        return str(self._pc.localDescription.sdp)

    async def accept(self, canonical_answer: str) -> None:
        """The answer to `offer()`. Raises InvalidInput (`sdp-refused`) when aiortc refuses."""
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(canonical_answer, "answer"))
        except _AIORTC_ERRORS as error:
            raise InvalidInput(f"The answer cannot be used: {error}.", code="sdp-refused") from error

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        """Gives more of the other side's candidates to ICE (RFC 8839, section 5.1, without `a=candidate:`).

        What aioice cannot read, and what is beyond MOST_REMOTE in all, is passed over: checks from there are learnt.
        """
        for text in candidates:
            if len(self._ice.remote_candidates) >= MOST_REMOTE:
                return
            try:
                candidate = Candidate.from_sdp(text)
            except ValueError:
                continue
            await self._ice.add_remote_candidate(candidate)

    def _attach(self) -> None:
        transceivers = self._pc.getTransceivers()
        dtls = transceivers[0].receiver.transport
        connection = dtls.transport.iceGatherer._connection
        for transceiver in transceivers:
            if transceiver.receiver.transport is not dtls:
                raise InternalError("a section is not bundled")
            vars(transceiver.receiver)["receive"] = _nothing
            vars(transceiver.sender)["send"] = _nothing
        vars(connection)["get_component_candidates"] = self._candidates
        vars(connection)["query_consent"] = self._consent
        dtls.on("statechange", self._changed)
        dtls.transport.on("statechange", self._changed)
        self._dtls, self._ice = dtls, connection

    async def _candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:  # noqa: ASYNC109
        """In place of aioice's gathering: our addresses, loopback allowed, in our order, in our port range."""
        loop = asyncio.get_running_loop()
        found = []
        for rank, address in enumerate(self._settings.addresses):
            try:
                sock = open_socket(address, self._settings.port_range)
            except OSError as error:
                log.warning("ice-address-unusable", address=address, error=os.strerror(error.errno or 0))
                continue
            endpoint = _Endpoint(self._ice, sock)
            await loop.create_datagram_endpoint(partial(_same, endpoint), sock=sock)
            host, port = sock.getsockname()[:2]
            endpoint.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host", 65535 - rank),
                host=host,
                port=port,
                type="host",
            )
            self._ice._protocols.append(endpoint)
            found.append(endpoint.local_candidate)
        if not found:
            raise Unavailable("None of the configured addresses has a free UDP port.", code="no-udp-port")
        return found

    def _changed(self) -> None:
        if self._dtls.state == "connected" and self._inward is None:
            self._inward, self._outward = _Cipher(self._dtls._rx_srtp), _Cipher(self._dtls._tx_srtp)
            for endpoint in self._ice._protocols:
                if isinstance(endpoint, _Endpoint):
                    endpoint.take = self._take
            self._state("connected")
            self._overtaken()
        elif self._dtls.state in ("failed", "closed"):
            self._state(self._dtls.state)
        elif self._dtls.transport.state in ("failed", "closed"):
            self._state(self._dtls.transport.state)

    def _overtaken(self) -> None:
        """Takes the media that came during the handshake's end out of aioice's queue, before any newer packet comes.

        Left to aiortc they would be handed on after their successors: the head of the recording would be lost.
        """
        waiting = self._ice._queue
        for _ in range(waiting.qsize()):
            item = waiting.get_nowait()
            if item is not None and 127 < item[0][0] < 192:
                self._take(item[0])
            else:
                waiting.put_nowait(item)

    def _take(self, data: bytes) -> None:
        arrival_ns = time.monotonic_ns()
        if len(data) < 12:
            self.refused += 1
            return
        if 191 < data[1] < 224:  # RFC 5761, section 4
            packet = self._inward.run(_binding.lib.srtp_unprotect_rtcp, data)
            handler = self._rtcp
        else:
            packet = self._inward.run(_binding.lib.srtp_unprotect, data)
            handler = self._rtp
        if packet is None:
            self.refused += 1
        else:
            self._heard_ns = arrival_ns
            handler(packet, arrival_ns)

    async def _consent(self) -> None:
        """In place of aioice's consent checks (RFC 7675), which FFmpeg's WHIP muxer answers only during its handshake:
        a camera that sends for hours would be cut off after thirty seconds.

        A packet that SRTP takes shows that the other side is there and wants this connection. Only where none comes is
        it asked, and lost after CONSENT_WITHIN_S without either.
        """
        while True:
            await asyncio.sleep(CONSENT_EVERY_S)
            if time.monotonic_ns() - self._heard_ns < CONSENT_EVERY_S * 1e9:
                continue
            for pair in self._ice._nominated.values():
                request = self._ice.build_request(pair, nominate=False)
                key = self._ice.remote_password.encode()
                with contextlib.suppress(stun.TransactionError):  # no answer: the time since the last one says enough
                    await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
                    self._heard_ns = time.monotonic_ns()
            if time.monotonic_ns() - self._heard_ns > CONSENT_WITHIN_S * 1e9:
                # aioice cancels this task when it closes: it must not wait for itself.
                self._ice._query_consent_task = None
                await self._ice.close()
                return

    def send_rtp(self, packet: bytes) -> bool:
        """Sends at once or not at all: False, and counted, when the socket is full or there is no connection."""
        return self._send(_binding.lib.srtp_protect, packet)

    def send_rtcp(self, packet: bytes) -> bool:
        return self._send(_binding.lib.srtp_protect_rtcp, packet)

    def _send(self, function: Any, packet: bytes) -> bool:
        pair = self._ice._nominated.get(1) if self._ice is not None else None
        data = self._outward.run(function, packet) if self._outward is not None and pair is not None else None
        if pair is None or data is None:
            self.dropped += 1
            return False
        try:
            pair.protocol.sock.sendto(data, pair.remote_addr)
        except OSError:
            # Full, or the other side cannot be reached just now: consent checks end a connection, not one packet.
            self.dropped += 1
            return False
        return True

    def ssrc(self, kind: str) -> int:
        """The source number that we send `kind` (or its feedback) with, as announced in the answer."""
        return int(next(t.sender._ssrc for t in self._pc.getTransceivers() if t.kind == kind))

    @property
    def remote_address(self) -> str | None:
        pair = self._ice._nominated.get(1) if self._ice is not None else None
        return None if pair is None else f"{pair.remote_addr[0]}:{pair.remote_addr[1]}"

    async def close(self) -> None:
        await self._pc.close()
