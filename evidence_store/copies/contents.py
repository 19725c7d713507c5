"""What a package holds: every file with its size and SHA-256, before the first byte goes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evidence_store import webm
from evidence_store.canonical import Record, parse
from evidence_store.copies import ranges
from evidence_store.copies.cms import check_cms
from evidence_store.copies.custody_proofs import check_entry
from evidence_store.copies.graph import MARK, Card, Input, Look, Scene
from evidence_store.copies.layout import COPY_SIGNATURE, CUSTODY_TYPE, VIEWING, take_folder
from evidence_store.copies.listed import check_manifest, parse_manifest
from evidence_store.copies.render import CLOCK_ZONE, Rendered, RenderFailed, Tools, render
from evidence_store.copies.revocations import check_revocation, path_of
from evidence_store.copies.source import CopySource, Progress
from evidence_store.copies.stamps import stamp_files
from evidence_store.copies.survey import Measure, TakeSurvey, survey_take, void_device
from evidence_store.copies.vessel import Vessel
from evidence_store.errors import InvalidInput
from evidence_store.identifiers import utc_text
from evidence_store.ledger.proof import Proof
from evidence_store.sealing import certificates as certs
from evidence_store.sealing.manifest import check_ml_dsa

VIEWING_NOTE: Final = "data/viewing/visningskopi.json"
_PLAYABLE: Final = "data/viewing/"
COPY_TYPE: Final = "vidne/copy/1"


@dataclass(frozen=True, slots=True)
class File:
    """One file of the package. `read` gives its bytes anew each time it is called."""

    path: str
    size: int
    sha256: str
    read: Callable[[], Iterator[bytes]]
    mode: int = 0o644

    @classmethod
    def of(cls, path: str, data: bytes, mode: int = 0o644) -> File:
        return cls(path, len(data), hashlib.sha256(data).hexdigest(), lambda: iter((data,)), mode)


@dataclass(frozen=True, slots=True)
class Contents:
    files: list[File]
    takes: list[TakeSurvey]
    vessel: Vessel | None
    viewing_failure: str | None


def contents(source: CopySource, scratch: Path, tools: Tools, progress: Progress) -> Contents:
    """Checks everything, renders, measures, signs. Raises as `package.prepare`."""
    _check_source(source)
    takes: list[TakeSurvey] = []
    vessel: Vessel | None = None
    try:
        total = sum(take.segments for take in source.takes) or 1
        done = 0
        for position, take in enumerate(source.takes):
            before = done
            takes.append(survey_take(source, position, take, lambda i, b=before: progress("check", (b + i) / total)))  # type: ignore[misc]
            done += take.segments
        check_manifest(parse_manifest(source.manifest.data), source.interview, [(t.start, t.close) for t in takes])
        rendered, failure = _viewing(source, takes, scratch, tools, progress)
        vessel = None if rendered is None else rendered.vessel
        films = _films(takes)
        payload = _originals(takes) + _viewing_files(source, takes, rendered, failure, films)
        return Contents(_bag(source, takes, payload), takes, vessel, failure)
    except BaseException:
        for found in takes:
            if found.opened is not None:
                found.opened.forget()
        if vessel is not None:
            vessel.close()
        raise


def _check_source(source: CopySource) -> None:
    if len(source.copy_id) != 16 or len(source.interview) != 16:
        raise InvalidInput("a copy's and an interview's id have 16 bytes", code="copy-id-form")
    known = source.certificates
    certs.check_issued(known.store, known.root, certs.STORE)
    certs.check_issued(known.store_ml_dsa, known.root, certs.STORE_ML_DSA)
    certs.check_issued(known.ledger, known.root, certs.LEDGER)
    if known.store.public_key() != source.signer.key.public_key():
        raise InvalidInput("the store's key is not that of its certificate", code="signer-mismatch")
    check_cms(source.manifest.data, source.manifest.cms, known.store, known.root)
    check_ml_dsa(source.manifest.data, source.manifest.ml_dsa, known.store_ml_dsa)
    for entry in source.custody:
        check_entry(entry.proof, entry.nonce, entry.body, known.ledger)


def _originals(takes: list[TakeSurvey]) -> list[File]:
    files = []
    for take in takes:
        for (track, epoch), original in take.in_order():
            assert take.opened is not None  # noqa: S101 - media was read through it
            files.append(
                File(
                    original.path, original.measure.size, original.measure.sha256,
                    partial(take.opened.read, track, epoch),
                )
            )  # fmt: skip
    return files


def _films(takes: list[TakeSurvey]) -> dict[str, File | str]:
    """By the path of the original: VP8 once more, frame for frame, in WebM, which players take it from; or why not."""
    found: dict[str, File | str] = {}
    for take in takes:
        for (track, epoch), original in take.in_order():
            assert take.opened is not None  # noqa: S101 - media was read through it
            if not original.codec.startswith(webm.CODEC):
                continue
            try:
                film = webm.WebmFile(partial(take.opened.read, track, epoch))
            except InvalidInput as error:
                # Like a film that cannot be rendered: no reason to hold the originals back.
                found[original.path] = str(error)
                continue
            measure = Measure()
            for chunk in film.chunks():
                measure.add(chunk)
            path = _PLAYABLE + PurePosixPath(original.path).with_suffix(".webm").name
            found[original.path] = File(path, measure.size, measure.sha256, film.chunks)
    return found


def _viewing(
    source: CopySource, takes: list[TakeSurvey], scratch: Path, tools: Tools, progress: Progress
) -> tuple[Rendered | None, str | None]:
    """A take that FFmpeg cannot read must not keep the originals from the court: the copy then says what failed."""
    parts = _parts(takes)
    if not parts:
        return None, "no take has media"
    look = Look(source.copy_id.hex(), str(tools.font))
    try:
        return render(parts, look, scratch, tools, lambda fraction: progress("render", fraction)), None
    except RenderFailed as error:
        return None, str(error)


def _parts(takes: list[TakeSurvey]) -> list[Scene | Card]:
    parts: list[Scene | Card] = []
    shown = [take for take in takes if take.originals]
    before: TakeSurvey | None = None
    for number, take in enumerate(shown, 1):
        if before is not None:
            seconds = (take.timeline.utc_span[0] - before.timeline.utc_span[1]) / 10**9
            parts.append(Card(f"HUL / GAP {seconds:.1f} s"))
        assert take.opened is not None  # noqa: S101 - media was read through it
        inputs = [
            Input(take.timeline.tracks[track], partial(take.opened.read, track, epoch), original.measure.size)
            for (track, epoch), original in take.in_order()
            if take.timeline.tracks[track].spans
        ]
        parts.append(Scene(take.timeline, inputs, number, len(shown)))
        before = take
    return parts


def _viewing_files(
    source: CopySource,
    takes: list[TakeSurvey],
    rendered: Rendered | None,
    failure: str | None,
    films: dict[str, File | str],
) -> list[File]:
    note = {
        "type": "vidne/viewing/1",
        "derived": True,
        "label": MARK,
        "note": "Afledt af originalerne til gennemsyn. Beviset er filerne i data/original. / "
        "Derived from the originals for viewing. The evidence is the files in data/original.",
        "copy": source.copy_id.hex(),
        "made": rendered is not None,
        "failure": failure,
        "commands": [] if rendered is None else [["ffmpeg", *command] for command in rendered.commands],
        "clock": {
            "zone": "Europe/Copenhagen",
            "rule": CLOCK_ZONE,
            "note": "Runs evenly with the media from the first picture or sound of each take; the signed time of every "
            "tick is in evidence/ranges.txt.",
        },
        "films": [
            {
                "path": film.path if isinstance(film, File) else None,
                "of": path,
                "failure": None if isinstance(film, File) else film,
                "note": "De samme billeder, uændret, i en beholder som afspillere kan læse. / "
                "The same pictures, unaltered, in a container that players read.",
            }
            for path, film in films.items()
        ],
        "sources": [
            {"path": original.path, "sha256": original.measure.sha256}
            for take in takes
            for _, original in take.in_order()
        ],
        "takes": [
            {
                "take": take.label,
                "first": utc_text(take.timeline.utc_span[0]),
                "last": utc_text(take.timeline.utc_span[1]),
                "holes": {
                    each.entry.id: [[a / 1000, b / 1000] for a, b in each.holes(take.timeline.begin, take.timeline.end)]
                    for each in take.timeline.tracks.values()
                },
            }
            for take in takes
            if take.originals
        ],
    }
    files = [File.of(VIEWING_NOTE, _pretty(note)), *(film for film in films.values() if isinstance(film, File))]
    if rendered is not None:
        vessel = rendered.vessel
        files.insert(0, File(VIEWING, vessel.size, vessel.sha256, vessel.read))
    return files


def _bag(source: CopySource, takes: list[TakeSurvey], payload: list[File]) -> list[File]:
    own = resources.files("evidence_store.copies")
    tags = [
        File.of("bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"),
        File.of("bag-info.txt", _bag_info(source, payload)),
        File.of("manifest-sha256.txt", _checksums(payload)),
        File.of("VERIFY.md", own.joinpath("VERIFY.md").read_bytes()),
        File.of("verify.sh", own.joinpath("verify.sh").read_bytes(), 0o755),
        File.of("evidence/copy.json", _pretty(_description(source, takes))),
        File.of("evidence/manifest.json", source.manifest.data),
        File.of("evidence/manifest.json.p7s", source.manifest.cms),
        File.of("evidence/manifest.json.mldsa65", source.manifest.ml_dsa),
        *_range_files(source, takes),
        *_custody_files(source),
        *(File.of(path, data) for path, data in stamp_files(source.stamps)),
        *_certificate_files(source),
        *_revocation_files(source),
    ]
    for take in takes:
        tags += _take_files(source, take)
    listed = _checksums(tags)
    known = source.certificates
    signatures = [
        File.of("tagmanifest-sha256.txt", listed),
        File.of("tagmanifest-sha256.txt.p7s", certs.sign_cms(source.signer.key, known.store, [known.root], listed)),
        File.of("tagmanifest-sha256.txt.mldsa65", certs.sign(source.signer.ml_dsa_key, COPY_SIGNATURE, listed)),
    ]
    return [*tags, *signatures, *payload]


def _take_files(source: CopySource, take: TakeSurvey) -> list[File]:
    folder = take_folder(take.source.enrolment, take.source.number)
    files = [File.of(f"{folder}/close.json", take.source.close)]
    if take.source.start is None or take.opened is None:
        device, device_ml_dsa = void_device(take.source, source.certificates.root)
        files.append(File.of(f"{folder}/device.pem", certs.to_pem(device)))
        files.append(File.of(f"{folder}/device-ml-dsa-65.pem", certs.to_pem(device_ml_dsa)))
        return files
    files.append(File.of(f"{folder}/start.json", take.source.start))
    measure = take.journal
    files.append(File(f"{folder}/journal.jsonl", measure.size, measure.sha256, take.opened.journal))
    return files


def _range_files(source: CopySource, takes: list[TakeSurvey]) -> list[File]:
    data = b"".join((ranges.HEADER.encode("ascii"), b"\n", *(take.range_lines for take in takes)))
    for take in takes:
        take.range_lines.clear()
    known = source.certificates
    signature = certs.sign_cms(source.signer.key, known.store, [known.root], data)
    return [File.of("evidence/ranges.txt", data), File.of("evidence/ranges.txt.p7s", signature)]


def _custody_files(source: CopySource) -> list[File]:
    entries, files = [], []
    for entry in source.custody:
        index = Proof.parse(entry.proof).index
        path = f"evidence/proofs/{index}.tlog-proof"
        entries.append({"body": parse(entry.body), "index": index, "nonce": entry.nonce.hex(), "proof": path})
        files.append(File.of(path, entry.proof))
    if source.checkpoint is not None:
        files.append(File.of("evidence/checkpoint.txt", source.checkpoint))
    return [File.of("evidence/custody.json", _pretty({"entries": entries, "type": CUSTODY_TYPE})), *files]


def _certificate_files(source: CopySource) -> list[File]:
    known = source.certificates
    named = {"root": known.root, "store": known.store, "store-ml-dsa-65": known.store_ml_dsa, "ledger": known.ledger}
    return [File.of(f"evidence/certificates/{name}.pem", certs.to_pem(each)) for name, each in named.items()]


def _revocation_files(source: CopySource) -> list[File]:
    files, known = [], source.certificates
    for each in source.revocations:
        path = path_of(check_revocation(each, known.store, known.store_ml_dsa, known.root))
        files += [File.of(path, each.data), File.of(f"{path}.p7s", each.cms), File.of(f"{path}.mldsa65", each.ml_dsa)]
    return files


def _description(source: CopySource, takes: list[TakeSurvey]) -> Record:
    return {
        "type": COPY_TYPE,
        "copy": source.copy_id.hex(),
        "made": utc_text(source.made_utc_ns),
        "interview": source.interview.hex(),
        "case_number": source.case_number,
        "house": source.house,
        "room": source.room,
        "recipient": source.recipient.age_public_key,
        "purpose": source.recipient.purpose,
        "requested_by": source.recipient.requested_by,
        "outside_time": {
            "authorities": sorted(source.stamps.authorities),
            "stamps": sum(len(chain.links) for chain in source.stamps.chains),
        },
        "manifest_sha256": hashlib.sha256(source.manifest.data).hexdigest(),
        "takes": [
            {
                "take": take.label,
                "enrolment": take.source.enrolment.hex(),
                "number": take.source.number,
                "how": take.close.record["how"],
                "torn_tail_kept": take.source.torn_tail,
                "files": [
                    {
                        "path": original.path,
                        "track": original.track.id,
                        "camera": original.track.camera,
                        "kind": original.track.kind,
                        "timescale": original.track.timescale,
                        "epoch": original.epoch,
                    }
                    for _, original in take.in_order()
                ],
            }
            for take in takes
        ],
    }


def _bag_info(source: CopySource, payload: list[File]) -> bytes:
    lines = {
        "Bag-Software-Agent": "Vidne",
        "Bagging-Date": utc_text(source.made_utc_ns)[:10],
        "External-Identifier": source.copy_id.hex(),
        "Payload-Oxum": f"{sum(file.size for file in payload)}.{len(payload)}",
    }
    return "".join(f"{name}: {value}\n" for name, value in lines.items()).encode("utf-8")


def _checksums(files: list[File]) -> bytes:
    ordered = sorted(files, key=lambda file: file.path)
    return "".join(f"{file.sha256}  {file.path}\n" for file in ordered).encode("utf-8")


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8")
