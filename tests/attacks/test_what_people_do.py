"""Attacks by people with rights in the house, and on what is handed out: erasure, rotation, pages, copies."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pyrage

from api.desk.copies import CopyDesk
from api.services import Account
from evidence_store.copies.graph import Card, Look, Scene, card_arguments, scene_arguments
from evidence_store.copies.verify import Anchors, verify
from evidence_store.custody import Verb
from evidence_store.database.schema import KeyWrapRow
from evidence_store.erasure import Erasure
from evidence_store.people import Role
from evidence_store.rotation import Rotation
from evidence_store.sealing.journal import Ending
from evidence_store.sealing.keys import PrivateKey
from tests.attacks.defence import refused
from tests.attacks.people import browsing
from tests.attacks.place import Place, expect
from tests.attacks.test_witnesses import package
from tests.copies.conftest import Script, Store, source_of
from tests.copies.test_parts import timeline
from tests.prosecutors import ANNA, BO

WHY = "Sagen er endeligt afsluttet"


async def test_25_access_without_role_in_the_case_or_without_purpose(place: Place) -> None:
    async with browsing(Role.HOUSE_STAFF) as (browser, world, interview):
        reply = await browser.get(f"/sager/{interview}")
        assert reply.status_code == 403
        assert world.custody.denials, "the attempt is in custody"
    async with browsing(Role.PROSECUTOR) as (browser, world, interview):
        for purpose in ("", "x", "a" * 501):
            reply = await browser.post(f"/sager/{interview}/gennemsyn", purpose=purpose)
            assert reply.status_code == 422
        assert not world.media.viewings


def unpacked(place: Place, store: Store) -> Path:
    source = source_of(store, [Script(3, {}, [], how=Ending.VOID)], "age1")
    with tarfile.open(package(source, lambda note: note, place.folder / "copy")) as tar:
        tar.extractall(place.folder / "bag", filter="data")
    (bag,) = (place.folder / "bag").iterdir()
    return bag


def test_26_a_copy_edited_a_manifest_remade(place: Place) -> None:
    """A text in the copy, and every list of hashes that names it."""
    store = Store(interview_key=PrivateKey.generate())
    bag = unpacked(place, store)
    expect(verify(bag, Anchors(store.fingerprint)).ok, "it is good as it is handed out")
    edited, tags = bag / "VERIFY.md", bag / "tagmanifest-sha256.txt"
    before = hashlib.sha256(edited.read_bytes()).hexdigest()
    edited.write_text("Alt er i orden. / All is well.\n")
    tags.write_text(tags.read_text().replace(before, hashlib.sha256(edited.read_bytes()).hexdigest()))
    report = verify(bag, Anchors(store.fingerprint))
    assert not report.ok
    expect([each.name for each in report.failures] == ["signatures"], "by its signature")


def test_27_a_viewing_copy_leaks(place: Place) -> None:
    """Each of its pictures names the copy, and custody says to whom that one went."""
    store, recipient = place.house.store, str(pyrage.x25519.Identity.generate().to_public())
    desk = CopyDesk(store.book, store.authority, store.keys, place.folder / "copies", "Børnehus", lambda: False)
    by = Account(ANNA.id, ANNA.username, ANNA.display_name, ANNA.role)
    copy = desk.request(place.orders[0].interview.hex(), by, "Fremlæggelse", recipient)
    look = Look(copy, "/font.ttf")
    for arguments in (
        scene_arguments(Scene(timeline(), [], 1, 1), [], look, 1.0),
        card_arguments(Card("HUL / GAP 2.0 s"), look, 1.0),
    ):
        assert copy in " ".join(arguments)
    asked = {each.event.details["copy"]: each.event for each in place.house.custody(Verb.COPY_REQUESTED)}
    assert copy in asked, "nobody knows whose it was"
    assert (asked[copy].actor.name, asked[copy].details["recipient"]) == (ANNA.display_name, recipient)


def test_28_retention_runs_out_under_a_hold_then_released_and_erased_by_two(place: Place) -> None:
    house, order = place.house, place.orders[0]
    interview, held = order.interview.hex(), []
    erasure = Erasure(house.store.book, house.store.keys, 0, house.store.playback.forget)
    held.append(erasure.hold(interview, BO, "Anke"))
    refused(lambda: erasure.request(interview, ANNA, WHY), "erasure-held")
    erasure.release(interview, held[0], BO, "Anken er afgjort")
    early = Erasure(house.store.book, house.store.keys, 3650)
    refused(lambda: early.request(interview, ANNA, WHY), "erasure-early")
    erasure.request(interview, ANNA, WHY)
    refused(lambda: erasure.approve(interview, ANNA), "erasure-same-person")
    expect(place.plays(1, 0), "it is there still, and open in playback's memory")
    erasure.approve(interview, BO)
    refused(lambda: place.plays(1, 0), "erased")
    with house.store.book.reading() as session:
        assert session.get_one(KeyWrapRow, interview).wrapped_seed is None
    assert not (house.folder / "escrow" / f"{interview}.seed").exists()
    (erased,) = house.custody(Verb.INTERVIEW_ERASED)
    assert {erased.event.details[each]["id"] for each in ("requested_by", "approved_by")} == {ANNA.id, BO.id}
    assert b"picture" in place.plays(2, 0), "another interview is untouched"
    assert house.findings() == {}, "proofs stand"


def test_29_key_rotation_interrupted(place: Place) -> None:
    """By a wrap that goes wrong on the way. The old key stays, and another rotation ends it when all is well again."""
    house, keys = place.house, place.house.folder / "store" / "keys"
    interview = place.orders[0].interview.hex()
    before, kept = house.private_key(place.orders[1]), place.folder / "kept"

    def spoil(said: str) -> None:
        if said.startswith(f"interview {interview[:8]} is under"):
            with house.store.book.database.writing() as session:
                session.get_one(KeyWrapRow, interview).wrapped_seed = bytes(40)

    shutil.copytree(keys, kept)
    refused(
        lambda: Rotation(house.store.book, house.store.authority, keys, spoil).run(), "seed-mismatch", "seed-invalid"
    )  # fmt: skip
    for old in kept.glob("kek*"):
        assert (keys / old.name).read_bytes() == old.read_bytes(), "the old key is there"
    assert house.custody(Verb.KEYS_ROTATED) == []
    assert house.private_key(place.orders[1]) == before


def test_38_a_package_brings_its_own_keys_and_checker(place: Place) -> None:
    """Whole in itself, by a forger's own root. Who asks nobody for the fingerprint is told that it shows nothing."""
    bag = unpacked(place, Store(interview_key=PrivateKey.generate()))
    true = Store(interview_key=PrivateKey.generate()).fingerprint
    for anchors in (Anchors(true), Anchors()):
        report = verify(bag, anchors)
        assert not report.ok
        expect([each.name for each in report.failures] == ["anchor"], "nothing else is amiss with it")
