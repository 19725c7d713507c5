"""A browser as camera: a page that publishes over WHIP (RFC 9725). Served by the recorder's process.

The page needs templates and static files only. Its token is typed, or taken from the URL's fragment, which is never
sent to a server, and then removed from the address bar.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import HTMLResponse, Response

from api.web import TEMPLATES


def camera_page_router() -> APIRouter:
    """GET /camera/{camera}. The application that includes it mounts `api.web.static_files()` at `/static`, and wraps
    itself in `api.security.SecurityHeaders(secure=…, camera=True)`."""
    router = APIRouter(tags=["camera"])

    @router.get("/camera/{camera}", include_in_schema=False)
    def camera_page(camera: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]) -> Response:
        return HTMLResponse(TEMPLATES.get_template("camera.html").render(camera=camera))

    return router


__all__ = ["camera_page_router"]
