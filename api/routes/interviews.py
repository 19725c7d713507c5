"""The operator's pages: prepare an interview, start, stop, and the receipt."""

from __future__ import annotations

import io
from typing import Annotated

import segno
from fastapi import APIRouter, Depends, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.identity.permissions import allow
from api.problems import Problem, problem_code, problem_of
from api.routes.dependencies import Serviced, purpose
from api.services import Account, Receipt
from api.web import page
from evidence_store.errors import InvalidInput, NotFound, Refused, Unavailable
from evidence_store.identifiers import CaseNumber
from evidence_store.interview import InterviewState

router = APIRouter(tags=["interviews"])

Preparer = Annotated[Account, Depends(allow("interview:session:prepare"))]
Controller = Annotated[Account, Depends(allow("interview:session:control"))]

Assigner = Annotated[Account, Depends(allow("interview:case:assign"))]

RECENT = 12
_OVER = (InterviewState.ENDED, InterviewState.SEALED, InterviewState.AVAILABLE, InterviewState.ERASED)
FIELD_OF = {"child-ordinal": "child_ordinal"}
"""The field a refusal belongs to; every other code belongs to the case number."""


@router.get("/afhoering", include_in_schema=False)
def overview(request: Request, services: Serviced, account: Preparer) -> Response:
    return _overview(request, services, {}, {})


@router.post("/afhoering")
async def prepare(
    request: Request,
    services: Serviced,
    account: Preparer,
    case: Annotated[str, Form(alias="case_number", max_length=64)] = "",
    child: Annotated[str, Form(alias="child_ordinal", max_length=8)] = "",
) -> Response:
    """Prepare an interview; 303 to its page, or the form again with the field's error."""
    try:
        number = CaseNumber.parse(case)
        interview = await run_in_threadpool(services.interviews.create, number, _ordinal(child), account)
    except Refused as error:
        field = FIELD_OF.get(problem_code(error), "case_number")
        # A number refused as a CPR number is not sent back into the page.
        typed = {"case_number": "" if error.code == "cpr-number" else case, "child_ordinal": child}
        return await run_in_threadpool(_overview, request, services, {field: problem_of(error)}, typed)
    return RedirectResponse(f"/afhoering/{interview.id}", 303)


@router.get("/afhoering/{interview_id}", include_in_schema=False)
async def console(request: Request, services: Serviced, account: Controller, interview_id: str) -> Response:
    return await _console(request, services, interview_id, None)


@router.post("/afhoering/{interview_id}/start")
async def start(request: Request, services: Serviced, account: Controller, interview_id: str) -> Response:
    """Start recording; 303 to the interview's page, or the page again with what is in the way."""
    try:
        await services.interviews.start(interview_id, account)
    except NotFound:
        raise
    except (Refused, Unavailable) as error:
        return await _console(request, services, interview_id, problem_of(error))
    return RedirectResponse(f"/afhoering/{interview_id}", 303)


@router.post("/afhoering/{interview_id}/stop")
async def stop(request: Request, services: Serviced, account: Controller, interview_id: str) -> Response:
    """Stop recording; 303 to the receipt, or the page again with what is in the way."""
    try:
        await services.interviews.stop(interview_id, account)
    except NotFound:
        raise
    except (Refused, Unavailable) as error:
        return await _console(request, services, interview_id, problem_of(error))
    return RedirectResponse(f"/afhoering/{interview_id}/kvittering", 303)


@router.post("/afhoering/{interview_id}/begrundelse")
async def explain(
    request: Request,
    services: Serviced,
    account: Controller,
    interview_id: str,
    reason: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Write down why it was started in spite of a warning; 303 back to where the interview is now."""
    try:
        await run_in_threadpool(services.interviews.explain, interview_id, purpose(reason), account)
    except InvalidInput as error:
        interview = await run_in_threadpool(services.interviews.get, interview_id)
        problem = problem_of(error)
        return page(request, "explain.html", status=problem.status, interview=interview, problem=problem)
    return RedirectResponse(f"/afhoering/{interview_id}", 303)


@router.get("/afhoering/{interview_id}/journalnummer", include_in_schema=False)
def assignment(request: Request, services: Serviced, account: Assigner, interview_id: str) -> Response:
    return page(request, "assign.html", interview=services.interviews.get(interview_id), errors={}, typed={})


@router.post("/afhoering/{interview_id}/journalnummer")
def assign(
    request: Request,
    services: Serviced,
    account: Assigner,
    interview_id: str,
    case: Annotated[str, Form(alias="case_number", max_length=64)] = "",
    child: Annotated[str, Form(alias="child_ordinal", max_length=8)] = "",
) -> Response:
    """Say whose interview it is that the room began by itself; 303 to its page, or the form again."""
    interview = services.interviews.get(interview_id)
    try:
        services.interviews.assign(interview_id, CaseNumber.parse(case), _ordinal(child), account)
    except InvalidInput as error:
        problem = problem_of(error)
        field = FIELD_OF.get(problem_code(error), "case_number")
        typed = {"case_number": "" if error.code == "cpr-number" else case, "child_ordinal": child}
        return page(
            request, "assign.html", status=problem.status, interview=interview, errors={field: problem}, typed=typed
        )
    return RedirectResponse(f"/afhoering/{interview_id}", 303)


@router.get(
    "/afhoering/{interview_id}/kvittering",
    dependencies=[Depends(allow("interview:receipt:read"))],
    include_in_schema=False,
)
def receipt_page(request: Request, services: Serviced, interview_id: str) -> Response:
    return page(request, "receipt.html", receipt=services.interviews.receipt(interview_id))


@router.get(
    "/afhoering/{interview_id}/kvittering.svg",
    dependencies=[Depends(allow("interview:receipt:read"))],
    responses={200: {"content": {"image/svg+xml": {}}}},
)
def receipt_code(services: Serviced, interview_id: str) -> Response:
    """The receipt as a QR code: the take numbers and heads, and no case number."""
    out = io.BytesIO()
    segno.make(receipt_text(services.interviews.receipt(interview_id)), error="m", micro=False).save(
        out, kind="svg", scale=4, border=2, dark="#000", light="#fff"
    )
    return Response(out.getvalue(), media_type="image/svg+xml")


def receipt_text(receipt: Receipt) -> str:
    """What the QR code says, one fact a line: format, interview, then name and head of each take."""
    lines = ["vidne receipt 1", receipt.interview.id]
    lines += [f"{take.enrolment}/{take.number} {take.head.hex()}" for take in receipt.takes]
    return "\n".join(lines) + "\n"


def _ordinal(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and 1 <= int(text) <= 99):
        raise InvalidInput("child ordinal is not a number from 1 to 99", code="child-ordinal")
    return int(text)


def _overview(request: Request, services: Serviced, errors: dict[str, Problem], typed: dict[str, str]) -> Response:
    status = max((problem.status for problem in errors.values()), default=200)
    return page(
        request,
        "interviews.html",
        status=status,
        errors=errors,
        typed=typed,
        recent=services.interviews.recent(RECENT),
    )


async def _console(request: Request, services: Serviced, interview_id: str, problem: Problem | None) -> Response:
    interview = await run_in_threadpool(services.interviews.get, interview_id)
    if problem is None and interview.state in _OVER:
        return RedirectResponse(f"/afhoering/{interview_id}/kvittering", 303)
    try:
        state = await services.room.state()
    except Unavailable:
        # The page must still come: it says that the state is not known, which the person has to see.
        state = None
    return page(
        request,
        "console.html",
        status=problem.status if problem else 200,
        interview=interview,
        state=state,
        problem=problem,
    )
