"""The one place that reaches into aiortc and aioice. Everything else uses `MediaTransport`.

aiortc negotiates, does ICE and DTLS, and makes the SRTP keys. From there on media goes past it: what was read together
is unprotected where it lies (`srtp.py`) and handed on in the same call: no queue, task, jitter buffer, decoder or
thread; packets to send are protected and given to the socket in the same call, and dropped when the socket is full.

What is reached into is listed in `_RELIED_ON` and checked by `verify()`, which the contract test and every process that
starts a transport call. The pins are exact: on an upgrade, read the named places again, then move the pins.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import inspect
import os
import socket
import struct
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
from aiortc.rtcicetransport import RTCIceGatherer
from pylibsrtp import Session

from evidence_store.errors import InvalidInput, Unavailable
from recorder.datagrams import SLOT, DatagramReader, Slots, SocketTransport, open_socket
from recorder.outgoing import Burst, Outgoing, Segments
from recorder.srtp import PROTECT_RTCP, UNPROTECT, UNPROTECT_RTCP, Cipher

__all__ = ["IceSettings", "MediaTransport", "verify"]

PINS = {"aiortc": "1.16.0", "aioice": "0.13.0", "pylibsrtp": "1.0.0"}
_RELIED_ON: tuple[tuple[type, tuple[str, ...]], ...] = (
    (ice.Connection, ("_protocols", "_nominated", "_queue", "_check_list", "_query_consent_task", "ice_controlling")),
    (ice.Connection, ("get_component_candidates", "gather_candidates", "query_consent", "build_request")),
    (ice.Connection, ("check_incoming", "check_complete", "remote_password")),
    (ice.Connection, ("add_remote_candidate", "remote_candidates")),
    (RTCIceGatherer, ("_connection",)),
    (Session, ("_srtp",)),
    (ice.StunProtocol, ("datagram_received", "receiver", "local_candidate")),
    (RTCDtlsTransport, ("_rx_srtp", "_tx_srtp", "_ssl", "transport")),
    (RTCRtpReceiver, ("receive", "stop", "transport")),
    (RTCRtpSender, ("send", "stop", "_ssrc")),
)
_WAITING_LIMIT = 256
_NOTHING = 255
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


class _Endpoint(ice.StunProtocol):
    """aioice's protocol of one socket. SRTP and SRTCP (RFC 7983: first octet 128 to 191) are not for it."""

    def __init__(self, receiver: ice.Connection, sock: socket.socket) -> None:
        super().__init__(receiver)
        self.sock = sock
        self.segments = Segments(sock)

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Anybody can send here. Only what RFC 7983 knows goes on: an empty datagram would end aiortc's connection."""
        first: Any = data[0] if data else _NOTHING
        if first < 4:
            # STUN, answered at once. What only looks like it would wait in aioice's queue, or raise.
            with contextlib.suppress(ValueError, struct.error):
                stun.parse_message(data)  # type: ignore[arg-type] # UDP gives bytes
                super().datagram_received(data, addr)
        elif (19 < first < 64 or 127 < first < 192) and self.receiver._queue.qsize() < _WAITING_LIMIT:
            # aioice's queue has no bound of its own: DTLS sends again what is dropped here.
            super().datagram_received(data, addr)


async def _nothing(parameters: object) -> None:
    """In place of RTCRtpReceiver.receive and RTCRtpSender.send: no decoder thread, encoder or RTCP task is begun."""


class MediaTransport:
    """One peer connection with one bundled transport; media goes in and out as whole, decrypted RTP and RTCP packets.

    Callbacks run on the event loop inside the reading of datagrams and must be cheap:
    `rtp(packets, arrival_ns)`, what came together in the order of arrival; `rtcp(packet, arrival_ns)`;
    `state("connected" | "failed" | "closed")`. `arrival_ns` is time.monotonic_ns().
    """

    def __init__(
        self,
        settings: IceSettings,
        *,
        rtp: Callable[[list[bytes], int], None],
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
        self._outgoing = Outgoing.shared()
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
        vars(connection)["check_incoming"] = self._check_incoming
        dtls.on("statechange", self._changed)
        dtls.transport.on("statechange", self._changed)
        self._dtls, self._ice = dtls, connection

    async def _candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:  # noqa: ASYNC109
        """In place of aioice's gathering: our addresses, loopback allowed, in our order, in our port range."""
        reader = DatagramReader.shared()
        found = []
        for rank, address in enumerate(self._settings.addresses):
            try:
                sock = open_socket(address, self._settings.port_range)
            except OSError as error:
                log.warning("ice-address-unusable", address=address, error=os.strerror(error.errno or 0))
                continue
            endpoint, descriptor = _Endpoint(self._ice, sock), sock.fileno()
            endpoint.connection_made(SocketTransport(sock, endpoint, partial(reader.remove, descriptor)))
            reader.add(sock, partial(self._receive, endpoint))
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

    def _check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: ice.StunProtocol) -> None:
        """After aioice's own work on a check that came: whoever nominates a pair is believed at once.

        RFC 8445 (section 7.3.1.5) waits for the answer to our own check. FFmpeg's WHIP muxer answers checks for some 60
        ms and then never again, so that one lost datagram, a longer way or a busy moment cost it the whole attempt. The
        check is authenticated by the password in our answer, and nothing but a handshake is sent before DTLS is done.
        """
        ice.Connection.check_incoming(self._ice, message, addr, protocol)
        if "USE-CANDIDATE" not in message.attributes or self._ice.ice_controlling:
            return
        for pair in list(self._ice._check_list):
            if pair.protocol is protocol and pair.remote_addr == addr and not pair.nominated:
                task = pair.task
                pair.nominated, pair.state = True, ice.CandidatePair.State.SUCCEEDED
                self._ice.check_complete(pair)
                pair.task = task  # of which aioice has let go: it is cancelled when ICE is complete

    def _changed(self) -> None:
        if self._dtls.state == "connected" and self._inward is None:
            profile = self._dtls._ssl.get_selected_srtp_profile()
            self._inward, self._outward = (Cipher(each, profile) for each in (self._dtls._rx_srtp, self._dtls._tx_srtp))
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
                self._take_late(item[0])
            else:
                waiting.put_nowait(item)

    def _receive(self, endpoint: _Endpoint, slots: Slots, count: int) -> None:
        """What came at one of our sockets, in the order of arrival. SRTP is opened where it lies."""
        arrival_ns = time.monotonic_ns()
        octets, memory, lengths, inward = slots.octets, slots.memory, slots.lengths, self._inward
        if inward is None:
            for i in range(count):
                endpoint.datagram_received(octets[i * SLOT : i * SLOT + lengths[i]], slots.sender(i))
            return
        # What follows runs for each packet of each camera: a name looked up once is a name not looked up 3,000 times.
        unprotect, srtp, length, pointers = UNPROTECT, inward.srtp, inward.length, inward.pointers(slots)
        packets: list[bytes] = []
        found: list[int] = []
        at = -SLOT
        for i in range(count):
            at += SLOT
            size = lengths[i]
            if not 127 < memory[at] < 192:
                endpoint.datagram_received(octets[at : at + size], slots.sender(i))
            elif size < 12:
                self.refused += 1
            elif 191 < memory[at + 1] < 224:  # RFC 5761, section 4
                if size := inward.run(UNPROTECT_RTCP, pointers[i], size):
                    self._heard_ns = arrival_ns
                    self._rtcp(octets[at : at + size], arrival_ns - slots.waited_ns(i))
                else:
                    self.refused += 1
            else:
                length[0] = size
                if unprotect(srtp, pointers[i], length):
                    self.refused += 1
                else:
                    packets.append(octets[at : at + length[0]])
                    found.append(i)
        if packets:
            self._heard_ns = arrival_ns
            for some, came_ns in slots.by_arrival(packets, found, arrival_ns):
                self._rtp(some, came_ns)

    def _take_late(self, data: bytes) -> None:
        """One SRTP or SRTCP packet that came before the keys were known."""
        arrival_ns, control = time.monotonic_ns(), len(data) > 1 and 191 < data[1] < 224
        function = UNPROTECT_RTCP if control else UNPROTECT
        packet = self._inward.once(function, data) if len(data) >= 12 else None
        if packet is None:
            self.refused += 1
        elif control:
            self._rtcp(packet, arrival_ns)
        else:
            self._rtp([packet], arrival_ns)

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

    def send_rtp(self, headers: Sequence[bytes], burst: Burst) -> int:
        """A header for each payload of the burst, sent at once or not at all: how many were, the rest is `dropped`."""
        pair = self._ice._nominated.get(1) if self._outward is not None else None
        sent = 0
        if pair is not None:
            ready = self._outward.close(self._outgoing, burst, headers)
            sent = pair.protocol.segments.send(self._outgoing, ready, pair.remote_addr)
        self.dropped += len(headers) - sent
        return sent

    def send_rtcp(self, packet: bytes) -> bool:
        """Sends at once or not at all: False, and counted, when the socket is full or there is no connection."""
        pair = self._ice._nominated.get(1) if self._outward is not None else None
        data = self._outward.once(PROTECT_RTCP, packet) if pair is not None else None
        try:
            if pair is not None and data is not None:
                pair.protocol.sock.sendto(data, pair.remote_addr)
                return True
        except OSError as error:
            log.debug("rtcp-not-sent", errno=error.errno)
        self.dropped += 1
        return False

    def ssrc(self, kind: str) -> int:
        """The source number that we send `kind` (or its feedback) with, as announced in the answer."""
        return int(next(t.sender._ssrc for t in self._pc.getTransceivers() if t.kind == kind))

    @property
    def remote_address(self) -> str | None:
        pair = self._ice._nominated.get(1) if self._ice is not None else None
        return None if pair is None else f"{pair.remote_addr[0]}:{pair.remote_addr[1]}"

    async def close(self) -> None:
        await self._pc.close()
