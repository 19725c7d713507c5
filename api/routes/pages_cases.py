"""The prosecutor's pages: search by case number, an interview with its takes and gaps, and the custody chain.

A search is a POST, so that the case number is in no URL, history or access log.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from api.identity.permissions import allow
from api.problems import problem_of
from api.routes.dependencies import Serviced
from api.services import Account
from api.web import page
from evidence_store.errors import NotFound, Refused
from evidence_store.identifiers import CaseNumber
from evidence_store.interview import InterviewState

router = APIRouter(tags=["cases"])

Reader = Annotated[Account, Depends(allow("interview:case:read"))]


@router.get("/sager", include_in_schema=False)
def search_page(request: Request, account: Reader) -> Response:
    return page(request, "cases.html", typed="", problem=None, found=None)


@router.post("/sager")
def search(
    request: Request,
    services: Serviced,
    account: Reader,
    case: Annotated[str, Form(alias="case_number", max_length=64)] = "",
) -> Response:
    """The interviews under exactly this case number, as a page."""
    try:
        found = services.interviews.find(CaseNumber.parse(case), account)
    except Refused as error:
        problem = problem_of(error)
        typed = "" if error.code == "cpr-number" else case
        return page(request, "cases.html", status=problem.status, typed=typed, problem=problem, found=None)
    return page(request, "cases.html", typed=case.strip(), problem=None, found=found)


@router.get("/sager/{interview_id}", include_in_schema=False)
def interview_page(request: Request, services: Serviced, account: Reader, interview_id: str) -> Response:
    interview = services.interviews.get(interview_id)
    if interview.case_number is None:
        # Nobody has said whose it is: until then it belongs to no case that a prosecutor could have found it by.
        raise NotFound("no such interview", code="interview")
    return page(
        request,
        "case.html",
        interview=interview,
        # What was erased cannot be opened, not even to say how long it was.
        takes=() if interview.state is InterviewState.ERASED else services.media.index(interview_id),
        copies=services.copies.of(interview_id),
        problem=None,
        purpose="",
    )


@router.get(
    "/sager/{interview_id}/beviskaede",
    dependencies=[Depends(allow("interview:custody:read"))],
    include_in_schema=False,
)
def custody_page(request: Request, services: Serviced, interview_id: str) -> Response:
    return page(
        request,
        "custody.html",
        interview=services.interviews.get(interview_id),
        events=services.custody.events(interview_id),
    )
