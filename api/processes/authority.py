"""The demo's own time stamp authority: `openssl ts` on loopback, so that a demo's copies bear stamps too.

It proves nothing and says so in its name: it runs on the same machine, by the same clock, and its key lies beside the
store's. A real house asks an authority outside.
"""

from __future__ import annotations

import datetime
import subprocess
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.processes.serving import configure_logs, die_with_parent, harden, listen, serve
from api.processes.supervisor import Program
from api.settings import Settings, TimeAuthoritySetting
from evidence_store.durable import write_durably

NAME: Final = "Vidne DEMO time authority (own clock, proves nothing)"
_LONGEST_REQUEST: Final = 4096
_CONFIGURATION: Final = """[tsa]
serial = serial
crypto_device = builtin
signer_cert = signer.pem
signer_key = signer.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
# Without `certs`: openssl would write a set of certificates that is not DER.


def with_demo_authority(settings: Settings) -> Settings:
    """The same settings with the demo's authority, on a free port of loopback; its keys are made at the first start.

    An authority that is configured is left as it is.
    """
    if settings.time_authorities:
        return settings
    folder = _folder(settings)
    if not (folder / "root.pem").exists():
        _make(folder, datetime.datetime.now(datetime.UTC))
    free = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    free.close()
    own = TimeAuthoritySetting(address=address, certificate=folder / "root.pem", name=NAME)
    return settings.model_copy(update={"time_authorities": [own]})


def authority_programs(settings: Settings) -> list[Program]:
    """The demo's authority as a program for the supervisor; nothing where another one is configured."""
    own = any(each.name == NAME for each in settings.time_authorities)
    return [Program("authority", ["process", "authority"], settings.environment())] if own else []


def main(settings: Settings) -> None:
    """Runs until told to stop."""
    configure_logs()
    harden()
    die_with_parent()
    own = next(each for each in settings.time_authorities if each.name == NAME)
    port = urlsplit(own.address).port or 0
    uvloop.run(serve(application(_folder(settings)), listen("127.0.0.1", port)))


def application(folder: Path) -> Starlette:
    """RFC 3161 over HTTP (3.4): a request in, a response out."""
    one = threading.Lock()

    def stamp(query: bytes) -> bytes:
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", "/dev/stdin"]
        with one:  # the serial number lies in a file
            done = subprocess.run(command, cwd=folder, input=query, capture_output=True, timeout=10, check=False)
        return done.stdout if done.returncode == 0 else b""

    async def answer(request: Request) -> Response:
        query = bytearray()
        async for chunk in request.stream():
            query += chunk
            if len(query) > _LONGEST_REQUEST:
                return Response(status_code=413)
        response = await run_in_threadpool(stamp, bytes(query))
        return Response(response, 200 if response else 400, media_type="application/timestamp-reply")

    return Starlette(routes=[Route("/", answer, methods=["POST"])])


def _folder(settings: Settings) -> Path:
    return settings.data / "authority"


def _make(folder: Path, now: datetime.datetime) -> None:
    """Keys and certificates. `root.pem` last: after a crash before it all are made anew."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _issue(NAME, root_key.public_key(), None, root_key, now)
    signer = _issue(f"{NAME} signer", key.public_key(), root, root_key, now)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_durably(folder / "tsa.cnf", _CONFIGURATION.encode())
    write_durably(folder / "serial", b"01\n")
    write_durably(folder / "signer.key", key.private_bytes(*pem))
    write_durably(folder / "signer.pem", signer.public_bytes(serialization.Encoding.PEM))
    write_durably(folder / "root.pem", root.public_bytes(serialization.Encoding.PEM))


def _issue(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if issuer is not None:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())
