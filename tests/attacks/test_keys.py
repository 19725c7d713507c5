"""Attacks on the store's keys: an interview erased (28), the key-encryption key rotated (29)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from api.desk.copies import CopyDesk
from api.services import Account
from api.settings import TokenSetting
from evidence_store.custody import Actor, Verb
from evidence_store.database.schema import CopyRow, InterviewRow, KeyWrapRow
from evidence_store.erasure import Erasure
from evidence_store.errors import Conflict, Tampered, Unavailable, VidneError
from evidence_store.keystore import Escrow, KeyStore
from evidence_store.playback import Playback
from evidence_store.rotation import Rotation
from evidence_store.sealing.keys import PrivateKey
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.house import BEGAN, House, record
from tests.prosecutors import ANNA, BO, enter_prosecutors
from tests.soft_hsm import PIN, SoftHsm
from tests.store.taken_in import stored

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def keys_folder(house: House) -> Path:
    return house.folder / "store" / "keys"


def rotation(house: House) -> Rotation:
    authority = house.store.authority
    return Rotation(house.store.book, authority, keys_folder(house), to=authority.kek.tokens.first)


def seeds(house: House, orders: list[Order]) -> list[PrivateKey]:
    return [house.private_key(order) for order in orders]


def wrapped_under(house: House) -> set[str]:
    with house.store.book.reading() as session:
        return {row.kek_id for row in session.query(KeyWrapRow)}


# 29: rotation interrupted

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


def keks(house: House) -> list[str]:
    return house.store.authority.kek.ids()


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


# 28: retention runs out under a hold; then released and erased by two

WHY = "Sagen er endeligt afsluttet"


@dataclass
class Kept:
    """A sealed interview among others, and what held its seed."""

    house: House
    order: Order
    take: TakeFolder
    others: list[tuple[Order, TakeFolder]]
    holding: dict[str, bytes]

    @property
    def id(self) -> str:
        return self.order.interview.hex()

    def erasure(self, days: int = 0) -> Erasure:
        return Erasure(self.house.store.book, self.house.store.keys, days, self.house.store.playback.forget)

    def erase(self) -> None:
        self.erasure().request(self.id, ANNA, WHY)
        self.erasure().approve(self.id, BO)

    def plays(self, take: TakeFolder) -> bytes:
        return bytes(self.house.store.playback.media(take.enrolment.hex(), take.take, 0, 0, 0))

    def found(self) -> set[str]:
        """Which of what held the seed is in any file of the house, the database's log included."""
        files = [path.read_bytes() for path in self.house.folder.rglob("*") if path.is_file()]
        return {name for name, secret in self.holding.items() if any(secret in data for data in files)}


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(VidneError) as refused:
        work()
    return refused.value.code


@pytest.fixture
def kept(house: House) -> Iterator[Kept]:
    enter_prosecutors(house)
    spool, made = house.spool(), []
    for at in range(3):
        order = house.interview()
        take = record(house, spool, order, ticks=9, began=BEGAN + at * 60 * 10**9)
        house.deliver(take)
        assert house.store.sealing.seal(order.interview.hex())
        made.append((order, take))
    order, take = made.pop(1)
    with house.store.book.reading() as session:
        wrapped = session.get_one(KeyWrapRow, order.interview.hex()).wrapped_seed
    assert wrapped is not None
    seed = house.private_key(order).seed
    deposit = (house.folder / "escrow" / f"{order.interview.hex()}.seed").read_bytes()
    holding = {"seed": seed, "seed in words": seed.hex().encode(), "wrap": wrapped, "deposit": deposit[-200:]}
    yield Kept(house, order, take, made, holding)
    house.close()


def test_28_a_hold_wins_over_time_and_over_two_people(kept: Kept) -> None:
    erasure = kept.erasure()
    hold = erasure.hold(kept.id, BO, "Anke")
    assert refusal(lambda: erasure.request(kept.id, ANNA, WHY)) == "erasure-held"
    second = erasure.hold(kept.id, ANNA, "Klage")
    erasure.release(kept.id, hold, ANNA, "Anken er hævet")
    assert refusal(lambda: erasure.request(kept.id, ANNA, WHY)) == "erasure-held"
    assert refusal(lambda: erasure.release(kept.id, hold, ANNA, "igen")) == "hold-released"
    erasure.release(kept.id, second, BO, "Klagen er afgjort")
    erasure.request(kept.id, ANNA, WHY)
    erasure.hold(kept.id, BO, "Genoptagelse")
    assert refusal(lambda: erasure.approve(kept.id, BO)) == "erasure-held"
    assert kept.plays(kept.take)
    assert kept.found() == {"wrap", "deposit"}
    assert [each.event.reason for each in kept.house.custody(Verb.INTERVIEW_HELD)] == ["Anke", "Klage", "Genoptagelse"]
    assert len(kept.house.custody(Verb.INTERVIEW_RELEASED)) == 2
    assert kept.house.custody(Verb.INTERVIEW_ERASED) == []


def test_28_nobody_erases_before_the_time_alone_or_what_is_not_sealed(kept: Kept) -> None:
    early, erasure = kept.erasure(days=3650), kept.erasure()
    assert refusal(lambda: early.request(kept.id, ANNA, WHY)) == "erasure-early"
    planned = kept.house.interview().interview.hex()
    assert refusal(lambda: erasure.request(planned, ANNA, WHY)) == "not-sealed"
    assert refusal(lambda: erasure.approve(kept.id, BO)) == "erasure-not-requested"
    erasure.request(kept.id, ANNA, WHY)
    assert refusal(lambda: erasure.request(kept.id, BO, WHY)) == "erasure-requested"
    assert refusal(lambda: erasure.approve(kept.id, ANNA)) == "erasure-same-person"
    assert refusal(lambda: early.approve(kept.id, BO)) == "erasure-early"
    erasure.withdraw(kept.id, BO)
    assert refusal(lambda: erasure.approve(kept.id, BO)) == "erasure-not-requested"
    assert kept.plays(kept.take)
    assert kept.house.findings() == {}


def test_28_erased_by_two_nothing_opens_it_and_all_else_stands(kept: Kept) -> None:
    house, before = kept.house, stored(kept.house)
    assert kept.plays(kept.take), "its first secret is in playback's memory now"
    assert kept.found() == {"wrap", "deposit"}, "the search sees what must be there"
    manifest = [each.event.details for each in house.custody(Verb.INTERVIEW_SEALED)]
    kept.erase()

    assert not any(each.start.interview.hex() == kept.id for each in house.store.playback._open.values())
    assert kept.found() == set()
    assert refusal(lambda: kept.plays(kept.take)) == "erased"
    assert refusal(lambda: house.private_key(kept.order)) == "erased"
    recovery = PrivateKey((house.folder / "escrow" / "recovery.key").read_bytes())
    assert refusal(lambda: Escrow(house.folder / "escrow").recover(kept.id, recovery)) == "escrow"

    (erased,) = house.custody(Verb.INTERVIEW_ERASED)
    assert erased.event.actor.name == BO.display_name
    assert erased.event.reason == WHY
    assert erased.event.details == {
        "approved_by": {"id": BO.id, "name": BO.display_name, "role": "prosecutor"},
        "requested_by": {"id": ANNA.id, "name": ANNA.display_name, "role": "prosecutor"},
    }
    assert {name: data for name, data in stored(house).items() if name in before} == before
    assert [each.event.details for each in house.custody(Verb.INTERVIEW_SEALED)] == manifest
    assert house.findings() == {}
    for order, take in kept.others:
        assert b"picture 0" in kept.plays(take)
        assert house.private_key(order)
    house.close()
    house.open()
    assert house.findings() == {}
    assert kept.found() == set()
    erasure = kept.erasure()
    for work in (
        lambda: erasure.hold(kept.id, ANNA, "for sent"), lambda: erasure.request(kept.id, ANNA, WHY),
        lambda: erasure.approve(kept.id, BO),
    ):  # fmt: skip
        assert refusal(work) == "erased"


def test_28_another_process_that_has_it_open_gives_nothing_out(kept: Kept) -> None:
    """Playback in a second replica, which nobody told."""
    store = kept.house.store
    other = Playback(store.book, store.authority, store.keys)
    where = (kept.take.enrolment.hex(), kept.take.take, 0, 0, 0)
    assert other.media(*where)
    opened = next(iter(other._open.values()))
    kept.erase()
    assert refusal(lambda: other.media(*where)) == "erased"
    assert other._open == {}
    assert bytes(opened.secret) == bytes(32)


@pytest.mark.parametrize("where", ["before escrow", "before the wrap"])
def test_28_a_crash_on_the_way_is_carried_out_by_the_next_start(
    kept: Kept, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    erase = KeyStore.erase_escrow

    def killed(self: KeyStore, interview: str) -> None:
        if where == "before the wrap":
            erase(self, interview)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(KeyStore, "erase_escrow", killed)
        with pytest.raises(Killed):
            kept.erase()
    assert refusal(lambda: kept.plays(kept.take)) == "erased", "from the decision on, nobody sees it"
    assert "is here after its erasure" in kept.house.findings()["erasures"]
    kept.house.close()
    kept.house.open()
    kept.erasure().finish()
    kept.erasure().finish()
    assert kept.found() == set()
    assert kept.house.findings() == {}
    assert len(kept.house.custody(Verb.INTERVIEW_ERASED)) == 1
    assert len(kept.house.custody(Verb.ERASURE_APPROVED)) == 1


def test_28_the_audit_finds_a_key_that_went_without_two_people(kept: Kept) -> None:
    """An administrator with the database in hand."""
    with kept.house.store.book.database.writing() as session:
        session.get_one(KeyWrapRow, kept.id).wrapped_seed = None
    assert "nobody erased it" in kept.house.findings()["erasures"]


def test_28_copies_are_waited_for_before_and_removed_after(kept: Kept) -> None:
    """A copy that is being made has the key in memory; one that lies here is media all the same."""
    house, folder = kept.house, kept.house.folder / "copies"
    store = house.store
    desk = CopyDesk(store.book, store.authority, store.keys, folder, "Børnehus", lambda: False)
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    anna = Account(ANNA.id, ANNA.username, ANNA.display_name, ANNA.role)
    copy = desk.request(kept.id, anna, "Fremlæggelse", recipient)
    erasure = Erasure(store.book, store.keys, 0, lambda _: desk.forget_erased())
    assert refusal(lambda: erasure.request(kept.id, ANNA, WHY)) == "erasure-copying"
    with store.book.database.writing() as session:
        row = session.get_one(CopyRow, copy)
        row.state, row.finished_at, row.sha256 = "ready", 1, bytes(32)
    (folder / f"{copy}.tar.age").write_bytes(b"media for somebody")
    erasure.request(kept.id, ANNA, WHY)
    erasure.approve(kept.id, BO)
    assert list(folder.iterdir()) == []
    assert refusal(lambda: desk.stream(copy, anna)) == "copy-not-ready"
    assert refusal(lambda: desk.request(kept.id, anna, "Fremlæggelse", recipient)) == "erased"


# The store's keys in an HSM


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


def test_29_an_hsm_that_is_lost_with_its_key_is_replaced_from_escrow(house: House, tmp_path: Path) -> None:
    soft = SoftHsm.create(tmp_path / "soft", "lost")
    orders = [house.interview() for _ in range(3)]
    before = seeds(house, orders)
    house.close()
    house.hsms = [soft.setting("lost")]
    house.open()
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

    def broken_off(said: str) -> None:
        if said.startswith("interview"):
            raise InterruptedError

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
    soft = SoftHsm.create(tmp_path / "soft", "lost")
    orders = [house.interview() for _ in range(2)]
    before = seeds(house, orders)
    house.close()
    house.hsms = [soft.setting("lost")]
    house.open()

    def broken_off(said: str) -> None:
        if said.startswith("interview"):
            raise InterruptedError

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
