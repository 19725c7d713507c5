"""The monitor's process: WHEP out, fed by the recorder over a local socket. The recording does not know of it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.processes.keep_away import keep_away
from api.processes.locked import lock_memory
from api.processes.serving import configure_logs, die_with_parent, harden, listen, serve, take_precedence
from api.routes.whep import whep_routes
from api.settings import Secrets, Settings
from monitor_room.node import MonitorNode, MonitorSettings
from recorder.aiortc_hooks import IceSettings


def main(settings: Settings) -> None:
    """Runs until told to stop."""
    configure_logs()
    harden()
    die_with_parent()
    keep_away("monitor", settings)
    lock_memory("monitor")
    take_precedence(1)
    uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    listener = listen("127.0.0.1", settings.monitor_port)
    node = MonitorNode(
        MonitorSettings(
            feed_path=settings.feed_path,
            base_url=settings.monitor_url,
            token=Secrets(settings.run_folder).token("monitor"),
            ice=IceSettings(settings.ice_addresses, settings.ice_ports),
        )
    )

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        await node.start()
        gc.freeze()  # see the recorder's process
        watch = asyncio.create_task(_end_with(node))
        yield
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await node.stop()

    async def healthy(_request: Request) -> Response:
        return JSONResponse({"fed": node.fed, "ok": True})

    app = Starlette(lifespan=life, routes=[*whep_routes(node.whep), Route("/healthz", healthy)])
    await serve(app, listener)


async def _end_with(node: MonitorNode) -> None:
    """A monitor without its tasks shows nothing and ends no lease: it ends, and the supervisor starts another."""
    try:
        await node.wait()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
