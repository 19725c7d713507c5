"""Server-rendered pages: templates, and what they need to say times, sizes and hashes in Danish.

Everything a page loads comes from `/static`, by this application: no other host is ever asked.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.identity.permissions import permitted
from api.web import words

if TYPE_CHECKING:
    from fastapi import Request

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
COPENHAGEN: Final = ZoneInfo("Europe/Copenhagen")
MONTHS: Final = ("jan.", "feb.", "marts", "april", "maj", "juni", "juli", "aug.", "sep.", "okt.", "nov.", "dec.")

NAVIGATION: Final = (
    ("interview:session:prepare", "/afhoering", "Afhøring"),
    ("room:live:watch", "/monitorrum", "Monitorrum"),
    ("interview:case:read", "/sager", "Sager"),
    ("system:status:read", "/system", "System"),
)
"""The main menu in order: a line shows for whoever holds its permission. The first one is a person's front page."""

SECTIONS: Final = {"/gennemsyn": "/sager", "/kopier": "/sager"}
"""Pages that belong under another line of the menu than their own first step says."""


def local_time(moment: datetime, seconds: bool = False) -> str:
    """`14.05` or `14.05.09`, Copenhagen time."""
    return moment.astimezone(COPENHAGEN).strftime("%H.%M.%S" if seconds else "%H.%M")


def local_date(moment: datetime) -> str:
    """`3. marts 2026`, Copenhagen time."""
    local = moment.astimezone(COPENHAGEN)
    return f"{local.day}. {MONTHS[local.month - 1]} {local.year}"


def local_moment(moment: datetime, seconds: bool = False) -> str:
    return f"{local_date(moment)} kl. {local_time(moment, seconds)}"


def clock(seconds: float) -> str:
    """`0:07:03`: hours, minutes and seconds since something began."""
    return str(timedelta(seconds=max(0, int(seconds))))


def spoken_seconds(seconds: float) -> str:
    """`2,4 sek.` or `3 min. 20 sek.`"""
    if seconds < 60:
        return f"{seconds:.1f} sek.".replace(".", ",", 1)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min. {rest} sek."


def minutes(count: int) -> str:
    """`3 timer 20 min.`: roughly, for what runs out."""
    hours, rest = divmod(count, 60)
    if hours >= 48:
        return f"over {hours // 24} døgn"
    return f"{hours} {'time' if hours == 1 else 'timer'} {rest} min." if hours else f"{rest} min."


def size(count: int) -> str:
    """`1,4 GB`: decimal units, as disks are sold."""
    amount = float(count)
    for unit in ("byte", "kB", "MB", "GB"):
        if amount < 1000:
            return (f"{amount:.0f} {unit}" if unit == "byte" else f"{amount:.1f} {unit}").replace(".", ",")
        amount /= 1000
    return f"{amount:.1f} TB".replace(".", ",")


def bitrate(bits: float) -> str:
    return f"{bits / 1e6:.1f} Mbit/s".replace(".", ",") if bits >= 1e6 else f"{bits / 1e3:.0f} kbit/s"


def groups(head: bytes) -> list[str]:
    """A hash in groups of four hexadecimal digits, to be read aloud and compared."""
    digits = head.hex()
    return [digits[i : i + 4] for i in range(0, len(digits), 4)]


def home_of(role: Any) -> str:
    """The front page of a role: the first line of the menu it may open."""
    return next((path for permission, path, _ in NAVIGATION if permitted(role, permission)), "/log-ind")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        local_time=local_time,
        local_date=local_date,
        local_moment=local_moment,
        clock=clock,
        spoken_seconds=spoken_seconds,
        size=size,
        minutes=minutes,
        bitrate=bitrate,
        groups=groups,
        word=words.danish,
        actor=words.actor,
    )
    environment.globals.update(words=words, permitted=permitted)
    return environment


TEMPLATES: Final = _environment()


def static_files() -> StaticFiles:
    """Styles, scripts and the vendored packages (`scripts/assets` puts them there). Mount it at `/static`."""
    return StaticFiles(directory=STATIC)


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a page or a fragment. Every template sees `account`, `csrf`, `settings`, `menu`, `path` and `section`."""
    account = getattr(request.state, "account", None)
    state = request.app.state
    token = state.cookies.read(request) if account is not None else None
    menu = [(path, text) for permission, path, text in NAVIGATION if account and permitted(account.role, permission)]
    first = "/" + request.url.path.split("/")[1]
    html = TEMPLATES.get_template(template).render(
        account=account,
        csrf=state.csrf.token(token) if token else "",
        settings=state.settings,
        menu=menu,
        path=request.url.path,
        section=SECTIONS.get(first, first),
        **context,
    )
    return HTMLResponse(html, status)
