"""Real `vidne witness` processes on loopback, and a house whose policy names them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from api.desk.witnesses import WitnessDesk
from api.drill.house import free_ports
from evidence_store.ledger.checkpoint import NoteVerifier
from evidence_store.ledger.cosignature import CosignatureVerifier
from evidence_store.ledger.witness import AddCheckpoint
from evidence_store.ledger.witness_memory import load_or_make_key
from tests.house import House

ROOT = Path(__file__).parents[1]


@dataclass
class WitnessProcess:
    """One witness in a folder of its own. `start` and `kill` as often as wanted; the port stays."""

    folder: Path
    name: str = "prosecution.example/w1"
    extra: Sequence[str] = ()
    scheme: str = "http"
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def key(self) -> CosignatureVerifier:
        self.folder.mkdir(parents=True, exist_ok=True)
        return load_or_make_key(self.folder, None if (self.folder / "name").exists() else self.name).verifier

    def start(self, *logs: NoteVerifier) -> None:
        """Returns when it answers."""
        _ = self.key  # made now, under its name
        arguments = [each for log in logs for each in ("--log", str(log))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "witness", "--data", self.folder, "--port", str(self.port),
             *arguments, *self.extra],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("VIDNE_")},
        )  # fmt: skip
        # It logs once its socket listens.
        assert self.process.stderr is not None
        while True:
            ready, _, _ = select.select([self.process.stderr], [], [], 30)
            line = self.process.stderr.readline() if ready else ""
            assert line, f"the witness ended with {self.process.poll()}"
            if "witness_serves" in line:
                return

    def kill(self) -> None:
        """By signal 9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def post(self, request: AddCheckpoint | bytes) -> httpx.Response:
        body = request if isinstance(request, bytes) else request.write()
        return httpx.post(f"{self.url}/add-checkpoint", content=body, trust_env=False)

    def page(self) -> str:
        return httpx.get(f"{self.url}/", trust_env=False).text

    def covers(self) -> int:
        """How many entries of its one log it stands for."""
        (known,) = self.state().json()["logs"]
        return int(known["size"])

    def state(self) -> httpx.Response:
        return httpx.get(f"{self.url}/", headers={"Accept": "application/json"}, trust_env=False)


def policy(path: Path, witnesses: Sequence[WitnessProcess], quorum: int = 1, lag: int = 600, extra: str = "") -> Path:
    """A policy file that names these witnesses."""
    lines = [f"quorum = {quorum}", f"greatest_lag = {lag}"]
    for each in witnesses:
        lines += ["[[witness]]", f'name = "{each.name}"', f'url = "{each.url}"', f'key = "{each.key}"', extra]
    path.write_text("\n".join(lines))
    return path


def witnessed(house: House, witnesses: Sequence[WitnessProcess], quorum: int = 1, lag: int = 600) -> None:
    """Starts the witnesses for this house and opens it under a policy that names them."""
    for each in witnesses:
        each.start(house.store.book.ledger.verifier)
    house.witnesses = policy(house.folder / "witnesses.toml", witnesses, quorum, lag)
    house.close()
    house.open()


async def ask(house: House) -> None:
    """One round of questions, as at a start, and what is declared after it."""
    assert house.store.witnessing is not None
    desk = WitnessDesk(house.store.witnessing)
    await desk.first()
    house.store.witnessing.review()
    await desk.close()
