"""WHEP (draft-ietf-wish-whep): where viewers fetch the picture. Framework-free, like `recorder.whip`.

Called by the web application only, for a person whose right to watch it has checked; `viewer` is that person's opaque
account id. A session lives on a lease of 15 s, renewed by the application while the person may watch.

An offer that is SDP but cannot be answered is refused in words: of a codec that the viewer lacks, which browser to use.
A player that says `Accept: application/sdp` is given an offer of ours instead (406), and completes it by PATCH.
Every status is in the table of tests/monitor_room/test_whep_table.py.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from evidence_store.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, Unavailable, VidneError
from monitor_room.fanout import Fanout, Viewer
from monitor_room.roster import LEASE_NS, Roster
from recorder.aiortc_hooks import IceSettings
from recorder.feed import Presence
from recorder.sdp import Codec, Kind, parse_offer
from recorder.trickle import FRAGMENT, IceSession, media_type
from recorder.whip import SDP, Reply, authorised, problem, require_sdp

CAPACITY = 64
_LEASE_S = LEASE_NS // 1_000_000_000
_MENDABLE = frozenset({"codec-unsupported", "no-video", "not-bundled", "too-many-media", "wrong-direction"})
"""What an offer of ours can do better."""


@dataclass(slots=True)
class _Session:
    viewer: Viewer
    ice: IceSession


class WhepEndpoint:
    """All viewers of one monitor room. `report(presence)` carries joins and leaves to the room's journal."""

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        fanout: Fanout,
        roster: Roster,
        ice: IceSettings,
        report: Callable[[Presence], None],
        capacity: int = CAPACITY,
    ) -> None:
        self._base_url, self._token = base_url.rstrip("/"), token
        self._fanout, self._roster, self._ice, self._report = fanout, roster, ice, report
        self._capacity = capacity
        self._sessions: dict[str, _Session] = {}
        self._closing: set[Viewer] = set()
        self._stopped = False

    async def post(
        self,
        camera: str,
        viewer: str,
        content_type: str | None,
        body: bytes,
        authorization: str | None,
        accept: str | None = None,
    ) -> Reply:
        """201 with answer, Location, ETag and Vidne-Lease (s); 406 with words or, where `accept` asks for one, with an
        offer; else 400, 401, 409 (nothing live), 413, 415, 422, 503.
        """
        live: dict[Kind, Codec] = {}
        try:
            self._admit(authorization)
            require_sdp(content_type, body)
            if not viewer:
                raise InvalidInput("Who is watching is missing.", code="no-viewer")
            if self._stopped or len(self._sessions) >= self._capacity:
                raise Unavailable("The monitor room cannot take another viewer now.", code="overloaded")
            live = self._fanout.codecs(camera)
            if not live:
                raise Conflict("This camera is not live.", code="not-live")
            offer = parse_offer(body)
            chosen = offer.viewer(live)
        except VidneError as error:
            if live and error.code in _MENDABLE and _asks_for_sdp(accept):
                return await self._counter_offer(camera, viewer, live)
            return self._refusal(error)
        made = self._make(camera)
        session = self._open(made, viewer, chosen[0].section.ufrag or "")
        try:
            answer = await made.answer(offer, chosen)
        except VidneError as error:
            made.end("refused")
            return self._refusal(error)
        except BaseException:
            made.end("abandoned")
            raise
        if made.session not in self._sessions:  # ended while it was being answered: nobody would take it out again
            return self._refusal(Unavailable("The monitor room is closing.", code="overloaded"))
        self._fanout.join(made)
        return Reply(HTTPStatus.CREATED, {"Content-Type": SDP, **self._headers(session)}, answer.encode())

    async def _counter_offer(self, camera: str, viewer: str, live: Mapping[Kind, Codec]) -> Reply:
        """406 with an offer of ours, which is good until the lease runs out."""
        made = self._make(camera)
        session = self._open(made, viewer, "")
        try:
            offer = await made.offer(live)
        except VidneError as error:
            made.end("refused")
            return self._refusal(error)
        except BaseException:
            made.end("abandoned")
            raise
        until = formatdate(time.time() + _LEASE_S, usegmt=True)
        headers = {"Content-Type": f'{SDP}; valid-until="{until}"', **self._headers(session)}
        return Reply(HTTPStatus.NOT_ACCEPTABLE, headers, offer.encode())

    def _make(self, camera: str) -> Viewer:
        return Viewer(
            secrets.token_urlsafe(32),
            camera,
            self._ice,
            shown=self._shown,
            ended=self._ended,
            want_key_frame=self._fanout.want_key_frame,
        )

    def _open(self, made: Viewer, viewer: str, ufrag: str) -> _Session:
        session = self._sessions[made.session] = _Session(made, IceSession(ufrag))
        self._closing.add(made)
        self._roster.admit(made.session, viewer, made.camera, time.monotonic_ns())
        return session

    def _headers(self, session: _Session) -> dict[str, str]:
        return {
            "Location": f"{self._base_url}/whep/{session.viewer.camera}/{session.viewer.session}",
            "ETag": session.ice.etag,
            "Accept-Patch": FRAGMENT,
            "Vidne-Lease": str(_LEASE_S),
        }

    def options(self) -> Reply:
        return Reply(HTTPStatus.OK, {"Accept-Post": SDP, "Accept-Patch": FRAGMENT, "Allow": "OPTIONS, GET, HEAD, POST"})

    def get(self) -> Reply:
        """For GET and HEAD of the endpoint."""
        return Reply(HTTPStatus.OK)

    def get_session(self, camera: str, session: str, authorization: str | None) -> Reply:
        """For GET and HEAD of a session: 200 and empty, or 401, 404."""
        try:
            found = self._find(camera, session, authorization)
        except VidneError as error:
            return self._refusal(error)
        return Reply(HTTPStatus.OK, {"ETag": found.ice.etag})

    async def patch(
        self,
        camera: str,
        session: str,
        content_type: str | None,
        body: bytes,
        authorization: str | None,
        if_match: str | None,
    ) -> Reply:
        """204 when the candidates have been given to ICE, or our offer is answered; else as WHIP's PATCH, and 406 for
        an answer that refuses the picture, 422 for one to no offer of ours.
        """
        try:
            found = self._find(camera, session, authorization)
            if media_type(content_type) == SDP:
                await self._answered(found, body)
            else:
                candidates = found.ice.trickled(content_type, body, if_match)
                await found.viewer.add_candidates(candidates)
        except VidneError as error:
            return self._refusal(error)
        return Reply(HTTPStatus.NO_CONTENT)

    async def _answered(self, session: _Session, body: bytes) -> None:
        """Raises InvalidInput; the offer then stands until its lease runs out, and may be answered better."""
        if not session.viewer.offering:
            raise InvalidInput(
                "Media cannot be negotiated anew: end this session and make one.", code="no-renegotiation"
            )
        answer = parse_offer(body)
        await session.viewer.accept(answer)
        session.ice.ufrag = next(section.ufrag or "" for section in answer.sections if not section.disabled)
        if session.viewer.session not in self._sessions:
            raise NotFound("There is no such session; it may have ended.", code="no-session")
        self._fanout.join(session.viewer)

    def renew(self, camera: str, session: str, authorization: str | None) -> Reply:
        """204, the lease runs 15 s from now; 404 when it has run out: the picture is gone and a new POST is needed."""
        try:
            self._find(camera, session, authorization)
            self._roster.renew(session, time.monotonic_ns())
        except VidneError as error:
            return self._refusal(error)
        return Reply(HTTPStatus.NO_CONTENT)

    async def delete(self, camera: str, session: str, authorization: str | None) -> Reply:
        try:
            found = self._find(camera, session, authorization)
        except VidneError as error:
            return self._refusal(error)
        await found.viewer.close("ended-by-viewer")
        self._closing.discard(found.viewer)
        return Reply(HTTPStatus.OK)

    def viewers(self, authorization: str | None) -> Reply:
        """200 with JSON {"viewers": [{"viewer", "camera", "since_utc_ns": "…"}]}: who has the picture now."""
        try:
            self._admit(authorization)
        except VidneError as error:
            return self._refusal(error)
        rows = [
            {"viewer": row.viewer, "camera": row.camera, "since_utc_ns": str(row.since_utc_ns)}
            for row in self._roster.watching()
        ]
        return Reply(HTTPStatus.OK, {"Content-Type": "application/json"}, json.dumps({"viewers": rows}).encode())

    def cut_off(self, now_ns: int) -> None:
        """Ends every session whose lease has run out."""
        for session in self._roster.run_out(now_ns):
            self._sessions[session].viewer.end("lease-ran-out")

    async def sweep(self) -> None:
        """Waits for the sockets of ended viewers to be gone."""
        for viewer in [viewer for viewer in self._closing if viewer.session not in self._sessions]:
            await viewer.close("ended")
            self._closing.discard(viewer)

    async def stop(self) -> None:
        self._stopped = True
        for session in list(self._sessions.values()):
            session.viewer.end("stopped")
        await self.sweep()

    def _admit(self, authorization: str | None) -> None:
        if not authorised(authorization, self._token):
            raise NotAuthenticated("The monitor's bearer token is missing or wrong.", code="wrong-token")

    def _find(self, camera: str, session: str, authorization: str | None) -> _Session:
        self._admit(authorization)
        found = self._sessions.get(session)
        if found is None or found.viewer.camera != camera:
            raise NotFound("There is no such session; it may have ended.", code="no-session")
        return found

    def _refusal(self, error: VidneError) -> Reply:
        if isinstance(error, Conflict | Unavailable):
            return problem(error, Retry_After="2")
        return problem(error, WWW_Authenticate="Bearer") if isinstance(error, NotAuthenticated) else problem(error)

    def _shown(self, viewer: Viewer) -> None:
        if (presence := self._roster.show(viewer.session, time.time_ns())) is not None:
            self._report(presence)

    def _ended(self, viewer: Viewer, reason: str) -> None:
        self._sessions.pop(viewer.session, None)
        self._fanout.leave(viewer)
        if (presence := self._roster.leave(viewer.session, time.time_ns())) is not None:
            self._report(presence)


def _asks_for_sdp(accept: str | None) -> bool:
    """Whether an Accept field names SDP itself: `*/*`, which every client says, does not (RFC 9110, section 12.5.1)."""
    return any(media_type(each) == SDP for each in (accept or "").split(","))
