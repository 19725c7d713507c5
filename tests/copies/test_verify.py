"""Both checkers, ours and the package's own, on a good package and on spoilt ones (facts: integrity, 8, 26, 38)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from evidence_store.copies.package import prepare
from evidence_store.copies.verify import Anchors, Report, verify
from evidence_store.errors import InvalidInput
from evidence_store.sealing import certificates as certs
from tests.sealing.conftest import BORN

from .conftest import CLOSE, INTERVIEW, SOUND, WIDE, Made, Script, Store, source_of, whole_interview

WIDE_FILM = "data/original/take-001-wide-video-0.mp4"


def shell(folder: Path, fingerprint: str | None, player: str | None = None) -> tuple[int, str]:
    """verify.sh as a stranger runs it: exit code and words."""
    environment = {"PATH": "/usr/bin:/bin", **({} if player is None else {"FFPROBE": player})}
    arguments = [] if fingerprint is None else [fingerprint]
    done = subprocess.run(
        ["sh", folder / "verify.sh", *arguments], capture_output=True, text=True, timeout=60, env=environment
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def ours(folder: Path, made: Made) -> Report:
    return verify(folder, Anchors(made.store.fingerprint))


def failed(report: Report) -> dict[str, str]:
    return {check.name: check.detail for check in report.failures}


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def ranges_of(folder: Path, path: str) -> list[list[str]]:
    lines = (folder / "evidence/ranges.txt").read_text().splitlines()
    return [words for words in map(str.split, lines) if words[-1] == path]


def test_script_holds_with_the_right_fingerprint(made: Made) -> None:
    code, words = shell(made.bag, made.store.fingerprint.upper(), imageio_ffmpeg.get_ffmpeg_exe())
    assert code == 0, words
    assert "kopien holder" in words
    assert words.count("læses til ende") == 5


def test_script_takes_colons_as_openssl_writes_them(made: Made) -> None:
    pairs = ":".join(re.findall("..", made.store.fingerprint.upper()))
    assert shell(made.bag, pairs)[0] == 0


def test_script_of_another_package_checks_a_folder_it_is_given(made: Made, tmp_path: Path) -> None:
    own = tmp_path / "verify.sh"
    own.write_bytes((made.bag / "verify.sh").read_bytes())
    done = subprocess.run(["sh", own, made.store.fingerprint, made.bag], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert subprocess.run(["sh", own, made.store.fingerprint], capture_output=True, timeout=60).returncode == 2


def test_ours_holds_on_folder_and_tar(made: Made) -> None:
    player = imageio_ffmpeg.get_ffmpeg_exe()
    for path in (made.bag, made.tar, made.bag.parent):
        report = verify(path, Anchors(made.store.fingerprint), player=player)
        assert report.ok, failed(report)
        assert [check.name for check in report.checks] == [
            "anchor", "certificates", "signatures", "files", "takes", "devices", "originals", "gaps", "custody", "time",
            "player",
        ]  # fmt: skip


def test_without_an_anchor_nothing_is_ok(made: Made) -> None:
    code, words = shell(made.bag, None)
    assert code == 3
    assert "hvem der har underskrevet" in words
    report = verify(made.bag, Anchors())
    assert not report.ok
    assert set(failed(report)) == {"anchor"}


def test_another_houses_fingerprint(made: Made) -> None:
    other = certs.fingerprint(certs.issue(certs.ROOT, certs.new_key().public_key(), None, certs.new_key(), BORN))
    assert shell(made.bag, other)[0] == 1
    assert "anchor" in failed(verify(made.bag, Anchors(other)))


@pytest.mark.parametrize("fingerprint", ["abc", "x" * 64])
def test_what_is_no_fingerprint(made: Made, fingerprint: str) -> None:
    assert shell(made.bag, fingerprint)[0] == 2
    assert not verify(made.bag, Anchors(fingerprint)).ok


@pytest.mark.parametrize("share", [0.0, 0.4, 0.999])
def test_flipped_byte_is_named_with_track_and_second(made: Made, bag: Path, share: float) -> None:
    film = bag / WIDE_FILM
    at = int(share * film.stat().st_size)
    flip(film, at)
    struck = [w for w in ranges_of(bag, WIDE_FILM) if int(w[1]) <= at < int(w[1]) + int(w[2])]
    assert len(struck) == 1
    second = struck[0][5]
    code, words = shell(bag, made.store.fingerprint)
    assert code == 1
    assert f"spor wide-video, sekund {second}," in words
    assert words.count("sekund") == 1
    problems = failed(ours(bag, made))
    assert f"track wide-video, second {second} " in problems.pop("originals")
    assert not problems


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        (lambda bag: append(bag / WIDE_FILM), "originals"),
        (lambda bag: os.truncate(bag / WIDE_FILM, 1000), "originals"),
        (lambda bag: (bag / WIDE_FILM).unlink(), "files"),
        (lambda bag: (bag / "data/extra.mp4").write_bytes(b""), "files"),
        (lambda bag: (bag / "evidence/link").symlink_to("/etc/hostname"), "files"),
        (lambda bag: flip(bag / "data/viewing/visningskopi.mp4", 5000), "files"),
        (lambda bag: flip(bag / "evidence/copy.json", 100), "files"),
        (lambda bag: flip(bag / "tagmanifest-sha256.txt", 3), "signatures"),
        (lambda bag: flip(bag / "evidence/manifest.json.p7s", 900), "signatures"),
        (lambda bag: flip(bag / "evidence/ranges.txt", 90), "signatures"),
    ],
    ids=[
        "film_with_appended_byte", "film_truncated", "film_missing", "file_added", "symlink_added",
        "viewing_copy_flipped", "copy_description_flipped", "tagmanifest_flipped", "manifest_signature_flipped",
        "ranges_flipped",
    ],
)  # fmt: skip
def test_spoilt_packages(made: Made, bag: Path, defect: Callable[[Path], object], check: str) -> None:
    defect(bag)
    assert shell(bag, made.store.fingerprint)[0] == 1
    assert check in failed(ours(bag, made))


def test_edited_custody_event_fails_its_proof(made: Made, bag: Path) -> None:
    path = bag / "evidence/custody.json"
    log = json.loads(path.read_text())
    log["entries"][1]["body"]["at"] = "2026-11-22T08:15:00.000000000Z"
    path.write_text(json.dumps(log))
    problems = failed(ours(bag, made))
    assert "custody entry 1" in problems["custody"]


def test_custody_entry_left_out(made: Made, bag: Path) -> None:
    path = bag / "evidence/custody.json"
    log = json.loads(path.read_text())
    del log["entries"][1]
    path.write_text(json.dumps(log))
    assert "proofs without" in failed(ours(bag, made))["custody"]


def test_journal_line_removed(made: Made, bag: Path) -> None:
    journal = next(iter((bag / "evidence/takes").glob("*-1/journal.jsonl")))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5] + lines[6:]))
    assert "expected tick 5" in failed(ours(bag, made))["takes"]


def test_flipped_ml_dsa_signature_is_seen_by_ours_alone(made: Made, bag: Path) -> None:
    flip(bag / "tagmanifest-sha256.txt.mldsa65", 1000)
    assert shell(bag, made.store.fingerprint)[0] == 0
    assert "signatures" in failed(ours(bag, made))


def resign(bag: Path, key: ec.EllipticCurvePrivateKey, chain: list[x509.Certificate]) -> None:
    """Signs the whole package anew, as somebody who holds another key would."""

    def sign(name: str) -> None:
        (bag / f"{name}.p7s").write_bytes(certs.sign_cms(key, chain[0], chain[1:], (bag / name).read_bytes()))

    def list_sums(name: str, paths: list[Path]) -> None:
        sums = {path.relative_to(bag).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        (bag / name).write_text("".join(f"{sums[path]}  {path}\n" for path in sorted(sums)))

    sign("evidence/manifest.json")
    sign("evidence/ranges.txt")
    files = [path for path in bag.rglob("*") if path.is_file()]
    payload = [path for path in files if path.is_relative_to(bag / "data")]
    list_sums("manifest-sha256.txt", payload)
    tags = [path for path in files if path not in payload and not path.name.startswith("tagmanifest")]
    list_sums("tagmanifest-sha256.txt", tags)
    sign("tagmanifest-sha256.txt")


def test_device_that_issues_itself_a_store_is_not_the_store(made: Made, bag: Path) -> None:
    key, store = certs.new_key(), made.store
    forged = certs.issue(certs.STORE, key.public_key(), store.device, store.device_key, BORN)
    (bag / "evidence/certificates/store.pem").write_bytes(certs.to_pem(forged) + certs.to_pem(store.device))
    resign(bag, key, [forged, store.device, store.root])
    code, words = shell(bag, store.fingerprint)
    assert code == 1
    assert "lagerets certifikat er ikke udstedt af roden" in words
    assert {"certificates", "signatures"} <= set(failed(ours(bag, made)))


def test_second_root_beside_the_first_is_not_trusted(made: Made, bag: Path) -> None:
    root_key, key = certs.new_key(), certs.new_key()
    root = certs.issue(certs.ROOT, root_key.public_key(), None, root_key, BORN, path_length=1)
    forged = certs.issue(certs.STORE, key.public_key(), root, root_key, BORN)
    with (bag / "evidence/certificates/root.pem").open("ab") as file:
        file.write(certs.to_pem(root))
    (bag / "evidence/certificates/store.pem").write_bytes(certs.to_pem(forged))
    resign(bag, key, [forged, root])
    assert shell(bag, made.store.fingerprint)[0] == 1
    assert {"certificates", "signatures"} <= set(failed(ours(bag, made)))


def test_store_that_lies_about_media_is_caught_by_the_devices_record(made: Made, bag: Path) -> None:
    """With the store's own key one byte is changed and everything signed anew: the commitment still says no."""
    flip(bag / WIDE_FILM, 30_000)
    ranges = (bag / "evidence/ranges.txt").read_text().splitlines(keepends=True)
    film = (bag / WIDE_FILM).read_bytes()
    for number, line in enumerate(ranges):
        words = line.split()
        if words[-1] == WIDE_FILM:
            piece = film[int(words[1]) : int(words[1]) + int(words[2])]
            ranges[number] = hashlib.sha256(piece).hexdigest() + line[64:]
    (bag / "evidence/ranges.txt").write_text("".join(ranges))
    resign(bag, made.store.store_key, [made.store.store, made.store.root])
    assert shell(bag, made.store.fingerprint)[0] == 0, "openssl and sha256sum cannot see that"
    assert "track wide-video, second" in failed(ours(bag, made))["originals"]


def test_undeclared_hole_is_named(store: Store, recipient: tuple[str, Path], tmp_path: Path) -> None:
    films = whole_interview()[0].films
    script = Script(1, films, [WIDE, CLOSE, SOUND], dropped=(1, 2.0, 3.0), declared=False)
    source = source_of(store, [script], recipient[0])
    assert source.interview == INTERVIEW
    with prepare(source, scratch=tmp_path) as prepared:
        for file in prepared.files:
            path = tmp_path / "bag" / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(file.read()))
    report = verify(tmp_path / "bag", Anchors(store.fingerprint))
    assert set(failed(report)) == {"gaps"}
    assert "undeclared hole, track close-video, second 2" in failed(report)["gaps"]


def test_what_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        verify(tmp_path, Anchors("0" * 64))
    (tmp_path / "file").write_bytes(b"x" * 2000)
    with pytest.raises(InvalidInput):
        verify(tmp_path / "file", Anchors("0" * 64))
