"""WHIP (RFC 9725): where cameras publish. Framework-free: values in, a `Reply` out; routes only carry them.

Every status of it is in the table of tests/recorder_webrtc/test_whip_table.py. What a PATCH means is decided in
`trickle`. Other origins are given no CORS headers: a browser's camera page is served by the recorder itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from evidence_store.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, Unavailable, VidneError
from recorder.aiortc_hooks import IceSettings
from recorder.peer import CONNECT_WITHIN_S, Peer, Sink
from recorder.sdp import LIMIT, parse_offer
from recorder.trickle import FRAGMENT, IceSession, media_type

SDP = "application/sdp"
STALE_AFTER_NS = 2_000_000_000
"""A publisher unheard for this long gives way to a new one."""
CAPACITY = 16

_STATUS_OF_CODE = {
    "sdp-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not-sdp": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "too-many-media": HTTPStatus.UNPROCESSABLE_ENTITY,
    "wrong-direction": HTTPStatus.UNPROCESSABLE_ENTITY,
    "not-bundled": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no-media": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no-video": HTTPStatus.UNPROCESSABLE_ENTITY,
    "codec-unsupported": HTTPStatus.NOT_ACCEPTABLE,
    "not-sdpfrag": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "no-precondition": HTTPStatus.PRECONDITION_REQUIRED,
    "precondition-failed": HTTPStatus.PRECONDITION_FAILED,
    "no-ice-restart": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no-renegotiation": HTTPStatus.UNPROCESSABLE_ENTITY,
}
_STATUS_OF_KIND: tuple[tuple[type[VidneError], HTTPStatus], ...] = (
    (InvalidInput, HTTPStatus.BAD_REQUEST),
    (NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_NOBODY = secrets.token_hex(32)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. Header names as they are to be sent; Content-Type is among them when there is a body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def problem(error: VidneError, **headers: str) -> Reply:
    """Problem details (RFC 9457) for an error of the tree, with its `code`; `Retry_After` becomes Retry-After."""
    status = _STATUS_OF_CODE.get(error.code) or next(
        (status for kind, status in _STATUS_OF_KIND if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
    )
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": str(error),
        "code": error.code,
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(int(status), {"Content-Type": "application/problem+json"} | named, json.dumps(body).encode())


def authorised(authorization: str | None, token: str | None) -> bool:
    """Whether an Authorization header (or None) bears this token; constant time, None is nobody's token (RFC 6750)."""
    scheme, _, given = (authorization or "").partition(" ")
    same = hmac.compare_digest(_digest(given.strip()), _digest(_NOBODY if token is None else token))
    return same and scheme.lower() == "bearer" and bool(token)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def require_sdp(content_type: str | None, body: bytes) -> None:
    """Raises InvalidInput `not-sdp` (415) or `sdp-too-large` (413)."""
    if media_type(content_type) != SDP:
        raise InvalidInput(f"The body must be an SDP offer, with Content-Type: {SDP}.", code="not-sdp")
    if len(body) > LIMIT:
        raise InvalidInput(f"The offer is larger than {LIMIT} octets.", code="sdp-too-large")


@dataclass(slots=True)
class _Session:
    id: str
    peer: Peer
    ice: IceSession


class WhipEndpoint:
    """All cameras of one recorder.

    `base_url`: how clients reach it, for the absolute Location (`http://recorder:7801`). `token_of(camera)`: its bearer
    token, None for an unknown camera. `overloaded()`: True makes new cameras wait (503); those connected stay.
    """

    def __init__(
        self,
        *,
        base_url: str,
        token_of: Callable[[str], str | None],
        sink: Sink,
        ice: IceSettings,
        capacity: int = CAPACITY,
        overloaded: Callable[[], bool] = lambda: False,
        connect_within_s: float = CONNECT_WITHIN_S,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token_of, self._sink, self._ice = token_of, sink, ice
        self._capacity, self._overloaded, self._connect_within_s = capacity, overloaded, connect_within_s
        self._sessions: dict[str, _Session] = {}  # by camera: one publisher each
        self._ending: set[Peer] = set()
        self._stopped = False

    async def post(self, camera: str, content_type: str | None, body: bytes, authorization: str | None) -> Reply:
        """201 with the answer and its Location, or problem details: 400, 401, 406, 409, 413, 415, 422, 503.

        An unknown camera and a wrong token get the same 401.
        """
        try:
            self._admit(camera, authorization)
            require_sdp(content_type, body)
            offer = parse_offer(body)
            old = self._sessions.get(camera)
            if self._stopped or self._overloaded() or (old is None and len(self._sessions) >= self._capacity):
                raise Unavailable("The recorder cannot take another camera now; try again.", code="overloaded")
            if old is not None and time.monotonic_ns() - old.peer.heard_ns < STALE_AFTER_NS:
                raise Conflict(
                    "This camera is already sending; stop the other sender first.", code="already-publishing"
                )
            peer = Peer(camera, offer, self._sink, self._ice, self._ended, connect_within_s=self._connect_within_s)
        except (Conflict, Unavailable) as error:
            return problem(error, Retry_After="2")
        except NotAuthenticated as error:
            return problem(error, WWW_Authenticate="Bearer")
        except InvalidInput as error:
            return problem(error)
        # From here the camera is this peer's: a second offer while this one is being answered meets the 409 above.
        session = self._sessions[camera] = _Session(secrets.token_urlsafe(32), peer, IceSession(peer.ufrag))
        self._ending.add(peer)
        if old is not None:
            await old.peer.close("replaced")
        try:
            answer = await peer.answer()
        except VidneError as error:
            await peer.close("refused")
            return problem(error, Retry_After="2") if isinstance(error, Unavailable) else problem(error)
        except BaseException:
            # The client hung up, or something unforeseen: the camera's place must not stay taken by a half-made peer.
            peer.end("abandoned")
            raise
        location = f"{self._base_url}/whip/{camera}/{session.id}"
        headers = {"Content-Type": SDP, "Location": location, "ETag": session.ice.etag, "Accept-Patch": FRAGMENT}
        return Reply(HTTPStatus.CREATED, headers, answer.encode())

    def options(self) -> Reply:
        """For anyone, of endpoint and sessions: what can be asked (RFC 9725, section 4.2)."""
        return Reply(HTTPStatus.OK, {"Accept-Post": SDP, "Accept-Patch": FRAGMENT, "Allow": "OPTIONS, GET, HEAD, POST"})

    def get(self) -> Reply:
        """For GET and HEAD of the endpoint: successful and empty (section 4.1)."""
        return Reply(HTTPStatus.NO_CONTENT)

    def get_session(self, camera: str, session: str, authorization: str | None) -> Reply:
        """For GET and HEAD of a session: 204, or 401, 404."""
        found = self._found(camera, session, authorization)
        return found if isinstance(found, Reply) else Reply(HTTPStatus.NO_CONTENT, {"ETag": found.ice.etag})

    async def delete(self, camera: str, session: str, authorization: str | None) -> Reply:
        """200 when the camera's session has ended; 401, 404. An If-Match is not asked for and not looked at."""
        found = self._found(camera, session, authorization)
        if isinstance(found, Reply):
            return found
        await found.peer.linger()
        await found.peer.close("ended-by-camera")
        return Reply(HTTPStatus.OK)

    async def patch(
        self,
        camera: str,
        session: str,
        content_type: str | None,
        body: bytes,
        authorization: str | None,
        if_match: str | None,
    ) -> Reply:
        """204 when the candidates have been given to ICE; 400, 401, 404, 412, 413, 415, 422 (restart), 428."""
        found = self._found(camera, session, authorization)
        if isinstance(found, Reply):
            return found
        try:
            candidates = found.ice.trickled(content_type, body, if_match)
        except InvalidInput as error:
            return problem(error, Accept_Patch=FRAGMENT) if error.code == "not-sdpfrag" else problem(error)
        await found.peer.add_candidates(candidates)
        return Reply(HTTPStatus.NO_CONTENT)

    def peer(self, camera: str) -> Peer | None:
        """The camera's present peer, connected or connecting."""
        session = self._sessions.get(camera)
        return session.peer if session is not None else None

    def key_frame(self, camera: str) -> None:
        """Asks the camera for a key frame, if it is here."""
        if (peer := self.peer(camera)) is not None:
            peer.key_frame()

    async def stop(self) -> None:
        """Ends every session; none is accepted afterwards."""
        self._stopped = True
        for peer in list(self._ending):
            await peer.close("stopped")

    def _admit(self, camera: str, authorization: str | None) -> None:
        if not authorised(authorization, self._token_of(camera)):
            raise NotAuthenticated("The camera's bearer token is missing or wrong.", code="wrong-token")

    def _found(self, camera: str, session: str, authorization: str | None) -> _Session | Reply:
        """The camera's session, or why not: 401, 404."""
        try:
            self._admit(camera, authorization)
        except NotAuthenticated as error:
            return problem(error, WWW_Authenticate="Bearer")
        found = self._sessions.get(camera)
        if found is None or not hmac.compare_digest(_digest(found.id), _digest(session)):
            return problem(NotFound("There is no such session; it may have ended.", code="no-session"))
        return found

    def _ended(self, peer: Peer) -> None:
        self._ending.discard(peer)
        session = self._sessions.get(peer.camera)
        if session is not None and session.peer is peer:
            del self._sessions[peer.camera]
