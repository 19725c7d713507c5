"""A process that holds keys: no core dump of it, no tracing of it, and its memory locked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.processes.locked import Memory, judged

ROOT = Path(__file__).parents[2]

HOLDER = """
import ctypes, json, os, resource, signal, sys
from pathlib import Path
from api.processes.locked import lock_memory
from api.processes.serving import harden

if "hardened" in sys.argv:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    harden()
    found = lock_memory("test").value
    key = bytearray(b"a key that nobody may find") * 1000
    print(json.dumps({
        "memory": found,
        "limits": Path("/proc/self/limits").read_text(),
        "status": Path("/proc/self/status").read_text(),
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    }))
else:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    key = bytearray(b"a key that nobody may find") * 1000
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGSEGV)
"""


def died(folder: Path, *arguments: str) -> tuple[bool, str]:
    """Whether the kernel dumped the core of a process that crashed, and what it had said."""
    out = folder / "out"
    with out.open("wb") as file:
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        command = [sys.executable, "-c", f"import os; os.chdir({str(folder)!r})\n{HOLDER}", *arguments]
        pid = os.posix_spawn(sys.executable, command, os.environ | {"PYTHONPATH": str(ROOT)}, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    return os.WCOREDUMP(status), out.read_text()


def test_no_core_is_left_by_a_process_that_holds_keys(tmp_path: Path) -> None:
    folder, other = tmp_path / "hardened", tmp_path / "plain"
    folder.mkdir()
    other.mkdir()
    dumped, said = died(folder, "hardened")
    assert not dumped
    assert [path.name for path in folder.iterdir()] == ["out"]
    found = json.loads(said)
    assert found["dumpable"] == 0
    (limit,) = [line.split() for line in found["limits"].splitlines() if line.startswith("Max core file size")]
    assert limit[4:6] == ["1", "1"], "one byte: none would not hold for a core that is piped"
    plain, _ = died(other)
    if not plain:
        pytest.skip("this machine dumps no cores: the first half showed less than it could")
    assert not Path("/proc/sys/kernel/core_pattern").read_text().startswith("/") or plain


def test_memory_is_locked_where_the_system_allows_it_and_said_where_not(tmp_path: Path) -> None:
    _, said = died(tmp_path, "hardened")
    found = json.loads(said)
    status = dict(line.split(":\t", 1) for line in found["status"].splitlines())
    locked = int(status["VmLck"].split()[0])
    if int(status["CapEff"], 16) >> 14 & 1:
        assert found["memory"] == Memory.LOCKED
        assert locked > 10_000
    else:
        assert found["memory"] in (Memory.NO_SWAP, Memory.SWAPPABLE) or locked
    limited = subprocess.run(
        [
            sys.executable, "-c",
            "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
            "from api.processes import locked\nlocked._CAP_IPC_LOCK = 63\n"
            "print(locked.lock_memory('test').value, bytearray(1 << 28)[-1])",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "memory_not_locked" in limited.stdout
    assert limited.stdout.splitlines()[-1] in ("no-swap 0", "swappable 0"), "nothing that is needed later fails"


def test_swap_is_told_from_none() -> None:
    head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    assert judged(head) is Memory.NO_SWAP
    assert judged(head + "/dev/vda2 partition 1048572 0 -2\n") is Memory.SWAPPABLE


TRACED = """
import ctypes, os, sys, signal
from api.processes.serving import harden

libc = ctypes.CDLL(None, use_errno=True)
ready, told = os.pipe()

def one_user():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    libc.prctl(4, 1, 0, 0, 0)

holder = os.fork()
if holder == 0:
    one_user()
    if sys.argv[1] == "hardened":
        harden()
    os.write(told, b"x")
    signal.pause()
os.read(ready, 1)
tracer = os.fork()
if tracer == 0:
    one_user()
    attached = libc.ptrace(16, holder, None, None)
    try:
        open(f"/proc/{holder}/mem", "rb").close()
        read = True
    except OSError:
        read = False
    os._exit((attached == 0) + 2 * read)
_, status = os.waitpid(tracer, 0)
os.kill(holder, signal.SIGKILL)
os.waitpid(holder, 0)
print(os.waitstatus_to_exitcode(status))
"""


def test_no_process_of_the_same_user_traces_it_or_reads_its_memory() -> None:
    def tried(how: str) -> str:
        command = [sys.executable, "-c", TRACED, how]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
        return ran.stdout.strip()

    assert tried("hardened") == "0"
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if not scope.exists() or scope.read_text().strip() == "0":
        assert tried("plain") == "3", "without it both are possible: the test sees it"
