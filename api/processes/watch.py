"""The process that watches over content: the only one that decodes pictures and sound while a room records.

What it decodes comes from strangers, so it holds no key, opens no file, and is given the least of the machine: whatever
it does, the recording does not notice. It says what it observes to the recorder, a fixed list of things.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time

import uvloop

from api.processes.confine import confine
from api.processes.locked import lock_memory
from api.processes.serving import configure_logs, die_with_parent, harden
from api.settings import Settings
from hardware.profile import RoomProfile
from recorder.sdp import KINDS
from recorder.watching.content import ContentWatch, Expected
from recorder.watching.link import WatchLink

MEMORY_LIMIT = 1536 << 20
"""Octets of address space, libraries and thread stacks included."""
TICK_SECONDS = 0.25
WELL_EVERY = 4
"""Ticks."""
STUCK_AFTER_SECONDS = 10
"""A decoder that does not come back for so long is ended by the kernel, and the supervisor starts another watch."""


def main(settings: Settings) -> None:
    """Runs until told to stop."""
    configure_logs()
    harden()
    die_with_parent()
    lock_memory("watch")
    yield_to_others()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    link = watch_link(settings)
    confine()
    uvloop.run(run(link))


def yield_to_others() -> None:
    """The least there is: only what nobody else wants of the processor."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def watch_link(settings: Settings) -> WatchLink:
    """The watch over this room's cameras, at the recorder's feed."""
    room = expected(settings.room_profile())
    return WatchLink(settings.feed_path, lambda tell: ContentWatch(room, tell))


def expected(profile: RoomProfile) -> list[Expected]:
    """The watch's view of a room profile."""
    found = []
    for camera in profile.cameras:
        sent = {track.media.value for track in camera.tracks}
        found.append(Expected(camera.id, tuple(kind for kind in KINDS if kind in sent), camera.frame_rate))
    return found


async def run(link: WatchLink) -> None:
    """Until SIGTERM or SIGINT, or until the link's task dies."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(work) for work in (link.run(), _tick(link), stop.wait())]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    signal.alarm(0)
    for task in rest:
        task.cancel()
    await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _tick(link: WatchLink) -> None:
    turn = 0
    while True:
        signal.alarm(STUCK_AFTER_SECONDS)
        link.tick(time.monotonic_ns(), time.time_ns())
        if turn % WELL_EVERY == 0:
            link.well()
        turn += 1
        await asyncio.sleep(TICK_SECONDS)
