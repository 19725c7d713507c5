"""verify.pyz: `vidne verify` in one file, where nothing but Python and `cryptography` can be imported."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from evidence_store.copies.bag import checksums, unlimited
from evidence_store.errors import InvalidInput
from evidence_store.verifying import single_file
from evidence_store.verifying.command import HOLDS, HOLDS_NOT, INTERRUPTED, NOT_CHECKED, UNKNOWN, main
from tests.copies.conftest import Made
from tests.copies.test_verify import WIDE_FILM, flip

WINDOWS = Path(__file__).with_name("windows_like.py")
ALONE = "import sys,runpy; sys.path.insert(0, sys.argv.pop(1)); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"  # noqa: E501


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "verify.pyz"
    assert single_file.write(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    return path


@pytest.fixture(scope="module")
def only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from in which `cryptography` is, with what it stands on itself, and nothing else."""
    folder = tmp_path_factory.mktemp("only")
    for name in ("cryptography", "cffi", "pycparser", "_cffi_backend"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        origin = origin.parent if origin.name == "__init__.py" else origin
        (folder / origin.name).symlink_to(origin)
    return folder


def alone(pyz: Path, only: Path, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """As a stranger runs it: no site packages, no environment, another folder."""
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(only), str(pyz), *map(str, arguments)]
    done = subprocess.run(command, cwd=only, capture_output=True, timeout=60, env=environment, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_it_is_the_same_bytes_each_time_and_holds_what_verify_reaches(pyz: Path) -> None:
    assert single_file.build() == pyz.read_bytes()
    with zipfile.ZipFile(pyz) as archive:
        names = archive.namelist()
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
    assert names == sorted(names)
    assert {name.partition("/")[0] for name in names} == {"__main__.py", "evidence_store", "rfc8785"}
    assert "rfc8785/LICENSE" in names
    makers = {"render", "package", "contents", "vessel", "source", "opened", "survey", "keys", "keeper", "authority"}
    assert not makers & {Path(name).stem for name in names}, "what makes copies or holds keys"
    assert len(pyz.read_bytes()) < 512 * 1024


def test_an_import_of_anything_else_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(single_file.CannotBuild, match="imports sqlalchemy"):
        single_file.sources("evidence_store.ledger.ledger")


@pytest.mark.parametrize("language", ["da", "en"])
def test_it_holds_on_folder_and_tar_where_nothing_of_ours_is(made: Made, pyz: Path, only: Path, language: str) -> None:
    for package in (made.bag, made.tar):
        code, said, wrong = alone(
            pyz, only, package, "--fingerprint", made.store.fingerprint, "--language", language, LANG="C.UTF-8"
        )
        assert (code, wrong) == (HOLDS, "")
        result = {"da": "RESULTAT: Kopien holder.", "en": "RESULT: The copy holds."}[language]
        grade = {"da": "Styrke 1 af 5, underskrevet", "en": "Assurance 1 of 5, signed"}[language]
        never = {"da": "hvad der skete foran linsen", "en": "what happened in front of the lens"}[language]
        assert result in said
        assert grade in said
        assert never in said
        assert made.store.fingerprint in said
        assert [line.split()[1] for line in said.splitlines() if line.startswith("OK")] == [
            f"{n}." for n in range(1, 11)
        ]


def test_it_refuses_and_names_track_and_second(made: Made, bag: Path, pyz: Path, only: Path) -> None:
    flip(bag / WIDE_FILM, 9_000)
    code, said, _ = alone(pyz, only, bag, "--fingerprint", made.store.fingerprint, "--language", "en")
    assert code == HOLDS_NOT
    assert "FAIL  7. originals: an original is not as it was recorded" in said
    assert "track wide-video, second" in said
    assert "Keep the package as it is, and ask the store for a new copy" in said
    assert "What is proven" not in said


def test_without_a_fingerprint_it_proves_nothing_and_says_so(made: Made, pyz: Path, only: Path) -> None:
    code, said, _ = alone(pyz, only, made.bag, LANG="C.UTF-8")
    assert code == UNKNOWN
    assert "Det beviser intet." in said
    assert "Det er bevist:" not in said
    code, said, _ = alone(pyz, only, made.bag, "--json")
    told = json.loads(said)
    assert (code, told["exit"], told["grade"], told["level"], told["ok"]) == (UNKNOWN, UNKNOWN, "unknown", 0, False)


def test_another_houses_fingerprint(made: Made, pyz: Path, only: Path) -> None:
    code, said, _ = alone(pyz, only, made.bag, "--fingerprint", "0" * 64, "--language", "en")
    assert code == HOLDS_NOT
    assert "Assurance 0 of 5, refused" in said


def test_what_cannot_be_checked_says_what_to_do(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = ("--fingerprint", made.store.fingerprint)
    (tmp_path / "keys").write_text("no key")
    for arguments, words in (
        ((tmp_path, *good), "Not an evidence copy"),
        ((made.age_file, *good), "The package is locked. Open it first: age -d"),
        ((made.bag, "--fingerprint", "abc"), "--fingerprint is 64 characters"),
        ((made.bag, *good, "--time-authority", "x" * 64), "--time-authority is 64 characters"),
        ((made.bag, *good, "--witness-keys", tmp_path / "keys"), "--witness-keys cannot be read"),
        ((made.bag, *good, "--quorum", "2"), "--quorum is at least 1"),
    ):
        code, told = main([*map(str, arguments), "--language", "en"]), capsys.readouterr()
        assert (code, told.out) == (NOT_CHECKED, "")
        assert words in told.err


def test_without_cryptography_it_says_what_it_needs(pyz: Path, tmp_path: Path) -> None:
    code, said, wrong = alone(pyz, tmp_path, "package")
    assert (code, said) == (NOT_CHECKED, "")
    assert "needs cryptography 50 or later" in wrong


@pytest.mark.parametrize(("encoding", "language"), [("cp850", "da"), ("cp1252", "en"), ("ascii", "da")])
def test_where_windows_would_have_less(made: Made, bag: Path, pyz: Path, only: Path, encoding: str, language: str) -> None:  # fmt: skip # noqa: E501
    """No module, no name in `os` that Windows lacks, and a console that knows few letters and ends lines its way."""
    (bag / "data" / "grøn → \u202e\x1b[2J.txt").write_bytes(b"")
    for package, code, result in ((made.bag, HOLDS, "holde"), (bag, HOLDS_NOT, "IKKE")):
        command = [sys.executable, "-I", "-S", WINDOWS, only, pyz, encoding, package]
        command += ["--fingerprint", made.store.fingerprint, "--language", language, "--progress"]
        done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, env={}, check=False)
        said, wrong = done.stdout.decode(encoding), done.stderr.decode(encoding)
        assert done.returncode == code, wrong
        assert "Traceback" not in wrong
        assert "100 %" in wrong or package is bag
        assert " % (" in wrong
        assert said.count("\r\n") == said.count("\n") > 10
        assert "\x1b" not in said
        assert "\u202e" not in said
        if language == "da":
            assert result in said
            assert ("hvad der skete foran linsen, før den" in said) is (code == HOLDS and encoding != "ascii")


def test_names_that_windows_reads_otherwise_are_refused_everywhere() -> None:
    digest = "0" * 64
    good = f"{digest}  data/original/take-001-wide-video-0.mp4\n"
    assert len(checksums(good.encode())) == 1
    for path in (
        "data\\original\\x.mp4", "..\\..\\x", "C:\\x", "C:x", "data/x:stream", "data/a?", "../x", "/x",
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            checksums(f"{good}{digest}  {path}\n".encode())
    with pytest.raises(InvalidInput):
        checksums(f"{good}{good.replace('wide', 'WIDE')}".encode())


@pytest.mark.parametrize(
    ("path", "long"),
    [
        (r"C:\Sager\vidne-kopi-1", r"\\?\C:\Sager\vidne-kopi-1"),
        ("C:/Sager/kopi", r"\\?\C:\Sager\kopi"),
        (r"\\server\drev\kopi", r"\\?\UNC\server\drev\kopi"),
        (r"\\?\D:\kopi", r"\\?\D:\kopi"),
    ],
)
def test_long_paths_of_windows(path: str, long: str) -> None:
    assert unlimited(path) == long


def test_ctrl_c_ends_it_at_once_with_a_word(made: Made, pyz: Path, only: Path, tmp_path: Path) -> None:
    """A package whose film never comes to an end, as a slow disk would: a pipe cannot be in a package, a sparse file
    of a terabyte can."""
    endless = tmp_path / "bag"
    subprocess.run(["cp", "-r", made.bag, endless], check=True)
    with (endless / "data/viewing/visningskopi.mp4").open("r+b") as film:
        film.truncate(1 << 40)
    command = [sys.executable, "-I", "-S", "-c", ALONE, only, pyz, endless, "--fingerprint", made.store.fingerprint]
    command += ["--progress", "--language", "en"]
    child = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background may have had Ctrl-C ignored, and what they start with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("read 0 %"), "it is reading"
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        try:
            _, said = child.communicate(timeout=60)
        finally:
            child.kill()  # it would read for a quarter of an hour
    assert child.returncode == INTERRUPTED
    assert "Nothing is said of the copy" in said
    assert "Traceback" not in said
    assert time.monotonic() - began < 10


def test_it_runs_by_itself_as_a_program(made: Made, pyz: Path, only: Path) -> None:
    """`python verify.pyz`, with `cryptography` where Python looks for packages."""
    environment = {"PYTHONPATH": str(only), "PATH": os.environ["PATH"], "LANG": "en_GB.UTF-8"}
    command = [sys.executable, "-S", str(pyz), str(made.tar), "--fingerprint", made.store.fingerprint]
    done = subprocess.run(command, cwd=only, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.returncode, done.stderr) == (HOLDS, "")
    assert "RESULT: The copy holds." in done.stdout
