"""A house whose vault is a bucket: recorded, delivered, sealed, played and audited; and one whose bucket is no good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.drill.house import House, loopback_settings
from tests.journeys.stage import ONE_CAMERA, People, filmed_house, prepare, start, stop, until
from tests.journeys.test_full import jumps, sealed
from tests.seaweed import Server, seaweed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with seaweed(tmp_path_factory.mktemp("bucket") / "s3") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path], server: Server
) -> AsyncIterator[tuple[House, People]]:
    data, folder = tmp_path_factory.mktemp("bucket-house"), tmp_path_factory.mktemp("bucket-profile")
    profile, keys = folder / "room.toml", folder / "keys"
    profile.write_text(ONE_CAMERA)
    keys.write_text("\n".join(server.keys["writer"]))
    server.make_bucket("vidne")
    server.make_bucket("unlocked", locked=False)
    settings = loopback_settings(
        data, str(profile), s3_endpoint=server.endpoint, s3_keys=keys, s3_authority=server.authority, s3_bucket="vidne"
    )
    house = House(settings, data / "house.log")
    async with filmed_house(house, clips["wide"]) as (there, people):
        yield there, people


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_bucket_is_a_vault_like_any_other(stage: tuple[House, People], clips: dict[str, Path]) -> None:
    house, people = stage
    interview = await prepare(people.operator, "0100-83986-00031-26")
    await start(house, people.operator, interview)
    await asyncio.sleep(5)
    await stop(people.operator, interview)
    manifest, seen = await sealed(house, interview)
    assert [each["how"] for each in manifest["takes"]] == ["stopped"]
    assert manifest["gaps"] == []
    assert jumps(seen, clips["wide"]) == []
    assert len(seen) > 30 * 4
    assert not (house.settings.store_folder / "vault").exists()


async def test_a_bucket_that_is_no_good_holds_up_delivery_and_no_recording(
    stage: tuple[House, People], clips: dict[str, Path]
) -> None:
    """Two of the attacks and faults at once: a store without a lock, and a store that is not there for a while."""
    house, people = stage
    await house.restart("web", s3_bucket="unlocked")
    await house.answers()
    interview = await prepare(people.operator, "0100-83986-00032-26")
    await start(house, people.operator, interview)
    described = await until(house.room, lambda room: "store-unavailable" in room["alarms"])
    assert described["state"] == "recording"
    assert described["durable"] is True
    await stop(people.operator, interview)
    await house.restart("web", s3_bucket="vidne")
    await house.answers()
    await until(house.room, lambda room: not room["undelivered"] and not room["alarms"])
    manifest, seen = await sealed(house, interview)
    assert manifest["gaps"] == []
    assert jumps(seen, clips["wide"]) == []


async def test_a_bucket_that_is_away_at_the_start_is_waited_for(stage: tuple[House, People]) -> None:
    house, _ = stage
    log = house.settings.data / "house.log"
    before, endpoint = log.stat().st_size, house.settings.s3_endpoint
    await house.restart("web", s3_endpoint="https://127.0.0.1:9")

    async def said() -> str:
        return log.read_text()[before:]

    words = await until(said, lambda text: text.count("web_waits_for_the_vault") > 1)
    assert "vault-out-of-reach" in words
    assert "Traceback" not in words
    assert (await house.room())["state"] == "idle"
    await house.restart("web", s3_endpoint=endpoint)
    await house.answers()
