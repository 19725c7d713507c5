"""Everything that happened, from start to copy, is in custody: who, when, why, and proven in the signed ledger."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from api.wiring import DEMO_ACCOUNTS, open_store
from evidence_store.canonical import canonical
from evidence_store.copies.custody_proofs import check_entry, ledger_verifier
from evidence_store.copies.verify import Anchors, verify
from evidence_store.custody import CustodyEvent
from evidence_store.errors import Tampered
from evidence_store.identifiers import parse_interview_id
from evidence_store.ledger import custody_log
from tests.journeys.conftest import CASE_NUMBER, PURPOSE, VIEWING_PURPOSE, Journey

UNTIL_THE_COPY = [
    "interview:created",
    "interview:key:minted",
    "interview:started",
    "recording:take:started",
    "recording:take:tested",
    "live:viewer:joined",
    "live:viewer:left",
    "recording:take:closed",
    "interview:ended",
    "interview:sealed",
    "media:viewed",
    "copy:requested",
]
AFTER_IT = ["copy:made", "copy:released"]
WHO = {account.role.value: account.name for account in reversed(DEMO_ACCOUNTS)}  # the first of each role
BY = {
    "interview:created": "operator",
    "interview:started": "operator",
    "interview:ended": "operator",
    "media:viewed": "prosecutor",
    "copy:requested": "prosecutor",
    "copy:released": "prosecutor",
}


def entries(journey: Journey) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((journey.package / "evidence" / "custody.json").read_bytes())["entries"]
    return found


def test_every_act_is_in_the_package_with_who_when_and_why(journey: Journey) -> None:
    bodies = [entry["body"] for entry in entries(journey)]
    verbs = [body["verb"] for body in bodies]
    assert [verb for verb in UNTIL_THE_COPY if verb not in verbs] == []
    assert [verbs.index(verb) for verb in UNTIL_THE_COPY if verb in BY] == sorted(
        verbs.index(verb) for verb in UNTIL_THE_COPY if verb in BY
    )
    for body in bodies:
        assert body["interview"] == journey.interview
        assert body["case_number"] in (CASE_NUMBER, None)
        assert body["at"].endswith("Z")
        assert body["actor"]["id"]
        if body["verb"] in BY:
            assert (body["actor"]["kind"], body["actor"]["role"]) == ("person", BY[body["verb"]])
            assert body["actor"]["name"] == WHO[BY[body["verb"]]]
    reasons = {body["verb"]: body["reason"] for body in bodies}
    assert reasons["media:viewed"] == VIEWING_PURPOSE
    assert reasons["copy:requested"] == PURPOSE


def test_each_proof_holds_offline_and_only_for_its_own_entry(journey: Journey) -> None:
    ledger = x509.load_pem_x509_certificate((journey.package / "evidence/certificates/ledger.pem").read_bytes())
    found = entries(journey)
    for entry in found:
        proof, nonce = (journey.package / entry["proof"]).read_bytes(), bytes.fromhex(entry["nonce"])
        index, size = check_entry(proof, nonce, canonical(entry["body"]), ledger)
        assert index == entry["index"] < size
        changed = entry["body"] | {"at": "2026-01-01T00:00:00.000000000Z"}
        with pytest.raises(Tampered):
            check_entry(proof, nonce, canonical(changed), ledger)
    report = verify(journey.package, Anchors(journey.fingerprint))
    assert report.ok, report.failures


def test_the_hand_over_itself_is_in_the_ledger(journey: Journey) -> None:
    """It comes after the package was made, so the package cannot hold it; the store's ledger proves it."""
    store = open_store(journey.house.settings)
    ledger = x509.load_pem_x509_certificate((journey.package / "evidence/certificates/ledger.pem").read_bytes())
    with store.book.database.writing() as session:
        note = store.book.ledger.checkpoint(session, store.book.clock())
    with store.book.reading() as session:
        logged = custody_log.of_interview(session, parse_interview_id(journey.interview))
        verbs = [each.event.verb.value for each in logged]
        for verb in AFTER_IT:
            event: CustodyEvent = logged[verbs.index(verb)].event
            proof = store.book.ledger.prove(session, logged[verbs.index(verb)].index)
            assert proof.verify_body(event.body(), ledger_verifier(ledger, note)).size > proof.index
            if verb in BY:
                assert (event.actor.role, event.actor.name, event.reason) == (BY[verb], WHO[BY[verb]], PURPOSE)
    store.book.database.close()


def test_the_custody_page_shows_it(journey: Journey) -> None:
    store = open_store(journey.house.settings)
    with store.book.reading() as session:
        logged = custody_log.of_interview(session, parse_interview_id(journey.interview))
    store.book.database.close()
    assert {entry["body"]["id"] for entry in entries(journey)} <= {each.event.id for each in logged}


def audit(data: Path, journey: Journey) -> tuple[int, dict[str, Any]]:
    profile = {"VIDNE_PROFILE": journey.house.settings.profile}
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "audit", "--json", "--data", str(data)],
        cwd=Path(__file__).parents[2], env={**os.environ, **profile},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def stolen(journey: Journey, tmp_path: Path) -> Path:
    """A copy of the store, for the worst to be done to it."""
    source, target = journey.house.settings.data, tmp_path / "data"
    ignore = shutil.ignore_patterns("*.sqlite*", "run", "room", "copies")
    shutil.copytree(source, target, ignore=ignore)
    database = sqlite3.connect(source / "store" / "vidne.sqlite")
    copy = sqlite3.connect(target / "store" / "vidne.sqlite")
    database.backup(copy)
    database.close()
    copy.close()
    return target


def test_an_untouched_store_passes_the_audit(journey: Journey, stolen: Path) -> None:
    code, told = audit(stolen, journey)
    assert (code, told["ok"]) == (0, True), told


def test_a_removed_take_is_named(journey: Journey, stolen: Path) -> None:
    """Rows and files are gone, and the device's own count is set back: the ledger still names the number."""
    database = sqlite3.connect(stolen / "store" / "vidne.sqlite")
    database.execute("DELETE FROM segment WHERE n = 1")
    database.execute("DELETE FROM take WHERE n = 1")
    database.execute("UPDATE device SET n_highest = 0")
    database.commit()
    database.close()
    (files,) = (stolen / "store" / "vault" / "objects" / "takes").glob("*/000001")
    shutil.rmtree(files)
    code, told = audit(stolen, journey)
    assert (code, told["ok"]) == (1, False)
    (finding,) = [each for each in told["findings"] if each["name"].startswith("numbers ")]
    assert finding["ok"] is False
    assert "take 1 is missing" in finding["detail"]


def test_a_removed_custody_entry_is_found(journey: Journey, stolen: Path) -> None:
    database = sqlite3.connect(stolen / "store" / "vidne.sqlite")
    database.execute("DELETE FROM custody_event WHERE verb = 'copy:released'")
    database.commit()
    database.close()
    code, told = audit(stolen, journey)
    assert code == 1
    assert [each["name"] for each in told["findings"] if not each["ok"]] == ["custody"]
