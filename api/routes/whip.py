"""WHIP (RFC 9725) over HTTP, in the recorder's process. What is decided is decided by `recorder.whip`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.routes.carry import body_within, respond
from recorder.sdp import LIMIT
from recorder.whip import WhipEndpoint


def whip_routes(whip: WhipEndpoint) -> list[Route]:
    """`/whip/{camera}` and its sessions."""

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return respond(whip.options())
        if request.method in ("GET", "HEAD"):
            return respond(whip.get())
        return respond(
            await whip.post(
                request.path_params["camera"],
                request.headers.get("content-type"),
                await body_within(request, LIMIT),
                request.headers.get("authorization"),
            )
        )

    async def session(request: Request) -> Response:
        where = (request.path_params["camera"], request.path_params["session"])
        authorization = request.headers.get("authorization")
        if request.method == "OPTIONS":
            return respond(whip.options())
        if request.method in ("GET", "HEAD"):
            return respond(whip.get_session(*where, authorization))
        if request.method == "DELETE":
            return respond(await whip.delete(*where, authorization))
        return respond(
            await whip.patch(
                *where,
                request.headers.get("content-type"),
                await body_within(request, LIMIT),
                authorization,
                request.headers.get("if-match"),
            )
        )

    return [
        Route("/whip/{camera}", endpoint, methods=["GET", "HEAD", "OPTIONS", "POST"]),
        Route("/whip/{camera}/{session}", session, methods=["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]),
    ]
