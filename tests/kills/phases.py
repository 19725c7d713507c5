"""A kill in each phase: the phase is begun, is seen to have begun, and a random while later the process is dead.

The while is drawn from 0 to a little more than what the phase took when nobody was killed in it, so that kills fall
all along it. What is looked at to see a phase begin lies outside the process: a file, a request that came in.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

import httpx

from api.drill.visitor import DrillFailed
from recorder.delivery import objects
from tests.kills.client import Client
from tests.kills.life import Lives
from tests.time_authority import TimeAuthority

BEYOND = 1.15
"""How much longer than the phase the while may be: a few kills fall just behind its end."""
SEEN_WITHIN_S = 15.0
LOOK_S = 0.0005


class Phase(StrEnum):
    INTAKE = "intake"
    REPLICATE = "replicate"
    SEAL = "seal"
    STAMP = "stamp"
    SHRED = "shred"


@dataclass
class Kill:
    """`within`: the phase was not over when the signal came. `after`: seconds since it was seen to begin."""

    phase: Phase
    within: bool
    after: float


@dataclass
class Lengths:
    """How long each phase takes, in seconds, as measured when it came to its end."""

    measured: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, seconds: float) -> None:
        self.measured.setdefault(name, []).append(seconds)

    def draw(self, name: str, dice: Random) -> float | None:
        """None where it was never seen to its end: then it is rehearsed."""
        known = self.measured.get(name)
        return None if known is None else dice.uniform(0.0, BEYOND * statistics.median(known[-15:]))


class Phases:
    """`second`: the second vault's folder, which is away while nothing is to be brought there."""

    def __init__(self, lives: Lives, client: Client, authority: TimeAuthority, second: Path, dice: Random) -> None:
        self._lives, self._client, self._authority = lives, client, authority
        self._second, self._away = second, second.with_name("second-away")
        self._dice = dice
        self._lengths = Lengths()
        self._tried: set[str] = set()
        authority.down = True

    async def kill(self, phase: Phase) -> Kill:
        """One kill; the store is running again when this returns. What was never seen to its end is rehearsed first:
        the process is killed then too, behind it, and that counts for nothing."""
        while (done := await getattr(self, f"_{phase.value}")())[1] < 0:
            self._authority.down = True
        if phase is not Phase.STAMP:
            self._authority.down = True
        return Kill(phase, *done)

    # What is killed

    async def _die_in(self, name: str, act: Awaitable[None], begun: Callable[[], bool]) -> tuple[bool, float]:
        """The act goes on until the signal. Whether it was not over then, and when that was."""
        task = asyncio.ensure_future(_unanswered(act))
        await _until(lambda: begun() or task.done())
        seen = time.monotonic()
        wait = self._lengths.draw(name, self._dice)
        done, _ = await asyncio.wait([task], timeout=SEEN_WITHIN_S if wait is None else wait)
        after = time.monotonic() - seen if wait is not None else -1.0
        if done:
            self._lengths.note(name, time.monotonic() - seen)
            await asyncio.sleep(max(0.0, seen + (wait or 0.0) - time.monotonic()))
        await self._lives.kill()
        await task
        return not done, after

    async def _intake(self) -> tuple[bool, float]:
        take = self._client.record()
        things = objects(take)
        await self._client.deliver(take, self._dice.randrange(len(things)))
        kind, path = objects(take)[0]
        return await self._again(
            f"intake {kind.partition('/')[0]}", self._client.deliver_one(take, kind, path), lambda: True
        )

    async def _again(self, name: str, act: Awaitable[None], begun: Callable[[], bool]) -> tuple[bool, float]:
        found = await self._die_in(name, act, begun)
        await self.begin()
        return found

    async def _seal(self) -> tuple[bool, float]:
        take = self._client.record()
        await self._client.deliver(take, len(objects(take)) - 1)
        ((kind, path),) = objects(take)
        there = self._object(self._lives.settings.store_folder / "vault", take.enrolment.hex(), take.take, "close.json")
        return await self._again("seal", self._client.deliver_one(take, kind, path), there.exists)

    async def _replicate(self) -> tuple[bool, float]:
        """The second vault is away while two takes come in; the process is begun again when it is back."""
        self._second.rename(self._away)
        try:
            first = ""
            for _ in range(2):
                take = self._client.record()
                await self._client.deliver(take)
                first = first or f"takes/{take.enrolment.hex()}/{take.take:06d}/start.json"
        finally:
            await self._lives.kill()
            self._away.rename(self._second)
        await self._lives.begin()
        brought = self._second / "objects" / first
        everything = self._second / "objects" / f"takes/{take.enrolment.hex()}/{take.take:06d}/close.json"
        return await self._again("replicate", self._while_it_lives(everything.exists), brought.exists)

    async def _stamp(self) -> tuple[bool, float]:
        """The authority is reached again; the process dies at or after one of the answers that it then gives: start,
        minute and close of a take wait for it at the least."""
        await self._client.deliver(self._client.record())
        asked = len(self._authority.asked)
        await self._lives.kill()
        self._authority.down = False
        await self._lives.begin()
        which = asked + self._dice.randrange(1, 3)
        few = self._while_it_lives(lambda: len(self._authority.asked) > which)
        return await self._again("stamp", few, lambda: len(self._authority.asked) >= which)

    async def _while_it_lives(self, true: Callable[[], bool]) -> None:
        await _until(lambda: true() or not self._lives.alive)

    async def _shred(self) -> tuple[bool, float]:
        """Two people erase an interview, or an administrator rotates the key-encryption key."""
        if self._dice.random() < 0.3:
            return await self._rotate()
        interview = await self._erasable()
        form = await self._client.approval(interview)
        return await self._again("erase", self._client.approve(interview, form), lambda: True)

    async def _erasable(self) -> str:
        """One that is sealed and whose erasure was asked for: a new one, where there is no other."""
        acknowledged = self._client.acknowledged
        left = [each for each in acknowledged.closed if each not in acknowledged.erased | self._tried]
        if len(left) < 2:
            take = self._client.record()
            await self._client.deliver(take)
            left = [self._client.interviews[take.enrolment.hex(), take.take]]
        interview = left[0]
        # Each is killed in once; what became of it is looked at when all is over.
        self._tried.add(interview)
        await self._client.assign(interview)
        async with asyncio.timeout(SEEN_WITHIN_S):
            while not await self._client.ask_erasure(interview):
                await self.settle()
                await asyncio.sleep(0.05)
        return interview

    async def _rotate(self) -> tuple[bool, float]:
        keys = self._lives.settings.store_folder / "keys"
        before = {path.name for path in keys.glob("kek*")}
        process, ended = self._lives.rotation(), False
        try:
            await _until(lambda: {path.name for path in keys.glob("kek*")} != before or not process.is_alive())
            seen, wait = time.monotonic(), self._lengths.draw("rotate", self._dice)
            await asyncio.to_thread(process.join, SEEN_WITHIN_S if wait is None else wait)
            ended = process.exitcode is not None
            if ended:
                self._lengths.note("rotate", time.monotonic() - seen)
            process.kill()
            # Now and then everything dies at once, as in a power cut.
            if self._dice.random() < 0.5:
                await self._lives.kill()
            return not ended, -1.0 if wait is None else time.monotonic() - seen
        finally:
            process.kill()
            await asyncio.to_thread(process.join)
            if process.exitcode == 0:
                self._client.acknowledged.rotations += 1
            await self._lives.kill()
            await self.begin()

    # Between kills

    async def begin(self) -> None:
        """The next life, and what was unanswered is done again: whoever did it does not know whether it was done."""
        await self._lives.begin()
        await self.settle()

    async def settle(self) -> None:
        for take in self._client.undelivered():
            await self._client.deliver(take)
        await self._client.refill()
        await self._client.heartbeat()

    async def end(self) -> None:
        """Everything that was begun is brought to its end."""
        self._authority.down = False
        await self._lives.kill()
        await self.begin()
        acknowledged = self._client.acknowledged
        for interview in acknowledged.asked - acknowledged.erased:
            await self._client.approve_after_all(interview)
        rotation = self._lives.rotation()
        await asyncio.to_thread(rotation.join, SEEN_WITHIN_S)
        acknowledged.rotations += rotation.exitcode == 0

    @staticmethod
    def _object(vault: Path, enrolment: str, take: int, name: str) -> Path:
        return vault / "objects" / "takes" / enrolment / f"{take:06d}" / name


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not true():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(LOOK_S)


async def _unanswered(act: Awaitable[None]) -> None:
    """An act that the kill cuts off: whoever did it is told nothing."""
    with contextlib.suppress(httpx.HTTPError, DrillFailed, asyncio.CancelledError):
        await act
