"""Holds on an interview, and its erasure by two people: one page, a form for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from starlette.responses import RedirectResponse, Response

from api.identity.permissions import allow
from api.problems import Problem, problem_of
from api.routes.dependencies import Serviced, purpose
from api.services import Account
from api.web import page
from evidence_store.errors import NotFound, Refused

router = APIRouter(tags=["retention"])

Holder = Annotated[Account, Depends(allow("interview:hold:set"))]
Proposer = Annotated[Account, Depends(allow("interview:erasure:request"))]
Approver = Annotated[Account, Depends(allow("interview:erasure:approve"))]
Opaque = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Reason = Annotated[str, Form(max_length=2000)]

PATH = "/sager/{interview_id}/sletning"


@router.get(PATH, include_in_schema=False)
def retention_page(request: Request, services: Serviced, account: Proposer, interview_id: Opaque) -> Response:
    return _page(request, services, interview_id, {})


@router.post("/sager/{interview_id}/spaerring")
def hold(request: Request, services: Serviced, account: Holder, interview_id: Opaque, reason: Reason = "") -> Response:
    """Nobody erases the interview until the hold is released; 303 back, or the page again with what is in the way."""
    return _done(
        request, services, interview_id, "hold", lambda: services.retention.hold(interview_id, account, purpose(reason))
    )


@router.post("/sager/{interview_id}/spaerring/{hold_id}/ophaev")
def release(
    request: Request,
    services: Serviced,
    account: Holder,
    interview_id: Opaque,
    hold_id: Opaque,
    reason: Reason = "",
) -> Response:
    """End a hold, with a reason of its own."""
    return _done(
        request, services, interview_id, "release",
        lambda: services.retention.release(interview_id, hold_id, account, purpose(reason)),
    )  # fmt: skip


@router.post(PATH)
def propose(
    request: Request, services: Serviced, account: Proposer, interview_id: Opaque, reason: Reason = ""
) -> Response:
    """Ask for the erasure; somebody else has to approve it."""
    return _done(
        request, services, interview_id, "reason",
        lambda: services.retention.request(interview_id, account, purpose(reason)),
    )  # fmt: skip


@router.post(f"{PATH}/tilbage")
def withdraw(request: Request, services: Serviced, account: Proposer, interview_id: Opaque) -> Response:
    """Take the request back, or say no to it."""
    return _done(request, services, interview_id, "approve", lambda: services.retention.withdraw(interview_id, account))


@router.post(f"{PATH}/godkend")
def approve(request: Request, services: Serviced, account: Approver, interview_id: Opaque) -> Response:
    """Erase it: what another person asked for is decided and carried out. It cannot be undone."""
    return _done(request, services, interview_id, "approve", lambda: services.retention.approve(interview_id, account))


def _done(request: Request, services: Serviced, interview_id: str, form: str, work: Callable[[], None]) -> Response:
    _interview(services, interview_id)
    try:
        work()
    except NotFound:
        raise
    except Refused as error:
        return _page(request, services, interview_id, {form: problem_of(error)})
    return RedirectResponse(f"/sager/{interview_id}/sletning", 303)


def _page(request: Request, services: Serviced, interview_id: str, errors: dict[str, Problem]) -> Response:
    return page(
        request,
        "retention.html",
        status=max((problem.status for problem in errors.values()), default=200),
        interview=_interview(services, interview_id),
        keeping=services.retention.standing(interview_id),
        now=services.clock(),
        errors=errors,
    )


def _interview(services: Serviced, interview_id: str) -> object:
    interview = services.interviews.get(interview_id)
    if interview.case_number is None:
        # Nobody has said whose it is: until then it belongs to no case that a prosecutor could decide on.
        raise NotFound("no such interview", code="interview")
    return interview
