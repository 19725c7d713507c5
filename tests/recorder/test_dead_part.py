"""A part of the recorder that has died brings down the process, at once, so that its supervisor starts a whole one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evidence_store.canonical import Record
from recorder.cutter import Cutter
from recorder.spool import Spool
from recorder.take import Order
from tests.house import House, until
from tests.recorder.room import running

pytestmark = pytest.mark.usefixtures("quick")


async def test_a_dead_sealing_thread_ends_the_process(house: House, spool: Spool, order: Order) -> None:
    async with running(house, spool) as room:
        await room.node.begin(order)
        room.node._tell({"type": "poison", "value": 2**60})
        await until(lambda: room.failures)


@pytest.mark.parametrize("part", ["gather", "_heartbeat"])
async def test_a_dead_task_ends_the_process(
    house: House, spool: Spool, order: Order, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def broken(*_: object) -> Record:
        raise ZeroDivisionError

    async with running(house, spool) as room:
        await room.node.begin(order)
        if part == "gather":
            monkeypatch.setattr(Cutter, part, broken)
        else:
            monkeypatch.setattr(room.node.delivery, part, broken)
            room.node.delivery._spool._highest += 1
        await until(lambda: room.failures)
        monkeypatch.undo()


def test_the_end_of_the_process_is_at_once_whatever_still_runs() -> None:
    """With a thread that hangs in the disk, as to_thread leaves them: an orderly end would wait for it for ever."""
    script = (
        "import asyncio, time, uvloop\n"
        "from recorder.node import end_process\n"
        "async def main():\n"
        "    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)\n"
        "    asyncio.get_running_loop().call_later(0.1, end_process)\n"
        "    await asyncio.sleep(3600)\n"
        "uvloop.run(main())\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, timeout=20, env={**os.environ})
    assert ended.returncode == 70
