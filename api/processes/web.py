"""The web application's process."""

from __future__ import annotations

import uvloop

from api.processes.serving import configure_logs, die_with_parent, harden, listen, serve
from api.settings import Settings
from api.wiring import build_app


def main(settings: Settings) -> None:
    """Runs until told to stop."""
    configure_logs()
    harden()
    die_with_parent()
    uvloop.run(serve(build_app(settings), listen(settings.host, settings.port), settings))
