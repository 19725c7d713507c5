"""29: the key-encryption key is rotated, and the rotation interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.settings import TokenSetting
from evidence_store.custody import Actor, Verb
from evidence_store.database.schema import InterviewRow, KeyWrapRow
from evidence_store.errors import Conflict, Tampered, Unavailable, VidneError
from evidence_store.keystore import Escrow
from evidence_store.rotation import Rotation
from evidence_store.sealing.keys import PrivateKey
from recorder.take import Order
from tests.attacks.keys import ROOT, keks, keys_folder, rotation, seeds, wrapped_under
from tests.house import House, record
from tests.soft_hsm import SoftHsm
from tests.store.taken_in import stored


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


KILLED_AFTER = """
import json, os, signal, sys
from pathlib import Path
from api.settings import Settings
from api.wiring import open_store
from evidence_store.rotation import Rotation

store = open_store(Settings(data=Path(sys.argv[1]), hsms=json.loads(sys.argv[3])))
steps = int(sys.argv[2])

def tell(said):
    global steps
    steps -= 1
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)

to = store.authority.kek.tokens.first
Rotation(store.book, store.authority, Path(sys.argv[1]) / "store" / "keys", tell, to).run()
"""


def killed_after(folder: Path, step: int, hsms: list[TokenSetting], environment: dict[str, str]) -> bool:
    """Rotates in a process that is killed after so many durable steps; False where it had fewer."""
    named = json.dumps([each.model_dump(mode="json") for each in hsms])
    ran = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER, str(folder), str(step), named], cwd=ROOT, timeout=60,
        capture_output=True, env={"PATH": os.environ["PATH"], **environment}, check=False,
    )  # fmt: skip
    assert ran.returncode in (0, -signal.SIGKILL), ran.stderr.decode()
    return ran.returncode != 0


WAYS: dict[str, tuple[list[str], list[str], int]] = {
    "file to file": ([], [], 4), "HSM to HSM": (["old"], ["new", "old"], 2),
}  # fmt: skip
"""The tokens that the settings name before a rotation, and while it runs; how many interviews there are."""


@pytest.mark.parametrize("way", WAYS)
def test_29_rotation_killed_at_any_row_loses_no_key_and_is_ended_by_the_next(way: str, tmp_path: Path) -> None:
    before_it, while_it, many = WAYS[way]
    soft = SoftHsm.create(tmp_path / "soft", *while_it) if while_it else None
    house = House(tmp_path / "house", hsms=[soft.setting(each) for each in before_it] if soft else [])
    orders = [house.interview() for _ in range(many)]
    house.deliver(record(house, house.spool(), orders[0], ticks=9))
    before, objects, began = seeds(house, orders), stored(house), keks(house)
    house.close()
    step = 0
    while True:
        step += 1
        copy = tmp_path / f"killed-{step}"
        shutil.copytree(house.folder, copy)
        tokens = soft.copy(tmp_path / f"soft-{step}") if soft else None
        hsms = [tokens.setting(each) for each in while_it] if tokens else []
        if not killed_after(copy, step, hsms, tokens.environment() if tokens else {}):
            break
        if tokens:
            tokens.use()
        left = House.again(copy, hsms)
        assert seeds(left, orders) == before, f"after step {step} a key is lost"
        ended = keks(left) == ["kek-2"]
        later = left.interview()
        assert rotation(left).run() == many + 1
        assert seeds(left, orders) == before
        assert left.private_key(later)
        # What was killed after its very last step was over: the next one is another.
        present, times = ("kek-3", 2) if ended else ("kek-2", 1)
        assert keks(left) == [present]
        assert wrapped_under(left) == {present}
        assert len(left.custody(Verb.KEYS_ROTATED)) == times
        assert left.findings() == {}
        assert {name: data for name, data in stored(left).items() if name in objects} == objects
        if tokens:
            assert [each for each in tokens.labels("new") if "kek" in each] == [f"vidne {present}"]
            assert not (copy / "store" / "keys" / "kek").exists()
        if tokens and before_it:
            assert began == ["kek-1"]
            assert tokens.labels("old") == ["vidne root", "vidne store"], "the old key is gone from its HSM"
        left.close()
    assert step == 1 + many + 3, "a new key, each row, the attestation, the old key's end: each was tried"


def test_29_rotation_again_and_again(house: House) -> None:
    orders = [house.interview() for _ in range(2)]
    before = seeds(house, orders)
    for present in ("kek-2", "kek-3"):
        old = {path.read_bytes() for path in keys_folder(house).glob("kek*")}
        assert rotation(house).run() == 2
        assert wrapped_under(house) == {present}
        assert seeds(house, orders) == before
        assert not any(key in path.read_bytes() for key in old for path in house.folder.rglob("*") if path.is_file())
        house.close()
        house.open()
    assert [each.event.details["destroyed"] for each in house.custody(Verb.KEYS_ROTATED)] == [["file"], ["kek-2"]]
    house.close()


def test_29_a_seed_that_does_not_open_ends_the_rotation_before_it_begins(house: House) -> None:
    good, bad = house.interview(), house.interview()
    before = house.private_key(good)
    with house.store.book.database.writing() as session:
        session.get_one(KeyWrapRow, bad.interview.hex()).wrapped_seed = bytes(40)
    with pytest.raises(Tampered, match="every old key stays"):
        rotation(house).run()
    assert [path.name for path in keys_folder(house).glob("kek*")] == ["kek"]
    assert house.private_key(good) == before
    assert house.custody(Verb.KEYS_ROTATED) == []
    house.close()


def test_29_a_wrap_spoilt_on_the_way_keeps_the_old_key(house: House) -> None:
    """Between its new wrap and the last look: the old key is there still, and the escrow besides."""
    orders = [house.interview() for _ in range(3)]

    def spoil(said: str) -> None:
        if said.startswith("interview"):
            with house.store.book.database.writing() as session:
                session.get_one(KeyWrapRow, orders[0].interview.hex()).wrapped_seed = bytes(40)

    with pytest.raises(Tampered):
        Rotation(house.store.book, house.store.authority, keys_folder(house), spoil).run()
    assert sorted(path.name for path in keys_folder(house).glob("kek*")) == ["kek", "kek-2"]
    assert house.custody(Verb.KEYS_ROTATED) == []
    house.close()


def test_29_a_key_minted_meanwhile_is_under_the_new_one_and_two_do_not_rotate_at_once(house: House) -> None:
    minted: list[Order] = []
    refused: list[str] = []
    house.interview()

    def meanwhile(said: str) -> None:
        if said.startswith("kek-2"):
            minted.append(house.interview())
        elif not refused:
            with pytest.raises(Conflict) as error:
                rotation(house).run()
            refused.append(error.value.code)

    count = Rotation(house.store.book, house.store.authority, keys_folder(house), meanwhile).run()
    assert (count, refused) == (2, ["rotation-running"])
    assert house.private_key(minted[0])
    house.close()


def test_29_a_ledger_that_may_not_be_written_stops_it_before_anything_is_changed(house: House) -> None:
    order = house.interview()
    house.store.book.read_only = True
    with pytest.raises(Unavailable):
        rotation(house).run()
    assert [path.name for path in keys_folder(house).glob("kek*")] == ["kek"]
    assert house.private_key(order)
    house.close()


def test_29_the_command(house: House) -> None:
    order = house.interview()
    before = house.private_key(order)
    house.close()
    command = [sys.executable, "-m", "api.cli", "keys", "rotate", "--data"]
    ran = subprocess.run([*command, str(house.folder)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "kek-2 is there" in ran.stdout
    house.open()
    assert house.private_key(order) == before
    house.close()
    nowhere = subprocess.run([*command, str(house.folder / "no")], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert nowhere.returncode == 2
    assert not (house.folder / "no").exists()


def test_29_a_missing_key_is_said_and_the_escrow_still_opens(house: House) -> None:
    """Keys restored from before a rotation, with a database from after it."""
    order = house.interview()
    before = house.private_key(order)
    shutil.copy(keys_folder(house) / "kek", house.folder / "old")
    rotation(house).run()
    (keys_folder(house) / "kek-2").unlink()
    shutil.copy(house.folder / "old", keys_folder(house) / "kek")
    with pytest.raises(VidneError) as error:
        house.private_key(order)
    assert error.value.code == "kek-missing"
    escrow = house.folder / "escrow"
    recovery = PrivateKey((escrow / "recovery.key").read_bytes())
    assert Escrow(escrow).recover(order.interview.hex(), recovery) == before
    with house.store.book.reading() as session:
        assert session.get_one(InterviewRow, order.interview.hex()).public_key == before.public_key().encoded
    house.close()


def test_29_the_house_ends_what_was_broken_off_and_begins_nothing(house: House) -> None:
    house.interview()
    rotation(house).finish()
    assert keks(house) == ["file"]
    assert house.custody(Verb.KEYS_ROTATED) == []

    class Killed(BaseException):
        pass

    def killed(said: str) -> None:
        if "is there" in said:
            raise Killed

    with pytest.raises(Killed):
        Rotation(house.store.book, house.store.authority, keys_folder(house), killed).run()
    assert keks(house) == ["file", "kek-2"]
    rotation(house).finish()
    assert keks(house) == ["kek-2"]
    (told,) = house.custody(Verb.KEYS_ROTATED)
    assert told.event.actor == Actor.store(), "nobody ordered the end"
