"""What each process of a house can read: each "no" of the table in docs/threat-model.md, tried by the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROBE = """
import importlib, json, os, sys
from pathlib import Path
from api.settings import Settings

data = Path(sys.argv[2])

def may(act):
    try:
        act()
    except PermissionError:
        return False
    return True

def probe(coroutine):
    coroutine.close()
    late = data / "store" / "late"
    print(json.dumps({
        "room": may(lambda: (data / "room/device/key").read_bytes()),
        "keys": may(lambda: (data / "store/keys/kek").read_bytes()),
        "database": may(lambda: open(data / "store/vidne.sqlite", "r+b").close()),
        "vault": may(lambda: (data / "store/vault/objects/segment").read_bytes()),
        "escrow": may(lambda: (data / "escrow/recovery.key").read_bytes()),
        "around": may(lambda: (data / "room/../store/keys/kek").read_bytes()),
        "by a link": may(lambda: (data / "run/link").read_bytes()),
        "write": may(lambda: (data / "escrow/new").write_bytes(b"x")),
        "room write": may(lambda: (data / "room/new").write_bytes(b"x")),
        "run": may(lambda: (data / "run/room.token").read_bytes()),
        "own": may(lambda: (data / "run/own").write_bytes(b"x") and (data / "run/own").read_bytes()),
        "move": may(lambda: ((data / "run/a").mkdir(), (data / "run/own").rename(data / "run/a/own"))),
        "code": may(lambda: Path(json.__file__).read_bytes()),
        "machine": may(lambda: Path("/proc/sys/kernel/random/boot_id").read_bytes()),
        "temporary": may(lambda: __import__("tempfile").TemporaryFile().close()),
    }))
    sys.stdout.flush()
    os._exit(0)

process = importlib.import_module(f"api.processes.{sys.argv[1]}")
process.uvloop.run = probe
if sys.argv[1] == "web":
    process._application = lambda settings: None
process.main(Settings(data=data))
"""

NOT: dict[str, set[str]] = {
    "recorder": {"keys", "database", "vault", "escrow", "around", "by a link", "write"},
    "monitor": {"keys", "database", "vault", "escrow", "around", "by a link", "write", "room", "room write"},
    "web": {"room", "room write"},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in (
        "room/device/key", "store/keys/kek", "store/vidne.sqlite", "store/vault/objects/segment",
        "escrow/recovery.key", "run/room.token",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"something")
    (folder / "run" / "link").symlink_to(folder / "store" / "keys" / "kek")
    return folder


@pytest.mark.parametrize("process", NOT)
def test_what_a_process_cannot_read_and_what_it_can(process: str, data: Path) -> None:
    """Its own `main`, up to the moment when its loop would begin."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, process, str(data)], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "VIDNE_PORT": "0"}, check=False,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    if "process_less_confined" in ran.stdout + ran.stderr:
        pytest.skip("this kernel has no Landlock: the process logs that it is less confined")
    found = json.loads(ran.stdout.splitlines()[-1])
    assert {name for name, allowed in found.items() if not allowed} == NOT[process]


def test_a_store_that_is_made_later_is_out_of_reach_too(tmp_path: Path) -> None:
    """A room node whose house gets a store on the same machine while it runs."""
    code = """
import os, sys
from pathlib import Path
from api.processes.keep_away import keep_away
from api.settings import Settings
data = Path(sys.argv[1])
kept = keep_away("recorder", Settings(data=data))
if os.fork() == 0:
    os._exit(0)
os.wait()
print(kept)
sys.stdin.readline()
try:
    (data / "store" / "keys" / "kek").read_bytes()
except PermissionError:
    print("refused")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "data")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        if child.stdout.readline() != "True\n":
            child.communicate("\n", timeout=30)
            pytest.skip("this kernel has no Landlock")
        kek = tmp_path / "data" / "store" / "keys" / "kek"
        kek.parent.mkdir(parents=True)
        kek.write_bytes(bytes(32))
        said, _ = child.communicate("\n", timeout=30)
    assert said == "refused\n"
