"""A camera's cable that can be pulled out: everything between camera and recorder passes here, or does not.

The offer is passed on, and in the answer the recorder's UDP port is replaced by one of ours. From there datagrams go
both ways untouched while the cable is in; out, nothing passes and nobody is told, as with a real one.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast
from urllib.parse import urljoin, urlsplit

import httpx

from hardware.loopback_http import LoopbackServer, Request, response

_CANDIDATE = re.compile(r"(?m)^(a=candidate:\S+ 1 udp \d+ )(\S+) (\d+)( typ host.*)$", re.IGNORECASE)
RECEIVE_BUFFER = 4 << 20
_PASSED_ON = ("authorization", "content-type", "accept")
_ANSWERED = ("content-type", "location", "retry-after", "etag")

Address = tuple[str, int]


class _End(asyncio.DatagramProtocol):
    """One end of a datagram way: what arrives is handed on with its sender's address."""

    def __init__(self, arrived: Callable[[bytes, Address], None]) -> None:
        self._arrived = arrived
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asked what it is: Python 3.11's own datagram transport does not inherit from the class.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._arrived(data, addr)

    def send(self, data: bytes, to: Address) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.sendto(data, to)

    @property
    def port(self) -> int:
        return 0 if self.transport is None else int(self.transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


@dataclass(slots=True)
class Cable:
    """The cable to one endpoint, as in `http://127.0.0.1:7801/whip/wide`; an asynchronous context manager.

    `dropped`: datagrams that did not pass, since the cable was out.
    """

    endpoint: str
    out: bool = False
    dropped: int = 0
    _client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=5.0))
    _ends: list[_End] = field(default_factory=list)
    _server: LoopbackServer = field(init=False)

    def __post_init__(self) -> None:
        self._server = LoopbackServer(self._answer, self._broke)

    @property
    def url(self) -> str:
        """Where the camera publishes instead."""
        return self._server.url + urlsplit(self.endpoint).path

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()
        for end in self._ends:
            end.close()
        await self._client.aclose()

    def _broke(self, _error: Exception) -> None:
        """To the camera that is a connection that broke: it tries again by itself."""
        self.dropped += 1

    async def _answer(self, request: Request) -> bytes | None:
        if self.out:
            return None
        wanted = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            there = urljoin(self.endpoint, request.path)
            reply = await self._client.request(request.method, there, content=request.body, headers=wanted)
        except httpx.HTTPError as error:
            raise ConnectionError("the recorder is out of reach") from error
        content = await self._through_here(reply.text) if reply.status_code == httpx.codes.CREATED else reply.content
        answered = {name: reply.headers[name] for name in _ANSWERED if name in reply.headers}
        if "location" in answered:
            answered["location"] = urljoin(self._server.url, urlsplit(answered["location"]).path)
        return response(f"{reply.status_code} {reply.reason_phrase}", answered, content)

    async def _through_here(self, answer: str) -> bytes:
        """The answer with every candidate led through a way of its own."""
        ports: dict[Address, int] = {}
        for _, host, port, _ in _CANDIDATE.findall(answer):
            if (host, int(port)) not in ports:
                ports[host, int(port)] = await self._lay((host, int(port)))
        return _CANDIDATE.sub(
            lambda found: f"{found[1]}127.0.0.1 {ports[found[2], int(found[3])]}{found[4]}", answer
        ).encode()

    async def _lay(self, recorder: Address) -> int:
        """A way for datagrams to `recorder` and back; the port of its camera's end."""
        loop, camera = asyncio.get_running_loop(), list[Address]()

        def from_camera(data: bytes, sender: Address) -> None:
            camera[:] = [sender]
            self._carry(to_recorder, data, recorder)

        def from_recorder(data: bytes, _sender: Address) -> None:
            if camera:
                self._carry(to_camera, data, camera[0])

        to_camera, to_recorder = _End(from_camera), _End(from_recorder)
        for end in (to_camera, to_recorder):
            transport, _ = await loop.create_datagram_endpoint(lambda end=end: end, local_addr=("127.0.0.1", 0))  # type: ignore[misc]
            # A key frame comes in one burst: what a cable carries must not be lost for want of room here.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._ends.append(end)
        return to_camera.port

    def _carry(self, end: _End, data: bytes, to: Address) -> None:
        if self.out:
            self.dropped += 1
        else:
            end.send(data, to)
