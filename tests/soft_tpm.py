"""swtpm: a real TPM 2.0 as a program, on loopback, with tpm2-pkcs11 over it.

A TPM holds three objects at a time. The kernel's resource manager (/dev/tpmrm0) makes more of that; a program's TPM has
tpm2-abrmd in its place, on a bus of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pkcs11

from evidence_store.hsm.token import TokenPlace

MODULE: Final = Path("/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so")
PIN: Final = "16180339"


@dataclass
class SoftTpm:
    folder: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> SoftTpm:
        """Its state lies in the folder: it holds after `stop` what it held before."""
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        port = _two_ports()
        self._run(
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder / 'state'}",
            "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
            "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1", "--flags", "not-need-init,startup-clear",
        )  # fmt: skip
        _until(lambda: _listens(port + 1))
        bus = f"unix:path={self.folder / 'bus'}"
        self._run("dbus-daemon", "--session", "--nofork", f"--address={bus}")
        _until((self.folder / "bus").exists)
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = bus
        os.environ["TPM2TOOLS_TCTI"] = os.environ["TPM2_PKCS11_TCTI"] = "tabrmd:bus_type=session"
        os.environ["TPM2_PKCS11_STORE"] = str(self.folder / "store")
        os.environ["TSS2_LOG"] = "all+NONE"
        self._run("tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}")
        _until(_managed)
        if not (self.folder / "store").exists():
            (self.folder / "store").mkdir()
            (self.folder / "pin").write_text(PIN)
            self._tool("init")
            self._tool("addtoken", "--pid", "1", "--label", "room", "--sopin", "0000", "--userpin", PIN)
        library = pkcs11.lib(str(MODULE))
        library.reinitialize()
        return self

    def stop(self) -> None:
        pkcs11.unload(str(MODULE))
        for each in reversed(self._running):
            each.terminate()
            each.wait(10)
        self._running.clear()
        (self.folder / "bus").unlink(missing_ok=True)

    @property
    def place(self) -> TokenPlace:
        return TokenPlace(MODULE, "room", self.folder / "pin")

    def _run(self, *command: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._running.append(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]

    def _tool(self, *arguments: str) -> None:
        command = ["tpm2_ptool", *arguments, "--path", str(self.folder / "store")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def _two_ports() -> int:
    """The program that speaks to it takes the next port for its own orders."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _managed() -> bool:
    return subprocess.run(["tpm2_getrandom", "1"], capture_output=True, timeout=10, check=False).returncode == 0


def _until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Other programs say nothing when they are ready: they are asked again and again."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "a program of the TPM did not come up"
        time.sleep(0.02)
