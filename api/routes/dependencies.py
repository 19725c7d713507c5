"""What routes share: the services behind them, and the check of text that people type."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Request

from api.services import Services, WebSettings
from evidence_store.errors import InvalidInput
from evidence_store.identifiers import refuse_cpr

PURPOSE_LENGTH: Final = (5, 500)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _settings(request: Request) -> WebSettings:
    settings: WebSettings = request.app.state.settings
    return settings


Serviced = Annotated[Services, Depends(_services)]
Configured = Annotated[WebSettings, Depends(_settings)]


def purpose(text: str) -> str:
    """A purpose: 5 to 500 characters on one line, no CPR number. Raises InvalidInput (`purpose`, `cpr-number`)."""
    text = " ".join(text.split())
    least, greatest = PURPOSE_LENGTH
    if not least <= len(text) <= greatest:
        raise InvalidInput("purpose too short or too long", code="purpose")
    refuse_cpr(text)
    return text
