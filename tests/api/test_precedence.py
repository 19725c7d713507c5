"""Recorder and monitor come before everything ordinary on the machine, where they may."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.drill.house import free_ports

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def scheduling(before: str = "") -> tuple[list[str], str]:
    """Policy and rank of a process that asked for rank 2, and of a thread that it started; and what it logged."""
    script = (
        "import os, sys, threading\n"
        "from api.processes.serving import configure_logs, take_precedence\n"
        f"configure_logs()\n{before}\ntake_precedence(2)\n"
        "said = lambda: print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)\n"
        "said()\nthread = threading.Thread(target=said)\nthread.start()\nthread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.splitlines(), done.stderr


def may() -> bool:
    """Whether this machine lets this user run in real time, on two processors."""
    if len(os.sched_getaffinity(0)) < 2:
        return False
    script = "import os\nos.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


needs_real_time = pytest.mark.skipif(not may(), reason="this user may not have real-time scheduling, or one processor")


@needs_real_time
def test_a_process_and_its_threads_come_first() -> None:
    said, logged = scheduling()
    assert said == [f"{os.SCHED_RR} 2"] * 2
    assert logged == ""


def test_where_it_is_refused_all_goes_on_and_the_log_says_what_helps() -> None:
    become_nobody = f"os.setgroups([]); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})" if os.geteuid() == 0 else ""
    forbid = f"import resource\nresource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n{become_nobody}"
    forbid += "\nos.sched_getaffinity = lambda _: {0, 1}"
    said, logged = scheduling(forbid)
    assert said == [f"{os.SCHED_OTHER} 0"] * 2
    assert "real_time_refused" in logged
    assert "LimitRTPRIO=2" in logged


def test_the_only_processor_is_shared() -> None:
    said, logged = scheduling("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")
    assert said == [f"{os.SCHED_OTHER} 0"] * 2
    assert logged == ""


@needs_real_time
def test_the_recorder_comes_before_the_monitor_and_the_watch_comes_last(tmp_path: Path) -> None:
    ports = dict(zip(("PORT", "RECORDER_PORT", "MONITOR_PORT"), map(str, free_ports(3)), strict=True))
    environment = {**os.environ, "VIDNE_DATA": str(tmp_path), **{f"VIDNE_{name}": port for name, port in ports.items()}}
    wanted = {"recorder": (os.SCHED_RR, 2), "monitor": (os.SCHED_RR, 1), "watch": (os.SCHED_IDLE, 0)}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "api.cli", "process", name], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        for name in wanted
    }
    try:
        until, found = time.monotonic() + 30, dict[str, tuple[int, int]]()
        while found != wanted and time.monotonic() < until:
            time.sleep(0.1)
            found = {
                name: (os.sched_getscheduler(process.pid), os.sched_getparam(process.pid).sched_priority)
                for name, process in running.items()
            }
        assert found == wanted
    finally:
        for process in running.values():
            process.kill()
            process.wait()
