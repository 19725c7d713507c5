"""The manifest against the takes that it lists. Pure; its signatures are checked elsewhere."""

from __future__ import annotations

from evidence_store.canonical import Record, parse
from evidence_store.copies.layout import take_label
from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.sealing.check import Close, Start
from evidence_store.sealing.manifest import MANIFEST_TYPE

_MANIFEST = {"gaps", "interview", "made", "number", "parts", "takes", "type"}


def check_manifest(manifest: Record, interview: bytes, takes: list[tuple[Start | None, Close]]) -> None:
    """The manifest lists exactly these takes, in this order, as they start, end and go. Raises ChainBroken."""
    if manifest.get("interview") != interview.hex():
        raise ChainBroken("the manifest is of another interview", code="manifest-mismatch")
    if len(manifest["takes"]) != len(takes):
        raise ChainBroken("the manifest lists other takes than there are", code="manifest-mismatch")
    for position, (listed, (start, close)) in enumerate(zip(manifest["takes"], takes, strict=True)):
        last = close.record["last"]
        expected = {
            "close": close.close_hash.hex(),
            "enrolment": close.record["enrolment"],
            "head": close.record["head"],
            "how": close.record["how"],
            "segments": len(close.record["segments"]),
            "start": None if start is None else start.start_hash.hex(),
            "take": close.record["take"],
            "ticks": 0 if last is None else last["t"] + 1,
        }
        for name, value in expected.items():
            if listed.get(name) != value:
                raise ChainBroken(f"manifest and {take_label(position)} disagree on {name}", code="manifest-mismatch")


def parse_manifest(data: bytes) -> Record:
    """Raises InvalidInput for what is no manifest, or one of another version."""
    manifest = parse(data)
    if (
        set(manifest) != _MANIFEST
        or manifest["type"] != MANIFEST_TYPE
        or not isinstance(manifest["takes"], list)
        or not isinstance(manifest["gaps"], list)
    ):
        raise InvalidInput("not a manifest", code="manifest-form")
    return manifest
