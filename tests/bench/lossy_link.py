"""A bad line between a camera and the recorder: lost, late, out of order, in bursts; seeded, the same each time.

It stands where `tc netem` would (kernels without that module are common): a small proxy before the WHIP endpoint puts
its own UDP ports into the answer, and every datagram of media and of feedback passes through a `Weather`. The handshake
is late, but none of it is lost: FFmpeg sends its ICE check once only, and a loss there would show nothing but how often
a camera has to try.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_CANDIDATE = re.compile(r"^(a=candidate:\S+ \d+ udp \d+ 127\.0\.0\.1) (\d+) ", re.IGNORECASE | re.MULTILINE)
_PATIENCE = 1.5  # seconds; cameras give up asking whether there is an endpoint after 2
_FORCED_RECEIVE_BUFFER, _BUFFER = 33, 4 * 1024 * 1024  # SO_RCVBUFFORCE


@dataclass(frozen=True, slots=True)
class Climate:
    """One direction. `loss`: share of datagrams lost, half of them alone, half in bursts of `burst` s on average, in
    which nothing comes through: what disturbs a line lasts a time and counts no datagrams.
    `delay`, and up to `jitter` more for each (s), which alone puts none before another; `reordered`: share of those
    that come up to `lag` s later still, behind their successors."""

    loss: float = 0.0
    burst: float = 0.010
    delay: float = 0.020
    jitter: float = 0.004
    reordered: float = 0.01
    lag: float = 0.015


CLEAR = Climate(delay=0.0, jitter=0.0, reordered=0.0)


class Weather:
    """What becomes of each datagram. Pure but for its own dice."""

    def __init__(self, climate: Climate, seed: int) -> None:
        self._climate = climate
        self._dice = Random(seed)  # noqa: S311 - no secret
        self._half = climate.loss / 2
        self._burst: tuple[float, float] | None = None
        self._latest = 0.0

    def due(self, now: float, *, spared: bool = False) -> float | None:
        """When a datagram that is sent now comes out, in the same seconds; None: never, unless it is spared."""
        climate, dice = self._climate, self._dice
        if not spared and (self._in_burst(now) or dice.random() < self._half):
            return None
        due = max(self._latest, now + climate.delay + climate.jitter * dice.random())
        if dice.random() < climate.reordered:
            return due + climate.lag * dice.random()
        self._latest = due
        return due

    def _in_burst(self, now: float) -> bool:
        """Good and bad times follow each other, both of random length (Gilbert)."""
        if not self._half:
            return False
        burst = self._burst or self._next_burst(now)
        while now >= burst[1]:
            burst = self._next_burst(burst[1])
        self._burst = burst
        return now >= burst[0]

    def _next_burst(self, after: float) -> tuple[float, float]:
        mean = self._climate.burst
        begins = after + self._dice.expovariate(self._half / (mean * (1 - self._half)))
        return begins, begins + self._dice.expovariate(1 / mean)


def is_protected(datagram: bytes) -> bool:
    """SRTP or SRTCP, and not STUN or DTLS (RFC 7983)."""
    return len(datagram) > 12 and 127 < datagram[0] < 192


def is_media(datagram: bytes) -> bool:
    """SRTP alone (RFC 5761, section 4)."""
    return is_protected(datagram) and not 191 < datagram[1] < 224


@dataclass(slots=True)
class Traffic:
    """One session, from the camera to the recorder: datagrams of media, and when (time.monotonic) the first and the
    last was handed to the recorder's socket."""

    sent: int = 0
    lost: int = 0
    first: float | None = None
    last: float | None = None


class _Delay:
    """Hands datagrams on in the order in which they are due. One timer: timers of their own, which round to whole
    milliseconds, would overtake one another."""

    def __init__(self, hand_on: Callable[[bytes], None]) -> None:
        self._hand_on = hand_on
        self._waiting: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, due: float, data: bytes) -> None:
        self._count += 1
        heappush(self._waiting, (due, self._count, data))
        if self._waiting[0][1] == self._count:
            self._pump()

    def _pump(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            self._hand_on(heappop(self._waiting)[2])
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._waiting[0][0] - now, self._pump)

    def close(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()


class Link:
    """One UDP path. `drop(datagram)` may lose a datagram of the camera's on purpose."""

    def __init__(self, up: Climate, down: Climate, seed: int, drop: Callable[[bytes], bool] | None) -> None:
        self.traffic = Traffic()
        self._up, self._down = Weather(up, seed), Weather(down, seed + 1)
        self._drop = drop
        self._camera: tuple[str, int] | None = None
        self._near: asyncio.DatagramTransport | None = None
        self._far: asyncio.DatagramTransport | None = None
        self._outward, self._inward = _Delay(self._to_recorder), _Delay(self._to_camera)

    async def open(self, recorder: tuple[str, int]) -> int:
        """The port that the camera is to send to."""
        self._near = await self._endpoint(self._from_camera)
        self._far = await self._endpoint(self._from_recorder, recorder)
        port: int = self._near.get_extra_info("sockname")[1]
        return port

    async def _endpoint(
        self, received: Callable[[bytes, Any], None], remote: tuple[str, int] | None = None
    ) -> asyncio.DatagramTransport:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _FORCED_RECEIVE_BUFFER, _BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.bind(("127.0.0.1", 0))
        if remote is not None:
            sock.connect(remote)
        ear = _Ear(received, self.close)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: ear, sock=sock)
        return transport

    def _from_camera(self, data: bytes, address: tuple[str, int]) -> None:
        self._camera = address
        media = is_media(data)
        self.traffic.sent += media
        due = self._up.due(time.monotonic(), spared=not is_protected(data))
        if due is None or (self._drop is not None and self._drop(data)):
            self.traffic.lost += media
        else:
            self._outward.put(due, data)

    def _from_recorder(self, data: bytes, _address: tuple[str, int]) -> None:
        if (due := self._down.due(time.monotonic(), spared=not is_protected(data))) is not None:
            self._inward.put(due, data)

    def _to_recorder(self, data: bytes) -> None:
        if self._far is None or self._far.is_closing():
            return
        self._far.sendto(data)
        if is_media(data):
            now = time.monotonic()
            self.traffic.first = now if self.traffic.first is None else self.traffic.first
            self.traffic.last = now

    def _to_camera(self, data: bytes) -> None:
        if self._near is not None and self._camera is not None and not self._near.is_closing():
            self._near.sendto(data, self._camera)

    def close(self) -> None:
        self._outward.close()
        self._inward.close()
        for transport in (self._near, self._far):
            if transport is not None:
                transport.close()


class _Ear(asyncio.DatagramProtocol):
    """`unreachable` is called when the other side's port has been closed (ICMP), as when a process has died: what comes
    after that finds no port here either."""

    def __init__(self, received: Callable[[bytes, Any], None], unreachable: Callable[[], None]) -> None:
        self._received = received
        self._unreachable = unreachable

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._received(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._unreachable()


@dataclass(slots=True)
class Line:
    """The proxy of one recorder. Each camera may have its own climate, both ways the same; others have none.

    `sessions`: for each camera the traffic of its sessions, the last one last.
    """

    recorder_url: str
    climates: dict[str, Climate] = field(default_factory=dict)
    seed: int = 1
    drop: Callable[[bytes], bool] | None = None
    url: str = ""
    sessions: dict[str, list[Traffic]] = field(default_factory=dict)
    _links: dict[str, Link] = field(default_factory=dict)

    async def _signal(self, request: Request) -> Response:
        """One request of a camera, passed on; in an answer to an offer our ports stand for the recorder's."""
        body = await request.body()
        kept = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        target = f"{self.recorder_url}{request.url.path}"
        until = time.monotonic() + _PATIENCE
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            while True:
                try:
                    reply = await client.request(request.method, target, content=body, headers=kept)
                    break
                except httpx.HTTPError:
                    # A recorder that has just been killed will be back at once.
                    if time.monotonic() > until:
                        return Response(status_code=502)
                    await asyncio.sleep(0.05)
        text, given = reply.text, ("content-type", "location", "retry-after", "etag")
        headers = {name: reply.headers[name] for name in given if name in reply.headers}
        if "location" in headers:
            headers["location"] = headers["location"].replace(self.recorder_url, self.url)
        if request.method == "POST" and reply.status_code == httpx.codes.CREATED:
            text = await self._through_link(request.path_params["camera"], text)
        return Response(text, reply.status_code, headers)

    async def _through_link(self, camera: str, answer: str) -> str:
        found = _CANDIDATE.search(answer)
        if found is None:
            raise RuntimeError("the recorder offers no address of loopback")
        sessions = self.sessions.setdefault(camera, [])
        climate = self.climates.get(camera, CLEAR)
        link = Link(climate, climate, hash((self.seed, len(self.sessions), len(sessions))), self.drop)
        if camera in self._links:
            self._links[camera].close()
        self._links[camera] = link
        sessions.append(link.traffic)
        port = await link.open(("127.0.0.1", int(found[2])))
        return _CANDIDATE.sub(rf"\g<1> {port} ", answer)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The address that cameras are to publish to, in place of the recorder's."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        methods: Sequence[str] = ("OPTIONS", "POST", "DELETE", "PATCH")
        routes = [Route(path, self._signal, methods=[*methods]) for path in ("/whip/{camera}", "/whip/{camera}/{id}")]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([sock]))
        try:
            while not server.started:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            yield self.url
        finally:
            server.should_exit = True
            await task
            for link in self._links.values():
                link.close()
