"""The room's own page, in the recorder's process: state, start, stop and the live picture, with nothing else there.

Opened by the room's code. Nobody signs in here: what is done is done by the room, and custody says so. Signalling of
the live picture is passed on to the monitor; the picture itself goes from there straight to the browser.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from api.desk.moments import moment
from api.desk.room import ROOM_PAGE, ROOM_PAGE_NAME
from api.desk.room_state import room_state
from api.identity.room_code import SESSION_SECONDS, RoomCode
from api.problems import Problem, problem_of
from api.routes.carry import body_within
from api.security import Csrf
from api.services import CameraName, WebSettings
from api.web import TEMPLATES
from evidence_store.errors import NoSpace, NotPermitted, Unavailable, VidneError
from hardware.profile import RoomProfile
from recorder.node import RecorderNode
from recorder.notes import Notes

COOKIE: Final = "vidne-room"
"""Not the application's: browsers send cookies to every port of a host."""
FORM_LIMIT: Final = 8 * 1024
OFFER_LIMIT: Final = 32 * 1024
BY_ROOM: Final = "room"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,128}")

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Watching:
    """Who is named in the picture."""

    name: str = ROOM_PAGE_NAME


@dataclass(frozen=True, slots=True)
class LastTake:
    """What was stopped here last: for the receipt, and for a note about it."""

    interview: bytes
    number: int
    head: bytes


class RoomPage:
    """`monitor`: a client with the monitor's base URL and token. `now()`: seconds since 1970."""

    def __init__(
        self,
        node: RecorderNode,
        notes: Notes,
        code: RoomCode,
        monitor: httpx.AsyncClient,
        profile: RoomProfile,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._notes = notes
        self._code = code
        self._monitor = monitor
        self._profile = profile
        self._now = now
        self._csrf = Csrf()
        self._last: LastTake | None = None
        self._settings = WebSettings(
            house=profile.house,
            room=profile.room,
            room_name=profile.label,
            cameras=tuple(CameraName(camera.id, camera.label) for camera in profile.cameras),
        )

    def routes(self) -> list[Route]:
        live = "/live/{room}/{camera}"
        return [
            Route("/", self._front, methods=["GET"]),
            Route("/kode", self._open, methods=["POST"]),
            Route("/luk", self._acting(self._shut), methods=["POST"]),
            Route("/tilstand", self._admitted(self._fragment), methods=["GET"]),
            Route("/start", self._acting(self._start), methods=["POST"]),
            Route("/stop", self._acting(self._stop), methods=["POST"]),
            Route("/begrundelse", self._acting(self._explain), methods=["POST"]),
            Route("/kvittering", self._admitted(self._receipt), methods=["GET"]),
            Route(live, self._acting(self._watch, OFFER_LIMIT), methods=["POST"]),
            Route(live + "/{session}/lease", self._acting(self._renew), methods=["PUT"]),
            Route(live + "/{session}", self._acting(self._leave), methods=["DELETE"]),
        ]

    # Who may

    def _token(self, request: Request) -> str | None:
        """The session's token, where it holds."""
        token = request.cookies.get(COOKIE)
        return token if token is not None and self._code.holds(token[:256], self._now()) else None

    def _admitted(self, handler: Handler) -> Handler:
        """Only with an open session."""

        async def guarded(request: Request) -> Response:
            if self._token(request) is None:
                return Response(status_code=401, headers={"HX-Redirect": "/"})
            return await handler(request)

        return guarded

    def _acting(self, handler: Handler, limit: int = FORM_LIMIT) -> Handler:
        """Only with an open session, from this very page, and with its form token."""

        async def guarded(request: Request) -> Response:
            token = self._token(request)
            if token is None:
                return RedirectResponse("/", 303) if request.method == "POST" else Response(status_code=401)
            body = await body_within(request, limit)
            if len(body) > limit:
                return Response(status_code=413)
            request.state.body = body
            given = request.headers.get(Csrf.HEADER) or _field(body, Csrf.FIELD)
            try:
                self._csrf.check_origin(request)
            except NotPermitted:
                return Response(status_code=403)
            if not hmac.compare_digest(given.encode(), Csrf.token(token).encode()):
                return Response(status_code=403)
            return await handler(request)

        return guarded

    async def _open(self, request: Request) -> Response:
        try:
            self._csrf.check_origin(request)
            body = await body_within(request, FORM_LIMIT)
            token = self._code.open(_field(body[:FORM_LIMIT], "code"), self._now())
        except VidneError as error:
            return self._code_form(request, problem_of(error))
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, token, max_age=SESSION_SECONDS, path="/", httponly=True, samesite="strict")
        return response

    async def _shut(self, _request: Request) -> Response:
        response = RedirectResponse("/", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    # What it shows

    async def _front(self, request: Request) -> Response:
        return self._code_form(request, None) if self._token(request) is None else self._page(request, None)

    def _code_form(self, request: Request, problem: Problem | None) -> Response:
        return self._render(request, "room_code.html", 200 if problem is None else problem.status, problem=problem)

    def _page(self, request: Request, problem: Problem | None, noted: bool = False, typed: str = "") -> Response:
        return self._render(
            request, "room_page.html", 200 if problem is None else problem.status,
            state=self._state(), problem=problem, watching=Watching(), last=self._last, noted=noted, typed=typed,
        )  # fmt: skip

    async def _fragment(self, request: Request) -> Response:
        return self._render(request, "fragments/room_page_state.html", 200, state=self._state())

    def _state(self) -> Any:
        return room_state(self._node.describe(), self._profile, moment(int(self._now() * 1e9)))

    def _render(self, request: Request, template: str, status: int, **context: Any) -> Response:
        token = self._token(request)
        html = TEMPLATES.get_template(template).render(
            account=None, csrf="" if token is None else Csrf.token(token), settings=self._settings, menu=[],
            path=request.url.path, section="/", **context,
        )  # fmt: skip
        return HTMLResponse(html, status)

    # What it does

    def _refused(self, request: Request, error: VidneError | OSError, typed: str = "") -> Response:
        """The page with what went wrong; a disk that fails is said like one that is full. `typed` is not lost."""
        said = error if isinstance(error, VidneError) else NoSpace("the disk fails", code="no-space")
        return self._page(request, problem_of(said), typed="" if said.code == "cpr-number" else typed)

    async def _start(self, request: Request) -> Response:
        try:
            await self._node.begin_alone()
        except (VidneError, OSError) as error:
            return self._refused(request, error)
        return RedirectResponse("/", 303)

    async def _stop(self, request: Request) -> Response:
        interview = self._node.describe()["interview"]
        try:
            closed = await self._node.end(BY_ROOM)
        except (VidneError, OSError) as error:
            return self._refused(request, error)
        self._last = LastTake(bytes.fromhex(interview or ""), closed.take, closed.durable.head)
        return RedirectResponse("/kvittering", 303)

    async def _receipt(self, request: Request) -> Response:
        if self._last is None:
            return RedirectResponse("/", 303)
        return self._render(request, "room_receipt.html", 200, last=self._last, at=moment(int(self._now() * 1e9)))

    async def _explain(self, request: Request) -> Response:
        described = self._node.describe()
        about = self._last
        if described["interview"] is not None and described["take"] is not None:
            about = LastTake(bytes.fromhex(described["interview"]), described["take"], b"")
        text, utc_ns = _field(request.state.body, "reason"), int(self._now() * 1e9)
        try:
            if about is None:
                raise Unavailable("nothing has been recorded that a note could be about", code="unavailable")
            await asyncio.to_thread(self._notes.write, text, about.interview, about.number, utc_ns)
        except (VidneError, OSError) as error:
            return self._refused(request, error, text)
        return self._page(request, None, noted=True)

    # The live picture

    async def _watch(self, request: Request) -> Response:
        camera = str(request.path_params["camera"])
        if _NAME.fullmatch(camera) is None or request.path_params["room"] != self._profile.room:
            return Response(status_code=404)
        headers = {"Content-Type": request.headers.get("content-type", ""), "Vidne-Viewer": ROOM_PAGE}
        reply = await self._ask("POST", f"whep/{camera}", request.state.body, headers)
        answer = Response(reply.content, reply.status_code, media_type=reply.headers.get("content-type"))
        if reply.status_code == httpx.codes.CREATED:
            session = reply.headers["location"].rsplit("/", 1)[1]
            answer.headers["Location"] = f"{request.url.path}/{session}"
        if "retry-after" in reply.headers:
            answer.headers["Retry-After"] = reply.headers["retry-after"]
        return answer

    async def _renew(self, request: Request) -> Response:
        return Response(status_code=(await self._of_session(request, "PUT", "/lease")).status_code)

    async def _leave(self, request: Request) -> Response:
        return Response(status_code=(await self._of_session(request, "DELETE", "")).status_code)

    async def _of_session(self, request: Request, method: str, more: str) -> httpx.Response:
        camera, session = str(request.path_params["camera"]), str(request.path_params["session"])
        if _NAME.fullmatch(camera) is None or _SESSION.fullmatch(session) is None:
            return httpx.Response(404)
        return await self._ask(method, f"whep/{camera}/{session}{more}", b"", {})

    async def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """The monitor's answer; 503 while it is being started again."""
        try:
            return await self._monitor.request(method, path, content=body, headers=headers)
        except httpx.HTTPError:
            return httpx.Response(503, headers={"Retry-After": "2"})


def _field(body: bytes, name: str) -> str:
    """A field of a form (application/x-www-form-urlencoded); empty where it is not there."""
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=16, keep_blank_values=True)
    except ValueError:
        return ""
    return found.get(name, [""])[0]
