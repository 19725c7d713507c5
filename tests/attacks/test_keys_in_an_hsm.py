"""28 and 29 where the store's keys are in an HSM: erased, rotated, away, lost, and restored from escrow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence_store.custody import Verb
from evidence_store.database.schema import InterviewRow, KeyWrapRow
from evidence_store.erasure import Erasure
from evidence_store.keystore import Escrow
from evidence_store.rotation import Rotation
from evidence_store.sealing.keys import PrivateKey
from recorder.take import Order
from tests.attacks.keys import ROOT, WHY, keks, keys_folder, refusal, rotation, seeds
from tests.house import House, record
from tests.prosecutors import ANNA, BO, enter_prosecutors
from tests.soft_hsm import PIN, SoftHsm


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def in_hsm(tmp_path: Path) -> tuple[House, SoftHsm]:
    soft = SoftHsm.create(tmp_path / "soft", "house")
    return House(tmp_path / "house", hsms=[soft.setting("house")]), soft


def test_29_from_a_file_into_an_hsm_and_back_by_command(house: House, tmp_path: Path) -> None:
    order = house.interview()
    before = house.private_key(order)
    house.close()
    soft = SoftHsm.create(tmp_path / "soft", "house")
    named = {"VIDNE_HSMS": json.dumps([soft.setting("house").model_dump(mode="json")])}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "api.cli", "keys", *arguments, "--data", str(house.folder)]
        ran = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=soft.environment() | named, check=False
        )
        return f"{ran.returncode} {ran.stdout}{ran.stderr}"

    assert "OK   1 keys" in run("rotate")
    assert soft.use().labels("house") == ["vidne kek-2"]
    assert not (keys_folder(house) / "kek").exists()
    (soft.folder / "pin").write_text("00000000")
    where = run("where")
    assert where.startswith("1 FAIL key-encryption key kek-2, the present one: token house")
    assert "OK   store key: a file" in where
    assert "hsm-pin-wrong" in where
    (soft.folder / "pin").write_text(PIN)
    house.hsms = [soft.setting("house")]
    house.open()
    assert house.private_key(order) == before
    assert Rotation(house.store.book, house.store.authority, keys_folder(house)).run() == 1
    assert soft.use().labels("house") == []
    assert keks(house) == ["kek-3"]
    assert house.private_key(order) == before
    house.close()


def test_28_an_erased_interview_is_gone_from_a_key_store_whose_key_is_in_an_hsm(tmp_path: Path) -> None:
    """No object in the HSM is one interview's own: the wrapped seed is what goes, and the HSM holds what it held."""
    house, soft = in_hsm(tmp_path)
    gone, other = house.interview(), house.interview()
    held = soft.labels("house")
    assert held == ["vidne kek-1", "vidne root", "vidne store"]
    assert sorted(path.name for path in keys_folder(house).iterdir() if path.suffix != ".pem") == [
        "kek-1.hsm", "ledger.key", "log-name", "root.hsm", "store-ml-dsa.key", "store.hsm",
    ]  # fmt: skip
    spool = house.spool()
    house.deliver(record(house, spool, gone, ticks=9))
    assert house.store.sealing.seal(gone.interview.hex()), "CMS by the key in the HSM"
    assert house.findings() == {}
    before = house.private_key(other)
    enter_prosecutors(house)
    erasure = Erasure(house.store.book, house.store.keys, 0, house.store.playback.forget)
    erasure.request(gone.interview.hex(), ANNA, WHY)
    erasure.approve(gone.interview.hex(), BO)
    assert refusal(lambda: house.private_key(gone)) == "erased"
    assert house.private_key(other) == before
    assert soft.use().labels("house") == held
    assert house.findings() == {}
    house.close()


def test_29_an_hsm_that_is_away_holds_up_no_delivery_and_the_paper_opens_everything(tmp_path: Path) -> None:
    house, soft = in_hsm(tmp_path)
    order, spool = house.interview(), house.spool()
    take = record(house, spool, order, ticks=17)
    before = house.private_key(order)
    house.close()
    away = soft.folder / "tokens"
    away.rename(soft.folder / "away")
    away.mkdir()
    soft.use()

    house.open()  # it starts without its HSM
    assert refusal(lambda: house.private_key(order)) == "hsm-token-missing"
    assert refusal(house.interview) == "hsm-token-missing"
    house.deliver(take)
    house.store.sealing.seal_pending()
    with house.store.book.reading() as session:
        assert session.get_one(InterviewRow, order.interview.hex()).state == "ended", "sealed as soon as it is back"
    recovery = PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes())
    assert Escrow(house.folder / "escrow").recover(order.interview.hex(), recovery) == before

    away.rmdir()
    (soft.folder / "away").rename(away)
    assert house.private_key(order) == before
    house.store.sealing.seal_pending()
    assert len(house.custody(Verb.INTERVIEW_SEALED)) == 1
    assert house.findings() == {}
    house.close()


def given_an_hsm(house: House, tmp_path: Path, count: int) -> tuple[SoftHsm, list[Order], list[PrivateKey]]:
    """A house with interviews, whose settings name an HSM from now on; and what their seeds are."""
    soft = SoftHsm.create(tmp_path / "soft", "lost")
    orders = [house.interview() for _ in range(count)]
    before = seeds(house, orders)
    house.close()
    house.hsms = [soft.setting("lost")]
    house.open()
    return soft, orders, before


def broken_off(said: str) -> None:
    if said.startswith("interview"):
        raise InterruptedError


def test_29_an_hsm_that_is_lost_with_its_key_is_replaced_from_escrow(house: House, tmp_path: Path) -> None:
    soft, orders, before = given_an_hsm(house, tmp_path, 3)
    recovery = PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes())
    escrow = Escrow(house.folder / "escrow")
    assert rotation(house).run() == 3
    assert refusal(lambda: rotation(house).restore(escrow, recovery)) == "keys-not-lost"
    house.close()
    shutil.rmtree(soft.folder / "tokens")
    (soft.folder / "tokens").mkdir()
    soft.add("new")
    house.hsms = [soft.setting("new")]
    house.open()
    assert refusal(lambda: seeds(house, orders)) == "hsm-not-configured"

    authority = house.store.authority
    with pytest.raises(InterruptedError):
        Rotation(
            house.store.book, authority, keys_folder(house), broken_off, authority.kek.tokens.first
        ).restore(escrow, recovery)  # fmt: skip
    assert keks(house) == ["kek-2", "kek-3"]
    assert rotation(house).restore(escrow, recovery) == 3
    assert seeds(house, orders) == before
    assert keks(house) == ["kek-3"]
    assert soft.use().labels("new") == ["vidne kek-3"]
    (told,) = house.custody(Verb.KEYS_ROTATED)[1:]
    assert told.event.details == {"destroyed": [], "lost": ["kek-2"], "present": "kek-3", "seeds": 3}
    assert house.findings() == {}
    assert rotation(house).run() == 3, "and from there on as ever"
    house.close()


def test_29_no_old_key_is_destroyed_unsaid_after_a_rotation_whose_new_hsm_was_lost(
    house: House, tmp_path: Path
) -> None:
    _, orders, before = given_an_hsm(house, tmp_path, 2)

    authority = house.store.authority
    with pytest.raises(InterruptedError):
        Rotation(house.store.book, authority, keys_folder(house), broken_off, authority.kek.tokens.first).run()
    assert keks(house) == ["file", "kek-2"]
    house.close()
    house.hsms = []
    house.open()
    recovery = PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes())
    rotation(house).restore(Escrow(house.folder / "escrow"), recovery)
    assert keks(house) == ["file", "kek-3"]
    rotation(house).finish()
    assert keks(house) == ["kek-3"]
    assert seeds(house, orders) == before
    assert [each.event.details for each in house.custody(Verb.KEYS_ROTATED)] == [
        {"destroyed": [], "lost": ["kek-2"], "present": "kek-3", "seeds": 1},
        {"destroyed": ["file"], "present": "kek-3", "seeds": 2},
    ]
    house.close()


def restored(house: House, tell: Callable[[str], None] = lambda said: None) -> int:
    recovery = PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes())
    work = Rotation(house.store.book, house.store.authority, keys_folder(house), tell)
    return work.restore(Escrow(house.folder / "escrow"), recovery)


def test_29_wraps_whose_key_has_no_file_any_more_are_restored_from_escrow(house: House) -> None:
    """Keys restored from before a rotation, with a database from after it; then said anew when rotated again."""
    orders = [house.interview() for _ in range(2)]
    before = seeds(house, orders)
    shutil.copy(keys_folder(house) / "kek", house.folder / "old")
    rotation(house).run()
    (keys_folder(house) / "kek-2").unlink()
    (house.folder / "old").rename(keys_folder(house) / "kek")
    assert restored(house) == 2
    assert seeds(house, orders) == before
    assert rotation(house).run() == 2
    assert seeds(house, orders) == before
    assert [each.event.details for each in house.custody(Verb.KEYS_ROTATED)] == [
        {"destroyed": ["file"], "present": "kek-2", "seeds": 2},
        {"destroyed": [], "lost": ["kek-2"], "present": "file", "seeds": 2},
        {"destroyed": ["file"], "present": "kek-2", "seeds": 2},
    ]
    house.close()


def test_29_a_wrap_that_comes_under_a_lost_key_meanwhile_keeps_its_restore_from_ending(house: House) -> None:
    orders = [house.interview() for _ in range(2)]
    before = seeds(house, orders)

    def put(order: Order) -> None:
        with house.store.book.database.writing() as session:
            session.get_one(KeyWrapRow, order.interview.hex()).kek_id = "kek-7"

    put(orders[0])
    assert refusal(lambda: restored(house, lambda _said: put(orders[1]))) == "rotation-again"
    assert house.custody(Verb.KEYS_ROTATED) == []
    assert restored(house) == 2
    assert seeds(house, orders) == before
    house.close()
