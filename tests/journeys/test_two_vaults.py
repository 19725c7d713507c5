"""A house whose second vault is a bucket of a real server: with both, without the second, after the first's loss."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from api.drill.house import House, loopback_settings
from api.processes.object_server import BUCKET
from api.wiring import open_store
from evidence_store.audit import Audit
from evidence_store.audit_report import Finding
from evidence_store.custody import Verb
from evidence_store.database.schema import CustodyEventRow
from evidence_store.sealed import takes_of
from tests.journeys.stage import ONE_CAMERA, People, filmed_house, start, stop, until
from tests.journeys.stage import prepare as planned
from tests.journeys.test_full import jumps, pictures_of_take, sealed
from tests.seaweed import seaweed

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Away:
    """The object server, which can be taken away and brought back with what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._running = folder, ExitStack()
        self.bring_back()

    def bring_back(self) -> None:
        self.server = self._running.enter_context(seaweed(self.folder))

    def take_away(self) -> None:
        self._running.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]
) -> AsyncIterator[tuple[House, People, Away]]:
    data, folder = tmp_path_factory.mktemp("two-vaults-house"), tmp_path_factory.mktemp("two-vaults")
    (folder / "room.toml").write_text(ONE_CAMERA)
    second = Away(folder / "s3")
    second.server.make_bucket(BUCKET)
    settings = loopback_settings(
        data, str(folder / "room.toml"), second_s3_endpoint=second.server.endpoint, second_s3_bucket=BUCKET,
        second_s3_keys=second.server.key_file, second_s3_authority=second.server.authority,
    )  # fmt: skip
    try:
        async with filmed_house(House(settings, data / "house.log"), clips["wide"]) as (there, people):
            yield there, people, second
    finally:
        second.take_away()


async def recorded(house: House, people: People, case: str) -> str:
    interview = await planned(people.operator, case)
    await start(house, people.operator, interview)
    await asyncio.sleep(4)
    await stop(people.operator, interview)
    return interview


async def audited(house: House) -> list[Finding]:
    def run() -> list[Finding]:
        store = open_store(house.settings)
        try:
            return Audit(store.book, store.authority).run().findings
        finally:
            store.book.database.close()

    return await asyncio.to_thread(run)


def pictures(house: House, interview: str) -> list[list[bytes]]:
    """As the store gives them out, each segment checked."""
    store = open_store(house.settings)
    try:
        with store.book.reading() as session:
            takes = takes_of(session, interview)
        return list(itertools.chain(*(pictures_of_take(store, take) for take in takes)))
    finally:
        store.book.database.close()


def wrong(findings: list[Finding]) -> dict[str, str]:
    return {each.name: each.detail for each in findings if not each.ok}


async def test_what_is_sealed_is_in_both(stage: tuple[House, People, Away], clips: dict[str, Path]) -> None:
    house, people, _ = stage
    interview = await recorded(house, people, "0100-83986-00041-26")
    manifest, seen = await sealed(house, interview)
    assert manifest["gaps"] == []
    assert jumps(seen, clips["wide"]) == []
    findings = await audited(house)
    assert wrong(findings) == {}
    said = {each.name: each.detail for each in findings}
    assert "under different hands" in said["vaults"]
    assert said["vault 1"] == said["vault 2"]


async def test_without_the_second_everything_is_delivered_and_sealed_once_it_is_back(
    stage: tuple[House, People, Away], clips: dict[str, Path]
) -> None:
    house, people, second = stage
    second.take_away()
    interview = await recorded(house, people, "0100-83986-00042-26")
    described = await until(house.room, lambda room: not room["undelivered"])
    assert described["alarms"] == []

    async def system() -> str:
        return await people.administrator.page("/system")

    page = await until(system, lambda text: "Mangler" in text)
    assert "de hentes fra det andet" in page
    second.bring_back()
    _, seen = await sealed(house, interview)
    assert jumps(seen, clips["wide"]) == []
    assert wrong(await audited(house)) == {}


async def test_the_first_lost_is_read_from_the_second_and_filled_again(
    stage: tuple[House, People, Away], clips: dict[str, Path]
) -> None:
    house, people, _ = stage
    interview = await recorded(house, people, "0100-83986-00043-26")
    await sealed(house, interview)
    takes = house.settings.store_folder / "vault" / "objects" / "takes"
    before = {path.relative_to(takes) for path in takes.rglob("*") if path.is_file()}
    shutil.rmtree(takes)
    assert jumps(await asyncio.to_thread(pictures, house, interview), clips["wide"]) == []
    assert set(wrong(await audited(house))) == {"vault 1"}
    await house.restart("web", scrub_days=0.00001)
    await house.answers()

    async def there() -> set[Path]:
        return {path.relative_to(takes) for path in takes.rglob("*") if path.is_file()}

    await until(there, lambda found: found == before, within=60)
    assert wrong(await audited(house)) == {}
    assert len(_mended(house)) == len(before)


def _mended(house: House) -> list[CustodyEventRow]:
    store = open_store(house.settings)
    try:
        with store.book.reading() as session:
            return list(session.query(CustodyEventRow).filter_by(verb=Verb.VAULT_OBJECT_MENDED.value))
    finally:
        store.book.database.close()
