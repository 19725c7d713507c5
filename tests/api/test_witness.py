"""`vidne witness` as a process: C2SP tlog-witness by its status codes, its page, its command line, and TLS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence_store.ledger.checkpoint import Note, NoteSigner, NoteVerifier
from evidence_store.ledger.witness import MAX_REQUEST, AddCheckpoint
from tests.evidence_store.test_witness import Log, fork
from tests.witnesses import ROOT, WitnessProcess

LOG = Log(NoteSigner("example.org/vidne", Ed25519PrivateKey.generate()), [b"entry %d" % k for k in range(20)])


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    made = WitnessProcess(tmp_path / "witness")
    made.start(LOG.signer.verifier)
    yield made
    made.kill()


def vidne(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "witness", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_each_answer_has_the_status_that_the_protocol_gives_it(witness: WitnessProcess) -> None:
    first = witness.post(LOG.request(0, 7))
    assert first.status_code == 200
    assert witness.key.time_of(Note.parse(LOG.note(7) + first.content)) is not None
    stranger = Log(NoteSigner("example.org/other", Ed25519PrivateKey.generate()), LOG.leaves)
    forger = Log(NoteSigner(LOG.signer.verifier.name, Ed25519PrivateKey.generate()), LOG.leaves)
    beyond = AddCheckpoint(9, (), LOG.note(8))
    for request, status, body in (
        (LOG.request(0, 9), 409, "7\n"),
        (LOG.request(3, 5), 409, "7\n"),
        (fork(LOG, 2).request(7, 7), 409, "7\n"),
        (fork(LOG, 2).request(7, 9), 422, "consistency-proof\n"),
        (stranger.request(0, 3), 404, "witness-log\n"),
        (forger.request(7, 9), 403, "note-unsigned\n"),
        (beyond, 400, "witness-old-size\n"),
        (b"old 7\n", 400, "witness-request\n"),
        (b"old 7\n\nnot a note\n", 400, "note-form\n"),
        (b"old 0\n\n" + b"x" * MAX_REQUEST, 400, "witness-request\n"),
        (LOG.request(7, 9), 200, None),
    ):
        answer = witness.post(request)
        assert (answer.status_code, body) == (status, answer.text if body else None), request
        assert answer.headers["content-type"] == "text/x.tlog.size" or status != 409
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_killed_and_started_again_it_goes_on_where_it_was(witness: WitnessProcess) -> None:
    witness.post(LOG.request(0, 7))
    witness.kill()
    witness.start()
    assert witness.post(fork(LOG, 2).request(7, 7)).status_code == 409
    assert witness.post(LOG.request(7, 7)).status_code == 200


def test_its_page_says_in_danish_how_it_is_and_what_was_refused(witness: WitnessProcess) -> None:
    assert "Intet endnu" in witness.page()
    witness.post(LOG.request(0, 7))
    page = witness.page()
    assert "example.org/vidne" in page
    assert "7 poster" in page
    assert "Alarm" not in page
    witness.post(fork(LOG, 2).request(7, 7))
    page = witness.page()
    assert 'role="alert"' in page
    assert "to forskellige historier af samme længde" in page


def test_beyond_loopback_it_wants_tls(tmp_path: Path) -> None:
    done = vidne("--data", tmp_path, "--host", "0.0.0.0")  # noqa: S104 - refused
    assert done.returncode == 2
    assert "tls_certificate and tls_key are needed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--log", "not a key"], "not an Ed25519 verifier key"),
        (["--name", "two words"], "a witness's name is made of"),
    ],
)
def test_what_it_cannot_use_it_says(tmp_path: Path, arguments: Sequence[str], words: str) -> None:
    done = vidne("--data", tmp_path, *arguments)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_second_process_is_refused(witness: WitnessProcess) -> None:
    done = vidne("--data", witness.folder, "--port", witness.port + 1)
    assert done.returncode == 2
    assert "another process is this witness" in done.stderr


def test_what_somebody_brings_is_compared_while_it_runs(witness: WitnessProcess, tmp_path: Path) -> None:
    line = witness.post(LOG.request(0, 7)).content
    brought = tmp_path / "brought"
    for note, code, words in (
        (LOG.note(7) + line, 0, "OK   This witness cosigned it at 20"),
        (LOG.note(7), 0, "OK   It is the head that this witness holds"),
        (LOG.note(5), 1, "nothing is known of it"),
        (fork(LOG, 2).note(7), 1, "another history"),
        (b"nothing\n", 1, "FAIL a note ends in"),
    ):
        brought.write_bytes(note)
        done = vidne("--data", witness.folder, "--check", brought)
        assert (done.returncode, words in done.stdout) == (code, True), done.stdout
    assert vidne("--data", tmp_path / "none", "--check", brought).returncode == 1
    assert not (tmp_path / "none").exists()


def test_the_house_prints_the_key_that_a_witness_is_given(tmp_path: Path) -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-m", "api.cli", "api", "--ledger-key", "--data", tmp_path],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        for _ in range(2)
    }  # fmt: skip
    (key,) = printed
    assert str(NoteVerifier.parse(key.strip())) == key.strip()
