"""A real S3 server with Object Lock: SeaweedFS, from its Python package, on loopback with TLS.

Its lock lives in its gateway: without tokens between its parts anybody could delete a locked object past it
(tests/evidence_store/test_vault_canary.py shows both).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evidence_store.vault.s3 import Bucket

_WRITER = ["Read", "List", "Write", "Tagging", "PutObjectRetention", "GetObjectRetention"]
_TOKENS = (
    "WEED_JWT_SIGNING_KEY", "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY", "WEED_JWT_FILER_SIGNING_READ_KEY",
)  # fmt: skip
_UP_WITHIN_S, _DOWN_WITHIN_S = 30, 40


@dataclass(frozen=True)
class Server:
    """Two people: an administrator, who makes buckets, and a writer, who is what a vault should be."""

    endpoint: str
    authority: Path
    filer_port: int
    keys: dict[str, tuple[str, str]]

    def bucket(self, name: str, who: str = "writer") -> Bucket:
        access, secret = self.keys[who]
        return Bucket(self.endpoint, name, access, secret, authority=self.authority)

    def make_bucket(self, name: str, *, locked: bool = True) -> Bucket:
        """A new bucket, as its writer sees it."""
        self.bucket(name, "admin").client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        return self.bucket(name)


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


@contextmanager
def seaweed(folder: Path, *, guarded: bool = True) -> Iterator[Server]:
    """The server, with its data in `folder`. `guarded`: its parts ask each other for tokens, as they must."""
    keys = {who: (secrets.token_hex(10), secrets.token_hex(20)) for who in ("admin", "writer")}
    actions = {"admin": ["Admin"], "writer": _WRITER}
    people = [
        {"name": who, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions[who]}
        for who, (access, secret) in keys.items()
    ]
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps({"identities": people}))
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    master, volume, filer, plain, tls = _free_ports(5)
    environment = {**os.environ, "WEED_S3_SSE_KEY": secrets.token_hex(32)}
    if guarded:
        environment |= {name: secrets.token_hex(16) for name in _TOKENS}
    command: list[str | Path] = [
        Path(sysconfig.get_path("scripts")) / "weed", "-logtostderr", "mini", f"-dir={folder / 'data'}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={plain}", f"-s3.config={folder / 's3.json'}",
        f"-s3.port.https={tls}", f"-s3.cert.file={folder / 'cert.pem'}", f"-s3.key.file={folder / 'key.pem'}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    server = Server(f"https://127.0.0.1:{tls}", folder / "cert.pem", filer, keys)
    try:
        _wait_for(server, process, folder / "log")
        yield server
    finally:
        # Asked to end, it takes up to half a minute; what it holds is thrown away with its folder.
        process.kill()
        process.wait(_DOWN_WITHIN_S)


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    client, until = server.bucket("none", "admin").client(), time.monotonic() + _UP_WITHIN_S
    while True:
        try:
            client.list_buckets()
        except Exception as error:  # whatever it says while it is not up
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.1)
        else:
            return
