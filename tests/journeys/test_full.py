"""A full vault and a full spool: what is recorded is sealed so far, an alarm says so, and with space it goes on."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from api.drill.house import House, loopback_settings
from api.wiring import Store, open_store
from evidence_store.audit import Audit
from evidence_store.canonical import parse
from evidence_store.database.schema import InterviewRow, TakeRow
from evidence_store.deliveries import index_of
from evidence_store.intake import segments_of
from evidence_store.sealed import takes_of
from tests.journeys.stage import (
    ONE_CAMERA,
    People,
    filmed_house,
    pictures_of,
    prepare,
    start,
    stop,
    until,
)
from tests.recorder_media.clips import packets
from tests.recorder_media.payloads import split_lengths

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150)]

VAULT_LIMIT = 250_000
"""Bytes: some seconds of the small camera."""
SPOOL_MORE, BALLAST = 150_000, 4_000_000
QUEUE_SECONDS = 20.0
"""What the recorder keeps in memory while its disk is full; what comes after that is a declared gap."""
CAMERA_BACK_WITHIN = 15.0
"""Seconds from a recorder's orderly end to the camera in the next one; most of it is Python starting."""
VIDEO = 0
"""The picture's index among the room's tracks."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]
) -> AsyncIterator[tuple[House, People]]:
    data = tmp_path_factory.mktemp("full-house")
    profile = tmp_path_factory.mktemp("profile") / "room.toml"
    profile.write_text(ONE_CAMERA)
    house = House(loopback_settings(data, str(profile), vault_limit=VAULT_LIMIT), data / "house.log")
    async with filmed_house(house, clips["wide"]) as (there, people):
        yield there, people


async def test_a_full_vault_holds_up_delivery_and_nothing_else(
    stage: tuple[House, People], clips: dict[str, Path]
) -> None:
    house, people = stage
    interview = await prepare(people.operator, "0100-83986-00021-26")
    take = await start(house, people.operator, interview)
    described = await until(house.room, lambda room: "store-unavailable" in room["alarms"])
    for _ in range(8):
        described = await house.room()
        assert described["state"] == "recording"
        assert described["durable"] is True
        await asyncio.sleep(0.25)
    assert described["take"] == take
    assert described["undelivered"] > 0
    await stop(people.operator, interview)
    described = await house.room()
    assert described["state"] == "idle"
    assert "store-unavailable" in described["alarms"]

    await house.restart("web", vault_limit=None)
    await house.answers()
    described = await until(house.room, lambda room: not room["undelivered"] and not room["alarms"])
    manifest, seen = await sealed(house, interview)
    assert [each["how"] for each in manifest["takes"]] == ["stopped"]
    assert manifest["gaps"] == []
    assert jumps(seen, clips["wide"]) == []
    assert len(seen) > 30 * 4


async def test_a_full_spool_is_sealed_so_far_and_goes_on_when_there_is_space(
    stage: tuple[House, People], clips: dict[str, Path]
) -> None:
    house, people = stage
    spool = house.settings.room_folder / "spool"
    (before,) = spool.glob("*-1")
    # The take before goes as soon as it has been kept for long enough: that is what makes space here. It was short,
    # and what waits in memory is 20 s: without ballast the space would be gone at once.
    (before / "tail").write_bytes(bytes(BALLAST))
    (before / "tail.ack").touch()
    used = BALLAST + sum(each.stat().st_size for each in before.glob("*.segment"))
    delivered = (before / "close.json.ack").stat().st_mtime
    keep = time.time() - delivered + QUEUE_SECONDS + 12.0
    await house.restart("recorder", spool_limit=used + SPOOL_MORE, keep=keep)
    async with asyncio.timeout(CAMERA_BACK_WITHIN):
        await house.cameras_send()
        await asyncio.sleep(1.2)
    interview = await prepare(people.operator, "0100-83986-00022-26")
    take = await start(house, people.operator, interview)

    soon = await until(house.room, lambda room: "spool-low" in room["alarms"])
    assert soon["spool_minutes"] == 0
    assert "Der er plads til 0 min." in await people.operator.page("/rum/afhoering?interview=" + interview)
    full = await until(house.room, lambda room: "spool-full" in room["alarms"])
    sealed_so_far = full["durable_tick"]
    assert sealed_so_far > 0
    full = await until(house.room, lambda room: "not-durable" in room["alarms"])
    assert full["durable"] is False
    assert full["state"] == "recording"
    page = await people.operator.page("/rum/afhoering?interview=" + interview)
    assert "ikke" in page
    await until(lambda: asyncio.sleep(0, before.exists()), lambda there: not there, within=60)
    on = await until(house.room, lambda room: room["durable"] is True and "spool-full" not in room["alarms"])
    assert on["take"] == take
    assert on["durable_tick"] > sealed_so_far
    await asyncio.sleep(1.0)
    await stop(people.operator, interview)

    manifest, seen = await sealed(house, interview)
    assert [each["how"] for each in manifest["takes"]] == ["stopped"]
    (gap,) = [each for each in manifest["gaps"] if each["track"] is None]
    assert gap["reason"] == "spool-full"
    seconds = (int(gap["to"]) - int(gap["from"])) / 1e9
    (jump,) = jumps(seen, clips["wide"])
    assert jump / 30 == pytest.approx(seconds % 10, abs=0.6)


async def sealed(house: House, interview: str) -> tuple[dict[str, Any], list[list[bytes]]]:
    """The manifest, and the picture as the store holds it, after everything was checked from bytes."""

    def look() -> tuple[dict[str, Any], list[list[bytes]]] | None:
        store = open_store(house.settings)
        try:
            with store.book.reading() as session:
                row = session.get_one(InterviewRow, interview)
                if row.manifest_object is None:
                    return None
                manifest = parse(store.book.vault.get(row.manifest_object, row.manifest_sha256))
                seen = list(itertools.chain(*(pictures_of_take(store, take) for take in takes_of(session, interview))))
            report = Audit(store.book, store.authority).run()
            assert report.ok, [each for each in report.findings if not each.ok]
            return manifest, seen
        finally:
            store.book.database.close()

    found = await until(lambda: asyncio.to_thread(look), lambda found: found is not None)
    assert found is not None
    return found


def pictures_of_take(store: Store, take: TakeRow) -> list[list[bytes]]:
    with store.book.reading() as session:
        # The tick that ends a take has no media; it may have a segment of its own.
        rows = segments_of(session, take.enrolment, take.n)
        segments = [row.i for row in rows if any(each["track"] == VIDEO for each in index_of(row)["media"])]
    store.playback.check_take(take.enrolment, take.n)
    film = store.playback.init(take.enrolment, take.n, 0, VIDEO, 0)
    film += b"".join(store.playback.media(take.enrolment, take.n, i, VIDEO, 0) for i in segments)
    return [split_lengths(data) for kind, _, data in packets(film) if kind == "video"]


def jumps(seen: list[list[bytes]], clip: Path) -> list[int]:
    """Pictures missing at each place where the clip's pictures do not follow one another."""
    pictures = pictures_of(clip)
    places = [pictures.index(nals) for nals in seen]
    steps = [(after - before) % len(pictures) for before, after in itertools.pairwise(places)]
    return [step - 1 for step in steps if step != 1]
