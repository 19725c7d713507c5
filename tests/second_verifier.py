"""A second verifier of Vidne's evidence packages, written from docs/formats alone; it needs nothing of Vidne's.

`python second_verifier.py FOLDER --fingerprint SHA256_OF_THE_ROOT_CERTIFICATE`: exit 0 when all holds, else 1 and
`REFUSED: <word>: <sentence>`; the words are in docs/formats/package.md."""

# fmt: off
from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

PRIME, LATTICE, EDWARDS = ec.EllipticCurvePublicKey, mldsa.MLDSA65PublicKey, ed25519.Ed25519PublicKey
SIGNED, OF_DATA, SHA256 = map(bytes.fromhex, ("2a864886f70d010702", "2a864886f70d010904", "608648016503040201"))
TAGS, OF_TAKE = "tagmanifest-sha256.txt", "close doubtful enrolment first_media head how last_media segments start take"
RANGES = "# vidne/ranges/1: sha256 offset length tick salt second utc track kind file"
CERTIFICATES = ["device_certificate", "device_ml_dsa_65_certificate", "take_certificate"]
START, STEP = "type enrolment take room interview tracks wrap previous checkpoint clock", {"word": "", "what": ""}
def step(word: str, what: str) -> None:
    """From here on, whatever does not hold or cannot be read is a refusal by this word."""
    STEP.update(word=word, what=what)
def need(holds: object, sentence: str, word: str = "") -> None:
    if not holds:
        STEP["word"] = word or STEP["word"]
        raise ValueError(sentence)
def joined(*parts: bytes | str) -> bytes:
    """Bytes as they are; a text is a domain."""
    return b"".join(b"vidne/v1/" + part.encode() + b"\x00" if isinstance(part, str) else part for part in parts)
def digest(*parts: bytes | str) -> bytes:
    return hashlib.sha256(joined(*parts)).digest()
def canonical(value: object) -> bytes:
    """RFC 8785 of what is in these formats: member names in ASCII, no numbers with exponents."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
def exact(value: Any, members: str) -> Any:
    """An object with exactly these members; bytes are one in canonical form."""
    data, value = (value, json.loads(value)) if isinstance(value, bytes) else (b"", value)
    need(not data or canonical(value) == data, "not in canonical form")
    need(isinstance(value, dict) and set(value) == set(members.split()), f"not exactly the members {members}")
    return value
def unbase64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 with unused bits")
    return data
def check(by: x509.Certificate, signature: bytes, *parts: bytes | str) -> None:
    """Raises InvalidSignature. Which algorithm it is follows from the certificate, never from the data."""
    key: Any = by.public_key()
    key.verify(signature, joined(*parts), *([ec.ECDSA(hashes.SHA256())] if isinstance(key, PRIME) else []))
def check_all(word: str, signatures: Any, signers: dict[str, x509.Certificate], *parts: bytes | str) -> None:
    step(word, "a signature that is wrong, missing or too many")
    for who, text in exact(signatures, " ".join(signers)).items():
        check(signers[who], unbase64(text), *parts)
def issued(data: bytes, by: x509.Certificate, name: str, kind: Any = PRIME, path: Any = None) -> x509.Certificate:
    """A certificate that `by` itself issued, for this name and kind of key; an authority only where `path` is given."""
    found = x509.load_pem_x509_certificate(data) if data.startswith(b"---") else x509.load_der_x509_certificate(data)
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    need(found.subject.rfc4514_string() == f"CN={name}", f"{found.subject.rfc4514_string()} is not {name}")
    may = isinstance(found.public_key(), kind) and (basic.ca, basic.path_length) == (path is not None, path)
    need(may, f"{name} has another kind of key, or other rights to issue")
    found.verify_directly_issued_by(by)
    return found
def elements(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """The DER elements in a row: tag, content, whole."""
    found = []
    while data:
        start, size = (2, data[1]) if data[1] < 128 else (data[1] - 126, int.from_bytes(data[2 : data[1] - 126], "big"))
        need(start + size <= len(data), "DER that ends early")
        found.append((data[0], data[start : start + size], data[: start + size]))
        data = data[start + size :]
    return found
def signed(folder: Path, name: str, store: x509.Certificate, lattice: Any = None, purpose: str = "") -> bytes:
    """A file's bytes, after its CMS signature (RFC 5652, section 5) held and, where it has one, that by ML-DSA-65."""
    step("signature", f"the store's signature on {name}")
    data = (folder / name).read_bytes()
    [(_, outer, _)] = elements((folder / f"{name}.p7s").read_bytes())
    [(_, kind, _), (_, wrapped, _)] = elements(outer)
    [(_, info, _)] = elements(elements(elements(wrapped)[0][1])[-1][1])
    _, (_, who, _), (_, algorithm, _), (tag, attributes, covered), _, (_, value, _), *_ = elements(info)
    [(_, _, issuer), (_, serial, _)] = elements(who)
    pairs = [[value for _, value, _ in elements(one)] for _, one, _ in elements(attributes)]
    said = [elements(values)[0][1] for one, values in pairs if one == OF_DATA]
    need((issuer, int.from_bytes(serial, "big")) == (store.issuer.public_bytes(), store.serial_number), "by another")
    need((kind, elements(algorithm)[0][1], tag, said) == (SIGNED, SHA256, 0xA0, [digest(data)]), "over something else")
    check(store, value, b"\x31", covered[1:])
    if lattice is not None:
        step("pq-signature", f"the store's ML-DSA-65 signature on {name}")
        check(lattice, (folder / f"{name}.mldsa65").read_bytes(), purpose, data)
    return data
def check_bag(folder: Path) -> None:
    """Every file is listed, every listed file is there, and each has its SHA-256."""
    step("bag", "the lists of files")
    strange = [path for path in folder.rglob("*") if path.is_symlink() or not (path.is_dir() or path.is_file())]
    need(not strange, f"{strange[:3]}: no regular files", "irregular")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found, payload = found - {TAGS, f"{TAGS}.p7s", f"{TAGS}.mldsa65"}, {name for name in found if name[:5] == "data/"}
    for text, there in ((TAGS, found - payload), ("manifest-sha256.txt", payload)):
        lines = (folder / text).read_bytes().decode().removesuffix("\n").split("\n")
        listed = {name: value for value, name in (line.split("  ", 1) for line in lines)}
        need(len(listed) == len(lines), f"{text} names a file twice")
        need(there <= set(listed), f"{sorted(there - set(listed))[:3]}: not in {text}", "unlisted")
        need(set(listed) <= there, f"{sorted(set(listed) - there)[:3]}: in {text}, and not there", "missing")
        for name, value in listed.items():
            with (folder / name).open("rb") as file:
                need(hashlib.file_digest(file, "sha256").hexdigest() == value, f"{name}: another SHA-256", "altered")
def walk(folder: Path, entry: Any, root: x509.Certificate, interview: str) -> dict[str, Any]:
    """One take from its start to its close: its tracks by index, its records and heads by t, its hashes."""
    enrolment, n, name = entry["enrolment"], entry["take"], f"{entry['enrolment']}-{entry['take']}"
    place, signers, head, first = folder / "evidence/takes" / name, dict[str, x509.Certificate](), b"", b""
    tracks, records, heads, segments, header = {}, list[Any](), list[str](), list[str](), b""
    step("start", f"start of {name}")
    if begun := entry["start"] is not None:
        envelope = exact((place / "start.json").read_bytes(), "record signatures")
        start = exact(envelope["record"], " ".join([START, *CERTIFICATES]))
        key = exact(start["interview"], "id public_key signature store_certificate")
        tracks = {exact(one, "index id camera kind timescale")["index"]: one for one in start["tracks"]}
        need([start[m] for m in ("type", "enrolment", "take")] == ["vidne/start/1", enrolment, n], "of another take")
        need(key["id"] == interview, "recorded for another interview", "interview")
    step("certificate", f"a certificate of {name}")
    ders = ([unbase64(start[whose]) for whose in CERTIFICATES] if begun
            else [(place / file).read_bytes() for file in ("device.pem", "device-ml-dsa-65.pem")])
    signers["device"] = issued(ders[0], root, f"Vidne device {enrolment}", path=0)
    signers["device_ml_dsa_65"] = issued(ders[1], root, f"Vidne device ML-DSA-65 {enrolment}", LATTICE)
    if begun:
        signers["take"] = issued(ders[2], signers["device"], f"Vidne take {enrolment} {n}")
        store = issued(unbase64(key["store_certificate"]), root, "Vidne store")
        step("interview-key", f"the store's signature on the interview's key in {name}")
        parts = "interview-key-signature", bytes.fromhex(interview), unbase64(key["public_key"])
        check(store, unbase64(key["signature"]), *parts)
        first = head = digest("start", canonical(start))
        check_all("start-signature", envelope["signatures"], signers, "start-signature", first)
        step("journal", f"journal of {name}")
        for t, line in enumerate((place / "journal.jsonl").read_bytes().splitlines(keepends=True)):
            step("journal", f"tick {t} of {name}")
            both, i = exact(line[:-1], "record signature"), records[-1]["i"] if t else -1
            record = exact(both["record"], "events i messages monotonic t utc")
            need(all(exact(m, "about commitment epoch hash kind length track") for m in record["messages"]), "")
            need(record["t"] == t and record["i"] in (max(i, 0), i + 1), "another tick stands in its place", "tick")
            if record["i"] > i:
                segments += [digest("segment", header, head).hex()] if t else []
                here = {"head": head.hex(), "i": i + 1, "start": first.hex(), "t": t, "type": "vidne/segment/1"}
                header = len(canonical(here)).to_bytes(4, "big") + canonical(here)
            head = digest("journal", head, canonical(record))
            step("tick-signature", f"the take key's signature on tick {t} of {name}")
            check(signers["take"], bytes.fromhex(both["signature"]), "tick-signature", head)
            records.append(record)
            heads.append(head.hex())
        segments += [digest("segment", header, head).hex()] if records else []
    step("close", f"close of {name}")
    envelope = exact((place / "close.json").read_bytes(), "record signatures")
    close = exact(envelope["record"], "type enrolment take start last head segments how torn last_alive closed")
    last, ended = {m: records[-1][m] for m in "it"} if records else None, digest("close", canonical(close)).hex()
    this = {"type": "vidne/close/1", "enrolment": enrolment, "take": n, "start": first.hex() or None, "last": last,
            "head": head.hex() or None, "segments": segments}
    need(close == close | this, f"not what was walked: {this}")
    need(close["how"] in (("stopped", "crashed") if begun else ("void",)), f"cannot have ended as {close['how']}")
    whose = {who: one for who, one in signers.items() if who != "take" or close["how"] == "stopped"}
    check_all("close-signature", envelope["signatures"], whose, "close-signature", bytes.fromhex(ended))
    step("takes", f"what the manifest says of {name}")
    found = {"close": ended, "doubtful": None, "start": this["start"], "head": this["head"]}
    need(entry == entry | found | {"how": close["how"], "segments": len(segments), "ticks": len(records)}, "otherwise")
    return {"tracks": tracks, "records": records, "heads": heads, "hashes": found}
def check_ranges(folder: Path, text: bytes, takes: list[dict[str, Any]]) -> None:
    """Every message of the journals is the next range of its file, and every byte of every file is in a range."""
    step("ranges", "ranges.txt")
    header, *lines, rest = text.decode().split("\n")
    need((header, rest) == (RANGES, ""), "begins or ends otherwise")
    rows, sizes, ended = iter(lines), dict[str, int](), dict[tuple[int, int], int]()
    ticks = [(number, take, record) for number, take in enumerate(takes, 1) for record in take["records"]]
    for number, take, record, one in ((*x, one) for x in ticks for one in x[2]["messages"] if one["kind"] != "words"):
        track, this, init = take["tracks"][one["track"]], (number, one["track"]), one["kind"] == "init"
        label = track["id"] if re.fullmatch("[a-z0-9][a-z0-9-]{0,47}", track["id"]) else f"track-{one['track']}"
        name = f"data/original/take-{number:03}-{label}-{one['epoch']}.mp4"
        at, to = (one["about"].get(end, ended.get(this, 0)) for end in ("from", "to"))
        ended[this], at = max(ended.get(this, to), to), at * 1000 // track["timescale"]
        utc = f"{datetime.fromtimestamp(int(record['utc'][:-9]), UTC):%Y-%m-%dT%H:%M:%S}.{record['utc'][-9:]}Z"
        second = f"{'-' if at < 0 else ''}{abs(at) // 1000}.{abs(at) % 1000:03}"
        sha, offset, length, tick, salt, *row = next(rows, "").split(" ")
        need([tick, *row] == [str(record["t"]), second, utc, track["id"], one["kind"], name], f"not as in tick {tick}")
        need((init, offset) == (name not in sizes, str(sizes.get(name, 0))), f"{name} has a hole at {offset}")
        with (folder / name).open("rb") as file:
            file.seek(int(offset))
            data = file.read(int(length))
        sizes[name] = int(offset) + int(length)
        need((len(data), digest(data).hex()) == (int(length), sha), f"{name} at {offset} has other bytes")
        need(digest("commitment", bytes.fromhex(salt), data).hex() == one["commitment"], f"{name}: {row}", "commitment")
    need(next(rows, None) is None, "there are ranges that belong to no message")
    there = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.glob("data/original/*")}
    need(there == sizes, "there are originals, or bytes of them, outside of every range")
def check_gaps(manifest: Any, takes: list[dict[str, Any]]) -> None:
    """A hole has a gap event, a gap event a gap in the manifest, and a gap there an event or a crash."""
    step("gap", "gaps")
    listed = {tuple(gap[member] for member in ("take", "track", "reason", "from", "to")) for gap in manifest["gaps"]}
    declared, crashes = set(), {entry["take"]: entry for entry in manifest["takes"] if entry["how"] == "crashed"}
    for entry, take in zip(manifest["takes"], takes, strict=True):
        events = [(record["t"], e) for record in take["records"] for e in record["events"] if e["type"] == "gap"]
        names, last = {None: None} | {index: one["id"] for index, one in take["tracks"].items()}, dict[int, Any]()
        declared |= {(entry["take"], names[e["track"]], e["reason"], e["from"], e["to"]) for _, e in events}
        for t, one in ((r["t"], m) for r in take["records"] for m in r["messages"] if m["kind"] == "media"):
            begin, (before, since) = one["about"]["from"], last.get(one["track"], (one["about"]["from"], t))
            told = any(since <= when <= t + 8 and e["track"] in (one["track"], None) for when, e in events)
            hole = 2 * (begin - before) > take["tracks"][one["track"]]["timescale"]
            need(told or not hole, f"take {entry['take']}, {names[one['track']]}: a silent hole before tick {t}")
            last[one["track"]] = max(before, one["about"]["to"]), t
    crashed = {gap for gap in listed if gap[0] in crashes and gap[2] == "crashed"}
    need(declared | crashed == listed, f"the manifest has others than {declared | crashed}")
    for n, ends in ((n, [gap[3] for gap in listed if gap[:3] == (n, None, "crashed")]) for n in crashes):
        need(ends and crashes[n]["last_media"] in (None, *ends), f"what the crash of take {n} left out is no gap")
def rooted(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The root to which an inclusion proof leads (RFC 6962, sections 2.1 and 2.1.1)."""
    need(0 <= index < size and bool(path) == (size > 1), "the path is too long or too short")
    if size > 1 and index < (left := 1 << (size - 1).bit_length() - 1):
        return digest(b"\x01", rooted(index, left, leaf, path[:-1]), path[-1])
    return digest(b"\x01", path[-1], rooted(index - left, size - left, leaf, path[:-1])) if size > 1 else leaf
def checkpoint(note: str, ledger: x509.Certificate) -> tuple[int, bytes]:
    """A signed note's size and root. Signatures by other keys are ignored."""
    text, _, lines = note.rpartition("\n\n")
    (origin, size, root, *_), key = text.split("\n"), cast(ed25519.Ed25519PublicKey, ledger.public_key())
    key_id = digest(origin.encode(), b"\n\x01", key.public_bytes_raw())[:4]
    found = [line.split(" ") for line in lines.removesuffix("\n").split("\n")]
    ours = [data for _, name, value in found if name == origin and (data := unbase64(value))[:4] == key_id]
    need(ours and str(int(size)) == size, "not signed by the ledger's key")
    for data in ours:
        check(ledger, data[4:], text.encode(), b"\n")
    return int(size), unbase64(root)
def check_custody(folder: Path, ledger: x509.Certificate, manifest: Any, this: str, takes: dict[Any, Any]) -> str:
    """Every entry is proven, of this interview, and says what was found. Words of what is declared lost."""
    step("checkpoint", "checkpoint.txt")
    latest, sealed = checkpoint((folder / "evidence/checkpoint.txt").read_bytes().decode(), ledger), False
    had, lost, false = set[str](), set[str](), set[str]()
    step("custody", "custody.json")
    custody = exact(json.loads((folder / "evidence/custody.json").read_bytes()), "entries type")
    proofs = sorted(path.relative_to(folder).as_posix() for path in folder.glob("evidence/proofs/*"))
    need((sorted(e["proof"] for e in custody["entries"]), custody["type"]) == (proofs, "vidne/custody/1"), "others")
    for entry in sorted(custody["entries"], key=lambda entry: entry["index"], reverse=True):
        index, body, nonce = entry["index"], entry["body"], bytes.fromhex(entry["nonce"])
        step("proof", f"the proof of custody entry {index}")
        head, _, note = (folder / entry["proof"]).read_bytes().decode().partition("\n\n")
        form, extra, numbered, *path = head.split("\n")
        of_this = "c2sp.org/tlog-proof@v1", f"extra {base64.b64encode(nonce).decode()}", f"index {index}"
        need((form, extra, numbered) == of_this, "of another entry, or with another nonce")
        (size, root), leaf = checkpoint(note, ledger), digest(b"\x00", digest("ledger-body", nonce, canonical(body)))
        need(rooted(index, size, leaf, [unbase64(one) for one in path]) == root, "does not lead to the root")
        need(size < latest[0] or (size, root) == latest, "is of a later tree than checkpoint.txt", "checkpoint")
        exact(body, "type id verb at actor interview case_number reason details")
        need(body["interview"] == manifest["interview"], "of another interview", "interview")
        step("entered", f"what custody entry {index} says")
        said, verb = body["details"], body["verb"]
        {"stamp:obtained": had, "stamp:lost": lost}.get(verb, set()).add(said.get("stamp", ""))
        false |= {said["stamp"]} if verb == "stamp:obtained" and "claim" in said["contradicts"] else set()
        sealed = sealed or (verb == "interview:sealed" and said["manifest_sha256"] == this)
        if sealed and verb in ("recording:take:started", "recording:take:closed", "recording:minute"):
            take = takes[body["actor"]["id"].removeprefix("recorder:"), said["take"]]
            hashes_of = {"head": take["heads"][said["t"]]} if verb == "recording:minute" else take["hashes"]
            need(all(said[m] == value for m, value in hashes_of.items() if m in said), "is not what was walked")
    need(sealed, "the ledger does not have this manifest")
    here = {digest(one.read_bytes()).hex() for one in folder.glob("evidence/stamps/*.tsr") if one.name[:7] != "before-"}
    need((had - lost) | false <= here <= had and lost <= had, "stamps are not those that are here", "stamp")
    return f"; {len(lost - here)} stamps are declared lost: what they said is not shown" if lost - here else ""
def verify(folder: Path, fingerprint: str) -> str:
    step("fingerprint", "the root certificate")
    need(fingerprint, "no fingerprint was given: the package alone proves nothing")
    place = folder / "evidence/certificates"
    root = x509.load_pem_x509_certificate((place / "root.pem").read_bytes())
    need(root.fingerprint(hashes.SHA256()).hex() == fingerprint.replace(":", "").lower(), "another fingerprint")
    step("certificate", "the store's certificates")
    store = issued((place / "store.pem").read_bytes(), root, "Vidne store")
    lattice = issued((place / "store-ml-dsa-65.pem").read_bytes(), root, "Vidne store ML-DSA-65", LATTICE)
    ledger = issued((place / "ledger.pem").read_bytes(), root, "Vidne ledger", EDWARDS)
    signed(folder, TAGS, store, lattice, "copy-signature")
    check_bag(folder)
    data = signed(folder, "evidence/manifest.json", store, lattice, "manifest-signature")
    ranges = signed(folder, "evidence/ranges.txt", store)
    step("manifest", "manifest.json")
    manifest = exact(data, "gaps interview made number parts takes type")
    need(manifest["type"] == "vidne/manifest/1", "of another type")
    names = [(exact(one, OF_TAKE + " ticks")["enrolment"], one["take"]) for one in manifest["takes"]]
    step("takes", "the takes that the manifest lists")
    need({each.name for each in (folder / "evidence/takes").iterdir()} == {f"{e}-{n}" for e, n in names}, "others here")
    takes = [walk(folder, one, root, manifest["interview"]) for one in manifest["takes"]]
    check_ranges(folder, ranges, takes)
    check_gaps(manifest, takes)
    lost = check_custody(folder, ledger, manifest, digest(data).hex(), dict(zip(names, takes, strict=True)))
    return f"GOOD: {len(takes)} takes{lost}; what this does not show stands in VERIFY.md"
if __name__ == "__main__":
    arguments = [*sys.argv[1:], "", ""]
    try:
        said, code = verify(Path(arguments[0]), arguments[2] if arguments[1] == "--fingerprint" else ""), 0
    except Exception as error:  # noqa: BLE001 - whatever a forged package makes of our reading, it is refused
        said, code = f"REFUSED: {STEP['word']}: {STEP['what']}: {type(error).__name__} {error}", 1
    sys.stdout.write(said + "\n")
    sys.exit(code)
