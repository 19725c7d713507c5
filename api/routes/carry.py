"""Carries framework-free replies of recorder and monitor to HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from recorder.whip import Reply


def respond(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))


async def body_within(request: Request, limit: int) -> bytes:
    """The body, at most one byte more than `limit`: enough to know that it is too large, whatever its length says."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            return bytes(data[: limit + 1])
    return bytes(data)
