"""A verifier written from the format documents alone, and the vectors: both it and ours refuse every defect."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evidence_store.copies.verify import Anchors, verify
from tests.vectors import apply, make

TESTS = Path(__file__).parent.parent
SECOND = TESTS / "second_verifier.py"
DEFECTS = sorted((TESTS / "vectors" / "defects").glob("*.json"))
KEYS = json.loads((TESTS / "vectors" / "keys.json").read_text())


def second(package: Path, fingerprint: str | None, empty: Path) -> tuple[int, str]:
    """The second verifier as a stranger runs it: alone, in an empty folder, where nothing of ours can be imported."""
    given = [] if fingerprint is None else ["--fingerprint", fingerprint]
    empty.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-I", SECOND, package, *given], cwd=empty, capture_output=True, text=True, timeout=60, env={}
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    apply.unpack(folder)
    return folder


@pytest.mark.parametrize("path", DEFECTS, ids=lambda path: path.stem)
def test_both_verifiers_refuse_what_is_spoilt_and_nothing_else(path: Path, packages: Path, tmp_path: Path) -> None:
    vector: dict[str, Any] = json.loads(path.read_text())
    shutil.copytree(packages, tmp_path / "spoilt")
    apply.Spoiler(tmp_path / "spoilt", KEYS).apply(vector["changes"])
    package, fingerprint = tmp_path / "spoilt" / "good", vector.get("fingerprint", KEYS["fingerprint"])

    code, said = second(package, fingerprint, tmp_path / "empty")
    expected = (0, "GOOD") if vector["expect"] == "good" else (1, f"REFUSED: {vector['expect']}")
    assert (code, said.rpartition(": ")[0] if code == 0 else ": ".join(said.split(": ")[:2])) == expected, said

    report = verify(package, Anchors(fingerprint))
    holds = vector["expect"] == "good" or "vidne" in vector
    assert report.ok is holds, [(check.name, check.detail) for check in report.checks]


def test_it_takes_what_the_store_makes_today(tmp_path: Path) -> None:
    """The vectors' packages are kept; this one is made now, so that a format that moves on is noticed here."""
    make.make(tmp_path)
    fingerprint = json.loads((tmp_path / "keys.json").read_text())["fingerprint"]
    for name in ("good", "other"):
        code, said = second(tmp_path / name, fingerprint, tmp_path / "empty")
        assert code == 0, said
        assert verify(tmp_path / name, Anchors(fingerprint)).ok


def test_it_needs_nothing_of_ours_and_is_short() -> None:
    text = SECOND.read_text()
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    roots = {name.partition(".")[0] for name in imported} - {"cryptography"}
    assert roots <= sys.stdlib_module_names
    assert len(text.splitlines()) < 300


def test_the_words_are_in_the_document() -> None:
    """Every word that a vector expects is explained in docs/formats/package.md, and every one there has a vector."""
    words = {json.loads(path.read_text())["expect"] for path in DEFECTS} - {"good"}
    page = (TESTS.parent / "docs/formats/package.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 3]
    listed = {word for row in rows for word in row.replace("`", "").replace(",", " ").split()}
    assert words <= listed
