"""The tasks that ask authorities, the settings that name them, and the demo's own authority as a process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from api import jobs, stamping
from api.app import create_app
from api.drill.house import loopback_settings
from api.long_work import LongWork
from api.processes.authority import NAME, authority_programs, with_demo_authority
from api.processes.house import programs
from api.processes.supervisor import Supervisor
from api.services.store import StoreAlarm
from api.settings import Settings, TimeAuthoritySetting
from api.stamping import Asking, configured, pause, tend
from api.web import words
from api.wiring import open_store
from evidence_store.audit import Audit
from evidence_store.people import Role
from tests.api.conftest import Browser
from tests.api.fake_people import BY_ROLE
from tests.api.fakes import World
from tests.api.fakes import settings as web_settings
from tests.house import House, until
from tests.stamping import ask, obtained, recorded, stamped_house, standing
from tests.time_authority import TimeAuthority


@pytest.mark.parametrize(
    "address",
    ["http://tsa.example/", "http://10.0.0.1/", "ftp://127.0.0.1/", "tsa.example", "http://127.0.0.1.example/"],
)
def test_an_authority_is_asked_over_tls_or_on_loopback(address: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        TimeAuthoritySetting(address=address, certificate=Path("x.pem"))


def test_the_settings_reach_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Settings(
        data=tmp_path,
        time_authorities=[TimeAuthoritySetting(address="https://tsa.example/", certificate=Path("x.pem"))],
    )
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == made


def test_an_authority_whose_certificate_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    good = TimeAuthority(tmp_path / "good")
    (tmp_path / "bad.pem").write_text("no certificate")
    (tmp_path / "leaf.pem").write_bytes((tmp_path / "good" / "signer.pem").read_bytes())
    files = [tmp_path / "missing.pem", tmp_path / "bad.pem", tmp_path / "leaf.pem", good.pem, good.pem]
    settings = Settings(
        data=tmp_path,
        time_authorities=[TimeAuthoritySetting(address="https://tsa.example/", certificate=each) for each in files],
    )
    assert [each.authority.anchor for each in configured(settings)] == [good.root]


def test_an_authority_that_fails_is_asked_each_minute_at_last() -> None:
    assert [pause(failures) for failures in (0, 1, 2, 3, 4, 7, 100)] == [0, 1, 2, 4, 8, 60, 60]


@contextlib.asynccontextmanager
async def asking(house: House, *authorities: TimeAuthority) -> AsyncIterator[LongWork]:
    """As the web application asks: each authority a job, and the queue tended beside them."""
    by_pem = {each.pem.read_bytes(): each.address for each in authorities}
    stamps = house.store.stamps
    asked = [
        Asking(stamps, fingerprint, by_pem[known.pem], lambda: work.ending)
        for fingerprint, known in stamps.authorities.items()
    ]
    work = LongWork(house.folder / "work.sqlite", [jobs.stamp(each) for each in asked])
    work.start()
    tending = asyncio.create_task(tend(stamps, asked, work.poke))
    try:
        yield work
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await asyncio.to_thread(work.stop)


async def test_what_comes_in_is_stamped_by_whoever_answers(tmp_path: Path) -> None:
    with TimeAuthority(tmp_path / "one") as one, TimeAuthority(tmp_path / "two", "Two") as two:
        house = stamped_house(tmp_path / "house", one, two)
        # One never answers, whatever is sent to it; the other goes on.
        two.down = True
        async with asking(house, one, two) as work:
            await asyncio.to_thread(recorded, house, house.interview())
            await until(lambda: len(obtained(house)) >= 4, 60)
            await until(lambda: two.asked, 60)
            assert standing(house) == []
            assert work.alarms() == ()
            two.down = False
            await until(lambda: len(obtained(house)) >= 8, 60)
        house.close()


async def test_a_stop_does_not_wait_for_an_authority_that_keeps_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamping, "ANSWER_WITHIN_S", 60.0)
    with TimeAuthority(tmp_path / "one") as one:
        house = stamped_house(tmp_path / "house", one)
        with one.keeping(), capture_logs() as said:
            async with asking(house, one):
                await asyncio.to_thread(recorded, house, house.interview())
                await until(lambda: one.asked, 60)
        assert "long_work_left_under_way" not in [each["event"] for each in said]
        assert obtained(house) == []
        assert await ask(house, one) >= 4, "the same questions are asked again"
        assert one.asked[0] in one.asked[1:]
        house.close()


async def test_no_authority_is_no_task(house: House) -> None:
    await asyncio.wait_for(tend(house.store.stamps, [], lambda: None), 1)


async def test_the_administrator_sees_what_is_late_also_when_the_room_is_away(made: World) -> None:
    since = datetime.datetime(2026, 11, 22, 8, 15, 9, tzinfo=datetime.UTC)
    made.store.now = dataclasses.replace(made.store.now, alarms=(StoreAlarm("stamps-late", since),))
    browser = Browser(create_app(made.services, web_settings()))
    await browser.sign_in(BY_ROLE[Role.ADMINISTRATOR].username)
    for made.room.reachable in (True, False):
        for path in ("/system", "/rum/system"):
            page = (await browser.get(path)).text
            assert words.ALARMS["stamps-late"] in page
            assert "kl. 09.15" in page
    await browser.http.aclose()


async def test_the_demos_own_authority_stamps_and_is_named_as_what_it_is(tmp_path: Path) -> None:
    settings = with_demo_authority(loopback_settings(tmp_path / "data", "demo"))
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    children = [*programs(settings, room=False, web=True), *authority_programs(settings)]
    supervisor = Supervisor(children, log, lambda name, what: None)
    running = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: list((tmp_path / "data/store/vault/objects/stamps").glob("*/*.tsr")), 40)
    finally:
        supervisor.stop()
        await running
        os.close(log)
    store = open_store(settings)
    report = Audit(store.book, store.authority, time_authorities=store.stamps.authorities).run()
    store.book.database.close()
    assert report.ok, report.findings
    said = {each.name: each.detail for each in report.findings}
    assert NAME in said["outside time"]
    assert "DEMO" in NAME
    assert "proves nothing" in NAME
    assert said["time checkpoints"].startswith("1 stamped, the last at ")
    # Started again, it is the same authority; one that somebody configured is left alone.
    again = with_demo_authority(loopback_settings(tmp_path / "data", "demo"))
    assert again.time_authorities[0].certificate == settings.time_authorities[0].certificate
    assert with_demo_authority(settings) is settings
    assert authority_programs(Settings(data=tmp_path)) == []
