"""Asks the witnesses: each new checkpoint goes to each of them, and their answers into the store.

A task for each witness, so that one that hangs holds up no other, and nothing waits for any of them: only the latest
checkpoint is ever asked about, so that an outage of a week leaves one question. Speaks C2SP tlog-witness.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from enum import Enum
from typing import Final

import httpx
import structlog

from api.desk.moments import moment
from api.services import Alarm, WitnessState
from evidence_store.errors import InvalidInput, Refused, Tampered, VidneError
from evidence_store.ledger.policy import Member, Policy
from evidence_store.ledger.policy import Refused as No
from evidence_store.ledger.witnessing import Question, Witnessing

log = structlog.get_logger()

LOOK_EVERY: Final = 1.0
"""Seconds between looks for a new checkpoint, and the least between two questions."""
FIRST_WITHIN: Final = 3.0
"""How long a start waits for the witnesses, before the first request is served: what they know to be yesterday's is
not written into. Silence is not waited for longer, since an outage is no veto."""
ASKED_AGAIN_AFTER: Final = 3600.0
"""A ledger in which nothing happens is cosigned anew: the witness then knows that it is there and has not shrunk."""
LONGEST_PAUSE: Final = 60.0
LONGEST_ANSWER: Final = 16 * 1024
_ROUNDS: Final = 3
"""Questions one after the other while the witness only tells how far it is."""


class _Outcome(Enum):
    NOTHING = "nothing to ask"
    COSIGNED = "cosigned"
    VETO = "veto"
    SILENT = "no answer that counts"


class WitnessDesk:
    def __init__(self, witnessing: Witnessing) -> None:
        """Raises OSError, InvalidInput where an authority of the policy cannot be used."""
        self._witnessing = witnessing
        self._clients = {member.id: _client(member) for member in witnessing.policy.members}

    async def first(self) -> None:
        """One question to each, for at most `FIRST_WITHIN` seconds altogether."""
        asking = [self._ask(member, again=True) for member in self._witnessing.policy.members]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_WITHIN):
                await asyncio.gather(*asking)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for member in self._witnessing.policy.members:
                    group.create_task(self._keep_asking(member), name=f"witness-{member.key.key_id.hex()}")
                group.create_task(self._keep_reviewing(), name="witness-review")
        finally:
            await self.close()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def states(self) -> Sequence[WitnessState]:
        """Every witness as pages show it. Blocking."""
        return [
            WitnessState(
                name=each.member.name,
                covered=each.covered,
                cosigned_at=None if each.cosigned_at is None else moment(each.cosigned_at * 10**9),
                late=each.late,
                refused_at=None if each.refused is None else moment(each.refused.at * 10**9),
                refused=None if each.refused is None else each.refused.code,
            )
            for each in self._witnessing.known().members
        ]

    def alarms(self) -> Sequence[Alarm]:
        """Those of the witnesses that stand now, for the pages that show the room's. Blocking."""
        return [Alarm(code, moment(at), member.name) for code, at, member in self._witnessing.alarms()]

    async def _keep_reviewing(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._witnessing.review)
            except VidneError as error:
                log.error("witness_review_failed", code=error.code)
            except Exception as error:  # noqa: BLE001 - the task must outlive one round
                log.error("witness_review_failed", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY)

    async def _keep_asking(self, member: Member) -> None:
        loop = asyncio.get_running_loop()
        pause, asked = LOOK_EVERY, loop.time()
        while True:
            again = loop.time() - asked > ASKED_AGAIN_AFTER
            outcome = await self._ask(member, again=again)
            if outcome is _Outcome.COSIGNED:
                asked = loop.time()
            trouble = outcome in (_Outcome.SILENT, _Outcome.VETO)
            pause = min(pause * 2, LONGEST_PAUSE) if trouble else LOOK_EVERY
            await asyncio.sleep(pause)

    async def _ask(self, member: Member, *, again: bool) -> _Outcome:
        try:
            for _ in range(_ROUNDS):
                question = await asyncio.to_thread(self._witnessing.question, member, again=again)
                if question is None:
                    return _Outcome.NOTHING
                outcome = await self._one(member, question)
                if outcome is not None:
                    return outcome
        except (httpx.HTTPError, OSError) as error:
            log.warning("witness_silent", witness=member.key.name, error=type(error).__name__)
        except (Refused, Tampered) as error:
            log.error("witness_answer_refused", witness=member.key.name, code=error.code)
        except VidneError as error:
            log.error("witness_not_asked", witness=member.key.name, code=error.code)
        except Exception as error:  # noqa: BLE001 - the task must outlive one question
            log.error("witness_not_asked", witness=member.key.name, error=type(error).__name__)
        return _Outcome.SILENT

    async def _one(self, member: Member, question: Question) -> _Outcome | None:
        """None where the witness only told how far it is. Raises httpx.HTTPError, VidneError."""
        witnessing = self._witnessing
        status, body = await self._post(member, question.request.write())
        if status == httpx.codes.OK:
            await asyncio.to_thread(witnessing.cosigned, member, question, body)
            return _Outcome.COSIGNED
        if status == httpx.codes.CONFLICT and (held := _size(body)) is not None:
            helps = await asyncio.to_thread(witnessing.holds, member, question, held)
            return None if helps else _Outcome.VETO
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            no = No("ledger-rewritten", question.size, question.request.old, witnessing.now())
            await asyncio.to_thread(witnessing.refused, member, no)
            return _Outcome.VETO
        # 404: nobody has told it of this ledger yet; 403: of another key. Neither says anything about our history.
        log.error("witness_refuses", witness=member.key.name, status=status)
        return _Outcome.SILENT

    async def _post(self, member: Member, body: bytes) -> tuple[int, bytes]:
        client = self._clients[member.id]
        async with client.stream("POST", f"{member.url}/add-checkpoint", content=body) as reply:
            answer = b""
            async for chunk in reply.aiter_bytes():
                answer += chunk
                if len(answer) > LONGEST_ANSWER:
                    raise httpx.DecodingError("the answer is too long")
            return reply.status_code, answer


def require_authorities(policy: Policy) -> None:
    """Raises OSError, InvalidInput `witness-policy` where an authority that the policy names cannot be used."""
    for member in policy.members:
        _context(member)


def _size(body: bytes) -> int | None:
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) < 20 else None


def _context(member: Member) -> ssl.SSLContext | None:
    """None on loopback without TLS. Trusts exactly the policy's authority where it names one."""
    if not member.url.startswith("https://"):
        return None
    if member.authority is None:
        return ssl.create_default_context()
    try:
        pem = member.authority.read_text(encoding="ascii")
        # Without a certificate in it, the machine's own authorities would be believed.
        if "-----BEGIN CERTIFICATE-----" not in pem:
            raise ValueError
        return ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput(f"{member.name}: authority holds no certificate", code="witness-policy") from error


def _client(member: Member) -> httpx.AsyncClient:
    context = _context(member)
    return httpx.AsyncClient(
        verify=True if context is None else context,
        timeout=httpx.Timeout(10.0, connect=2.0),
        trust_env=False,
        follow_redirects=False,
    )
