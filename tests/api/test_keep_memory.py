"""What a process has freed serves it again, without asking the kernel for each page anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 50
SCRIPT = """
import resource
from api.processes.serving import keep_memory
{first}
def faults():
    for _ in range({rounds}):
        blocks = [b"x" * (1 << 19) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-faults() + faults())
"""
"""What a tick takes on its way: clear, padded, encrypted, framed."""


@pytest.mark.parametrize(("first", "kept"), [("keep_memory()", True), ("", False)])
def test_memory_for_ticks_is_kept(first: str, kept: bool) -> None:
    script = SCRIPT.format(first=first, rounds=ROUNDS)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert (int(done.stdout) < ROUNDS) == kept
