"""`vidne recovery`: the key goes onto paper and off the machine, and not before it was typed back from the paper."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.desk.standing import RECOVERY_KEY_HERE, standing_alarms
from evidence_store.recovery.sheet import words_on
from tests.house import House

ROOT = Path(__file__).parents[2]


def vidne(*arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *map(str, arguments)], cwd=ROOT, input=typed, capture_output=True,
        text=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, check=False,
    )  # fmt: skip


def sheets(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.iterdir())]


def typed(printed: list[str]) -> str:
    return "".join(words_on(each) + "\n" for each in printed)


@pytest.fixture
def key(house: House) -> Path:
    return house.folder / "escrow" / "recovery.key"


def test_split_then_typed_back_takes_the_key_away(house: House, key: Path, tmp_path: Path) -> None:
    seed, out = key.read_bytes(), tmp_path / "sheets"
    kept = vidne("recovery", "split", "--data", house.folder, "--out", out, "--keep")
    assert kept.returncode == 0, kept.stderr
    assert key.read_bytes() == seed
    printed = sheets(out)
    assert len(printed) == 5
    assert all(house.store.authority.fingerprint[:8] in each for each in printed)
    assert {path.stat().st_mode & 0o077 for path in out.iterdir()} == {0}
    assert [each.code for each in standing_alarms(key.parent)] == [RECOVERY_KEY_HERE]

    ran = vidne("recovery", "check", "--data", house.folder, "--remove", typed=typed(printed[1:4]))
    assert ran.returncode == 0, ran.stderr
    assert "lists 2, 3, 4" in ran.stdout
    assert not key.exists()
    assert standing_alarms(key.parent) == ()
    said = " ".join((kept.stdout + kept.stderr + ran.stdout + ran.stderr).split())
    words = words_on(printed[1]).split()
    assert not any(" ".join(words[at : at + 3]) in said for at in range(len(words) - 2)), "words of a list were said"

    files = [argument for path in sorted(out.iterdir())[:3] for argument in ("--share", path)]
    again = vidne("recovery", "check", "--data", house.folder, *files)
    assert again.returncode == 0, again.stderr
    assert not key.exists(), "a drill keeps nothing"


def test_on_the_terminal_one_at_a_time_and_in_one_go(house: House, key: Path) -> None:
    """What a person types comes from what was printed: here, from a first run that was broken off."""
    broken_off = vidne("recovery", "split", "--data", house.folder, "--shares", 3, "--threshold", 2, typed="\n\n\n")
    assert broken_off.returncode == 2
    assert key.exists()
    assert "still where it was" in broken_off.stderr
    parts = ["VIDNE: ANDEL" + each for each in broken_off.stdout.split("VIDNE: ANDEL")[1:]]
    ran = vidne("recovery", "split", "--data", house.folder, "--keep", typed=typed(parts[:2]))
    assert ran.returncode == 0
    removed = vidne("recovery", "check", "--data", house.folder, "--remove", typed=typed(parts[:2]))
    assert removed.returncode == 0, removed.stderr
    assert not key.exists()


@pytest.mark.parametrize("html", [False, True])
def test_a_wrong_word_or_too_few_lists_leave_everything_as_it_is(
    house: House, key: Path, tmp_path: Path, html: bool
) -> None:
    seed, out = key.read_bytes(), tmp_path / "sheets"
    more = ["--html"] if html else []
    assert vidne("recovery", "split", "--data", house.folder, "--out", out, "--keep", *more).returncode == 0
    printed = sheets(out)
    mistyped = words_on(printed[0]).split()
    mistyped[10], mistyped[11] = mistyped[11], mistyped[10]
    for line in (typed(printed[:2]), " ".join(mistyped) + "\n", typed(printed[:1]) * 3, "\n"):
        ran = vidne("recovery", "check", "--data", house.folder, "--remove", typed=line)
        assert ran.returncode == 2
        assert "Traceback" not in ran.stderr
        assert key.read_bytes() == seed


def test_lists_of_another_house_are_refused(house: House, tmp_path: Path) -> None:
    other, out = House(tmp_path / "other"), tmp_path / "sheets"
    other.close()
    assert vidne("recovery", "split", "--data", other.folder, "--out", out, "--keep").returncode == 0
    ran = vidne("recovery", "check", "--data", house.folder, "--remove", typed=typed(sheets(out)[:3]))
    assert (ran.returncode, "another escrow" in ran.stderr) == (2, True)
    assert (house.folder / "escrow" / "recovery.key").exists()


def test_a_key_that_is_not_there_is_not_split(house: House, key: Path) -> None:
    key.unlink()
    ran = vidne("recovery", "split", "--data", house.folder)
    assert ran.returncode == 2
    assert "Nothing was changed" in ran.stderr
    assert "Traceback" not in ran.stderr
