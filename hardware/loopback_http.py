"""A door on loopback for one client that speaks a little HTTP/1.1: one request to a connection, answered and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

HEAD_AT_MOST = 16 * 1024
BODY_AT_MOST = 64 * 1024
_PATIENCE = 5.0  # seconds for the client to finish a request, and to take its answer


class Request(NamedTuple):
    """Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class LoopbackServer:
    """`answer(request)` gives the whole answer (see `response`), None to break the connection; `broken(error)` hears of
    requests that were none, and of clients that went away."""

    def __init__(
        self, answer: Callable[[Request], Awaitable[bytes | None]], broken: Callable[[Exception], None]
    ) -> None:
        self._answer, self._broken = answer, broken
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`. Raises RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the door is not open")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_AT_MOST)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(_PATIENCE):
                request = await _read(reader)
            answer = await self._answer(request)
            if answer is not None:
                writer.write(answer)
                async with asyncio.timeout(_PATIENCE):
                    await writer.drain()
        except asyncio.CancelledError:
            return  # by `stop`; raised on, asyncio's own callback would trip over it
        except (
            TimeoutError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
        ) as error:
            self._broken(error)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    """Raises ValueError for what is no request, or too large."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    method, path, _version = line.split(" ")
    headers: dict[str, str] = {}
    for name, _, value in (field.partition(":") for field in fields):
        headers.setdefault(name.strip().lower(), value.strip())
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= BODY_AT_MOST:
        raise ValueError("a body is too large")
    return Request(method, path, headers, await reader.readexactly(length))


def response(status: str, headers: dict[str, str], body: bytes) -> bytes:
    """`status` as in `201 Created`."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
