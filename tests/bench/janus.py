"""The peer: Debian's Janus gateway with its videoroom, recording what arrives as `.mjr` in the clear.

Janus speaks an HTTP protocol of its own; WHIP for its cameras and the subscribers' offers are carried to it from this
process, which is not counted. Only the Janus process is.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.drill.house import free_ports
from tests.bench.load import DIES_WITH_US, end

PLUGIN = "janus.plugin.videoroom"
_READY_S = 10.0

_CORE = """
general: {{ configs_folder = "{folder}", plugins_folder = "{lib}/plugins", transports_folder = "{lib}/transports",
  events_folder = "/nonexistent", loggers_folder = "/nonexistent", debug_level = 2, session_timeout = 0 }}
nat: {{ ice_enforce_list = "127.0.0.1", ice_lite = true }}
media: {{ ipv6 = false }}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
"""
_HTTP = """
general: {{ json = "compact", base_path = "/janus", http = true, port = {port}, ip = "127.0.0.1", https = false }}
admin: {{ admin_http = false }}
"""


class JanusMissing(Exception):  # noqa: N818 - said of the machine
    """Debian's package `janus` is not installed."""


class Janus:
    """Runs while it is entered. `pid` is what is to be counted; `whip` its cameras' address, a room for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._http, self._port = free_ports(2)
        self.whip = f"http://127.0.0.1:{self._port}/whip"
        self._rooms = itertools.count(1001)
        self.rooms: list[int] = []
        self._process: asyncio.subprocess.Process | None = None
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._http}", timeout=60, trust_env=False)
        self._polls: set[asyncio.Task[None]] = set()
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def _configure(self) -> None:
        if shutil.which("janus") is None:
            raise JanusMissing("the peer of this measurement is missing: apt-get install janus")
        plugin = next(Path("/usr/lib").rglob("janus/plugins/libjanus_videoroom.so"))
        lib = plugin.parent.parent
        others = [each.name for each in (lib / "plugins").glob("*.so") if each.name != plugin.name]
        ways = [each.name for each in (lib / "transports").glob("*.so") if each.name != "libjanus_http.so"]
        self._folder.mkdir(parents=True, exist_ok=True)
        core = _CORE.format(folder=self._folder, lib=lib, plugins=",".join(others), transports=",".join(ways))
        (self._folder / "janus.jcfg").write_text(core)
        (self._folder / "janus.transport.http.jcfg").write_text(_HTTP.format(port=self._http))
        (self._folder / "janus.plugin.videoroom.jcfg").write_text("general: { }\n")

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("Janus has not been started")
        return self._process.pid

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._configure)
        with await asyncio.to_thread((self._folder / "janus.log").open, "wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *DIES_WITH_US, "janus", "-F", str(self._folder), "-C", str(self._folder / "janus.jcfg"),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        routes = [Route("/whip", self._publish, methods=["POST"]), Route("/whip/{id}", self._end, methods=["DELETE"])]
        config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=self._port, log_level="error")
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    await self._client.get("/janus/info")
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)
                else:
                    return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for poll in self._polls:
            poll.cancel()
        await asyncio.gather(*self._polls, return_exceptions=True)
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self._client.aclose()
        if self._process is not None:
            await end(self._process)

    def recorded(self) -> int:
        """Octets recorded so far."""
        return sum(each.stat().st_size for each in self._folder.glob("*.mjr"))

    def forget_recordings(self) -> None:
        for each in self._folder.glob("*.mjr"):
            each.unlink()

    async def subscribe(self, room: int) -> tuple[str, str]:
        """The offer of a room's camera, and where its answer belongs (for `answer`)."""
        session, handle = await self._attach()
        listed = await self._say(f"{session}/{handle}", {"request": "listparticipants", "room": room})
        feed = listed["plugindata"]["data"]["participants"][0]["id"]
        streams = [{"feed": feed}]
        await self._say(
            f"{session}/{handle}", {"request": "join", "ptype": "subscriber", "room": room, "streams": streams}
        )
        return await self._description(session), f"{session}/{handle}"

    async def answer(self, where: str, sdp: str) -> None:
        await self._say(where, {"request": "start"}, {"type": "answer", "sdp": sdp})
        self._poll(int(where.partition("/")[0]))

    async def _publish(self, request: Request) -> Response:
        offer = (await request.body()).decode()
        session, handle = await self._attach()
        room = next(self._rooms)
        made = {
            "request": "create", "room": room, "publishers": 2, "record": True, "rec_dir": str(self._folder),
            "videocodec": "h264", "h264_profile": "42e01f", "audiocodec": "opus", "bitrate": 0,
        }  # fmt: skip
        await self._say(f"{session}/{handle}", made)
        joining = {"request": "joinandconfigure", "ptype": "publisher", "room": room}
        await self._say(f"{session}/{handle}", joining, {"type": "offer", "sdp": offer})
        answer = await self._description(session)
        self._poll(session)
        self.rooms.append(room)
        headers = {"Location": f"{self.whip}/{session}"}
        return Response(answer, status_code=201, media_type="application/sdp", headers=headers)

    async def _end(self, request: Request) -> Response:
        await self._post(f"/{request.path_params['id']}", janus="destroy")
        return Response()

    async def _attach(self) -> tuple[int, int]:
        session: int = (await self._post("", janus="create"))["data"]["id"]
        handle: int = (await self._post(f"/{session}", janus="attach", plugin=PLUGIN))["data"]["id"]
        return session, handle

    async def _say(self, where: str, body: dict[str, Any], jsep: dict[str, str] | None = None) -> dict[str, Any]:
        return await self._post(f"/{where}", janus="message", body=body, **({"jsep": jsep} if jsep else {}))

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        reply = await self._client.post(f"/janus{path}", json={"transaction": "bench", **body})
        described: dict[str, Any] = reply.json()
        return described

    async def _description(self, session: int) -> str:
        """The SDP that Janus gives within the next events of a session."""
        while True:
            event = (await self._client.get(f"/janus/{session}", params={"maxev": 1})).json()
            if "jsep" in event:
                return str(event["jsep"]["sdp"])

    def _poll(self, session: int) -> None:
        """Takes a session's events from now on, which keeps it alive."""
        task = asyncio.create_task(self._take_events(session))
        self._polls.add(task)

    async def _take_events(self, session: int) -> None:
        while True:
            try:
                event = (await self._client.get(f"/janus/{session}", params={"maxev": 1})).json()
            except httpx.HTTPError:
                await asyncio.sleep(1)
                continue
            if event.get("janus") in ("error", "timeout"):
                return
