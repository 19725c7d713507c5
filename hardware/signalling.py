"""A camera's own door to a WHIP endpoint, so that its token is in no process list.

FFmpeg takes a bearer token on its command line only, where `ps` shows it to everybody on the machine. So FFmpeg is
given a door on loopback instead: one unguessable address for one session, through which its POST and its DELETE are
passed on with the token added (RFC 9725 section 4). Media does not pass here. Certificates are checked, redirects
(307, 308) followed without giving the token to another origin, and a refusal is known by its status rather than by
what FFmpeg says of it.
"""

from __future__ import annotations

import secrets
from types import TracebackType
from urllib.parse import urljoin

import httpx
import structlog

from hardware.loopback_http import LoopbackServer, Request, response

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
        self._server = LoopbackServer(self._answer, self._dropped)

    @property
    def url(self) -> str:
        """Where FFmpeg is to post its offer."""
        return f"{self._server.url}{self._path}"

    async def __aenter__(self) -> Door:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; end a session that FFmpeg left open, so that the endpoint need not wait for its own watchdog."""
        await self._server.stop()
        if self.resource is not None:
            await self._end_session()

    def _dropped(self, error: Exception) -> None:
        _log.warning("camera.door.request_dropped", reason=type(error).__name__)

    async def _answer(self, request: Request) -> bytes:
        if request.method == "POST" and request.path == self._path and self.status is None:
            return await self._offer(request.body)
        if request.method == "DELETE" and request.path == f"{self._path}/session" and self.resource is not None:
            await self._end_session()
            return response("200 OK", {}, b"ended\n")
        return response("404 Not Found", {}, b"no such door\n")

    async def _offer(self, sdp: bytes) -> bytes:
        self.status = 0
        headers = {**self._authorization, "Content-Type": "application/sdp", "Accept": "application/sdp"}
        try:
            answer = await self._client.post(self._endpoint, content=sdp, headers=headers)
        except httpx.HTTPError as error:
            _log.warning("camera.endpoint.out_of_reach", reason=type(error).__name__)
            return response("502 Bad Gateway", {}, b"endpoint out of reach\n")
        self.status = answer.status_code
        wish = answer.headers.get("Retry-After", "")
        self.retry_after = float(wish) if wish.isascii() and wish.isdigit() else None
        location = answer.headers.get("Location")
        if answer.status_code != httpx.codes.CREATED or not location:
            return response(f"{max(answer.status_code, 400)} Refused", {}, b"refused\n")
        self.resource = urljoin(str(answer.url), location)
        ours = {"Content-Type": "application/sdp", "Location": f"{self.url}/session"}
        return response("201 Created", ours, answer.content)

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
