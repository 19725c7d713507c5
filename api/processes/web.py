"""The web application's process."""

from __future__ import annotations

import gc
import time
from typing import Final

import structlog
import uvloop
from fastapi import FastAPI

from api.processes.keep_away import keep_away
from api.processes.locked import lock_memory
from api.processes.serving import configure_logs, die_with_parent, harden, listen, serve
from api.settings import Settings
from api.wiring import build_app
from evidence_store.errors import OutOfReach

ASKED_EVERY_S: Final = 2.0

log = structlog.get_logger(__name__)


def main(settings: Settings) -> None:
    """Runs until told to stop."""
    configure_logs()
    harden()
    die_with_parent()
    keep_away("web", settings)
    lock_memory("web")
    application = _application(settings)
    gc.freeze()  # see the recorder's process
    uvloop.run(serve(application, listen(settings.host, settings.port), settings))


def _application(settings: Settings) -> FastAPI:
    """Once the vault answers: what is entered before the ledger was held against it could be a lie."""
    while True:
        try:
            return build_app(settings)
        except OutOfReach as error:
            log.warning("web_waits_for_the_vault", code=error.code, reason=str(error))
            time.sleep(ASKED_EVERY_S)
