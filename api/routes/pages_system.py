"""The administrator's page: how the room and the delivery are. No media, no keys, no cases."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from api.identity.permissions import allow
from api.routes.dependencies import Serviced
from api.services import Account
from api.web import page
from evidence_store.errors import Unavailable

router = APIRouter(tags=["system"])

Keeper = Annotated[Account, Depends(allow("system:camera:confirm"))]
Administrator = Annotated[Account, Depends(allow("system:status:read"))]


@router.get("/system", include_in_schema=False)
async def system(request: Request, services: Serviced, account: Administrator) -> Response:
    try:
        state = await services.room.state()
    except Unavailable:
        state = None
    accounts = await run_in_threadpool(services.accounts.all)
    witnesses = None if services.witnesses is None else await run_in_threadpool(services.witnesses.states)
    store = await run_in_threadpool(services.store.state)
    return page(request, "system.html", state=state, accounts=accounts, store=store, witnesses=witnesses)


@router.post("/system/kameraer/{camera}")
async def confirm_camera(
    services: Serviced,
    account: Keeper,
    camera: Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,31}$")],
    fingerprint: Annotated[str, Form(max_length=300)],
    address: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """The sender that differs from the known camera is the camera from now on; 303 back."""
    await services.room.confirm_camera(camera, address or None, fingerprint, account)
    return RedirectResponse("/system", 303)


@router.get("/openapi.json", include_in_schema=False, dependencies=[Depends(allow("system:api:describe"))])
def describe(request: Request) -> Response:
    """OpenAPI 3.1 of this application, for signed-in administrators."""
    schema: dict[str, Any] = request.app.openapi()
    return JSONResponse(schema)
