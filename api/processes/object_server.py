"""An S3 server with Object Lock for the demo and the tests: SeaweedFS, from its Python package, on loopback with TLS.

Its lock lives in its gateway: without tokens between its parts anybody could delete a locked object past it
(tests/evidence_store/test_vault_canary.py shows both). A house in earnest has its second vault at somebody else's.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api.processes.serving import PR_SET_PDEATHSIG, configure_logs, die_with_parent, harden
from api.settings import Settings
from evidence_store.durable import write_durably
from evidence_store.vault.s3 import Bucket

WEED: Final = Path(sysconfig.get_path("scripts")) / "weed"
UP_WITHIN_S: Final = 30.0
BUCKET: Final = "vidne-second"
_WRITER: Final = ["Read", "List", "Write", "Tagging", "PutObjectRetention", "GetObjectRetention"]
_TOKENS: Final = (
    "WEED_JWT_SIGNING_KEY", "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY", "WEED_JWT_FILER_SIGNING_READ_KEY",
)  # fmt: skip
_PORTS: Final = ("master", "volume", "filer", "plain", "tls")


@dataclass(frozen=True, slots=True)
class ObjectServer:
    """Where it is, and its two people: an administrator, who makes buckets, and a writer, who is what a vault is."""

    folder: Path
    ports: Mapping[str, int]
    keys: Mapping[str, tuple[str, str]]
    tokens: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.ports['tls']}"

    @property
    def authority(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key_file(self) -> Path:
        """The writer's two keys, as `s3_keys` wants them."""
        return self.folder / "writer.keys"

    def bucket(self, name: str, who: str = "writer") -> Bucket:
        access, secret = self.keys[who]
        return Bucket(self.endpoint, name, access, secret, authority=self.authority)

    def make_bucket(self, name: str, *, locked: bool = True) -> Bucket:
        """A new bucket, as its writer sees it. Raises botocore's errors, also where it is there already."""
        self.bucket(name, "admin").client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        return self.bucket(name)

    def command(self) -> list[str]:
        port = self.ports
        return [
            str(WEED), "-logtostderr", "mini", f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", f"-master.port={port['master']}",
            f"-volume.port={port['volume']}", f"-filer.port={port['filer']}", f"-s3.port={port['plain']}",
            f"-s3.config={self.folder / 's3.json'}", f"-s3.port.https={port['tls']}",
            f"-s3.cert.file={self.authority}", f"-s3.key.file={self.folder / 'key.pem'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false",
        ]  # fmt: skip

    def environment(self, *, guarded: bool = True) -> dict[str, str]:
        """`guarded`: its parts ask each other for tokens, as they must."""
        tokens = dict(self.tokens) if guarded else {"WEED_S3_SSE_KEY": self.tokens["WEED_S3_SSE_KEY"]}
        return {**os.environ, **tokens}

    def wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        """Raises RuntimeError when it ended, or is not up after 30 s."""
        client, until = self.bucket("none", "admin").client(), time.monotonic() + UP_WITHIN_S
        while True:
            try:
                client.list_buckets()
            except Exception as error:  # whatever it says while it is not up
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("SeaweedFS did not start") from error
                time.sleep(0.1)
            else:
                return


def prepare(folder: Path) -> ObjectServer:
    """Keys, ports and a certificate for a server whose data is in `folder`: made once, the same ever after."""
    folder = folder.absolute()  # the server runs in it
    kept = folder / "server.json"
    if not kept.exists():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        _certify(folder)
        keys = {who: (secrets.token_hex(10), secrets.token_hex(20)) for who in ("admin", "writer")}
        tokens = {name: secrets.token_hex(16) for name in _TOKENS} | {"WEED_S3_SSE_KEY": secrets.token_hex(32)}
        made = {"keys": keys, "ports": dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True)), "tokens": tokens}
        actions = {"admin": ["Admin"], "writer": _WRITER}
        people = [
            {"name": who, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions[who]}
            for who, (access, secret) in keys.items()
        ]
        write_durably(folder / "s3.json", json.dumps({"identities": people}).encode())
        write_durably(folder / "writer.keys", "\n".join(keys["writer"]).encode())
        write_durably(kept, json.dumps(made).encode())
    made = json.loads(kept.read_text())
    return ObjectServer(folder, made["ports"], {who: tuple(pair) for who, pair in made["keys"].items()}, made["tokens"])


def _certify(folder: Path) -> None:
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "3650", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip


def _free_ports(count: int) -> list[int]:
    """The server adds 10,000 to each for its own use."""
    held: list[tuple[int, list[socket.socket]]] = []
    while len(held) < count:
        port = 20_000 + secrets.randbelow(20_000)
        taken = [socket.socket(), socket.socket()]
        try:
            for each, number in zip(taken, (port, port + 10_000), strict=True):
                each.bind(("127.0.0.1", number))
        except OSError:
            for each in taken:
                each.close()
            continue
        held.append((port, taken))
    for _, taken in held:
        for each in taken:
            each.close()
    return [port for port, _ in held]


def main(settings: Settings) -> None:
    """The demo's own: runs until told to stop, with a bucket that is locked."""
    configure_logs()
    harden()
    die_with_parent()
    server = prepare(folder_of(settings))
    child = subprocess.Popen(
        server.command(), env=server.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=server.folder, preexec_fn=_end_with_us,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    server.wait_until_up(child)
    client = server.bucket(BUCKET, "admin").client()
    if BUCKET not in {each["Name"] for each in client.list_buckets().get("Buckets", ())}:
        server.make_bucket(BUCKET)
    child.wait()


def folder_of(settings: Settings) -> Path:
    return settings.data / "s3"


def _end_with_us() -> None:
    # Killed, not asked: it has half a minute of goodbyes, and what it acknowledged is on its disk.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
