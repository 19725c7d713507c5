"""The edge: security headers, greatest body sizes, the session cookie, and who may send unsafe requests.

Middleware here is plain ASGI, so that streamed bodies stay streamed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem_response
from evidence_store.errors import NotPermitted

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()",
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE_SECONDS = 12 * 3600
STATIC_SECONDS = 3600


class SecurityHeaders:
    """Adds the headers to every response. `camera` lets this origin's pages use camera and microphone."""

    def __init__(self, app: ASGIApp, *, secure: bool, camera: bool = False) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if camera:
            self._headers["Permissions-Policy"] = HEADERS["Permissions-Policy"].replace(
                "camera=(), microphone=()", "camera=(self), microphone=(self)"
            )
        if secure:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers["Cache-Control"] = f"public, max-age={STATIC_SECONDS}" if static else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BodyLimit:
    """Refuses bodies over the limit with 413: at once when the length is announced, else at the byte too many."""

    def __init__(self, app: ASGIApp, *, limit: int, limits: Sequence[tuple[str, int]] = ()) -> None:
        self._app = app
        self._limit = limit
        self._limits = tuple(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for prefix, size in self._limits if scope["path"].startswith(prefix)), self._limit)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > limit:
            await self._refuse(scope, receive, send)
            return
        received = 0
        started = False
        exceeded = False

        async def receive_counted() -> Message:
            nonlocal received, exceeded
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    exceeded = True
                    return {"type": "http.disconnect"}
            return message

        async def send_unless_exceeded(message: Message) -> None:
            nonlocal started
            if exceeded and not started:
                return
            started = True
            await send(message)

        try:
            await self._app(scope, receive_counted, send_unless_exceeded)
        except ClientDisconnect:
            if not exceeded:
                raise
        if exceeded and not started:
            await self._refuse(scope, receive, send)

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
        response = problem_response(Request(scope), "too-large")
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


class Cookies:
    """The session cookie. `__Host-` binds it to this host over TLS; a browser takes that prefix only with TLS."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self.name = "__Host-vidne" if secure else "vidne"

    def read(self, request: Request) -> str | None:
        token = request.cookies.get(self.name)
        return token if token and len(token) <= 128 else None

    def set(self, response: Response, token: str) -> None:
        response.set_cookie(
            self.name, token, max_age=COOKIE_SECONDS, path="/", secure=self._secure, httponly=True, samesite="strict"
        )

    def clear(self, response: Response) -> None:
        response.delete_cookie(self.name, path="/", secure=self._secure, httponly=True, samesite="strict")


def csrf_token(session_token: str) -> str:
    """Bound to the session and not reversible to it, so it needs no storage of its own."""
    return hmac.new(session_token.encode(), b"vidne form token 1", hashlib.sha256).hexdigest()


class Csrf:
    """Unsafe requests must come from our own pages, and carry the session's form token."""

    FIELD = "csrf"
    HEADER = "Vidne-CSRF"

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._origins = frozenset(origins)

    @staticmethod
    def token(session_token: str) -> str:
        return csrf_token(session_token)

    def check_origin(self, request: Request) -> None:
        """Raises NotPermitted (`cross-site`). A request that tells neither origin nor fetch site is no browser's."""
        if request.method in SAFE_METHODS:
            return
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            # With "no-referrer" a browser's forms carry the origin "null", so its own word on the site comes first.
            if site != "same-origin":
                raise NotPermitted("unsafe request from another site", code="cross-site")
            return
        origin = request.headers.get("origin")
        if origin is not None and not self._ours(origin, request):
            raise NotPermitted("unsafe request from another origin", code="cross-site")

    async def check(self, request: Request, session_token: str) -> None:
        """Raises NotPermitted (`cross-site`, `form-expired`)."""
        if request.method in SAFE_METHODS:
            return
        self.check_origin(request)
        given = request.headers.get(self.HEADER)
        content_type = request.headers.get("content-type", "")
        if given is None and content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
            value = (await request.form()).get(self.FIELD)
            given = value if isinstance(value, str) else None
        if given is None or not hmac.compare_digest(given.encode(), csrf_token(session_token).encode()):
            raise NotPermitted("form token missing or of another session", code="form-expired")

    def _ours(self, origin: str, request: Request) -> bool:
        if self._origins:
            return origin in self._origins
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc == request.headers.get("host", "")
