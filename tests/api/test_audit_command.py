"""`vidne audit` at the command line: how it ends, in which words, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from evidence_store.audit_words import _OTHERWISE, name_of, words_for
from tests.house import House, record

ROOT = Path(__file__).parents[2]
CHECKERS = (
    "audit.py", "erasure.py", "revoking.py", "scrub.py", "intake.py", "copies/cms.py", "sealing", "stamps", "ledger",
    "vault",
)  # fmt: skip
NOT_FOUND_BY_AN_AUDIT = re.compile(
    r".*-form|not-canonical|interview|take|take-closed|take-exists|enrolment-exists|store-key-form|body-too-large|"
    r"ledger-unsigned|.*-misplaced|heartbeat-form|private-key-form|wrap-invalid|public-key-form|openssl-missing|hold.*|"
    r"object-(exists|range|name)|unreadable"
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("audited"))
    spool, order = made.spool(), made.interview()
    made.deliver(record(made, spool, order, ticks=20))
    made.store.sealing.seal(order.interview.hex())
    yield made
    made.close()


def run(house: House, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", "--data", str(house.folder), *options])
    return done.exit_code, done.stdout


def test_a_store_that_is_right(house: House) -> None:
    code, told = run(house)
    assert code == 0
    assert told.endswith("Everything is as it was stored.\n")
    code, told = run(house, "--language", "da")
    assert code == 0
    assert "OK   beviskæden: " in told
    assert told.endswith("Alt er, som det blev gemt.\n")
    assert run(house, "--language", "sv")[0] == 2


def test_a_command_with_other_vaults_than_the_house_has_changes_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make the house take a vault for new, or forget one, and read everything again."""
    monkeypatch.setenv("VIDNE_SECOND_VAULT", str(tmp_path / "second"))
    done = CliRunner().invoke(app, ["audit", "--data", str(house.folder)])
    assert done.exit_code == 2
    assert "other vaults than the house works with" in done.output
    holdings = house.store.book.vault.holdings
    assert holdings.known() == set(house.store.book.vault.identities)
    assert holdings.lacks(1) == []
    assert not (tmp_path / "second").exists()
    assert not (house.folder / "store" / "second-vault").exists()


def test_what_is_wrong_is_said_with_what_is_safe_and_what_to_do(house: House) -> None:
    path = next(house.vault.glob("takes/*/000001/segments/000001"))
    before = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        code, told = run(house, "--language", "da")
        assert code == 1
        lines = told.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith("FEJL optagelse "))
        assert "(object-altered)" in lines[at]
        assert [line.split(":")[0].strip() for line in lines[at + 1 : at + 4]] == ["Betyder", "Sikkert", "Gør"]
        code, told = run(house, "--json")
        said = json.loads(told)
        assert (code, said["exit"], said["ok"]) == (1, 1, False)
        wrong = next(each for each in said["findings"] if not each["ok"])
        assert wrong["code"] == "object-altered"
        assert wrong["words"] == {
            "do": words_for("object-altered", "en").do, "means": words_for("object-altered", "en").means,
            "safe": words_for("object-altered", "en").safe,
        }  # fmt: skip
    finally:
        path.write_bytes(before)


def test_every_code_that_an_audit_can_meet_has_words_of_its_own() -> None:
    files = [
        file
        for each in CHECKERS
        for path in [ROOT / "evidence_store" / each]
        for file in ([path] if path.is_file() else path.glob("*.py"))
    ]
    codes = {code for file in files for code in re.findall(r'code="([a-z0-9-]+)"', file.read_text())}
    assert {"object-altered", "custody-row-missing", "ledger-node-wrong"} <= codes
    wordless = {
        code
        for code in codes
        if words_for(code, "en") is _OTHERWISE["en"] and not NOT_FOUND_BY_AN_AUDIT.fullmatch(code)
    }
    assert wordless == set()
    assert words_for("unreadable", "da") is _OTHERWISE["da"]


def test_what_was_looked_at_has_a_danish_name() -> None:
    assert name_of("take ab12cd34-7", "da") == "optagelse ab12cd34-7"
    assert name_of("time manifest ab12cd34", "da") == "tidsstempler for manifest ab12cd34"


def test_on_a_terminal_it_tells_how_far_it_is_and_ctrl_c_leaves_what_was_looked_at(house: House) -> None:
    """Stopped at its first word about how far it is, which is in the midst of the ledger."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "audit", "--data", house.folder],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"GB" not in seen:
        seen += os.read(ours, 4096)
    assert re.search(rb"recording \d of 1 \xc2\xb7 \d+\.\d of \d+\.\d GB \xc2\xb7 \d+ entries", seen), seen
    running.send_signal(signal.SIGINT)
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:  # how Linux says that nobody has the other end any more
            break
        if not read:
            break
        seen += read
    code = running.wait()
    assert running.stdout is not None
    running.stdout.close()
    os.close(ours)
    # As small as this store is, the signal may find it at its end, or Python at its own.
    assert code in (0, 130, -signal.SIGINT)
    if code == 130:
        assert b"Interrupted. Nothing has changed." in seen
    assert run(house)[0] == 0
