"""Makes the spoilt package of a vector, with the Python standard library and `cryptography` alone.

    python apply.py VECTOR.json FOLDER        unpacks packages.tar.xz into FOLDER, and spoils FOLDER/good

README.md says what a vector holds. Nothing of Vidne's is needed: whoever writes a checker of their own can use this.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
BORN, END = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)
TAGS = "tagmanifest-sha256.txt"


def domain(name: str) -> bytes:
    return b"vidne/v1/" + name.encode() + b"\x00"


def digest(name: str, *parts: bytes) -> bytes:
    return hashlib.sha256(domain(name) + b"".join(parts)).digest()


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sign(key: Any, message: bytes) -> bytes:
    return bytes(key.sign(message, ec.ECDSA(hashes.SHA256())) if hasattr(key, "curve") else key.sign(message))


def unpack(folder: Path) -> None:
    """The two good packages, `good` and `other`, of one house."""
    with tarfile.open(HERE / "packages.tar.xz") as archive:
        archive.extractall(folder, filter="data")


def private_keys(known: dict[str, str]) -> dict[str, Any]:
    """The house's keys, and those of somebody else."""
    scalars = {name: int(known[name], 16) for name in ("root", "store", "device")}
    lattice = mldsa.MLDSA65PrivateKey.from_seed_bytes
    return {
        **{name: ec.derive_private_key(value, ec.SECP256R1()) for name, value in scalars.items()},
        **{name: lattice(bytes.fromhex(known[name])) for name in ("store_ml_dsa", "device_ml_dsa")},
        "ledger": ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(known["ledger"])),
        "stranger": ec.generate_private_key(ec.SECP256R1()),
        "stranger_ml_dsa": mldsa.MLDSA65PrivateKey.generate(),
        "stranger_ed25519": ed25519.Ed25519PrivateKey.generate(),
    }


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_of(leaves[:left]) + root_of(leaves[left:])).digest()


def path_to(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    left = 1 << (len(leaves) - 1).bit_length() - 1
    if index < left:
        return [*path_to(index, leaves[:left]), root_of(leaves[left:])]
    return [*path_to(index - left, leaves[left:]), root_of(leaves[:left])]


def line_of(value: bytes) -> str:
    return text_of(value) + "\n"


class Spoiler:
    """One change after another. `folder` holds `good`, which is changed, and `other`."""

    def __init__(self, folder: Path, keys: dict[str, str]) -> None:
        self.folder, self.good = folder, folder / "good"
        self.keys = private_keys(keys)

    def apply(self, changes: list[dict[str, Any]]) -> None:
        for change in changes:
            arguments = dict(change)
            getattr(self, "do_" + arguments.pop("do"))(**arguments)

    def path(self, name: str) -> Path:
        """`take:1/start.json` is in the folder of take 1; what begins with `other:` is in the other package."""
        base, name = (self.folder / "other", name[6:]) if name.startswith("other:") else (self.good, name)
        if name.startswith("take:"):
            number, _, file = name[5:].partition("/")
            (place,) = base.glob(f"evidence/takes/*-{number}")
            return place / file
        return base / name

    # Bytes and files

    def do_xor(self, file: str, offset: int, mask: int = 1) -> None:
        data = bytearray(self.path(file).read_bytes())
        data[offset] ^= mask
        self.path(file).write_bytes(data)

    def do_cut(self, file: str, bytes: int) -> None:  # noqa: A002 - the word of the vectors
        self.path(file).write_bytes(self.path(file).read_bytes()[:-bytes])

    def do_append(self, file: str, text: str) -> None:
        with self.path(file).open("ab") as out:
            out.write(text.encode())

    def do_replace(self, file: str, old: str, new: str) -> None:
        data = self.path(file).read_bytes()
        assert data.count(old.encode()) >= 1, old
        self.path(file).write_bytes(data.replace(old.encode(), new.encode(), 1))

    def do_add(self, file: str, text: str = "") -> None:
        self.path(file).parent.mkdir(parents=True, exist_ok=True)
        self.path(file).write_bytes(text.encode())

    def do_remove(self, file: str) -> None:
        self.path(file).unlink()

    def do_remove_take(self, take: int) -> None:
        for path in self.path(f"take:{take}/").iterdir():
            path.unlink()
        self.path(f"take:{take}/").rmdir()

    def do_rename(self, file: str, to: str) -> None:
        self.path(file).rename(self.path(to))

    def do_swap(self, file: str, other: str) -> None:
        one, two = self.path(file).read_bytes(), self.path(other).read_bytes()
        self.path(file).write_bytes(two)
        self.path(other).write_bytes(one)

    def do_copy(self, file: str, to: str) -> None:
        self.path(to).parent.mkdir(parents=True, exist_ok=True)
        self.path(to).write_bytes(self.path(file).read_bytes())

    def do_link(self, file: str, to: str) -> None:
        self.path(file).unlink(missing_ok=True)
        self.path(file).symlink_to(to)

    def do_lines(self, file: str, order: list[int]) -> None:
        """`order` says which lines (from 0) come instead, -1 for "and the rest as before"."""
        lines = self.path(file).read_bytes().splitlines(keepends=True)
        rest = range(max(order) + 1, len(lines)) if order[-1] == -1 else ()
        self.path(file).write_bytes(b"".join(lines[at] for at in [*(at for at in order if at >= 0), *rest]))

    # JSON

    def do_set(self, file: str, at: list[Any], value: Any = None, like: list[Any] | None = None,
               line: int | None = None) -> None:  # fmt: skip
        """A member's value, or that of the same member of another file (`like`: file, line, place)."""
        if like is not None:
            value = self._inside(self._json(like[0], like[1]), like[2])
        whole = self._json(file, line)
        self._inside(whole, at[:-1])[at[-1]] = value
        self._write(file, line, whole)

    def do_unset(self, file: str, at: list[Any], line: int | None = None) -> None:
        whole = self._json(file, line)
        del self._inside(whole, at[:-1])[at[-1]]
        self._write(file, line, whole)

    def do_insert(self, file: str, at: list[Any], value: Any = None, like: list[Any] | None = None,
                  line: int | None = None) -> None:  # fmt: skip
        if like is not None:
            value = self._inside(self._json(like[0], like[1]), like[2])
        whole = self._json(file, line)
        self._inside(whole, at[:-1]).insert(at[-1], value)
        self._write(file, line, whole)

    def do_loosen(self, file: str, at: list[Any]) -> None:
        """Base64 of the same bytes with one of the bits set that nobody reads."""
        whole = self._json(file)
        text = self._inside(whole, at)
        last = len(text.rstrip("="))
        assert last < len(text), "has no bits that nobody reads"
        self._inside(whole, at[:-1])[at[-1]] = text[: last - 1] + chr(ord(text[last - 1]) + 1) + text[last:]
        self._write(file, None, whole)

    def do_order(self, file: str, at: list[Any], order: list[int]) -> None:
        whole = self._json(file)
        rows = self._inside(whole, at)
        rows[:] = [rows[one] for one in order]
        self._write(file, None, whole)

    def _inside(self, value: Any, at: list[Any]) -> Any:
        for one in at:
            value = value[one]
        return value

    def _json(self, file: str, line: int | None = None) -> Any:
        data = self.path(file).read_bytes()
        return json.loads(data if line is None else data.splitlines()[line])

    def _write(self, file: str, line: int | None, value: Any) -> None:
        lines = [canonical(value)]
        if line is not None:
            lines = self.path(file).read_bytes().splitlines()
            lines[line] = canonical(value)
        self.path(file).write_bytes(b"\n".join(lines) + (b"" if line is None else b"\n"))

    # Signed anew

    def do_certificate(self, name: str, key: str, issuer: str = "root", file: str = "", take: int = 0,
                       member: str = "", path: int | None = None) -> None:  # fmt: skip
        """A certificate for `name` and the public half of `key`, by `issuer`: into a PEM file, or `member` of the start
        of a take. ENROLMENT in a name is the device's. `path`: of an authority, how many may stand below it."""
        name = name.replace("ENROLMENT", self.path("take:1/").name.partition("-")[0])
        above = x509.load_pem_x509_certificate(self.path("evidence/certificates/root.pem").read_bytes())
        if issuer == "device":
            above = self._device(self._json("take:1/start.json")["record"])
        made = self._issue(name, self.keys[key].public_key(), above, self.keys[issuer], path)
        if file:
            self.path(file).write_bytes(made.public_bytes(Encoding.PEM))
            return
        start = self._json(f"take:{take}/start.json")
        place = start["record"]["interview"] if member == "store_certificate" else start["record"]
        place[member] = text_of(made.public_bytes(Encoding.DER))
        self._write(f"take:{take}/start.json", None, start)

    def _device(self, start: Any) -> x509.Certificate:
        return x509.load_der_x509_certificate(base64.b64decode(start["device_certificate"]))

    def _issue(self, name: str, public: Any, above: x509.Certificate, key: Any, path: int | None) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(above.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BORN)
            .not_valid_after(END)
            .add_extension(x509.BasicConstraints(ca=path is not None, path_length=path), critical=True)
            .sign(key, hashes.SHA256())
        )

    def do_seal(self, take: int, by: str = "", close: dict[str, Any] | None = None, certificate: bool = True) -> None:
        """The whole take signed anew from what its files say now, by a new take key that its device certifies: start,
        every tick, close; and the manifest's entry made to agree. `close`: what it says otherwise. `by`: who signs the
        ticks in the take key's stead; `certificate`: false leaves the take's certificate as it is."""
        start, key = self._json(f"take:{take}/start.json"), ec.generate_private_key(ec.SECP256R1())
        record = start["record"]
        if certificate:
            name = f"Vidne take {record['enrolment']} {record['take']}"
            made = self._issue(name, key.public_key(), self._device(record), self.keys["device"], None)
            record["take_certificate"] = text_of(made.public_bytes(Encoding.DER))
        start["signatures"] = self._signatures("start-signature", digest("start", canonical(record)), key)
        self._write(f"take:{take}/start.json", None, start)
        lines, walked = self._walk(take, self.keys[by] if by else key)
        self.path(f"take:{take}/journal.jsonl").write_bytes(b"".join(lines))
        self._close(take, walked | (close or {}), key)

    def do_close(self, take: int, close: dict[str, Any]) -> None:
        """The close of a crashed or void take with members changed, signed anew by the device; and listed so."""
        self._close(take, close, None)

    def do_truncate(self, take: int, ticks: int) -> None:
        """A take's end cut off and closed anew by its device, as crashed: the take key is not needed for that."""
        self.do_lines(f"take:{take}/journal.jsonl", list(range(ticks)))
        self._close(take, self._walk(take, None)[1] | {"how": "crashed"}, None)

    def _walk(self, take: int, key: Any, until: int = 1 << 53) -> tuple[list[bytes], dict[str, Any]]:
        """The journal's lines, signed by `key`, and what a close says of them."""
        head = first = digest("start", canonical(self._json(f"take:{take}/start.json")["record"]))
        lines, segments, header, last = list[bytes](), list[str](), b"", None
        for line in self.path(f"take:{take}/journal.jsonl").read_bytes().splitlines()[: until + 1]:
            tick = json.loads(line)["record"]
            if last is None or tick["i"] != last["i"]:
                segments += [digest("segment", header, head).hex()] if last else []
                text = canonical({"head": head.hex(), "i": tick["i"], "start": first.hex(), "t": tick["t"],
                                  "type": "vidne/segment/1"})  # fmt: skip
                header = len(text).to_bytes(4, "big") + text
            head, last = digest("journal", head, canonical(tick)), {"i": tick["i"], "t": tick["t"]}
            signature = b"" if key is None else sign(key, domain("tick-signature") + head)
            lines.append(canonical({"record": tick, "signature": signature.hex()}) + b"\n")
        segments += [digest("segment", header, head).hex()] if last else []
        return lines, {"start": first.hex(), "head": head.hex(), "segments": segments, "last": last}

    def _close(self, take: int, changed: dict[str, Any], key: Any) -> None:
        """A take's close with these members, signed by the device and, where it was stopped, by `key`; and listed."""
        ended, manifest = self._json(f"take:{take}/close.json"), self._json("evidence/manifest.json")
        record = ended["record"] = ended["record"] | changed
        value, last = digest("close", canonical(record)), record["last"]
        ended["signatures"] = self._signatures("close-signature", value, key if record["how"] == "stopped" else None)
        self._write(f"take:{take}/close.json", None, ended)
        for entry in manifest["takes"]:
            if entry["take"] == take:
                entry |= {"start": record["start"], "close": value.hex(), "head": record["head"], "how": record["how"],
                          "segments": len(record["segments"]), "ticks": last["t"] + 1 if last else 0}  # fmt: skip
        self._write("evidence/manifest.json", None, manifest)

    def _signatures(self, purpose: str, value: bytes, key: Any) -> dict[str, str]:
        who = {"device": self.keys["device"], "device_ml_dsa_65": self.keys["device_ml_dsa"]}
        who |= {} if key is None else {"take": key}
        return {name: text_of(sign(each, domain(purpose) + value)) for name, each in who.items()}

    def do_measure(self, line: int) -> None:
        """That line of ranges.txt gets the SHA-256 of the bytes as they are now."""
        rows = self.path("evidence/ranges.txt").read_text().splitlines(keepends=True)
        _, offset, length, *rest = rows[line].split(" ")
        data = self.path(rest[-1].strip()).read_bytes()[int(offset) :][: int(length)]
        rows[line] = " ".join([hashlib.sha256(data).hexdigest(), offset, length, *rest])
        self.path("evidence/ranges.txt").write_text("".join(rows))

    def do_column(self, line: int, column: int, value: str) -> None:
        rows = self.path("evidence/ranges.txt").read_text().split("\n")
        words = rows[line].split(" ")
        words[column] = value
        rows[line] = " ".join(words)
        self.path("evidence/ranges.txt").write_text("\n".join(rows))

    def do_note(self, file: str, size: int | None = None, root: str | None = None, by: str = "ledger") -> None:
        """The signed note in a file (a checkpoint, or the end of a proof) with another size or root, signed anew."""
        head, mark, note = self.path(file).read_text().rpartition("\n\n")[0].rpartition("\n\n")
        origin, old_size, old_root = note.split("\n")[:3]
        text = "\n".join((origin, str(size or old_size), root or old_root)) + "\n"
        key = self.keys[by]
        key_id = hashlib.sha256(origin.encode() + b"\n\x01" + key.public_key().public_bytes_raw()).digest()[:4]
        line = f"— {origin} {text_of(key_id + key.sign(text.encode()))}\n"
        self.path(file).write_text(f"{head}{mark}{text}\n{line}")

    def do_ledger(self, keep: str = "") -> None:
        """A ledger rewritten to agree with takes and manifest as they are now, of these entries alone, signed anew; but
        for what entries of the verb `keep` say."""
        custody, proofs = self._json("evidence/custody.json"), self.path("evidence/proofs")
        manifest = self.path("evidence/manifest.json").read_bytes()
        takes = {entry["take"]: entry for entry in json.loads(manifest)["takes"]}
        origin = self.path("evidence/checkpoint.txt").read_text().split("\n")[0]
        for path in proofs.iterdir():
            path.unlink()
        for index, entry in enumerate(custody["entries"]):
            entry |= {"index": index, "proof": f"evidence/proofs/{index}.tlog-proof"}
            if entry["body"]["verb"] == keep:
                continue
            said, take = entry["body"]["details"], takes.get(entry["body"]["details"].get("take"))
            said |= {"manifest_sha256": hashlib.sha256(manifest).hexdigest()} if "manifest_sha256" in said else {}
            said |= {member: take[member] for member in ("start", "close", "head") if take and member in said}
            if entry["body"]["verb"] == "recording:minute" and take:
                said["head"] = self._walk(said["take"], None, until=said["t"])[1]["head"]
        self._write("evidence/custody.json", None, custody)
        leaves = [
            hashlib.sha256(
                b"\x00" + digest("ledger-body", bytes.fromhex(entry["nonce"]), canonical(entry["body"]))
            ).digest()
            for entry in custody["entries"]
        ]
        note = f"{origin}\n{len(leaves)}\n{text_of(root_of(leaves))}\n\n"
        self.path("evidence/checkpoint.txt").write_text(note)
        self.do_note("evidence/checkpoint.txt")
        note = self.path("evidence/checkpoint.txt").read_text()
        for index, entry in enumerate(custody["entries"]):
            nonce, lines = text_of(bytes.fromhex(entry["nonce"])), "".join(map(line_of, path_to(index, leaves)))
            head = f"c2sp.org/tlog-proof@v1\nextra {nonce}\nindex {index}\n{lines}\n"
            self.path(entry["proof"]).write_text(head + note)

    def do_sign(self, what: str, by: str = "store", lattice: str = "store_ml_dsa", purpose: str = "",
                keep: str = "") -> None:  # fmt: skip
        """`manifest`, `ranges` or `bag`: the lists made anew but for that to `keep`, and the store's signatures, or
        somebody else's. `purpose`: another domain than the right one for ML-DSA-65."""
        if what == "bag":
            self._lists(keep)
        name = {"bag": TAGS, "manifest": "evidence/manifest.json", "ranges": "evidence/ranges.txt"}[what]
        data = self.path(name).read_bytes()
        store = x509.load_pem_x509_certificate(self.path("evidence/certificates/store.pem").read_bytes())
        key = self.keys[by]
        if key.public_key() != store.public_key():
            # The maker of CMS wants a certificate that fits: somebody else's, with the store's name and number.
            store = self._like(store, key)
        builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(store, key, hashes.SHA256())
        options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
        self.path(name + ".p7s").write_bytes(builder.sign(Encoding.DER, options))
        if what != "ranges":
            purpose = purpose or {"bag": "copy-signature", "manifest": "manifest-signature"}[what]
            self.path(name + ".mldsa65").write_bytes(sign(self.keys[lattice], domain(purpose) + data))

    def _like(self, store: x509.Certificate, key: Any) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(store.subject).issuer_name(store.issuer)
        builder = builder.public_key(key.public_key()).serial_number(store.serial_number)
        return builder.not_valid_before(BORN).not_valid_after(END).sign(key, hashes.SHA256())

    def _lists(self, keep: str) -> None:
        names = sorted(each.relative_to(self.good).as_posix() for each in self.good.rglob("*") if each.is_file())
        for name, wanted in (("manifest-sha256.txt", True), (TAGS, False)):
            lines = [
                f"{hashlib.sha256(self.path(each).read_bytes()).hexdigest()}  {each}\n"
                for each in names if each.startswith("data/") == wanted and not each.startswith(TAGS)
            ]  # fmt: skip
            if name != keep:
                self.path(name).write_text("".join(lines))


def main() -> int:
    vector, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    unpack(folder)
    Spoiler(folder, json.loads((HERE / "keys.json").read_text())).apply(vector["changes"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
