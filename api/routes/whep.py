"""WHEP over HTTP, in the monitor's process, for the web application alone. Decided by `monitor_room.whep`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.routes.carry import body_within, respond
from monitor_room.whep import WhepEndpoint
from recorder.sdp import LIMIT


def whep_routes(whep: WhepEndpoint) -> list[Route]:
    """`/whep/{camera}`, its sessions and leases, and `/viewers`."""

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return respond(whep.options())
        if request.method in ("GET", "HEAD"):
            return respond(whep.get())
        return respond(
            await whep.post(
                request.path_params["camera"],
                request.headers.get("vidne-viewer", ""),
                request.headers.get("content-type"),
                await body_within(request, LIMIT),
                request.headers.get("authorization"),
                request.headers.get("accept"),
            )
        )

    async def session(request: Request) -> Response:
        where = (request.path_params["camera"], request.path_params["session"])
        authorization = request.headers.get("authorization")
        if request.method == "OPTIONS":
            return respond(whep.options())
        if request.method in ("GET", "HEAD"):
            return respond(whep.get_session(*where, authorization))
        if request.method == "DELETE":
            return respond(await whep.delete(*where, authorization))
        return respond(
            await whep.patch(
                *where,
                request.headers.get("content-type"),
                await body_within(request, LIMIT),
                authorization,
                request.headers.get("if-match"),
            )
        )

    async def lease(request: Request) -> Response:
        where = (request.path_params["camera"], request.path_params["session"], request.headers.get("authorization"))
        return respond(whep.renew(*where))

    async def viewers(request: Request) -> Response:
        return respond(whep.viewers(request.headers.get("authorization")))

    return [
        Route("/whep/{camera}", endpoint, methods=["GET", "HEAD", "OPTIONS", "POST"]),
        Route("/whep/{camera}/{session}", session, methods=["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]),
        Route("/whep/{camera}/{session}/lease", lease, methods=["PUT"]),
        Route("/viewers", viewers, methods=["GET"]),
    ]
