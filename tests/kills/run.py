"""So many kills, the same number in each phase, and the account of it. The dice are seeded: the seed is said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from api.settings import Settings, TimeAuthoritySetting
from api.wiring import Store, open_store
from tests.kills.account import Receipts, faults, unfinished
from tests.kills.client import Acknowledged, Client
from tests.kills.life import Lives, free_port
from tests.kills.phases import Kill, Phase, Phases
from tests.time_authority import TimeAuthority

LEFT_ALONE_S = 90.0
RECEIPT_EVERY = 5


@dataclass
class Account:
    """`faults`: everything that was not as it was acknowledged. `custody`: entries of the ledger."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    acknowledged: Acknowledged = field(default_factory=Acknowledged)
    takes: int = 0
    proofs: int = 0
    custody: int = 0


def kills(folder: Path, count: int, seed: int) -> Account:
    return asyncio.run(_kills(folder, count, seed))


async def _kills(folder: Path, count: int, seed: int) -> Account:
    dice, account, receipts = Random(seed), Account(seed), Receipts()  # noqa: S311 - no secret
    with TimeAuthority(folder / "authority") as authority:
        settings = Settings(
            data=folder / "house", port=free_port(), recorder_port=free_port(), monitor_port=free_port(), demo=True,
            retention_days=0, second_vault=folder / "house" / "second", watch=False,
            time_authorities=[TimeAuthoritySetting(address=authority.address, certificate=authority.pem)],
        )  # fmt: skip
        lives, client = Lives(settings, folder / "log"), Client(settings, dice)
        account.acknowledged = client.acknowledged
        assert settings.second_vault is not None
        phases = Phases(lives, client, authority, settings.second_vault, dice)
        try:
            await lives.begin()
            await client.begin()
            for number, phase in enumerate(strata(count, dice)):
                account.kills.append(await phases.kill(phase))
                if number % RECEIPT_EVERY == 0:
                    with _opened(settings) as store:
                        receipts.take(store)
            await phases.end()
            account.faults += await _left_alone(settings, client.acknowledged)
            await lives.end()
        finally:
            await lives.kill()
            await client.close()
        with _opened(settings) as store:
            account.faults += [*faults(settings, store, client.acknowledged), *receipts.faults(store)]
            with store.book.reading() as session:
                account.custody = store.book.ledger.verify_all(session).size
    account.takes, account.proofs = client.taken, len(receipts)
    return account


def strata(count: int, dice: Random) -> list[Phase]:
    """As many of each phase, in random order."""
    found = [phase for _ in range(-(-count // len(Phase))) for phase in Phase][:count]
    dice.shuffle(found)
    return found


async def _left_alone(settings: Settings, acknowledged: Acknowledged) -> list[str]:
    """Until the store has done by itself what there was to do; what it has not."""
    left = ["not looked at"]
    with _opened(settings) as store:
        for _ in range(int(LEFT_ALONE_S / 0.1)):
            if not (left := unfinished(store, acknowledged)):
                break
            await asyncio.sleep(0.1)
    return left


@contextmanager
def _opened(settings: Settings) -> Iterator[Store]:
    """The store's data, looked at by another process than the one that is killed."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.book.database.close()
