"""The recorder's process: WHIP in, the room's orders, a page for a browser camera. Everything else may be down."""

from __future__ import annotations

import asyncio
import base64
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import structlog
import uvloop
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.identity.room_code import RoomCode
from api.processes.keep_away import keep_away
from api.processes.locked import lock_memory, memory
from api.processes.serving import configure_logs, die_with_parent, harden, listen, serve, take_precedence
from api.routes.camera_page import camera_page_router
from api.routes.room import room_routes
from api.routes.room_page import RoomPage
from api.routes.whip import whip_routes
from api.security import SecurityHeaders
from api.settings import Secrets, Settings
from api.web import static_files
from evidence_store.canonical import canonical
from evidence_store.errors import KeysOutOfReach, OutOfReach
from evidence_store.sealing import certificates as certs
from hardware.profile import Media
from hardware.profile import RoomProfile as Profile
from recorder.aiortc_hooks import IceSettings
from recorder.delivery import Delivery
from recorder.device import Device, load_or_enrol
from recorder.key_pool import KeyPool
from recorder.node import RecorderNode
from recorder.notes import Notes
from recorder.spool import Spool
from recorder.system_clock import clock_is_set
from recorder.ticker import CameraProfile, RoomProfile
from recorder.whip import WhipEndpoint

log = structlog.get_logger()

ENROL_PAUSE = 1.0


def room_profile(profile: Profile) -> RoomProfile:
    """The recorder's view of a room profile."""
    cameras = []
    for camera in profile.cameras:
        tracks = {track.media: track.id for track in camera.tracks}
        video, audio = tracks.get(Media.VIDEO), tracks.get(Media.AUDIO)
        cameras.append(CameraProfile(camera.id, video, audio, camera.keeps_certificate))
    return RoomProfile(profile.room, tuple(cameras))


def boot_id() -> str:
    """The kernel's id of this boot: monotonic clocks compare within one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def main(settings: Settings) -> None:
    """Runs until told to stop."""
    configure_logs()
    harden()
    die_with_parent()
    keep_away("recorder", settings)
    lock_memory("recorder")
    take_precedence(2)
    # The sealing thread may hold the interpreter for so long (s) while a packet waits to be passed on; 5 ms by default.
    sys.setswitchinterval(0.0005)
    uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    secrets = Secrets(settings.run_folder)
    profile = room_profile(settings.room_profile())
    listener = listen("127.0.0.1", settings.recorder_port)
    device = await _device(settings, secrets, profile.room)
    spool = Spool(settings.room_folder, settings.spool_limit)
    store = httpx.AsyncClient(
        base_url=f"{settings.api_url}/intake/",
        headers={"Authorization": f"Bearer {secrets.token('delivery')}"},
        timeout=httpx.Timeout(20.0, connect=3.0),
        verify=str(settings.tls_certificate) if settings.tls else True,
        trust_env=False,
    )
    monitor = httpx.AsyncClient(
        base_url=settings.monitor_url,
        headers={"Authorization": f"Bearer {secrets.token('monitor')}"},
        timeout=httpx.Timeout(10.0, connect=1.0),
        trust_env=False,
    )
    keys = KeyPool(settings.room_folder, device.enrolment, device.certificates.root)
    notes = Notes(settings.room_folder, device)
    node = RecorderNode(
        profile,
        device,
        spool,
        settings.feed_path,
        lambda heartbeat: Delivery(
            spool, store, keep_seconds=settings.keep, heartbeat=heartbeat, errands=(keys.refill, notes.deliver)
        ),
        lambda camera: whip.key_frame(camera),
        boot=boot_id(),
        watched=settings.watch,
        keys=keys,
        # A demonstration runs where somebody else keeps the time.
        clock_set=(lambda: None) if settings.demo else clock_is_set,
    )
    page = RoomPage(
        node,
        notes,
        RoomCode(settings.room_code(), secrets.token("room-page")),
        monitor,
        settings.room_profile(),
    )
    tokens = {camera.id: secrets.token(f"camera-{camera.id}") for camera in profile.cameras}
    whip = WhipEndpoint(
        base_url=settings.recorder_url,
        token_of=tokens.get,
        sink=node.cameras,
        ice=IceSettings(settings.ice_addresses, settings.ice_ports),
    )

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await node.start()
        # What is there now stays: a collection that looked at all of it again would hold up packets for 0.1 s.
        gc.freeze()
        yield
        await whip.stop()
        await node.stop()
        await store.aclose()
        await monitor.aclose()

    app = FastAPI(lifespan=life, openapi_url=None)
    app.router.routes += [
        *whip_routes(whip),
        *room_routes(node, secrets.token("room"), memory),
        *page.routes(),
        Route("/healthz", _healthy),
    ]
    app.include_router(camera_page_router())
    app.mount("/static", static_files(), name="static")
    hosts = ["127.0.0.1", "localhost", *settings.names]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(SecurityHeaders, secure=False, camera=True)
    await serve(app, listener)


async def _healthy(_request: Request) -> Response:
    return JSONResponse({"ok": True})


async def _device(settings: Settings, secrets: Secrets, room: str) -> Device:
    """This disk's device, enrolled now where it is new: that waits for the store, once in a device's life."""

    def enrol(enrolment: bytes, room: str, device: bytes, device_ml_dsa: bytes) -> certs.DeviceCertificates:
        body = canonical(
            {
                "device": base64.b64encode(device).decode(),
                "device_ml_dsa_65": base64.b64encode(device_ml_dsa).decode(),
                "enrolment": enrolment.hex(),
                "room": room,
            }
        )
        try:
            reply = httpx.post(
                f"{settings.api_url}/intake/enrolments",
                content=body,
                headers={"Authorization": f"Bearer {secrets.token('enrolment')}"},
                verify=str(settings.tls_certificate) if settings.tls else True,
                trust_env=False,
            )
            reply.raise_for_status()
        except httpx.HTTPError as error:
            raise OutOfReach("the store does not enrol this device now", code="store-out-of-reach") from error
        issued = reply.json()
        return certs.DeviceCertificates(
            *(certs.from_pem(issued[name].encode()) for name in ("root", "device", "device_ml_dsa_65"))
        )

    while True:
        try:
            return await asyncio.to_thread(
                load_or_enrol, settings.room_folder / "device", room, enrol, settings.device_tokens()
            )
        except KeysOutOfReach as error:
            log.error("enrolment_waits_for_the_token", reason=str(error))
            await asyncio.sleep(ENROL_PAUSE)
        except OutOfReach:
            log.warning("enrolment_waits_for_the_store")
            await asyncio.sleep(ENROL_PAUSE)
