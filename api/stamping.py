"""Asks time stamp authorities over HTTP (RFC 3161, 3.4): each as a job of its own, and a task that tends the queue.

The queue and every check are `evidence_store.stamps`; here is only when to ask and how long to wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx
import structlog

from api.settings import Settings
from evidence_store.errors import InvalidInput, OutOfReach, VidneError
from evidence_store.stamps.keeper import Question, Rules, Stamps
from evidence_store.stamps.stamp import TimeAuthority, authority_from_pem
from evidence_store.stamps.token import MAX_RESPONSE

log = structlog.get_logger(__name__)

TEND_EVERY_S: Final = 5.0
LOOK_EVERY_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Between two attempts at an authority that does not answer: it is asked after 1, 2, 4 … seconds, then each minute."""
ANSWER_WITHIN_S: Final = 10.0
ENDS_WITHIN_S: Final = 0.25
"""Seconds after which a round that is to end gives up the answer that it waits for."""
_NANOSECONDS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Configured:
    """An authority and where it is asked."""

    address: str
    authority: TimeAuthority


def configured(settings: Settings) -> list[Configured]:
    """The authorities of the settings, in order. One whose certificate cannot be read is logged and left out: the
    house goes on without its stamps, and says that they are late or that there are none."""
    found: dict[str, Configured] = {}
    for place, each in enumerate(settings.time_authorities, 1):
        try:
            authority = authority_from_pem(each.certificate.read_bytes(), each.name)
        except (OSError, InvalidInput) as error:
            log.error("time_authority_unreadable", place=place, reason=type(error).__name__)
            continue
        if authority.fingerprint in found:
            log.error("time_authority_twice", place=place)
            continue
        found[authority.fingerprint] = Configured(each.address, authority)
    return list(found.values())


def rules(settings: Settings) -> Rules:
    return Rules(round(settings.time_tolerance * _NANOSECONDS), round(settings.stamps_late_after * _NANOSECONDS))


def pause(failures: int) -> float:
    """Seconds until an authority that has failed so often in a row is asked again."""
    return 0.0 if failures == 0 else float(min(2 ** min(failures - 1, 16), LONGEST_PAUSE_S))


class Asking:
    """What one authority is asked, a round at a time. A round can be cut off anywhere: the question stays queued."""

    def __init__(self, stamps: Stamps, fingerprint: str, address: str, ending: Callable[[], bool]) -> None:
        self.fingerprint = fingerprint
        self._stamps, self._address, self._ending = stamps, address, ending
        self._failures, self._again_at = 0, 0.0

    def wanted(self) -> bool:
        """Whether there is something to ask now. Raises OutOfReach for the database."""
        return time.monotonic() >= self._again_at and self._stamps.anything_due(self.fingerprint)

    def round(self) -> bool:
        """Asks what is due. Whether to go on at once: not after a failure, which is logged and waited for longer each
        time."""
        try:
            obtained = asyncio.run(self._ask())
        except VidneError as error:
            log.warning("time_authority_not_asked", authority=self.fingerprint[:16], code=error.code)
        except Exception as error:  # noqa: BLE001 - the next attempt must outlive this one
            log.error("time_authority_not_asked", authority=self.fingerprint[:16], error=type(error).__name__)
        else:
            self._failures = 0
            return obtained > 0
        self._failures += 1
        self._again_at = time.monotonic() + pause(self._failures)
        return False

    async def _ask(self) -> int:
        async with new_client() as client:
            asking = asyncio.create_task(ask_all(self._stamps, client, self.fingerprint, self._address))
            while not asking.done() and not self._ending():
                await asyncio.wait([asking], timeout=ENDS_WITHIN_S)
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
                return 0
            return asking.result()


async def tend(stamps: Stamps, asked: Sequence[Asking], poke: Callable[[], None]) -> None:
    """Until cancelled: tends the queue, and says `poke()` as soon as there is something to ask anybody."""
    tended = -TEND_EVERY_S
    while asked:
        try:
            if time.monotonic() - tended >= TEND_EVERY_S:
                tended = time.monotonic()
                await asyncio.to_thread(stamps.tend)
            if await asyncio.to_thread(lambda: any(each.wanted() for each in asked)):
                poke()
        except VidneError as error:
            log.error("stamps_not_tended", code=error.code)
        except Exception as error:  # noqa: BLE001 - nobody would notice that the queue is tended no more
            log.error("stamps_not_tended", error=type(error).__name__)
        await asyncio.sleep(LOOK_EVERY_S)


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(ANSWER_WITHIN_S, connect=3.0))


async def ask_all(stamps: Stamps, client: httpx.AsyncClient, fingerprint: str, address: str) -> int:
    """One round: everything that is due, one after the other; how many stamps came of it. Raises OutOfReach."""
    obtained = 0
    for question in await asyncio.to_thread(stamps.due, fingerprint):
        asked = stamps.clock()
        response = await _ask(client, address, question)
        obtained += await asyncio.to_thread(stamps.answered, question, response, asked)
    return obtained


async def _ask(client: httpx.AsyncClient, address: str, question: Question) -> bytes:
    """The response, unchecked and at most one byte too large. Raises OutOfReach."""
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            async with client.stream("POST", address, content=question.request, headers=headers) as reply:
                if reply.status_code != httpx.codes.OK:
                    raise OutOfReach(f"the authority answers {reply.status_code}", code="time-authority-out-of-reach")
                body = bytearray()
                async for chunk in reply.aiter_bytes(8192):
                    body += chunk
                    if len(body) > MAX_RESPONSE:
                        break
                return bytes(body[: MAX_RESPONSE + 1])
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise OutOfReach("the authority does not answer", code="time-authority-out-of-reach") from error
