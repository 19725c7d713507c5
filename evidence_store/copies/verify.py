"""Checks an evidence copy: no database, no network, no login (docs/formats/package.md#checking).

What is trusted comes from outside: the root certificate's fingerprint, given out another way than the package. A
package without it can be whole, and still be anybody's. Needs Python and `cryptography`, and no other program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from evidence_store.canonical import Record, canonical
from evidence_store.copies import ranges
from evidence_store.copies.bag import Bag, checksums, open_bag, read, sha256_of
from evidence_store.copies.cms import check_cms
from evidence_store.copies.custody_proofs import check_entry, head_of, ledger_verifier
from evidence_store.copies.entered import Walked, check_entered
from evidence_store.copies.gaps import check_listed
from evidence_store.copies.layout import COPY_SIGNATURE, CUSTODY_TYPE, original_path, take_folder, take_label
from evidence_store.copies.listed import check_manifest, parse_manifest
from evidence_store.copies.originals import Expected, check_originals, check_sums
from evidence_store.copies.player import check_player
from evidence_store.copies.reading import Counted, Progress
from evidence_store.copies.report import Anchors, Check, Report
from evidence_store.copies.revocations import FOLDER, check_none_doubtful, check_revocation, path_of
from evidence_store.copies.stamps import check_stamps, words
from evidence_store.copies.walk import Walk
from evidence_store.copies.witnessed import (
    check_began,
    check_one_history,
    check_witnesses,
    cosignatures_of_strangers,
    standing_for_all,
)
from evidence_store.custody import Verb
from evidence_store.errors import ChainBroken, InvalidInput, SignatureInvalid, Tampered
from evidence_store.identifiers import utc_text
from evidence_store.ledger.checkpoint import Checkpoint
from evidence_store.ledger.proof import Proof
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.check import Close, Start, check_close, check_start
from evidence_store.sealing.journal import Ending
from evidence_store.sealing.manifest import check_ml_dsa
from evidence_store.sealing.revocation import SignedRevocation

__all__ = ["Anchors", "Check", "Report", "verify"]

_SIGNED = {"tagmanifest-sha256.txt", "tagmanifest-sha256.txt.p7s", "tagmanifest-sha256.txt.mldsa65"}


Told = Callable[[Check], None]


def verify(
    path: Path,
    anchors: Anchors,
    *,
    player: str | None = None,
    told: Told = lambda _: None,
    progress: Progress = lambda _done, _whole: None,
    workers: int | None = None,
) -> Report:
    """Checks an unpacked package or its tar file. `player`: an ffmpeg that reads every film through, where given.

    `told` hears each check as it ends, `progress` how many bytes of how many were read (from any thread); neither may
    block. `workers`: threads that read; as many as there are cores where it is not said.
    Raises InvalidInput for what is no package at all; everything else is in the report.
    """
    return _Verifier(open_bag(path), anchors, player, told, progress, workers).run()


class _Verifier:
    def __init__(
        self, bag: Bag, anchors: Anchors, player: str | None, told: Told, progress: Progress, workers: int | None
    ) -> None:
        self._bag, self._anchors, self._player = bag, anchors, player
        self._told, self._workers = told, workers
        self._read = Counted(sum(bag.size(path) for path in bag.paths() if path not in _SIGNED), progress)
        self._report = Report()
        self._manifest: dict[str, Any] = {}
        self._walks: list[Walk | None] = []
        self._proven_in: dict[int, bytes] = {}

    def run(self) -> Report:
        self._step("anchor", self._check_anchor)
        self._step("certificates", self._check_certificates)
        self._step("signatures", self._check_signatures)
        self._step("files", self._check_files)
        self._step("takes", self._check_takes)
        self._step("devices", self._check_devices)
        self._step("originals", self._check_originals)
        self._step("gaps", self._check_gaps)
        self._step("custody", self._check_custody)
        if self._anchors.witnesses:
            self._step("witnesses", self._check_witnesses)
        self._step("time", self._check_time)
        if self._player is not None:
            player = self._player
            self._step("player", lambda: check_player(self._bag, player))
        return self._report

    def _step(self, name: str, work: Callable[[], str]) -> None:
        try:
            check = Check(name, True, work())
        except (Tampered, InvalidInput) as error:
            check = Check(name, False, str(error), error.code)
        except OSError as error:
            check = Check(name, False, f"cannot be read: {error.strerror or type(error).__name__}", "unreadable")
        except (KeyError, AttributeError, *certs.UNREADABLE) as error:
            # Whatever a forged record makes of our reading, it is a failed check and not a crash.
            check = Check(name, False, f"malformed: {type(error).__name__}", "malformed")
        self._report.checks.append(check)
        self._told(check)

    def _certificate(self, name: str) -> x509.Certificate:
        return certs.from_pem(read(self._bag, f"evidence/certificates/{name}.pem"))

    def _check_anchor(self) -> str:
        found = certs.fingerprint(self._certificate("root"))
        given = self._anchors.root_fingerprint
        if given is None:
            raise SignatureInvalid(
                f"no fingerprint was given from outside: it cannot be said who signed (the package claims {found})"
            )
        if re.sub(r"[^0-9a-f]", "", given.lower()) != found:
            raise SignatureInvalid(f"the package's root is {found}: not the one that was given")
        self._report.anchored = True
        return f"root {found}"

    def _check_certificates(self) -> str:
        root = self._certificate("root")
        certs.check_issued(root, root, certs.ROOT)
        certs.check_issued(self._certificate("store"), root, certs.STORE)
        certs.check_issued(self._certificate("store-ml-dsa-65"), root, certs.STORE_ML_DSA)
        certs.check_issued(self._certificate("ledger"), root, certs.LEDGER)
        return "store, store ML-DSA-65 and ledger are issued by the root"

    def _check_signatures(self) -> str:
        root, store, ml_dsa = (
            self._certificate("root"),
            self._certificate("store"),
            self._certificate("store-ml-dsa-65"),
        )
        for path in ("tagmanifest-sha256.txt", "evidence/manifest.json", "evidence/ranges.txt"):
            try:
                check_cms(read(self._bag, path), read(self._bag, f"{path}.p7s"), store, root)
            except SignatureInvalid as error:
                raise SignatureInvalid(f"{path}: {error}") from error
        tags, manifest = read(self._bag, "tagmanifest-sha256.txt"), read(self._bag, "evidence/manifest.json")
        certs.check_signature(ml_dsa, COPY_SIGNATURE, tags, read(self._bag, "tagmanifest-sha256.txt.mldsa65"))
        check_ml_dsa(manifest, read(self._bag, "evidence/manifest.json.mldsa65"), ml_dsa)
        return "package, manifest and ranges by the store: CMS (ECDSA P-256) and ML-DSA-65"

    def _check_files(self) -> str:
        """Everything but the originals, which `_check_originals` reads once for all."""
        tags = checksums(read(self._bag, "tagmanifest-sha256.txt"))
        payload = checksums(read(self._bag, "manifest-sha256.txt"))
        present, listed = set(self._bag.paths()), set(tags) | set(payload) | _SIGNED
        if self._bag.strange:
            raise ChainBroken(f"not a plain file: {', '.join(self._bag.strange[:5])}")
        if extra := sorted(present - listed):
            raise ChainBroken(f"not part of the package: {', '.join(extra[:5])}")
        if missing := sorted(listed - present):
            raise ChainBroken(f"missing: {', '.join(missing[:5])}")
        others = {path: value for path, value in payload.items() if not path.startswith("data/original/")}
        if wrong := check_sums(self._bag, {**tags, **others}, self._read.more, self._workers):
            raise ChainBroken(f"altered: {', '.join(wrong[:5])}")
        return f"{len(listed)} files, none missing, none too many"

    def _check_takes(self) -> str:
        root = self._certificate("root")
        self._manifest = parse_manifest(read(self._bag, "evidence/manifest.json"))
        found: list[tuple[Start | None, Close]] = []
        folders = {take_folder(bytes.fromhex(each["enrolment"]), each["take"]) for each in self._manifest["takes"]}
        if {path.rpartition("/")[0] for path in self._bag.paths() if path.startswith("evidence/takes/")} != folders:
            raise ChainBroken("the manifest lists other takes than there are", code="manifest-mismatch")
        for listed in self._manifest["takes"]:
            found.append(self._check_take(root, bytes.fromhex(listed["enrolment"]), listed["take"]))
        check_manifest(self._manifest, bytes.fromhex(self._manifest["interview"]), found)
        strangers = {start.interview.hex() for start, _ in found if start} - {self._manifest["interview"]}
        if strangers:
            raise ChainBroken("a take belongs to another interview", code="interview-swapped")
        self._report.recorders = sorted({each["enrolment"] for each in self._manifest["takes"]})
        self._report.began = [start.utc_ns for start, _ in found if start]
        ticks = sum(walk.chain.tick + 1 for walk in self._walks if walk is not None)
        return f"{len(found)} takes from start to close, {ticks} signed ticks"

    def _check_take(self, root: x509.Certificate, enrolment: bytes, number: int) -> tuple[Start | None, Close]:
        folder = take_folder(enrolment, number)
        close = read(self._bag, f"{folder}/close.json")
        if f"{folder}/start.json" not in self._bag.paths():
            self._walks.append(None)
            device = certs.from_pem(read(self._bag, f"{folder}/device.pem"))
            device_ml_dsa = certs.from_pem(read(self._bag, f"{folder}/device-ml-dsa-65.pem"))
            certs.check_issued(device, root, certs.device_name(enrolment))
            certs.check_issued(device_ml_dsa, root, certs.device_ml_dsa_name(enrolment))
            return None, check_close(close, device, device_ml_dsa, None)
        start = check_start(read(self._bag, f"{folder}/start.json"), root)
        walk = Walk(start)
        self._walks.append(walk)
        with self._bag.open(f"{folder}/journal.jsonl") as file:
            walk.lines(file)
        checked = check_close(close, start.device_certificate, start.device_ml_dsa_certificate, walk.chain)
        return start, checked

    def _check_devices(self) -> str:
        """Whether a device of these takes was revoked when the copy was made, and which takes that leaves doubtful."""
        ours = self._certificate("root"), self._certificate("store"), self._certificate("store-ml-dsa-65")
        found = []
        for path in sorted(self._bag.paths()):
            if path.startswith(FOLDER) and path.endswith(".json"):
                data, cms, ml_dsa = (read(self._bag, f"{path}{suffix}") for suffix in ("", ".p7s", ".mldsa65"))
                found.append(check_revocation(SignedRevocation(data, cms, ml_dsa), ours[1], ours[2], ours[0]))
                if path != path_of(found[-1]):
                    raise ChainBroken("a revocation lies under another's name", code="revocation-misplaced")
        listed = self._manifest["takes"]
        known = {(each.enrolment.hex(), each.number) for each in found}
        for each in listed:
            if each.get("doubtful") is not None and (each["enrolment"], each["doubtful"]) not in known:
                raise ChainBroken("the manifest names a revocation that is not here", code="revocation-missing")
        takes = [
            (take_label(at), bytes.fromhex(each["enrolment"]), each["take"], _head(each["head"]))
            for at, each in enumerate(listed)
        ]
        return check_none_doubtful(found, takes)

    def _check_originals(self) -> str:
        """Every byte of every original: file hash, range, and the commitment in the device's signed record."""
        lines = ranges.parse(read(self._bag, "evidence/ranges.txt"))
        expected: dict[str, Expected] = {}
        for position, walk in enumerate(self._walks):
            for each in [] if walk is None else walk.committed:
                assert walk is not None  # noqa: S101 - mypy does not see it through the conditional
                entry = next(track for track in walk.start.tracks if track.index == each.track)
                path = original_path(take_label(position), entry.id, each.track, each.epoch)
                line = next(lines, None)
                if line is None or (
                    line.path, line.tick, line.kind, line.track, line.utc, line.milliseconds
                ) != (path, each.tick, each.kind, entry.id, utc_text(each.utc_ns), each.milliseconds):  # fmt: skip
                    raise ChainBroken("the list of ranges does not follow the signed ticks", code="ranges-mismatch")
                expected.setdefault(path, Expected(path)).add(line, each.commitment)
        if next(lines, None) is not None:
            raise ChainBroken("the list of ranges goes on after the last signed tick", code="ranges-mismatch")
        payload = checksums(read(self._bag, "manifest-sha256.txt"))
        originals = {path: value for path, value in payload.items() if path.startswith("data/original/")}
        if set(originals) != set(expected):
            raise ChainBroken("the originals are not those of the signed ticks", code="ranges-mismatch")
        if len(self._walks) != len(self._manifest.get("takes", ())) or not self._manifest:
            raise ChainBroken("not every take could be walked", code="ranges-mismatch")
        faults = check_originals(
            self._bag, [(each, originals[path]) for path, each in expected.items()], self._read.more, self._workers
        )
        if faults:
            raise ChainBroken("; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else ""))
        size = sum(self._bag.size(path) for path in originals)
        self._report.files, self._report.size = len(originals), size
        return f"{len(originals)} files, {size} bytes, each tick's bytes as its signed record commits to them"

    def _check_gaps(self) -> str:
        gaps, walks = self._manifest["gaps"], [walk for walk in self._walks if walk is not None]
        for position, walk in enumerate(self._walks):
            if walk is not None and walk.holes.undeclared:
                raise ChainBroken(
                    f"{take_label(position)}: undeclared hole, {walk.holes.undeclared[0]}", code="gap-undeclared"
                )
        check_listed(self._manifest, {gap for walk in walks for gap in walk.holes.declared})
        crashed = [each["take"] for each in self._manifest["takes"] if each["how"] == Ending.CRASHED.value]
        self._report.gaps = len(gaps)
        return f"{len(gaps)} gaps declared, none undeclared; {len(crashed)} takes ended by a crash"

    def _check_custody(self) -> str:
        custody = json.loads(read(self._bag, "evidence/custody.json"))
        if custody["type"] != CUSTODY_TYPE:
            raise InvalidInput("not a list of custody entries", code="custody-form")
        entries, interview = custody["entries"], self._manifest.get("interview")
        ledger, note = self._ledger(), read(self._bag, "evidence/checkpoint.txt")
        latest = Checkpoint.open(note, ledger_verifier(ledger, note))
        size, seen = 0, dict[int, Record]()
        for entry in entries:
            number = int(entry["index"])
            proof = read(self._bag, f"evidence/proofs/{number}.tlog-proof")
            index, tree = check_entry(proof, bytes.fromhex(entry["nonce"]), canonical(entry["body"]), ledger)
            if index != number or index in seen:
                raise ChainBroken(f"custody entry {number} brings another entry's proof", code="inclusion-proof")
            if tree > latest.size or (tree == latest.size and head_of(proof).root != latest.root):
                raise ChainBroken(
                    "the latest checkpoint is older than a proof's, or beside it", code="checkpoint-behind"
                )
            seen[index] = entry["body"]
            self._proven_in[index] = Proof.parse(proof).checkpoint
            size = max(size, tree)
            if entry["body"]["interview"] != interview:
                raise ChainBroken(f"custody entry {number} is of another interview", code="interview-swapped")
        proofs = {path for path in self._bag.paths() if path.startswith("evidence/proofs/")}
        if proofs != {f"evidence/proofs/{index}.tlog-proof" for index in seen}:
            raise ChainBroken("there are proofs without their custody entry", code="inclusion-proof")
        check_entered(seen, sha256_of(self._bag, "evidence/manifest.json"), self._walked())
        self._report.entries = len(entries)
        notes = [*self._proven_in.values(), note]
        check_one_history(notes)
        strangers = cosignatures_of_strangers(notes, self._anchors.witnesses)
        unknown = (
            f"; {strangers} cosignatures by keys that were not given: nothing is known of them" if strangers else ""
        )
        return f"{len(entries)} entries, each proven in the signed ledger (up to {size} entries){unknown}"

    def _check_witnesses(self) -> str:
        # One key stands for one witness, whatever names it was given under.
        keys = list({key.public_key: key for key in self._anchors.witnesses}.values())
        starts = {take_label(n): walk.start for n, walk in enumerate(self._walks) if walk is not None}
        covered, began = check_witnesses(self._proven_in, keys, self._anchors.quorum), check_began(starts, keys)
        self._report.witnesses = standing_for_all(self._proven_in, keys)
        return "; ".join(each for each in (covered, began) if each)

    def _check_time(self) -> str:
        """Outside time: who stamped what, when; and whether anything claims to be from later."""
        entries = json.loads(read(self._bag, "evidence/custody.json"))["entries"]
        entered = {
            entry["body"]["details"]["stamp"]: entry["body"]["details"]
            for entry in entries
            if entry["body"]["verb"] == Verb.STAMP_OBTAINED.value
        }
        lost = {
            entry["body"]["details"]["stamp"]: entry["body"]["details"]["about"]
            for entry in entries
            if entry["body"]["verb"] == Verb.STAMP_LOST.value
        }
        given = self._anchors.time_authorities
        found = check_stamps(self._bag, self._walks, self._ledger(), entered, given, lost)
        self._report.clocks = sorted(found.unknown)
        dated = {each: time for each, time in found.manifest.items() if each not in found.unknown}
        self._report.dated_by, self._report.sealed_at = sorted(dated), min(dated.values(), default=None)
        return words(found)

    def _walked(self) -> dict[tuple[str, int], Walked]:
        return {
            (each["enrolment"], each["take"]): Walked(
                each["start"],
                each["close"],
                each["head"],
                [] if walk is None else [head.hex() for head in walk.heads],
            )
            for each, walk in zip(self._manifest["takes"], self._walks, strict=True)
        }

    def _ledger(self) -> x509.Certificate:
        certificate = self._certificate("ledger")
        key, pinned = certificate.public_key(), self._anchors.ledger_key
        if not isinstance(key, ed25519.Ed25519PublicKey) or pinned not in (None, key.public_bytes_raw()):
            raise SignatureInvalid("the ledger's key is not the one that was given", code="signature-kind")
        return certificate


def _head(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
