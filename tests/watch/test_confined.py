"""The watch's process as the kernel sees it: what it can no longer do, and that a decoder that hangs is ended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFINED = """
import ctypes, errno, json, os, resource, socket, sys, threading
from api.processes.confine import confine
done = confine()
def refused(act):
    try:
        act()
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES)
    return False
def alive():
    said = []
    thread = threading.Thread(target=said.append, args=(True,))
    thread.start()
    thread.join()
    return bool(said)
libc = ctypes.CDLL(None, use_errno=True)
def fork_and_execute():
    if libc.execve(b"/bin/true", None, None):
        raise OSError(ctypes.get_errno(), "execve")
print(json.dumps({
    "by": done,
    "read": refused(lambda: open(sys.argv[1]).read()),
    "write": refused(lambda: open(sys.argv[2], "w")),
    "list": refused(lambda: os.listdir("/")),
    "internet": refused(lambda: socket.socket(socket.AF_INET)),
    "program": refused(fork_and_execute),
    "signal": refused(lambda: os.kill(int(sys.argv[4]), 9)),
    "limit": refused(lambda: resource.prlimit(int(sys.argv[4]), resource.RLIMIT_FSIZE, (0, 0))),
    "priority": refused(lambda: os.setpriority(os.PRIO_PROCESS, int(sys.argv[4]), 19)),
    "mode": refused(lambda: os.chmod(sys.argv[5], 0)),
    "process": refused(os.fork),
    "thread": alive(),
    "local": not refused(lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[3])),
}))
"""

STUCK = """
import asyncio, time
from api.processes import watch
watch.STUCK_AFTER_SECONDS = 1
class Link:
    async def run(self): await asyncio.sleep(60)
    def tick(self, *_):
        while True: time.sleep(0.01)
    def well(self): pass
asyncio.run(watch.run(Link()))
"""


def test_no_file_no_network_no_program(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "feed"))
        listener.listen()
        paths = [str(tmp_path / name) for name in ("key", "new", "feed")]
        with subprocess.Popen(["sleep", "60"]) as neighbour:
            command = [sys.executable, "-c", CONFINED, *paths, str(neighbour.pid), str(tmp_path)]
            done = subprocess.run(command, capture_output=True, check=True, timeout=60)
            assert neighbour.poll() is None
            neighbour.kill()
    found = json.loads(done.stdout.splitlines()[-1])
    assert "seccomp" in found["by"]
    assert found["internet"]
    assert found["program"]
    for what in ("signal", "limit", "priority", "mode", "process"):
        assert found[what], f"{what}: a neighbour of the same user, such as the recorder, could be stopped by it"
    assert found["thread"]
    assert found["local"], "the recorder's feed is still within reach"
    if "landlock" not in found["by"]:
        pytest.skip("this kernel has no Landlock: files are not forbidden here, which the process logs")
    assert found["read"]
    assert found["write"]
    assert found["list"]


def test_a_decoder_that_does_not_come_back_is_ended_by_the_kernel() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGALRM
