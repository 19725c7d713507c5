"""That the store's keys are away shows before anybody needs them, and the settings that name tokens reach children."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import cast

import pytest

from api.desk.standing import KEYS_AWAY
from api.key_watch import KeyWatch
from api.settings import Settings, TokenSetting
from evidence_store.authority import Authority
from evidence_store.errors import KeysOutOfReach
from tests.house import House
from tests.soft_hsm import SoftHsm

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def test_an_hsm_that_goes_away_is_an_alarm_until_it_is_back(tmp_path: Path) -> None:
    soft = SoftHsm.create(tmp_path / "soft", "house")
    house = House(tmp_path / "house", hsms=[soft.setting("house")])
    watch = KeyWatch(house.store.authority, lambda: NOW)
    watch.look()
    assert watch.alarms() == ()
    (soft.folder / "tokens").rename(soft.folder / "away")
    (soft.folder / "tokens").mkdir()
    soft.use()
    watch.look()
    assert [(each.code, each.since) for each in watch.alarms()] == [(KEYS_AWAY, NOW)]
    (soft.folder / "tokens").rmdir()
    (soft.folder / "away").rename(soft.folder / "tokens")
    watch.look()
    assert watch.alarms() == ()
    (house.folder / "store" / "keys" / "kek-1.hsm").unlink()
    watch.look()
    assert [each.code for each in watch.alarms()] == [KEYS_AWAY]
    house.close()


def test_a_store_key_that_is_away_alone_is_an_alarm_too() -> None:
    class Away:
        def answers(self) -> None:
            raise KeysOutOfReach("the HSM does not answer")

    watch = KeyWatch(cast(Authority, Away()), lambda: NOW)
    watch.look()
    assert [each.code for each in watch.alarms()] == [KEYS_AWAY]


def test_child_processes_know_the_same_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = TokenSetting(module=tmp_path / "module.so", token="house", pin=tmp_path / "pin")
    settings = Settings(hsms=[token], device_token=token)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    again = Settings()
    assert (again.hsms, again.device_token) == ([token], token)
    assert str(tmp_path / "pin") in settings.environment()["VIDNE_DEVICE_TOKEN"], "where the PIN is, not the PIN"
