"""Problems: one table from error codes to status and Danish words; RFC 9457 for programs, a page for people.

Each row says what happened, what is safe, and what to do next. Nothing that came in with the request is sent back.
"""

from __future__ import annotations

import secrets
import traceback
from dataclasses import dataclass
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.web import page
from evidence_store.errors import (
    Conflict,
    InvalidInput,
    KeysOutOfReach,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Refused,
    Tampered,
    Unavailable,
    VidneError,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """`safe` and `next` are whole sentences for the person who meets the problem."""

    status: int
    title: str
    safe: str = ""
    next: str = ""


NOTHING_CHANGED: Final = "Intet er ændret."
RECORDING_UNTOUCHED: Final = "En igangværende optagelse er ikke berørt."

PROBLEMS: Final[dict[str, Problem]] = {
    # input
    "invalid-input": Problem(422, "Oplysningerne kan ikke bruges", NOTHING_CHANGED, "Ret felterne, og prøv igen."),
    "malformed": Problem(400, "Forespørgslen kan ikke læses", NOTHING_CHANGED, "Gå tilbage, og prøv igen."),
    "case-number-form": Problem(
        422,
        "Journalnummeret har ikke den rigtige form",
        NOTHING_CHANGED,
        "Skriv det som 0100-83986-00001-17: 4 cifre, 5 cifre, 5 cifre og 2 cifre med bindestreg imellem.",
    ),
    "cpr-number": Problem(
        422,
        "Feltet ser ud til at indeholde et CPR-nummer",
        "Nummeret er ikke gemt.",
        "Fjern CPR-nummeret. Vidne gemmer aldrig CPR-numre.",
    ),
    "child-ordinal": Problem(422, "Barn nr. skal være et tal fra 1 til 99", NOTHING_CHANGED, "Ret barn nr."),
    "purpose": Problem(422, "Skriv formålet", NOTHING_CHANGED, "Formålet skal være på mellem 5 og 500 tegn."),
    "age-key": Problem(
        422,
        "Modtagerens nøgle kan ikke bruges",
        NOTHING_CHANGED,
        "Bed modtageren om den offentlige age-nøgle. Den begynder med age1 og er på 62 tegn.",
    ),
    "age-secret-key": Problem(
        422,
        "Det er en hemmelig nøgle",
        "Nøglen er ikke gemt.",
        "Bed modtageren om den offentlige nøgle, som begynder med age1. "
        "Modtageren bør lave et nyt nøglepar, for den hemmelige nøgle har nu været delt.",
    ),
    "too-large": Problem(413, "Det indsendte er for stort", NOTHING_CHANGED, "Gå tilbage, og prøv med mindre."),
    "unsupported-media-type": Problem(415, "Formatet kendes ikke", NOTHING_CHANGED),
    "method-not-allowed": Problem(405, "Det kan man ikke her", NOTHING_CHANGED, "Gå tilbage til forsiden."),
    # people
    "not-authenticated": Problem(401, "Du er ikke logget ind", RECORDING_UNTOUCHED, "Log ind for at fortsætte."),
    "sign-in-failed": Problem(401, "Forkert brugernavn eller adgangskode", "", "Kontrollér begge, og prøv igen."),
    "room-code": Problem(401, "Forkert kode", "", "Koden står på rummets kort. Kontrollér den, og prøv igen."),
    "room-code-wait": Problem(429, "For mange forkerte koder", RECORDING_UNTOUCHED, "Vent et minut, og prøv igen."),
    "too-many-attempts": Problem(
        429, "For mange forkerte forsøg", RECORDING_UNTOUCHED, "Vent 15 minutter, eller få hjælp af en kollega."
    ),
    "not-permitted": Problem(
        403,
        "Du har ikke adgang til denne side",
        "Forsøget er skrevet i loggen.",
        "Har du brug for adgang, så kontakt din leder.",
    ),
    "cross-site": Problem(403, "Forespørgslen kom fra et andet sted end Vidne", NOTHING_CHANGED, "Åbn siden på ny."),
    "form-expired": Problem(403, "Siden er forældet", NOTHING_CHANGED, "Genindlæs siden, og prøv igen."),
    "not-found": Problem(404, "Siden findes ikke", "", "Gå tilbage til forsiden."),
    # the room
    "conflict": Problem(409, "Det passer ikke med, hvad der allerede er sket", NOTHING_CHANGED, "Genindlæs siden."),
    "interview-exists": Problem(
        409,
        "Der er allerede en videoafhøring af dette barn på journalnummeret",
        NOTHING_CHANGED,
        "Find den under Seneste afhøringer, eller ret barn nr.",
    ),
    "room-busy": Problem(
        409, "Rummet optager allerede en anden afhøring", RECORDING_UNTOUCHED, "Stop den anden optagelse først."
    ),
    "camera-known": Problem(
        409, "Kameraet er det kendte", NOTHING_CHANGED, "Genindlæs siden, og se, om alarmen er væk."
    ),
    "camera-other": Problem(
        409,
        "Et andet kamera er kommet til i mellemtiden",
        NOTHING_CHANGED,
        "Genindlæs siden, og se igen, hvem der sender, før du godkender.",
    ),
    "interview-unassigned": Problem(
        409,
        "Afhøringen har ikke noget journalnummer endnu",
        "Optagelsen er sikret.",
        "Den teknikansvarlige knytter den til et journalnummer under Afhøring.",
    ),
    "interview-assigned": Problem(409, "Afhøringen har allerede et journalnummer", NOTHING_CHANGED, "Genindlæs siden."),
    "no-key": Problem(
        503,
        "Rummet har ikke fået nøgler til at optage alene",
        NOTHING_CHANGED,
        "Optag med andet udstyr, og kontakt driften straks.",
    ),
    "not-recording": Problem(409, "Afhøringen optages ikke", NOTHING_CHANGED, "Genindlæs siden."),
    "not-ended": Problem(409, "Afhøringen er ikke afsluttet", RECORDING_UNTOUCHED, "Stop optagelsen først."),
    "not-sealed": Problem(
        409, "Optagelsen er ikke forseglet endnu", "Det optagne er sikret.", "Vent et øjeblik, og prøv igen."
    ),
    "erased": Problem(
        410,
        "Optagelsen er slettet",
        "Beviskæden og kontroltallene består.",
        "Se beviskæden for, hvem der besluttede det.",
    ),
    "erasure-held": Problem(
        409, "Optagelsen er spærret mod sletning", NOTHING_CHANGED, "Spærringen skal først ophæves med en begrundelse."
    ),
    "erasure-early": Problem(
        409, "Optagelsen skal gemmes endnu", NOTHING_CHANGED, "Datoen står under Spærring og sletning."
    ),
    "erasure-copying": Problem(
        409, "Der er en beviskopi under fremstilling", NOTHING_CHANGED, "Vent, til den er færdig, og prøv igen."
    ),
    "erasure-requested": Problem(
        409, "Optagelsen er allerede indstillet til sletning", NOTHING_CHANGED, "En anden person skal godkende det."
    ),
    "erasure-not-requested": Problem(
        409, "Optagelsen er ikke indstillet til sletning", NOTHING_CHANGED, "Indstil den først, med en begrundelse."
    ),
    "erasure-same-person": Problem(
        409, "En anden person skal godkende sletningen", NOTHING_CHANGED, "Bed en kollega om at se på indstillingen."
    ),
    "copy-not-ready": Problem(409, "Beviskopien er ikke klar", "Originalen er uberørt.", "Vent, til den er færdig."),
    "purpose-expired": Problem(
        403, "Gennemsynet er udløbet", "Optagelsen er uberørt.", "Angiv formålet igen for at fortsætte."
    ),
    # evidence
    "tampered": Problem(
        500,
        "Kontrollen af beviset fejlede",
        "Der er ikke vist noget, som ikke kunne kontrolleres.",
        "Brug ikke optagelsen som bevis. Kontakt den beviskædeansvarlige straks, og oplys fejlkoden.",
    ),
    # availability
    "unavailable": Problem(
        503, "Det kan ikke lade sig gøre lige nu", "Intet er gået tabt.", "Vent et øjeblik, og prøv igen."
    ),
    "keys-out-of-reach": Problem(
        503,
        "Lagerets nøgler svarer ikke lige nu",
        "Intet er gået tabt. Optagelser fortsætter og gemmes.",
        "Vent et øjeblik, og prøv igen. Bliver det ved, så kontakt systemadministratoren: nøgleboksen (HSM) skal ses efter.",  # noqa: E501
    ),
    "device-key-away": Problem(
        503,
        "Rummets maskine kan ikke underskrive lige nu",
        "Der er ikke begyndt en ny optagelse. Det, der er optaget, er sikret.",
        "Prøv igen straks. Hjælper det ikke, så optag i et andet rum, og kontakt systemadministratoren.",
    ),
    "ledger-vetoed": Problem(
        503,
        "Et vidne siger nej til beviskæden",
        "Alt, hvad der er optaget, er sikret, og optagelser fortsætter. Der skrives intet nyt, før det er afklaret.",
        "Kontakt den beviskædeansvarlige straks. Optag nye afhøringer fra rummets egen side.",
    ),
    "no-space": Problem(
        507,
        "Lageret er fuldt",
        "Alt, hvad der er optaget, er forseglet og ligger i rummets egen maskine.",
        "Kontakt driften straks. Rummets maskine afleverer selv, når der er plads.",
    ),
    "out-of-reach": Problem(
        503,
        "En del af systemet svarer ikke",
        "Optagelsen i rummet fortsætter uafhængigt af denne side.",
        "Se på lampen i rummet. Vent et øjeblik, og prøv igen.",
    ),
    "error": Problem(
        500, "Der er sket en fejl", RECORDING_UNTOUCHED, "Prøv igen. Bliver det ved, så oplys fejlkoden til driften."
    ),
}

FALLBACK: Final[tuple[tuple[type[VidneError], str], ...]] = (
    (InvalidInput, "invalid-input"),
    (NotAuthenticated, "not-authenticated"),
    (NotPermitted, "not-permitted"),
    (NotFound, "not-found"),
    (Conflict, "conflict"),
    (Refused, "conflict"),
    (Tampered, "tampered"),
    (KeysOutOfReach, "keys-out-of-reach"),
    (Unavailable, "unavailable"),
)

BY_STATUS: Final[dict[int, str]] = {
    400: "malformed",
    401: "not-authenticated",
    403: "not-permitted",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid-input",
    503: "unavailable",
}


def problem_code(error: VidneError) -> str:
    """The row of the table for an error: by its own code, else by its place in the tree of errors."""
    if error.code in PROBLEMS:
        return error.code
    return next((code for kind, code in FALLBACK if isinstance(error, kind)), "error")


def problem_of(error: VidneError) -> Problem:
    return PROBLEMS[problem_code(error)]


def wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and "hx-request" not in request.headers


def problem_response(request: Request, code: str, *, reference: str | None = None) -> Response:
    """The problem as a page for browsers, as `application/problem+json` (RFC 9457) for everything else."""
    problem = PROBLEMS[code]
    if wants_page(request):
        response: Response = page(
            request, "problem.html", status=problem.status, problem=problem, code=code, reference=reference
        )
    else:
        body = {
            "type": f"urn:vidne:problem:{code}",
            "title": problem.title,
            "status": problem.status,
            "detail": " ".join(part for part in (problem.safe, problem.next) if part),
            "code": code,
        }
        if reference:
            body["reference"] = reference
        response = JSONResponse(body, problem.status, media_type="application/problem+json")
    if problem.status in (429, 503):
        response.headers["Retry-After"] = "900" if problem.status == 429 else "5"
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = 'Cookie realm="vidne"'
        if "hx-request" in request.headers:
            response.headers["HX-Redirect"] = "/log-ind"
    return response


async def _vidne_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, VidneError)  # noqa: S101  registered for this type only
    code = problem_code(error)
    if code == "not-authenticated" and request.method == "GET" and wants_page(request):
        return RedirectResponse("/log-ind", 303)
    reference = None
    if PROBLEMS[code].status >= 500:
        reference = secrets.token_hex(4)
        log.error("request failed", code=error.code, error=str(error), reference=reference)
    return problem_response(request, code, reference=reference)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return problem_response(request, BY_STATUS.get(error.status_code, "error"))


async def _invalid_request(request: Request, _error: Exception) -> Response:
    # What was sent may hold a name or a number, so neither the answer nor the log repeats it.
    return problem_response(request, "invalid-input")


class UnexpectedErrors:
    """Turns what nobody expected into a problem, and logs its kind and place: its words may hold a case number.

    Sits inside the security headers, so that these answers carry them too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except ClientDisconnect:
            # Whoever asked has gone: nobody is left to answer, and nothing is wrong here.
            return
        except Exception as error:  # noqa: BLE001  the last place where an error can become an answer
            reference = secrets.token_hex(4)
            places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]]
            log.error("unexpected error", error=type(error).__name__, places=places, reference=reference)
            if started or scope["type"] != "http":
                # Half an answer is out: only a broken connection tells the other side that it is not whole.
                raise RuntimeError(f"answer cut short, reference {reference}") from None
            await problem_response(Request(scope), "error", reference=reference)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(VidneError, _vidne_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
