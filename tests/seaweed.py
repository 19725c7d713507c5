"""The real S3 server that tests talk to (api/processes/object_server.py), for as long as a block lasts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.processes.object_server import ObjectServer, prepare

_DOWN_WITHIN_S = 40

Server = ObjectServer


@contextmanager
def seaweed(folder: Path, *, guarded: bool = True) -> Iterator[Server]:
    """The server, with its data in `folder`: what was there before is there again."""
    server = prepare(folder)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            server.command(), env=server.environment(guarded=guarded), stdout=log, stderr=log, cwd=folder
        )
    try:
        server.wait_until_up(process)
        yield server
    finally:
        # Asked to end, it takes up to half a minute.
        process.kill()
        process.wait(_DOWN_WITHIN_S)
