"""A real RFC 3161 time stamp authority on loopback: `openssl ts -reply` behind a few lines of HTTP."""

from __future__ import annotations

import contextlib
import datetime
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIGURATION = """[tsa]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
# No `certs = ca.pem`: it makes an unordered set of certificates, which is not DER and which the client refuses.

DAY = datetime.timedelta(days=1)
PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass
class Leaf:
    """What the signer's certificate says. The defaults are what RFC 3161, 2.3 asks for."""

    purposes: list[x509.ObjectIdentifier] = field(default_factory=lambda: [ExtendedKeyUsageOID.TIME_STAMPING])
    critical: bool = True
    ca: bool = False
    begins: datetime.timedelta = -DAY
    ends: datetime.timedelta = 365 * DAY


class TimeAuthority:
    """A context manager that serves. `answer` turns request bytes into response bytes; a test may put its own there.

    `behind`: how far its clock is behind the true one. `asked`: every request that came in. `down`: while True,
    connections are taken and dropped without an answer. `status`: of each answer.
    """

    def __init__(self, folder: Path, name: str = "Test time authority", leaf: Leaf | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.asked: list[bytes] = []
        self.down = False
        self.status = 200
        self.behind = datetime.timedelta(0)
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = certificate(
            f"{name} root",
            self.root_key.public_key(),
            None,
            self.root_key,
            Leaf(ca=True, begins=-9000 * DAY, ends=9000 * DAY),
        )
        self.pem = folder / "authority.pem"
        self.pem.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        (folder / "serial").write_text("01\n")
        self._one = threading.Lock()
        self.renew(leaf or Leaf())
        self.answer: Callable[[bytes], bytes] = self.reply

    def renew(self, leaf: Leaf) -> None:
        """A new key and certificate for the signer."""
        self.signer_key = key = ec.generate_private_key(ec.SECP256R1())
        self.signer = certificate(f"{self.name} signer", key.public_key(), self.root, self.root_key, leaf)
        self.keep("signer", self.signer, key)
        (self.folder / "tsa.cnf").write_text(CONFIGURATION.format(folder=self.folder))

    def below(self, between: str) -> None:
        """From here on an authority between root and signer issues it, and lies in the anchor's file after the root."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = certificate(between, key.public_key(), self.root, self.root_key, Leaf(ca=True, purposes=[]))
        signer_key = ec.generate_private_key(ec.SECP256R1())
        self.signer = certificate(f"{self.name} signer", signer_key.public_key(), issuer, key, Leaf())
        self.keep("signer", self.signer, signer_key)
        self.keep("between", issuer, key)
        self.pem.write_bytes(self.pem.read_bytes() + issuer.public_bytes(serialization.Encoding.PEM))

    def keep(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{name}.key").write_bytes(key.private_bytes(*PEM))

    def reply(self, request: bytes) -> bytes:
        """What openssl answers. Raises CalledProcessError where it will not sign, as for a signer that may not."""
        with self._one:
            (self.folder / "request").write_bytes(request)
            command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", "request"]
            done = subprocess.run([*command, "-out", "reply"], cwd=self.folder, capture_output=True, check=False)
            if done.returncode != 0:
                raise ValueError(done.stderr.decode())
            response = (self.folder / "reply").read_bytes()
        if not self.behind:
            return response
        return self.signed(moved(self.info(response), self.behind))

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Whoever asks meanwhile is kept waiting until its end."""
        let_go = threading.Event()

        def kept(request: bytes) -> bytes:
            let_go.wait(120)
            return self.reply(request)

        self.answer = kept
        try:
            yield
        finally:
            let_go.set()
            self.answer = self.reply

    def info(self, response: bytes) -> bytes:
        """The TSTInfo that a response signs (RFC 3161, 2.4.2), DER."""
        with self._one:
            (self.folder / "reply").write_bytes(response)
            self._openssl("ts", "-reply", "-in", "reply", "-token_out", "-out", "token")
            self._openssl("cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "token", "-out", "info")
            return (self.folder / "info").read_bytes()

    def signed(self, info: bytes, signer: str = "signer", beside: str | None = None) -> bytes:
        """A response over any TSTInfo, by whoever's key: what `openssl ts` itself would not sign. `beside`: whose
        certificate comes along."""
        with self._one:
            (self.folder / "info").write_bytes(info)
            self._openssl(
                "cms", "-sign", "-binary", "-nodetach", "-nosmimecap", "-cades", "-md", "sha256", "-outform", "DER",
                "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-signer", f"{signer}.pem", "-inkey", f"{signer}.key",
                "-in", "info", "-out", "token", *(() if beside is None else ("-certfile", f"{beside}.pem")),
            )  # fmt: skip
            return wrapped((self.folder / "token").read_bytes())

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, check=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = self.rfile.read(int(self.headers["content-length"]))
                authority.asked.append(request)
                if authority.down:
                    self.close_connection = True
                    return
                body = authority.answer(request)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # whoever asked may be dead by now
                    self.send_response(authority.status)
                    self.send_header("Content-Type", "application/timestamp-reply")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def moved(info: bytes, behind: datetime.timedelta) -> bytes:
    """A TSTInfo with another genTime: GeneralizedTime in whole seconds, so that its length stays."""
    found = re.search(rb"\x18\x0f(\d{14})Z", info)
    assert found is not None
    time = datetime.datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
    return info.replace(found[1], (time - behind).strftime("%Y%m%d%H%M%S").encode(), 1)


def wrapped(token: bytes) -> bytes:
    """A TimeStampResp that grants this token."""
    body = bytes.fromhex("3003020100") + token
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


def certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    leaf: Leaf,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + leaf.begins)
        .not_valid_after(now + leaf.ends)
        .add_extension(x509.BasicConstraints(ca=leaf.ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=leaf.ca, crl_sign=leaf.ca, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
    )  # fmt: skip
    if issuer is not None and leaf.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.purposes), critical=leaf.critical)
    return builder.sign(issuer_key, hashes.SHA256())
