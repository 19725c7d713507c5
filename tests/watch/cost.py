"""What the watch costs: processor time of its process and of the recorder, beside real cameras of 1080p30 4 Mbit/s.

    python -m tests.watch.cost [--cameras 2] [--seconds 30]

A house runs with the watch and, after that, without it; while an interview is recorded, user and system time of each
process are read from /proc at the beginning and at the end. Percent of one core, for each camera with its microphone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

from api.drill.house import House, loopback_settings
from hardware.simulated_room import Recipe, make_clip
from tests.journeys.stage import camera_program, people_of, prepare, start, stop

HEADER = 'room = "cost"\nlabel = "Afhøringsrum"\nhouse = "Børnehus Prøve"\n'
CAMERA = """
[[cameras]]
id = "camera-{n}"
label = "Kamera {n}"
video = true
audio = true
video_codec = "h264"
audio_codec = "opus"
frame_rate = 30
"""


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its threads (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def measure(cameras: int, seconds: float, *, watch: bool) -> dict[str, float]:
    """Percent of one core a camera, by process; with the watch, its resident memory too."""
    clip = await asyncio.to_thread(make_clip, Recipe("wide"))
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "room.toml"
        profile.write_text(HEADER + "".join(CAMERA.format(n=n) for n in range(cameras)))
        settings = loopback_settings(Path(folder) / "data", str(profile), watch=watch)
        async with House(settings, Path(folder) / "log") as house, people_of(house) as people:
            for n in range(cameras):
                house.start(camera_program(house, f"camera-{n}", clip))
            await house.cameras_send()
            interview = await prepare(people.operator, "0100-83986-00031-26")
            await start(house, people.operator, interview)
            await asyncio.sleep(3)
            pids = {name: house.pid(name) for name in ("recorder", "watch") if watch or name == "recorder"}
            before, began = {name: processor_seconds(pid) for name, pid in pids.items()}, time.monotonic()
            await asyncio.sleep(seconds)
            lasted = time.monotonic() - began
            spent = {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}
            found = {name: round(100 * each / lasted / cameras, 2) for name, each in spent.items()}
            if watch:
                found["watch_resident_mib"] = round(resident_mib(pids["watch"]), 1)
                room = await house.room()
                found["alarms"] = len(room["alarms"]) + len(room["observed"])
            await stop(people.operator, interview)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    found = {}
    for name, watch in (("with", True), ("without", False)):
        found[name] = asyncio.run(measure(given.cameras, given.seconds, watch=watch))
    print(json.dumps({"cameras": given.cameras, "unit": "percent of one core a camera", **found}))  # noqa: T201


if __name__ == "__main__":
    main()
