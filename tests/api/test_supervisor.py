"""No process outlives its supervisor, however early that one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.drill.house import free_ports

ROOT = Path(__file__).parents[2]
SUPERVISING = """
import asyncio, sys
from api.processes.supervisor import Program, Supervisor

def tell(name, what):
    print(what.rpartition(" ")[2], flush=True)

asyncio.run(Supervisor([Program(sys.argv[1], ["process", sys.argv[1]], {})], None, tell).run())
"""


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends(pid: int, within: float) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not runs(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("after", [0.0, 3.0], ids=["at once", "once it runs"])
@pytest.mark.parametrize("name", ["monitor", "watch"])
def test_no_process_outlives_its_supervisor(tmp_path: Path, name: str, after: float) -> None:
    """At once: killed before its child has come to ask the kernel for its own end."""
    environment = {**os.environ, "VIDNE_DATA": str(tmp_path), "VIDNE_MONITOR_PORT": str(free_ports(1)[0])}
    command = [sys.executable, "-c", SUPERVISING, name]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        try:
            assert not ends(child, after)
            supervisor.kill()
            assert ends(child, 10), "it runs on, with nobody to end it"
        finally:
            if runs(child):
                os.kill(child, signal.SIGKILL)
