"""The monitor room: the page, the room's state as small fragments, and WHEP signalling (draft-ietf-wish-whep).

Signalling goes through here, with the person's own session, and no further: media runs straight between the room node
and the browser. The lease is renewed every 5 s by the page and dies after 15 s, so signing out cuts the picture.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.identity.permissions import Allow, allow
from api.problems import problem_response
from api.routes.dependencies import Configured, Serviced
from api.services import Account
from api.web import page
from evidence_store.errors import InvalidInput, NotFound, Unavailable

router = APIRouter(tags=["live"])

Watcher = Annotated[Account, Depends(allow("room:live:watch"))]
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Session = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{8,128}$")]

GREATEST_OFFER: Final = 32 * 1024


@router.get("/monitorrum", include_in_schema=False)
async def monitor_room(request: Request, services: Serviced, account: Watcher) -> Response:
    try:
        state = await services.room.state()
    except Unavailable:
        state = None
    return page(request, "monitor_room.html", state=state)


@router.get("/rum/{view}", include_in_schema=False, dependencies=[Depends(allow("room:state:read", passive=True))])
async def room_fragment(request: Request, services: Serviced, view: str, interview: str = "") -> Response:
    """The room's state as the fragment of one page. `interview` is the opaque id the operator's page is about."""
    gate = FRAGMENTS.get(view)
    if gate is None:
        raise NotFound("no such fragment")
    template, permission = gate
    await Allow(permission, passive=True)(request)
    try:
        state = await services.room.state()
    except Unavailable:
        # Not an error of the page: "unknown" is the state, and must replace the last answer at once.
        state = None
    store = await run_in_threadpool(services.store.state) if view == "system" else None
    return page(request, template, state=state, interview_id=interview, store=store)


FRAGMENTS: Final = {
    "afhoering": ("fragments/console_state.html", "interview:session:control"),
    "monitorrum": ("fragments/monitor_state.html", "room:live:watch"),
    "system": ("fragments/system_state.html", "system:status:read"),
}
"""View → template and the permission of the page it belongs to."""


@router.post("/live/{room}/{camera}", status_code=201, responses={201: {"content": {"application/sdp": {}}}})
async def watch(
    request: Request, services: Serviced, settings: Configured, account: Watcher, room: Name, camera: Name
) -> Response:
    """Forward a WHEP offer (body: SDP). 201 with the answer and `Location`, or the monitor room's refusal."""
    if room != settings.room:
        raise NotFound("no such room")
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/sdp":
        return problem_response(request, "unsupported-media-type")
    offer = await request.body()
    if len(offer) > GREATEST_OFFER:
        return problem_response(request, "too-large")
    if not offer.startswith(b"v=0"):
        raise InvalidInput("not SDP", code="malformed")
    reply = await services.live.whep_post(camera, offer, account)
    response = Response(reply.body, reply.status, media_type=reply.content_type if reply.body else None)
    if reply.session is not None:
        response.headers["Location"] = f"/live/{room}/{camera}/{reply.session}"
    if reply.retry_after is not None:
        response.headers["Retry-After"] = str(reply.retry_after)
    return response


@router.put("/live/{room}/{camera}/{session}/lease", status_code=204)
async def renew(services: Serviced, account: Watcher, room: Name, camera: Name, session: Session) -> Response:
    """Extend the lease. 404 when there is nothing to extend: the page then connects again."""
    if not await services.live.renew(camera, session, account):
        raise NotFound("no such live session")
    return Response(status_code=204)


@router.delete("/live/{room}/{camera}/{session}", status_code=200)
async def leave(services: Serviced, account: Watcher, room: Name, camera: Name, session: Session) -> Response:
    await services.live.delete(camera, session, account)
    return Response(status_code=200)
