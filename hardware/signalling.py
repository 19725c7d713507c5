"""A camera's own door to a WHIP endpoint, so that its token is in no process list.

FFmpeg takes a bearer token on its command line only, where `ps` shows it to everybody on the machine. So FFmpeg is
given a door on loopback instead: one unguessable address for one session, through which its POST and its DELETE are
passed on with the token added (RFC 9725 section 4). Media does not pass here. Certificates are checked, redirects
(307, 308) followed without giving the token to another origin, and a refusal is known by its status rather than by
what FFmpeg says of it.
"""

from __future__ import annotations

import asyncio
import secrets
from types import TracebackType
from urllib.parse import urljoin

import httpx
import structlog

HEAD_AT_MOST = 16 * 1024
OFFER_AT_MOST = 64 * 1024
_PATIENCE = 5.0  # seconds for FFmpeg to finish a request

_log = structlog.get_logger(__name__)


class Door:
    """Serves one FFmpeg for one session; use as an asynchronous context manager.

    `status` is the endpoint's answer to the offer (None before it, 0 if it could not be reached), `retry_after` its
    wish in seconds.
    """

    def __init__(self, client: httpx.AsyncClient, endpoint: str, token: str) -> None:
        self.status: int | None = None
        self.retry_after: float | None = None
        self.resource: str | None = None
        self._client = client
        self._endpoint = endpoint
        self._authorization = {"Authorization": f"Bearer {token}"}
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where FFmpeg is to post its offer."""
        if self._server is None:
            raise RuntimeError("the door is not open")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    async def __aenter__(self) -> Door:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_AT_MOST)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; end a session that FFmpeg left open, so that the endpoint need not wait for its own watchdog."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self.resource is not None:
            await self._end_session()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(_PATIENCE):
                method, path, body = await _read_request(reader)
            writer.write(await self._answer(method, path, body))
            async with asyncio.timeout(_PATIENCE):
                await writer.drain()
        except (
            TimeoutError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
        ) as error:
            _log.warning("camera.door.request_dropped", reason=type(error).__name__)
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST" and path == self._path and self.status is None:
            return await self._offer(body)
        if method == "DELETE" and path == f"{self._path}/session" and self.resource is not None:
            await self._end_session()
            return _response("200 OK", {}, b"ended\n")
        return _response("404 Not Found", {}, b"no such door\n")

    async def _offer(self, sdp: bytes) -> bytes:
        self.status = 0
        headers = {**self._authorization, "Content-Type": "application/sdp", "Accept": "application/sdp"}
        try:
            answer = await self._client.post(self._endpoint, content=sdp, headers=headers)
        except httpx.HTTPError as error:
            _log.warning("camera.endpoint.out_of_reach", reason=type(error).__name__)
            return _response("502 Bad Gateway", {}, b"endpoint out of reach\n")
        self.status = answer.status_code
        wish = answer.headers.get("Retry-After", "")
        self.retry_after = float(wish) if wish.isascii() and wish.isdigit() else None
        location = answer.headers.get("Location")
        if answer.status_code != httpx.codes.CREATED or not location:
            return _response(f"{max(answer.status_code, 400)} Refused", {}, b"refused\n")
        self.resource = urljoin(str(answer.url), location)
        ours = {"Content-Type": "application/sdp", "Location": f"{self.url}/session"}
        return _response("201 Created", ours, answer.content)

    async def _end_session(self) -> None:
        """DELETE the session at the endpoint; one that is gone already, or out of reach, has ended as well."""
        resource, self.resource = self.resource, None
        if resource is None:
            return
        same_origin = httpx.URL(resource).netloc == httpx.URL(self._endpoint).netloc
        try:
            await self._client.delete(resource, headers=self._authorization if same_origin else {}, timeout=1.0)
        except httpx.HTTPError as error:
            _log.info("camera.session.not_ended", reason=type(error).__name__)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    """Method, path and body of one HTTP/1.1 request. Raises ValueError for what is not one, or too large."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    line, *fields = head.split("\r\n")
    method, path, _version = line.split(" ")
    lengths = [
        value for name, _, value in (field.partition(":") for field in fields) if name.lower() == "content-length"
    ]
    length = int(lengths[0]) if lengths else 0
    if not 0 <= length <= OFFER_AT_MOST:
        raise ValueError("an offer is too large")
    return method, path, await reader.readexactly(length)


def _response(status: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
