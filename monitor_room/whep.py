"""WHEP (draft-ietf-wish-whep): where viewers fetch the picture. Framework-free, like `recorder.whip`.

Called by the web application only, for a person whose right to watch it has checked; `viewer` is that person's opaque
account id. A session lives on a lease of 15 s, renewed by the application while the person may watch.
Not here: trickle ICE, counter-offers; an offer without the codec that the camera sends gets 406, and hears which
browser has it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus

from evidence_store.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, Unavailable, VidneError
from monitor_room.fanout import Fanout, Viewer
from monitor_room.roster import LEASE_NS, Roster
from recorder.aiortc_hooks import IceSettings
from recorder.feed import Presence
from recorder.sdp import parse_offer
from recorder.whip import SDP, Reply, authorised, problem, require_sdp

CAPACITY = 64


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
        self._sessions: dict[str, Viewer] = {}
        self._closing: set[Viewer] = set()
        self._stopped = False

    async def post(
        self, camera: str, viewer: str, content_type: str | None, body: bytes, authorization: str | None
    ) -> Reply:
        """201 with answer, Location and Vidne-Lease (s); else 400, 401, 406, 409 (nothing live), 413, 415, 422, 503."""
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
            return self._refusal(error)
        session = secrets.token_urlsafe(32)
        made = Viewer(
            session,
            camera,
            offer,
            chosen,
            self._ice,
            shown=self._shown,
            ended=self._ended,
            want_key_frame=self._fanout.want_key_frame,
        )
        self._sessions[session] = made
        self._closing.add(made)
        self._roster.admit(session, viewer, camera, time.monotonic_ns())
        try:
            answer = await made.answer()
        except VidneError as error:
            made.end("refused")
            return self._refusal(error)
        except BaseException:
            made.end("abandoned")
            raise
        self._fanout.join(made)
        headers = {
            "Content-Type": SDP,
            "Location": f"{self._base_url}/whep/{camera}/{session}",
            "ETag": f'"{secrets.token_hex(8)}"',
            "Vidne-Lease": str(LEASE_NS // 1_000_000_000),
        }
        return Reply(HTTPStatus.CREATED, headers, answer.encode())

    def options(self) -> Reply:
        return Reply(HTTPStatus.NO_CONTENT, {"Accept-Post": SDP, "Allow": "OPTIONS, GET, HEAD, POST"})

    def get(self) -> Reply:
        """For GET and HEAD of the endpoint."""
        return Reply(HTTPStatus.OK)

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
        await found.close("ended-by-viewer")
        self._closing.discard(found)
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
            self._sessions[session].end("lease-ran-out")

    async def sweep(self) -> None:
        """Waits for the sockets of ended viewers to be gone."""
        for viewer in [viewer for viewer in self._closing if viewer.session not in self._sessions]:
            await viewer.close("ended")
            self._closing.discard(viewer)

    async def stop(self) -> None:
        self._stopped = True
        for viewer in list(self._sessions.values()):
            viewer.end("stopped")
        await self.sweep()

    def _admit(self, authorization: str | None) -> None:
        if not authorised(authorization, self._token):
            raise NotAuthenticated("The monitor's bearer token is missing or wrong.", code="wrong-token")

    def _find(self, camera: str, session: str, authorization: str | None) -> Viewer:
        self._admit(authorization)
        found = self._sessions.get(session)
        if found is None or found.camera != camera:
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
