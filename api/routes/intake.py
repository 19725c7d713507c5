"""What recorders deliver, over HTTP. What is taken and what is refused is decided by `evidence_store.intake`."""

from __future__ import annotations

import base64
import hmac
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.identity.permissions import machine
from evidence_store.canonical import parse
from evidence_store.errors import InvalidInput, NotAuthenticated
from evidence_store.intake import Acknowledgement, Intake
from evidence_store.key_pools import KeyPools
from evidence_store.room_notes import RoomNotes
from evidence_store.sealed import Sealing
from evidence_store.sealing.certificates import to_der, to_pem

log = structlog.get_logger()

GREATEST_OBJECT: Final = 64 << 20
GREATEST_LIST: Final = 10_000

Enrolment = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Number = Annotated[int, Path(ge=1, lt=2**32)]
Note = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Index = Annotated[int, Path(ge=0, lt=1_000_000)]


def intake_router(
    intake: Intake, sealing: Sealing, pools: KeyPools, notes: RoomNotes, delivery_token: str, enrolment_token: str
) -> APIRouter:
    """`/intake/…`, each with the bearer token of what it is for."""
    router = APIRouter(prefix="/intake", tags=["intake"], dependencies=[Depends(machine())])

    def admit(request: Request, token: str) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            raise NotAuthenticated("the bearer token is missing or wrong", code="wrong-token")

    async def delivered(request: Request) -> bytes:
        admit(request, delivery_token)
        return await request.body()

    def acknowledge(what: Acknowledgement) -> Response:
        return JSONResponse({"object": what.name, "sha256": what.sha256.hex()})

    @router.post("/enrolments")
    async def enrol(request: Request) -> Response:
        """Certificates for a new device."""
        admit(request, enrolment_token)
        record = parse(await request.body())
        try:
            asked = (
                bytes.fromhex(record["enrolment"]),
                str(record["room"]),
                base64.b64decode(record["device"], validate=True),
                base64.b64decode(record["device_ml_dsa_65"], validate=True),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not an enrolment", code="enrolment-form") from error
        issued = await run_in_threadpool(intake.enrol, *asked)
        named = {"root": issued.root, "device": issued.device, "device_ml_dsa_65": issued.device_ml_dsa}
        return JSONResponse({name: to_pem(each).decode() for name, each in named.items()})

    @router.post("/heartbeats")
    async def heartbeat(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(intake.heartbeat, await delivered(request)))

    @router.post("/keys/{enrolment}")
    async def keys(request: Request, enrolment: Enrolment) -> Response:
        """Public keys for starts without the store, as many as the room lacks."""
        record = parse(await delivered(request))
        have, used = _ids(record.get("have")), _ids(record.get("used"))
        given = await run_in_threadpool(pools.refill, enrolment, have, used)
        store = _text(to_der(intake.store_certificate))
        return JSONResponse(
            {
                "keys": [
                    {
                        "checkpoint": None,
                        "interview": key.interview.hex(),
                        "key_signature": _text(key.released.signature),
                        "public_key": _text(key.released.public_key.encoded),
                        "store_certificate": store,
                    }
                    for key in given
                ]
            }
        )

    @router.put("/notes/{note}")
    async def note(request: Request, note: Note) -> Response:
        await run_in_threadpool(notes.enter, note, await delivered(request))
        return JSONResponse({"ok": True})

    @router.put("/takes/{enrolment}/{take}/start")
    async def start(request: Request, enrolment: Enrolment, take: Number) -> Response:
        return acknowledge(await run_in_threadpool(intake.start, enrolment, take, await delivered(request)))

    @router.post("/takes/{enrolment}/{take}/test-opening")
    async def test_opening(request: Request, enrolment: Enrolment, take: Number) -> Response:
        opened = await run_in_threadpool(intake.test_opening, enrolment, take, await delivered(request))
        return JSONResponse({"opened": opened})

    @router.put("/takes/{enrolment}/{take}/segments/{index}")
    async def segment(request: Request, enrolment: Enrolment, take: Number, index: Index) -> Response:
        return acknowledge(await run_in_threadpool(intake.segment, enrolment, take, index, await delivered(request)))

    @router.put("/takes/{enrolment}/{take}/tail")
    async def tail(request: Request, enrolment: Enrolment, take: Number) -> Response:
        return acknowledge(await run_in_threadpool(intake.tail, enrolment, take, await delivered(request)))

    @router.put("/takes/{enrolment}/{take}/close")
    async def close(request: Request, enrolment: Enrolment, take: Number) -> Response:
        stored = await run_in_threadpool(intake.close, enrolment, take, await delivered(request))
        # The close is taken whatever comes of this; sealing is tried again by itself.
        await run_in_threadpool(sealing.seal_pending)
        return acknowledge(stored)

    return router


def _ids(value: object) -> frozenset[str]:
    """Raises InvalidInput `key-form`."""
    if not isinstance(value, list) or len(value) > GREATEST_LIST or not all(isinstance(each, str) for each in value):
        raise InvalidInput("not a question for keys", code="key-form")
    return frozenset(value)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
