"""Evidence copies: order one for a recipient's key, follow it, retrieve it."""

from __future__ import annotations

from typing import Annotated

import pyrage
from fastapi import APIRouter, Depends, Form, Path, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from api.identity.permissions import allow
from api.problems import PROBLEMS, Problem, problem_code, problem_of
from api.routes.dependencies import Serviced, purpose
from api.services import Account
from api.web import page
from evidence_store.errors import InvalidInput, Refused

router = APIRouter(tags=["copies"])

Requester = Annotated[Account, Depends(allow("interview:copy:request"))]
Retriever = Annotated[Account, Depends(allow("interview:copy:retrieve"))]
Opaque = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


@router.get("/sager/{interview_id}/kopi", include_in_schema=False)
def request_page(request: Request, services: Serviced, account: Requester, interview_id: Opaque) -> Response:
    return page(
        request, "copy_request.html", interview=services.interviews.get(interview_id), errors={}, purpose="", key=""
    )


@router.post("/sager/{interview_id}/kopi")
def request_copy(
    request: Request,
    services: Serviced,
    account: Requester,
    interview_id: Opaque,
    text: Annotated[str, Form(alias="purpose", max_length=2000)] = "",
    key: Annotated[str, Form(alias="recipient", max_length=256)] = "",
) -> Response:
    """Order a copy encrypted to one age recipient; 303 to its page, or the form again with each field's error."""
    interview = services.interviews.get(interview_id)
    errors: dict[str, Problem] = {}
    reason = recipient = ""
    try:
        reason = purpose(text)
    except InvalidInput as error:
        errors["purpose"] = problem_of(error)
        text = "" if error.code == "cpr-number" else text
    try:
        recipient = age_recipient(key)
    except InvalidInput as error:
        errors["recipient"] = problem_of(error)
        key = "" if error.code == "age-secret-key" else key
    if not errors:
        try:
            copy = services.copies.request(interview_id, account, reason, recipient)
        except Refused as error:
            errors["recipient" if problem_code(error) == "age-key" else "purpose"] = problem_of(error)
        else:
            return RedirectResponse(f"/kopier/{copy}", 303)
    status = max(problem.status for problem in errors.values())
    return page(request, "copy_request.html", status=status, interview=interview, errors=errors, purpose=text, key=key)


@router.get("/kopier/{copy_id}", include_in_schema=False)
def copy_page(request: Request, services: Serviced, account: Requester, copy_id: Opaque) -> Response:
    copy = services.copies.status(copy_id)
    return page(
        request,
        "copy.html",
        copy=copy,
        interview=services.interviews.get(copy.interview),
        failure=_failure(copy.error),
    )


@router.get(
    "/kopier/{copy_id}/tilstand",
    include_in_schema=False,
    dependencies=[Depends(allow("interview:copy:request", passive=True))],
)
def copy_fragment(request: Request, services: Serviced, copy_id: Opaque) -> Response:
    copy = services.copies.status(copy_id)
    return page(request, "fragments/copy_state.html", copy=copy, failure=_failure(copy.error))


@router.get("/kopier/{copy_id}/hent", responses={200: {"content": {"application/octet-stream": {}}}})
def retrieve(services: Serviced, account: Retriever, copy_id: Opaque) -> Response:
    """The age file. The hand-over is in the custody chain before the first byte is sent."""
    stream = services.copies.stream(copy_id, account)
    response = StreamingResponse(stream.chunks, media_type="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="{stream.file_name}"'
    if stream.size is not None:
        response.headers["Content-Length"] = str(stream.size)
    return response


def age_recipient(text: str) -> str:
    """A native age public key, checksum and all. Raises InvalidInput (`age-key`, `age-secret-key`)."""
    text = text.strip()
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise InvalidInput("a secret key instead of a public one", code="age-secret-key")
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise InvalidInput("not an age public key", code="age-key") from error
    return text


def _failure(code: str | None) -> Problem | None:
    return PROBLEMS.get(code, PROBLEMS["error"]) if code is not None else None
