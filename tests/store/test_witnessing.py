"""The house's side of its witnesses: what of an answer counts, what never does, and what is kept of it."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from api.processes.demo import demo_witness
from api.processes.house import require_witness_policy
from api.settings import Settings
from api.wiring import ledger_key
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import AlarmRow, CosignatureRow
from evidence_store.errors import Tampered, Unavailable
from evidence_store.ledger.checkpoint import Checkpoint, Note
from evidence_store.ledger.cosignature import Cosigner
from evidence_store.ledger.policy import State
from evidence_store.ledger.witness import AddCheckpoint
from evidence_store.ledger.witnessing import Question, Witnessing
from tests.conftest import BOTH_DATABASES
from tests.house import BEGAN, House
from tests.witnesses import WitnessProcess, ask, policy, witnessed


def act(house: House, count: int = 1) -> None:
    for _ in range(count):
        house.store.book.record(CustodyEvent(Verb.LEDGER_VIEWED, BEGAN, Actor.store()))


def side(house: House) -> Witnessing:
    assert house.store.witnessing is not None
    return house.store.witnessing


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    made = WitnessProcess(tmp_path / "witness")
    yield made
    made.kill()


# What a real witness's answers leave behind


@BOTH_DATABASES
async def test_a_cosignature_is_in_the_vault_and_in_the_database_and_the_audit_says_how_far(
    house: House, witness: WitnessProcess
) -> None:
    witnessed(house, [witness])
    act(house, 3)
    await ask(house)
    act(house, 2)
    await ask(house)
    names = [each.name for each in house.store.book.vault.list("ledger/cosigned/")]
    assert [name.split("/")[2] for name in names] == ["000000000003", "000000000005"]
    for name in names:
        note = house.store.book.vault.get(name)
        at = witness.key.time_of(Note.parse(note))
        assert name.endswith(f"/{witness.key.key_id.hex()}-{at}")
        assert Checkpoint.open(note, house.store.book.ledger.verifier).size == int(name.split("/")[2])
    assert house.findings() == {}
    with house.store.book.reading() as session:
        (latest,) = side(house).proving_notes(session)
    assert house.store.book.ledger.size_of(latest) == 5
    assert witness.key.time_of(Note.parse(latest)) is not None


async def test_nothing_is_asked_twice_and_only_the_latest_is_asked_about(house: House, witness: WitnessProcess) -> None:
    witnessed(house, [witness])
    act(house, 30)
    (member,) = side(house).policy.members
    question = side(house).question(member)
    assert question is not None
    assert (question.request.old, question.size) == (0, 30)
    await ask(house)
    assert side(house).question(member) is None
    again = side(house).question(member, again=True)
    assert again is not None
    assert (again.request.old, again.size) == (30, 30)


@BOTH_DATABASES
async def test_a_database_that_forgot_what_the_witness_held_is_told_and_goes_on(
    house: House, witness: WitnessProcess
) -> None:
    """As after a crash between the witness's answer and the database."""
    witnessed(house, [witness])
    act(house, 3)
    (member,) = side(house).policy.members
    question = side(house).question(member)
    assert question is not None
    assert witness.post(question.request).status_code == 200
    act(house, 2)
    await ask(house)
    assert side(house).known().covered == 5


async def test_a_witness_that_was_turned_back_is_written_down(
    house: House, witness: WitnessProcess, tmp_path: Path
) -> None:
    witnessed(house, [witness])
    act(house, 2)
    await ask(house)
    shutil.copytree(witness.folder, tmp_path / "yesterday")
    act(house, 3)
    await ask(house)
    witness.kill()
    shutil.rmtree(witness.folder)
    shutil.copytree(tmp_path / "yesterday", witness.folder)
    witness.start()
    act(house)
    await ask(house)
    (forgot,) = house.custody(Verb.WITNESS_FORGOT)
    assert forgot.event.details == {"covered": "5", "held": "2", "witness": witness.name}
    await ask(house)
    assert side(house).known().state is State.COVERED


async def test_a_cosigned_note_in_the_vault_that_is_of_another_ledger_fails_the_audit(
    house: House, witness: WitnessProcess
) -> None:
    witnessed(house, [witness])
    act(house, 3)
    await ask(house)
    (folder,) = (house.vault / "ledger/cosigned").iterdir()
    (path,) = folder.iterdir()
    note = path.read_bytes()
    moved = house.vault / "ledger/cosigned/000000000002"
    folder.rename(moved)
    assert "under another size" in house.findings()["witnesses"]
    moved.rename(folder)
    path.chmod(0o600)
    path.write_bytes(note[:-20] + b"A" * 18 + note[-2:])
    assert "witnesses" in house.findings()


# Answers that are none


class Stub:
    """An HTTP server on loopback that answers what a test tells it to. `asked`: every body that came."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (500, b"")
        self.asked: list[bytes] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stub.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = stub.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.cosigner = Cosigner("witness.example/stub", Ed25519PrivateKey.generate())

    def policy(self, path: Path) -> Path:
        url = f"http://127.0.0.1:{self._server.server_port}"
        table = f'[[witness]]\nname = "Stub"\nurl = "{url}"\nkey = "{self.cosigner.verifier}"\n'
        path.write_text(f"quorum = 1\ngreatest_lag = 600\n{table}")
        return path

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stub(house: House) -> Iterator[Stub]:
    made = Stub()
    house.witnesses = made.policy(house.folder / "witnesses.toml")
    house.close()
    house.open()
    yield made
    made.close()


STRANGER = Cosigner("witness.example/stub", Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"thank you\n"),
        (200, STRANGER.cosign("x\n1\n", 1).line().encode()),
        (200, "— witness.example/stub AAAA\n".encode()),
        (200, b"x" * 100_000),
        (204, b""),
        (301, b""),
        (400, b"witness-request\n"),
        (403, b"note-unsigned\n"),
        (404, b"witness-log\n"),
        (409, b"ledger-rolled-back\n"),
        (409, b"-5\n"),
        (409, b""),
        (409, b"9" * 30),
        (429, b""),
        (500, b""),
        (503, b"witness-disk\n"),
    ],
    ids=lambda answer: f"{answer[0]}-{answer[1][:12]!r}",
)
async def test_an_answer_that_says_nothing_of_the_history_is_an_outage_and_never_a_veto(
    house: House, stub: Stub, answer: tuple[int, bytes]
) -> None:
    act(house, 2)
    stub.answer = answer
    await ask(house)
    assert len(stub.asked) == 1
    assert (side(house).known().state, side(house).known().covered) == (State.COVERED, 0)
    act(house)
    with house.store.book.reading() as session:
        assert list(session.scalars(select(CosignatureRow))) == []
        assert list(session.scalars(select(AlarmRow))) == []


async def test_a_cosignature_of_another_text_is_refused(house: House, stub: Stub) -> None:
    act(house, 2)
    stub.answer = (200, stub.cosigner.cosign("another.example\n2\nAAAA\n", 1_795_000_000).line().encode())
    await ask(house)
    assert side(house).known().covered == 0


@BOTH_DATABASES
@pytest.mark.parametrize("answer", [(409, b"3\n"), (422, b"consistency-proof\n")])
async def test_a_no_is_kept_and_only_that_witnesss_yes_ends_it(
    house: House, stub: Stub, answer: tuple[int, bytes]
) -> None:
    act(house, 2)
    stub.answer = answer
    await ask(house)
    assert side(house).known().state is State.VETOED
    stub.answer = (503, b"")
    await ask(house)
    with pytest.raises(Unavailable):
        act(house)
    with house.store.book.reading() as session:
        note = house.store.book.ledger.latest_checkpoint(session) or b""
    stub.answer = (200, stub.cosigner.cosign(Note.parse(note).text, 1_795_000_000).line().encode())
    await ask(house)
    act(house)
    (vetoed,) = house.custody(Verb.WITNESS_VETOED)
    assert vetoed.event.details["witness"] == "witness.example/stub"
    with house.store.book.reading() as session:
        assert [row.cleared_at is not None for row in session.scalars(select(AlarmRow))] == [True]


async def test_a_witness_that_is_no_longer_in_the_policy_vetoes_nothing(house: House, stub: Stub) -> None:
    act(house, 2)
    stub.answer = (422, b"")
    await ask(house)
    with pytest.raises(Unavailable):
        act(house)
    other = Stub()
    house.witnesses = other.policy(house.folder / "witnesses.toml")
    house.close()
    house.open()
    act(house)
    other.close()


async def test_a_409_that_another_process_of_the_house_brought_about_is_no_veto(house: House, stub: Stub) -> None:
    """The ledger grows, and another process has it cosigned, while an answer is under way: the size that the witness
    holds is looked up after the answer came."""
    act(house, 2)
    (member,) = side(house).policy.members
    question = side(house).question(member)
    assert question is not None
    act(house, 3)
    assert side(house).holds(member, question, 5)
    assert side(house).known().state is State.COVERED


def test_answers_that_contradict_themselves_are_refused(house: House, stub: Stub) -> None:
    act(house, 4)
    (member,) = side(house).policy.members
    question = side(house).question(member)
    assert question is not None
    stale = Question(AddCheckpoint(2, (), question.request.note), 4)
    with pytest.raises(Exception, match="contradicts itself"):
        side(house).holds(member, stale, 2)
    with pytest.raises(Tampered):
        side(house).cosigned(member, question, STRANGER.cosign("x\n", 5).line().encode())


# Rollover, TLS, policies that cannot be followed


async def test_a_witness_changes_its_key_and_stays_one_witness(house: House, witness: WitnessProcess) -> None:
    witnessed(house, [witness])
    act(house, 3)
    await ask(house)
    old = witness.key
    witness.kill()
    (witness.folder / "witness.key").rename(witness.folder / "witness.key.old")
    assert (witness.key.name, witness.key.key_id != old.key_id) == (old.name, True)
    witness.start()
    today = datetime.datetime.now(datetime.UTC).date()
    rollover = f'old_key = "{old}"\nold_key_until = {today}'
    policy(house.folder / "witnesses.toml", [witness], extra=rollover)
    house.close()
    house.open()
    assert side(house).known().covered == 3, "by the old key"
    act(house)
    await ask(house)
    assert side(house).known().covered == 4
    assert house.findings() == {}


def certificate(folder: Path) -> tuple[Path, Path]:
    """Self-signed, for 127.0.0.1."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "w")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "witness.pem", folder / "witness-tls.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    return pem, secret


async def test_over_tls_exactly_the_policys_authority_is_trusted(house: House, tmp_path: Path) -> None:
    pem, secret = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    witness = WitnessProcess(
        tmp_path / "witness", extra=["--tls-certificate", str(pem), "--tls-key", str(secret)], scheme="https"
    )
    try:
        witness.start(house.store.book.ledger.verifier)
        for authority, covered in ((other, 0), (pem, 2)):
            house.witnesses = policy(tmp_path / "p.toml", [witness], extra=f'authority = "{authority}"')
            house.close()
            house.open()
            if not covered:
                act(house, 2)
            await ask(house)
            assert side(house).known().covered == covered
    finally:
        witness.kill()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "No such file"),
        ("quorum = 1", "witness policy: "),
        ("nowhere.pem", "nowhere.pem"),
        ("witnesses.toml", "holds no certificate"),
    ],
)
def test_a_house_whose_policy_cannot_be_followed_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str | None, words: str
) -> None:
    path = tmp_path / "witnesses.toml"
    if written is not None and "." in written:
        policy(path, [WitnessProcess(tmp_path / "w", scheme="https")], extra=f'authority = "{written}"')
    elif written is not None:
        path.write_text(written)
    with pytest.raises(typer.Exit) as caught:
        require_witness_policy(Settings(data=tmp_path, witnesses=path))
    assert caught.value.exit_code == 2
    assert words in capsys.readouterr().err


async def test_the_demos_own_witness_keeps_key_and_memory_from_start_to_start(tmp_path: Path) -> None:
    first, program, url = demo_witness(Settings(data=tmp_path, demo=True))
    again, *_ = demo_witness(Settings(data=tmp_path, demo=True))
    policies = [each.witness_policy() for each in (first, again)]
    assert policies[0] is not None
    assert policies[1] is not None
    assert policies[0].members[0].key == policies[1].members[0].key
    assert url.startswith("http://127.0.0.1:")
    assert ledger_key(first) in program.arguments
    assert again.environment()["VIDNE_WITNESSES"] == str(tmp_path / "witnesses.toml")
