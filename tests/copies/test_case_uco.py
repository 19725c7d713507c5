"""An evidence copy as CASE/UCO: valid against the ontology's own shapes, the same each time, and it names nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from evidence_store.copies.bag import checksums, open_bag
from evidence_store.copies.case_uco import CONTEXT, case_uco
from evidence_store.errors import VidneError
from tests.copies.conftest import CASE, Made


@pytest.fixture(scope="module")
def graph(made: Made) -> bytes:
    return case_uco(open_bag(made.bag))


def test_it_is_valid_against_the_shapes(graph: bytes, tmp_path: Path) -> None:
    """`case_validate` with the shapes that it brings, of CASE 1.4.0 with UCO 1.4.0: what is not as they want it, a hint
    even, ends it with 1."""
    path = tmp_path / "copy.jsonld"
    path.write_bytes(graph)
    command = Path(sys.executable).parent / "case_validate"
    done = subprocess.run(
        [command, "--built-version", "case-1.4.0", path], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Conforms: True" in done.stdout


def test_it_says_what_the_package_says(graph: bytes, made: Made) -> None:
    nodes = json.loads(graph)["@graph"]
    hashes = {}
    for node in nodes:
        if node["@type"] == "uco-observable:File":
            file, content = node["uco-core:hasFacet"]
            hashes[file["uco-observable:filePath"]] = content["uco-observable:hash"][0]["uco-types:hashValue"]["@value"]
    assert hashes == checksums((made.bag / "manifest-sha256.txt").read_bytes())
    custody = json.loads((made.bag / "evidence/custody.json").read_text())["entries"]
    names = [node["uco-core:name"] for node in nodes if node["@type"] == "case-investigation:InvestigativeAction"]
    assert [entry["body"]["verb"] for entry in custody] == names[-len(custody) :]
    assert any("Gap (loss) on close-video" in word for node in nodes for word in node.get("uco-core:description", ()))
    held = {each["@id"] for each in nodes[0]["uco-core:object"]}
    assert held == {node["@id"] for node in nodes[1:]}
    assert len(held) == len(nodes) - 1


def test_it_names_nobody_and_no_case(bag: Path) -> None:
    path = bag / "evidence/custody.json"
    custody = json.loads(path.read_text())
    actor = {"id": "0123456789abcdef" * 2, "kind": "person", "name": "Petra Prøve", "role": "prosecutor"}
    custody["entries"][0]["body"] |= {"actor": actor, "reason": "Forberedelse", "case_number": CASE}
    path.write_text(json.dumps(custody))
    said = json.loads((bag / "evidence/copy.json").read_text())
    graph = case_uco(open_bag(bag)).decode()
    assert "by: prosecutor" in graph
    for text in (
        CASE, said["recipient"], said["purpose"], said["requested_by"], actor["id"], actor["name"], "Forberedelse"
    ):  # fmt: skip
        assert str(text) not in graph, text


def test_the_same_package_gives_the_same_bytes_and_a_folder_and_its_tar_too(graph: bytes, made: Made) -> None:
    assert case_uco(open_bag(made.tar)) == graph
    assert set(json.loads(graph)["@context"]) == set(CONTEXT)


def test_it_is_written_beside_the_package_and_never_into_it(made: Made, bag: Path, tmp_path: Path) -> None:
    def run(*options: object) -> int:
        return CliRunner().invoke(app, ["case-uco", *map(str, options)]).exit_code

    out = tmp_path / "copy.jsonld"
    assert run(bag, "--out", out) == 0
    assert out.read_bytes() == case_uco(open_bag(made.bag))
    assert run(bag, "--out", out) == 2, "nothing is overwritten"
    assert run(bag, "--out", bag / "evidence" / "copy.jsonld") == 2
    assert not (bag / "evidence" / "copy.jsonld").exists()
    (bag / "evidence" / "copy.json").write_text("{}")
    with pytest.raises(VidneError):
        case_uco(open_bag(bag))
    assert run(bag) == 1
