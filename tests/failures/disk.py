"""11, 12, 13: what goes wrong with the disk, and with what is delivered from it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import httpx

from recorder.recovery import recover
from recorder.sealer import Sealer, Tick
from recorder.sealing_thread import MAX_WAITING, SealingThread
from recorder.spool import SegmentFile
from recorder.take import State
from tests.failures.mode import Mode, Place
from tests.house import BEGAN, TICK_NS, begin, record, tick, until
from tests.recorder.room import running
from tests.recorder.walked import walk

# 11. The disk is full: the process quits, or never goes on (OvenMediaEngine #734, obs-source-record #84).


@dataclass(frozen=True, slots=True)
class Full:
    """`alarms`: while it was full. `gaps`: (reason, from, to) declared for all tracks; `without`: (from, to) of the
    longest time without a durable tick; in ns of UTC."""

    failures: int
    recording: bool
    alarms: list[str]
    alarms_after: list[str]
    gaps: list[tuple[str, int, int]]
    without: tuple[int, int]


async def a_disk_that_fills_up_and_is_cleared(place: Place) -> Full:
    """Longer than what waits in memory, so that something is really lost."""
    spool, order = place.house.spool(), place.house.interview()
    async with running(place.house, spool) as room:
        await room.node.begin(order)
        await until(lambda: (room.node.describe()["durable_tick"] or 0) > 2)
        spool.limit_bytes = spool.used_bytes
        with contextlib.suppress(TimeoutError):
            await until(lambda: room.node._cutter.refused is not None or room.failures, MAX_WAITING * 0.05 * 3)
        alarms = room.node.alarms(time.monotonic_ns())
        await asyncio.sleep(0.2)
        spool.limit_bytes = None
        with contextlib.suppress(TimeoutError):
            await until(lambda: room.node._cutter.refused is None or room.failures)
        await asyncio.sleep(0.3)
        after, recording = room.node.alarms(time.monotonic_ns()), room.node.state is State.RECORDING
        if room.failures:
            return Full(room.failures, recording, alarms, after, [], (0, 0))
        await room.node.end()
    (take,) = spool.takes()
    walked = walk(place.house, take, order)
    gaps = [(each["reason"], int(each["from"]), int(each["to"])) for each in walked.gaps if each["track"] is None]
    utc = [int(each["utc"]) for each in walked.ticks]
    without = max(pairwise(utc), key=lambda pair: pair[1] - pair[0])
    return Full(room.failures, recording, alarms, after, gaps, without)


def it_says_so_goes_on_and_declares_what_is_missing(found: Full) -> None:
    assert found.failures == 0
    assert found.recording
    assert "spool-full" in found.alarms
    assert "spool-full" not in found.alarms_after
    ((reason, since, until_ns),) = found.gaps
    assert reason == "spool-full"
    assert since == found.without[0]
    assert since < until_ns <= found.without[1]


def without_a_second_try(self: SealingThread, sealer: Sealer, waiting: list[Tick]) -> None:
    durable = sealer.write(waiting[0])
    self._ticks.popleft()
    self._tell(self._on_durable, durable, sealer.segment_ended())


# 12. The upload fails and the local copy is deleted (LiveKit egress #329).


@dataclass(frozen=True, slots=True)
class Delivered:
    """Objects still here while the store refuses, and while it says it has something else; what it has in the end."""

    recorded: int
    refused: int
    something_else: int
    trouble: str | None
    stored_wrong: int
    removed_at_last: bool


class Store:
    """Answers deliveries as it is told: `fail` refuses, `other` confirms with the hash of something else."""

    def __init__(self, enrolment: str) -> None:
        self.how = "fail"
        self.enrolment = enrolment
        self.objects: dict[str, bytes] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.how == "fail":
            return httpx.Response(500)
        if request.method == "POST":
            return httpx.Response(
                200, json={"lost": [], "opened": True, "sha256": "", "unsealed": {self.enrolment: []}}
            )
        data = request.content if self.how == "keep" else request.content[:-1]
        self.objects[request.url.path] = data
        return httpx.Response(200, json={"sha256": hashlib.sha256(data).hexdigest()})


async def a_store_that_fails_then_keeps_something_else_then_mends(place: Place) -> Delivered:
    spool, order = place.house.spool(), place.house.interview()
    take = record(place.house, spool, order)
    store = Store(take.enrolment.hex())
    recorded = _files(take.path)
    client = httpx.AsyncClient(transport=httpx.MockTransport(store.answer), base_url="http://store.test/intake/")
    delivery = place.house.delivery(spool, client, keep_seconds=0.0)
    task = asyncio.create_task(delivery.run())
    try:
        await until(lambda: delivery.state.trouble is not None)
        await asyncio.sleep(0.3)
        refused = _files(take.path)
        store.how = "other"
        await asyncio.sleep(0.6)
        something_else, trouble = _files(take.path), delivery.state.trouble
        store.how = "keep"
        with contextlib.suppress(TimeoutError):
            await until(lambda: not take.path.exists())
        sent = {name: data for name, data in store.objects.items() if "/takes/" in name}
        wrong = sum(hashlib.sha256(data).hexdigest() not in recorded for data in sent.values())
        return Delivered(len(recorded), len(refused & recorded), len(something_else & recorded), trouble, wrong,
                         not take.path.exists())  # fmt: skip
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()


def _files(folder: Path) -> set[str]:
    """Hashes of what a take holds, acknowledgements aside."""
    if not folder.exists():
        return set()
    found = [path for path in folder.iterdir() if path.suffix != ".ack"]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def nothing_goes_before_the_store_has_it_byte_for_byte(found: Delivered) -> None:
    assert found.refused == found.recorded
    assert found.something_else == found.recorded
    assert found.trouble == "store-holds-something-else"
    assert found.stored_wrong == 0
    assert found.removed_at_last


def whatever_it_answers(reply: httpx.Response, name: str) -> object:
    """Any 200 counts as an acknowledgement."""
    return hashlib.sha256(reply.request.content).hexdigest() if name == "sha256" else True


# 13. A power cut ruins a file that was called crash-safe (OBS #13374); others never fsync.


@dataclass(slots=True)
class Platter:
    """What a disk holds that keeps only what was synced: bytes by fsync or fdatasync of the file, names by fsync of the
    folder they are in. Everything else is gone when the power is."""

    root: Path
    _bytes: dict[int, bytes] = field(default_factory=dict)
    _names: dict[Path, dict[str, int]] = field(default_factory=dict)

    @contextlib.contextmanager
    def spinning(self) -> Iterator[None]:
        sync, data_sync = os.fsync, os.fdatasync

        def synced(descriptor: int) -> None:
            sync(descriptor)
            self._keep(descriptor)

        def data_synced(descriptor: int) -> None:
            data_sync(descriptor)
            self._keep(descriptor)

        with patch.object(os, "fsync", synced), patch.object(os, "fdatasync", data_synced):
            yield

    def _keep(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
            for each in path.iterdir():
                if each.is_dir():
                    self._names.setdefault(each, {})
        else:
            self._bytes[path.stat().st_ino] = path.read_bytes()

    def after_the_cut(self, to: Path) -> None:
        """The folder as it is found when the power is back."""
        for folder, names in sorted(self._names.items()):
            if not folder.is_relative_to(self.root):
                continue
            (to / folder.relative_to(self.root)).mkdir(parents=True, exist_ok=True)
            for name, inode in names.items():
                if folder / name not in self._names:
                    (to / folder.relative_to(self.root) / name).write_bytes(self._bytes.get(inode, b""))


@dataclass(frozen=True, slots=True)
class AfterTheCut:
    """`claimed`: ticks that were called durable. `found`: those of the closed take that check and open. `left`: takes
    that could not be closed."""

    claimed: int
    found: int
    how: str | None
    left: list[int]


async def the_power_goes_in_the_middle_of_a_take(place: Place) -> AfterTheCut:
    house, order = place.house, place.house.interview()
    device, platter = house.device(), Platter(place.folder / "room")
    with platter.spinning():
        spool = house.spool()
        sealer = begin(house, spool, order, device)
        for t in range(21):
            sealer.write(tick(t))
        claimed = 21
        # The next one is being written: some of its bytes are in the file, none of them synced.
        assert sealer._file is not None
        with sealer._file._path.open("ab") as file:
            file.write(b"half a tick")
    sealer.forget()
    shutil.rmtree(place.folder / "room" / "spool")
    platter.after_the_cut(place.folder / "room")
    again = house.spool()
    recovered = recover(again, device, BEGAN + 60 * TICK_NS)
    takes = [take for take in again.takes() if take.start.exists() and take.close.exists()]
    if not takes:
        return AfterTheCut(claimed, 0, None, recovered.left)
    walked = walk(house, takes[0], order)
    how = None if walked.close is None else walked.close.how.value
    return AfterTheCut(claimed, len(walked.ticks), how, recovered.left)


def what_was_called_durable_is_there(found: AfterTheCut) -> None:
    assert found.left == []
    assert found.how == "crashed"
    assert found.found == found.claimed


def left_to_the_kernel(self: SegmentFile, *parts: bytes | memoryview, urgent: bool = False) -> None:
    del urgent
    frame = b"".join(parts)
    with self._path.open("ab") as file:
        file.write(frame)
    self.size += len(frame)


def no_folder(folder: Path) -> None:
    """A name is durable when the file is, some think."""


M11 = Mode(a_disk_that_fills_up_and_is_cleared, it_says_so_goes_on_and_declares_what_is_missing)
M12 = Mode(a_store_that_fails_then_keeps_something_else_then_mends, nothing_goes_before_the_store_has_it_byte_for_byte)
M13 = Mode(the_power_goes_in_the_middle_of_a_take, what_was_called_durable_is_there)
