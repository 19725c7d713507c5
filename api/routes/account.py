"""Sign in, sign out, and the front page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from api.identity.permissions import allow, public
from api.problems import problem_of
from api.routes.dependencies import Serviced
from api.services import Account
from api.web import home_of, page
from evidence_store.errors import NotAuthenticated

router = APIRouter(tags=["account"])


@router.get("/", include_in_schema=False)
def front(account: Annotated[Account, Depends(allow("account:session:use"))]) -> Response:
    return RedirectResponse(home_of(account.role), 303)


@router.get("/healthz", dependencies=[Depends(public())])
def healthy() -> Response:
    return PlainTextResponse("ok\n")


@router.get("/log-ind", dependencies=[Depends(public())], include_in_schema=False)
def sign_in_page(request: Request) -> Response:
    return page(request, "sign_in.html", problem=None, username="")


@router.post("/log-ind", dependencies=[Depends(public())])
async def sign_in(
    request: Request,
    services: Serviced,
    username: Annotated[str, Form(max_length=128)] = "",
    password: Annotated[str, Form(max_length=1024)] = "",
) -> Response:
    address = request.client.host if request.client else "?"
    try:
        token = await run_in_threadpool(services.accounts.sign_in, username, password, address, services.clock())
    except NotAuthenticated as error:
        problem = problem_of(error)
        return page(request, "sign_in.html", status=problem.status, problem=problem, username=username)
    response = RedirectResponse("/", 303)
    request.app.state.cookies.set(response, token)
    return response


@router.post("/log-ud", dependencies=[Depends(allow("account:session:use"))])
async def sign_out(request: Request, services: Serviced) -> Response:
    token = request.app.state.cookies.read(request)
    if token:
        await run_in_threadpool(services.accounts.sign_out, token)
    response = RedirectResponse("/log-ind", 303)
    request.app.state.cookies.clear(response)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
