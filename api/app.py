"""The web application, put together from services and settings."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response

from api import problems
from api.identity.permissions import public, undeclared
from api.routes import account, copies, interviews, live, media, pages_cases, pages_system, retention
from api.security import BodyLimit, Cookies, Csrf, SecurityHeaders
from api.services import Services, WebSettings
from api.web import static_files


def create_app(services: Services, settings: WebSettings, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """Return the application. `routers` are further ones (intake); each of their routes declares a gate too.

    Raises ValueError when a route declares no gate: an undecided route must not be served.
    """
    app = FastAPI(
        title="Vidne",
        version="0.1.0",
        description="Videoafhøringer: optagelse, direkte visning og bevis. Fejl er problem details (RFC 9457).",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.services = services
    app.state.settings = settings
    app.state.cookies = Cookies(secure=settings.secure)
    app.state.csrf = Csrf(settings.origins)
    problems.install(app)
    if settings.demo:
        app.include_router(_open_description())
    for router in (
        account.router,
        interviews.router,
        live.router,
        pages_cases.router,
        media.router,
        copies.router,
        retention.router,
        pages_system.router,
        *routers,
    ):
        app.include_router(router)
    app.mount("/static", static_files(), name="static")
    missing = undeclared(app.routes)
    if missing:
        raise ValueError(f"routes without a gate: {', '.join(missing)}")
    app.add_middleware(BodyLimit, limit=settings.body_limit, limits=settings.body_limits)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)
    app.add_middleware(problems.UnexpectedErrors)
    app.add_middleware(SecurityHeaders, secure=settings.secure)
    return app


def _open_description() -> APIRouter:
    """In the demo everybody may read the API's description; it comes before the administrators' route."""
    router = APIRouter()

    @router.get("/openapi.json", include_in_schema=False, dependencies=[Depends(public())])
    def describe(request: Request) -> Response:
        return JSONResponse(request.app.openapi())

    return router
