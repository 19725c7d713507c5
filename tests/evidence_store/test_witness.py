"""The rule of a witness, and that it keeps what it cosigned through a kill at every line."""

from __future__ import annotations

import base64
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence_store import durable
from evidence_store.errors import (
    ChainBroken,
    Conflict,
    InvalidInput,
    NotFound,
    SignatureInvalid,
    Unavailable,
    VidneError,
)
from evidence_store.ledger import merkle, witness_memory
from evidence_store.ledger.checkpoint import Checkpoint, Note, NoteSigner
from evidence_store.ledger.cosignature import CosignatureVerifier, Cosigner, parse_verifier_keys, signed_text
from evidence_store.ledger.witness import AddCheckpoint, Held, OtherSize, judge
from evidence_store.ledger.witness_memory import Remembered, Witness

NOW = 1_795_000_000


class Log:
    """A log in memory: its leaves are its history."""

    def __init__(self, signer: NoteSigner, leaves: list[bytes]) -> None:
        self.signer, self.leaves = signer, leaves
        self._nodes = {
            (level, at): value
            for level, at, value in merkle.completed_nodes(0, map(merkle.leaf_hash, leaves), self._node)
        }

    def _node(self, level: int, position: int) -> bytes:
        raise AssertionError("everything is appended at once")

    def root(self, size: int) -> bytes:
        return merkle.root(size, merkle.reader(self._nodes))

    def note(self, size: int) -> bytes:
        return Checkpoint(self.signer.verifier.name, size, self.root(size)).signed(self.signer).write()

    def request(self, old: int, size: int) -> AddCheckpoint:
        proof = merkle.consistency_proof(old, size, merkle.reader(self._nodes)) if old <= size else []
        return AddCheckpoint(old, tuple(proof), self.note(size))

    def held(self, size: int) -> Held:
        return Held(self.signer.verifier, size, self.root(size))


def fork(log: Log, at: int) -> Log:
    """Another history of the same log: the same up to `at`, other entries from there."""
    return Log(log.signer, [leaf if k < at else leaf + b" rewritten" for k, leaf in enumerate(log.leaves)])


@pytest.fixture
def log(signer: NoteSigner) -> Log:
    return Log(signer, [b"entry %d" % k for k in range(40)])


# The rule


def test_every_growth_is_cosigned_and_nothing_else(log: Log) -> None:
    """All pairs of sizes, the true history against one that was rewritten from each place on."""
    for old in range(18):
        for size in range(18):
            held = log.held(old)
            if size < old:
                with pytest.raises(InvalidInput) as refused:
                    judge(held, log.request(old, size))
                assert refused.value.code == "witness-old-size"
            else:
                assert judge(held, log.request(old, size)).size == size
            for at in range(old):
                with pytest.raises((ChainBroken, Conflict, InvalidInput)) as caught:
                    judge(held, fork(log, at).request(old, size))
                if size > old:
                    assert caught.value.code == "consistency-proof"
                elif size == old:
                    assert caught.value.code == "witness-root"


def test_whatever_is_asked_in_whatever_order_one_history_is_cosigned(log: Log) -> None:
    """Random walks: a witness is asked for heads of two histories, with right, stale and forged proofs."""
    chance = random.Random(8)  # noqa: S311 - the same walks each time
    for _ in range(60):
        other = fork(log, chance.randrange(1, 20))
        held, cosigned = log.held(0), []
        for _ in range(40):
            of = chance.choice((log, other))
            old = chance.choice((held.size, held.size, chance.randrange(30)))
            request = of.request(old, min(40, max(old, held.size) + chance.randrange(4)))
            if chance.random() < 0.1:
                request = AddCheckpoint(request.old, (*request.proof[::-1], bytes(32)), request.note)
            try:
                checkpoint = judge(held, request)
            except VidneError:
                continue
            assert checkpoint.size >= held.size
            held = Held(held.key, checkpoint.size, checkpoint.root)
            cosigned.append(checkpoint)
        histories = [all(of.root(each.size) == each.root for each in cosigned) for of in (log, other)]
        assert any(histories)


def test_each_refusal_has_its_code(log: Log) -> None:
    stranger = NoteSigner(log.signer.verifier.name, Ed25519PrivateKey.generate())
    elsewhere = NoteSigner("example.org/another", Ed25519PrivateKey.generate())
    held = log.held(7)
    for request, kind, code in (
        (log.request(5, 9), OtherSize, "witness-size"),
        (log.request(8, 9), OtherSize, "witness-size"),
        (log.request(0, 5), OtherSize, "witness-size"),
        (Log(stranger, log.leaves).request(7, 9), SignatureInvalid, "note-unsigned"),
        (Log(elsewhere, log.leaves).request(7, 9), NotFound, "witness-log"),
        (fork(log, 3).request(7, 9), ChainBroken, "consistency-proof"),
        (fork(log, 3).request(7, 7), Conflict, "witness-root"),
        (AddCheckpoint(7, (bytes(32),), log.note(7)), ChainBroken, "consistency-proof"),
        (AddCheckpoint(7, (), b"no note at all\n"), InvalidInput, "note-form"),
    ):
        with pytest.raises(kind) as caught:
            judge(held, request)
        assert caught.value.code == code
    with pytest.raises(NotFound):
        judge(None, log.request(0, 5))


def test_a_proof_from_nothing_is_empty(log: Log) -> None:
    with pytest.raises(ChainBroken):
        judge(log.held(0), AddCheckpoint(0, (bytes(32),), log.note(5)))


# The request


@pytest.mark.parametrize(("old", "size"), [(0, 0), (0, 5), (3, 7), (8, 8), (31, 40)])
def test_parse_then_write_gives_the_request(log: Log, old: int, size: int) -> None:
    request = log.request(old, size)
    assert AddCheckpoint.parse(request.write()) == request


@pytest.mark.parametrize(
    "defect",
    [
        b"",
        b"old 5\n",
        b"old 05\n\nx",
        b"old -1\n\nx",
        b"old 9223372036854775808\n\nx",
        b"size 5\n\nx",
        b"old 5\nAAAA\n\nx",
        b"old 5\n" + base64.b64encode(bytes(32)) + b" \n\nx",
        b"old 5\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\nx",
        "old 5\n–\n\nx".encode(),
        b"old 0\n\n" + b"x" * (64 * 1024),
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(defect: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        AddCheckpoint.parse(defect)
    assert caught.value.code == "witness-request"


def test_the_published_request_is_read() -> None:
    """The example of tlog-witness; its keys are not published."""
    request = (
        "old 20852014\n"
        "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
        "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
        "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
        "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
        "\n"
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        "\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()
    parsed = AddCheckpoint.parse(request)
    assert (parsed.old, len(parsed.proof), parsed.write()) == (20852014, 4, request)


# Cosignatures


def cosigner(name: str = "witness.example/w1") -> Cosigner:
    return Cosigner(name, Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


def test_a_cosignature_is_made_of_the_bytes_that_the_format_says(log: Log) -> None:
    made, note = cosigner(), Note.parse(log.note(5))
    line = made.cosign(note.text, NOW)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    key.public_key().verify(line.signature[8:], b"cosignature/v1\ntime 1795000000\n" + note.text.encode())
    assert line.signature[:8] == NOW.to_bytes(8, "big")
    assert signed_text(note.text, NOW).startswith(b"cosignature/v1\ntime 1795000000\nexample.org/vidne\n5\n")
    cosigned = note.with_signature(line)
    assert made.verifier.time_of(cosigned) == NOW
    assert Checkpoint.open(cosigned.write(), log.signer.verifier).size == 5
    assert made.verifier.time_of(note) is None


def test_a_cosignature_of_another_text_time_or_length_is_refused(log: Log) -> None:
    made, note = cosigner(), Note.parse(log.note(5))
    line = made.cosign(Note.parse(log.note(6)).text, NOW)
    right = made.cosign(note.text, NOW)
    later = type(right)(right.name, right.key_id, (NOW + 1).to_bytes(8, "big") + right.signature[8:])
    plain = type(right)(right.name, right.key_id, right.signature[8:])
    for wrong in (line, later, plain):
        with pytest.raises(SignatureInvalid):
            made.verifier.time_of(note.with_signature(right).with_signature(wrong))


def test_a_witnesss_key_is_not_a_logs_key() -> None:
    key = cosigner().verifier
    assert CosignatureVerifier.parse(str(key)) == key
    with pytest.raises(InvalidInput):
        CosignatureVerifier.parse(str(NoteSigner("x", Ed25519PrivateKey.generate()).verifier))
    assert parse_verifier_keys(f"# witnesses\n\n{key}\n") == (key,)


# Memory


def witness(folder: Path, log: Log) -> Witness:
    made = Witness(folder, lambda: NOW)
    made.trust(log.signer.verifier)
    return made


def test_what_was_cosigned_is_remembered_by_the_next_process(log: Log, tmp_path: Path) -> None:
    first = witness(tmp_path, log)
    line = first.add_checkpoint(log.request(0, 9).write())
    cosigned = Note.parse(log.note(9) + line)
    assert first.verifier.time_of(cosigned) == NOW
    first.close()
    second = Witness(tmp_path, lambda: NOW + 5)
    assert second.verifier == first.verifier
    (known,) = second.logs()
    assert (known.held, known.cosigned_at) == (log.held(9), NOW)
    with pytest.raises(Conflict):
        second.add_checkpoint(fork(log, 3).request(9, 9).write())
    assert (tmp_path / "refused").iterdir()
    second.close()


def test_two_processes_cannot_be_one_witness(log: Log, tmp_path: Path) -> None:
    first = witness(tmp_path, log)
    with pytest.raises(Unavailable) as caught:
        Witness(tmp_path, lambda: NOW)
    assert caught.value.code == "witness-running"
    first.close()


def test_one_origin_has_one_key(log: Log, tmp_path: Path) -> None:
    made = witness(tmp_path, log)
    assert made.trust(log.signer.verifier) is False
    with pytest.raises(Conflict):
        made.trust(NoteSigner(log.signer.verifier.name, Ed25519PrivateKey.generate()).verifier)
    made.close()


def test_a_log_that_nobody_named_is_not_cosigned(log: Log, tmp_path: Path) -> None:
    made = Witness(tmp_path, lambda: NOW)
    with pytest.raises(NotFound):
        made.add_checkpoint(log.request(0, 3).write())
    assert made.logs() == []
    made.close()


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_a_memory_that_cannot_be_read_keeps_the_witness_from_starting(log: Log, tmp_path: Path, damage: bytes) -> None:
    made = witness(tmp_path, log)
    made.add_checkpoint(log.request(0, 3).write())
    made.close()
    (path,) = (tmp_path / "logs").iterdir()
    path.write_bytes(damage)
    with pytest.raises(InvalidInput):
        Witness(tmp_path, lambda: NOW)


def test_a_memory_with_a_head_that_the_log_did_not_sign_is_refused(log: Log, tmp_path: Path) -> None:
    stranger = Log(NoteSigner(log.signer.verifier.name, Ed25519PrivateKey.generate()), log.leaves)
    with pytest.raises(SignatureInvalid):
        Remembered.parse(Remembered(log.signer.verifier, stranger.note(3), NOW).write())


def test_a_disk_that_is_full_cosigns_nothing(log: Log, tmp_path: Path) -> None:
    made = witness(tmp_path, log)
    (path,) = (tmp_path / "logs").iterdir()
    path.with_name(path.name + ".part").mkdir()  # in the way of the next write, root or not
    with pytest.raises(Unavailable) as caught:
        made.add_checkpoint(log.request(0, 3).write())
    assert caught.value.code == "witness-disk"
    path.with_name(path.name + ".part").rmdir()
    assert made.logs()[0].held.size == 0
    assert made.add_checkpoint(log.request(0, 3).write())
    made.close()


def test_refusals_stand_until_the_log_is_the_same_again_and_two_heads_of_one_size_for_good(
    log: Log, tmp_path: Path
) -> None:
    made = witness(tmp_path, log)

    def after(request: AddCheckpoint) -> tuple[str, bool] | None:
        with pytest.raises(VidneError):
            made.add_checkpoint(request.write())
        refusal = made.logs()[0].refusal
        return None if refusal is None else (refusal.code, refusal.stands)

    made.add_checkpoint(log.request(0, 9).write())
    assert after(log.request(3, 12)) is None, "the log did not know how far the witness had come"
    assert after(log.request(3, 5)) == ("witness-size", True)
    made.add_checkpoint(log.request(9, 12).write())
    refusal = made.logs()[0].refusal
    assert refusal is not None
    assert not refusal.stands
    assert after(fork(log, 2).request(12, 14)) == ("consistency-proof", True)
    assert after(fork(log, 2).request(12, 12)) == ("witness-root", True)
    made.add_checkpoint(log.request(12, 13).write())
    assert after(log.request(3, 5)) == ("witness-root", True)
    (kept,) = (tmp_path / "refused").iterdir()
    assert kept.read_bytes() == fork(log, 2).note(12)
    made.close()


def test_what_somebody_brings_is_held_against_the_memory(log: Log, tmp_path: Path) -> None:
    made = witness(tmp_path, log)
    line = made.add_checkpoint(log.request(0, 9).write())
    brought = witness_memory.check(tmp_path, log.note(9) + line)
    assert (brought.size, brought.held, brought.cosigned_at, brought.same) == (9, 9, NOW, True)
    assert witness_memory.check(tmp_path, fork(log, 2).note(9)).same is False
    assert witness_memory.check(tmp_path, log.note(7)).same is None
    assert witness_memory.check(tmp_path, log.note(7)).cosigned_at is None
    with pytest.raises(SignatureInvalid):
        witness_memory.check(tmp_path, log.note(9).replace(b"\n9\n", b"\n8\n"))
    made.close()


# Killed at every line


def in_child(work: Callable[[], bytes], line: int) -> tuple[bytes, bool]:
    """Runs `work` in a child that is killed by signal 9 before the given line of the memory's code (or of what it
    writes by) runs. What it gave out until then, and whether it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        watched, seen = {witness_memory.__file__, durable.__file__}, 0

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename not in watched:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        given = file.read()
    _, status = os.waitpid(child, 0)
    return given, os.WIFSIGNALED(status)


def test_a_witness_killed_at_any_line_never_cosigns_two_histories(log: Log, tmp_path: Path) -> None:
    """One history is offered and the witness killed; then the other one is, to the witness that starts after it."""
    other, line, kills, given_out = fork(log, 5), 0, 0, 0
    while True:
        line += 1
        folder = tmp_path / str(line)
        made = witness(folder, log)
        made.add_checkpoint(log.request(0, 7 if line % 2 else 5).write())
        old = 7 if line % 2 else 5
        made.close()

        def ask(folder: Path = folder, old: int = old) -> bytes:
            return Witness(folder, lambda: NOW).add_checkpoint(log.request(old, 9).write())

        given, killed = in_child(ask, line)
        kills, given_out = kills + killed, given_out + bool(given)
        after = Witness(folder, lambda: NOW)
        assert after.logs()[0].held in (log.held(old), log.held(9))
        if given:
            assert after.logs()[0].held == log.held(9), "given out and not remembered"
        if old == 5 and after.logs()[0].held.size == 5:
            # Nothing was given out: either history may still go on from here.
            after.add_checkpoint(other.request(5, 9).write())
        else:
            with pytest.raises(VidneError):
                after.add_checkpoint(other.request(after.logs()[0].held.size, 9).write())
            assert after.add_checkpoint(log.request(after.logs()[0].held.size, 9).write())
        after.close()
        if not killed:
            break
    assert kills > 60
    assert given_out == 1
