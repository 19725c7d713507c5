"""A house with a witness at another organisation: a copy that it stands for, and yesterday's store put back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest
import pytest_asyncio

from api.drill.house import House, loopback_settings
from api.drill.package import unpack
from api.wiring import ledger_key, open_store
from evidence_store.ledger.checkpoint import NoteVerifier
from tests.journeys.stage import ONE_CAMERA, People, filmed_house, post, prepare, start, stop, until
from tests.journeys.test_full import sealed
from tests.witnesses import ROOT, WitnessProcess, policy

CASE_NUMBER = "0100-83986-00051-26"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Stage:
    house: House
    people: People
    witness: WitnessProcess


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]) -> AsyncIterator[Stage]:
    data, folder = tmp_path_factory.mktemp("witnessed-house"), tmp_path_factory.mktemp("prosecution")
    profile = folder / "room.toml"
    profile.write_text(ONE_CAMERA)
    witness = WitnessProcess(folder / "witness")
    settings = loopback_settings(data, str(profile), witnesses=policy(folder / "witnesses.toml", [witness]))
    witness.start(NoteVerifier.parse(ledger_key(settings)))
    try:
        async with filmed_house(House(settings, data / "house.log"), clips["wide"]) as (house, people):
            yield Stage(house, people, witness)
    finally:
        witness.kill()


def vidne(house: House, *arguments: object) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", *map(str, arguments), "--json"],
        cwd=ROOT, env={**os.environ, **house.settings.environment()}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    told: dict[str, object] = json.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0)
    return told


def said(told: dict[str, object], name: str) -> str:
    found = told.get("checks") or told.get("findings")
    assert isinstance(found, list)
    (detail,) = [each["detail"] for each in found if each["name"] == name]
    return str(detail)


async def test_a_copy_says_who_stands_for_it_and_how_far(stage: Stage, tmp_path: Path) -> None:
    house, people = stage.house, stage.people
    interview = await prepare(people.operator, CASE_NUMBER)
    await start(house, people.operator, interview)
    await asyncio.sleep(3)
    await stop(people.operator, interview)
    await sealed(house, interview)
    await post(people.prosecutor, "/sager", "/sager", case_number=CASE_NUMBER)
    key = pyrage.x25519.Identity.generate()
    key_file, age_file, keys = tmp_path / "key", tmp_path / "copy.tar.age", tmp_path / "witnesses"
    key_file.write_text(f"{key}\n")
    keys.write_text(f"# given by the prosecution's own people\n{stage.witness.key}\n")
    form = f"/sager/{interview}/kopi"
    page = await people.prosecutor.submit(form, form, purpose="Prøve af vidner", recipient=str(key.to_public()))
    await until(lambda: people.prosecutor.download(f"{page}/hent", age_file), lambda got: got is not None, within=60)
    (tmp_path / "unpacked").mkdir()
    package = await asyncio.to_thread(unpack, age_file, key_file, tmp_path / "unpacked")
    store = open_store(house.settings)
    store.book.database.close()
    check = ("verify", package, "--fingerprint", store.authority.fingerprint)
    told = await asyncio.to_thread(vidne, house, *check, "--witness-keys", keys)
    assert told["ok"], told
    count = len(json.loads((package / "evidence/custody.json").read_bytes())["entries"])
    assert said(told, "witnesses").startswith(f"prosecution.example/w1 covers {count} of {count} entries, up to size ")
    assert "; take-001 began after 20" in said(told, "witnesses")
    told = await asyncio.to_thread(vidne, house, *check)
    assert told["ok"]
    assert "cosignatures by keys that were not given" in said(told, "custody")
    told = await asyncio.to_thread(vidne, house, "audit")
    assert told["ok"], told
    assert said(told, "witnesses").startswith("prosecution.example/w1 covers ")
    system = await people.administrator.page("/system")
    assert "Følger med" in system
    assert stage.witness.name in system


async def test_yesterdays_store_is_refused_before_anybody_can_act_in_it_and_the_recording_goes_on(
    stage: Stage, tmp_path: Path
) -> None:
    house, people = stage.house, stage.people
    store, yesterday, today = house.settings.store_folder, tmp_path / "yesterday", tmp_path / "today"
    await house.end("web")
    shutil.copytree(store, yesterday)
    house.bring_back("web")
    await house.answers()
    interview = await prepare(people.operator, "0100-83986-00052-26")
    take = await start(house, people.operator, interview)
    await until(lambda: asyncio.sleep(0, stage.witness.covers()), lambda size: size >= entries(house))

    await house.end("web")
    store.rename(today)
    shutil.copytree(yesterday, store)
    house.bring_back("web")
    await house.answers()
    refused = await post(
        people.operator, "/afhoering", "/afhoering", case_number="0100-83986-00053-26", child_ordinal="1"
    )
    assert refused.status_code == 503
    assert "Et vidne siger nej til beviskæden" in refused.text
    assert "Siger nej siden" in await people.administrator.page("/system")
    assert "Et vidne siger nej til beviskæden." in await people.administrator.page("/rum/system")
    described = await until(house.room, lambda room: "store-unavailable" in room["alarms"])
    before = described["durable_tick"]
    on = await until(house.room, lambda room: room["durable_tick"] > before + 4)
    assert (on["state"], on["take"], on["durable"]) == ("recording", take, True)
    assert not vidne(house, "audit")["ok"]

    await house.end("web")
    shutil.rmtree(store)
    today.rename(store)
    house.bring_back("web")
    await house.answers()
    await stop(people.operator, interview)
    await until(house.room, lambda room: not room["undelivered"])
    manifest, _ = await sealed(house, interview)
    assert manifest["gaps"] == []
    assert await prepare(people.operator, "0100-83986-00053-26")


def entries(house: House) -> int:
    """How many the ledger has now."""
    store = open_store(house.settings)
    with store.book.reading() as session:
        size = store.book.ledger.size_of(store.book.ledger.latest_checkpoint(session) or b"")
    store.book.database.close()
    return size
