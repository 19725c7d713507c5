"""The room's orders and state over HTTP, in the recorder's process, for whoever holds the room's token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.routes.carry import body_within, respond
from evidence_store.canonical import parse
from evidence_store.errors import InvalidInput, NotAuthenticated, VidneError
from recorder.known_cameras import Marks
from recorder.node import RecorderNode
from recorder.take import Order
from recorder.whip import authorised, problem

ORDER_LIMIT = 64 * 1024

Handler = Callable[[Request], Awaitable[Response]]


def room_routes(node: RecorderNode, token: str, memory: Callable[[], str]) -> list[Route]:
    """`/room/state`, `/room/start`, `/room/stop`, `/room/cameras/ID` to confirm a camera that is another one.

    `memory`: how this process's memory is kept out of swap."""

    def guarded(handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            if not authorised(request.headers.get("authorization"), token):
                return respond(problem(NotAuthenticated("The room's token is missing or wrong.", code="wrong-token")))
            try:
                return await handler(request)
            except VidneError as error:
                return respond(problem(error))

        return guard

    async def state(_request: Request) -> Response:
        return JSONResponse(node.describe() | {"memory": memory()})

    async def start(request: Request) -> Response:
        order = Order.decode(await body_within(request, ORDER_LIMIT))
        return JSONResponse({"take": await node.begin(order)})

    async def stop(_request: Request) -> Response:
        closed = await node.end()
        return JSONResponse({"head": closed.durable.head.hex(), "take": closed.take})

    async def confirm(request: Request) -> Response:
        record = parse(await body_within(request, ORDER_LIMIT))
        try:
            marks = Marks(record["address"], record["fingerprint"])
        except (KeyError, TypeError) as error:
            raise InvalidInput("not what a camera is known by", code="camera-form") from error
        node.confirm_camera(request.path_params["camera"], marks)
        return Response(status_code=204)

    return [
        Route("/room/cameras/{camera}", guarded(confirm), methods=["POST"]),
        Route("/room/state", guarded(state), methods=["GET"]),
        Route("/room/start", guarded(start), methods=["POST"]),
        Route("/room/stop", guarded(stop), methods=["POST"]),
    ]
