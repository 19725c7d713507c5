"""An evidence copy told in CASE 1.4 / UCO 1.4 (JSON-LD), for case systems that take it: docs/formats/case-uco.md.

A derived view: it says again what the package's signed files say, proves nothing, and is no part of the package. It
tells no person's name, account, case number, purpose or recipient, though the package has them: graphs are merged and
passed on. Pure but for the reading; the same package gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import PurePosixPath
from typing import Any, Final

from evidence_store.copies.bag import Bag, checksums, read
from evidence_store.copies.listed import parse_manifest
from evidence_store.errors import InvalidInput
from evidence_store.identifiers import parse_utc, utc_text

Node = dict[str, Any]

CONTEXT: Final[dict[str, str]] = {
    "case-investigation": "https://ontology.caseontology.org/case/investigation/",
    "kb": "urn:uuid:",
    "uco-action": "https://ontology.unifiedcyberontology.org/uco/action/",
    "uco-core": "https://ontology.unifiedcyberontology.org/uco/core/",
    "uco-observable": "https://ontology.unifiedcyberontology.org/uco/observable/",
    "uco-tool": "https://ontology.unifiedcyberontology.org/uco/tool/",
    "uco-types": "https://ontology.unifiedcyberontology.org/uco/types/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
_SPACE: Final = uuid.UUID("6f1b6c39-1f0e-4f58-9f7f-6b7f2a1c9d10")
_MIME: Final = {".mp4": "video/mp4", ".webm": "video/webm", ".json": "application/json"}


def case_uco(bag: Bag) -> bytes:
    """UTF-8 JSON-LD, its nodes in a fixed order. Reads lists and records, no media: check the package first.

    Raises InvalidInput `not-a-package`, Tampered for a file that is missing.
    """
    try:
        graph = _Graph(bag).nodes()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput("the package's records cannot be read", code="not-a-package") from error
    text = json.dumps({"@context": CONTEXT, "@graph": graph}, ensure_ascii=False, indent=1, sort_keys=True)
    return text.encode() + b"\n"


class _Graph:
    def __init__(self, bag: Bag) -> None:
        self._bag = bag
        self._copy = json.loads(read(bag, "evidence/copy.json"))
        self._manifest = parse_manifest(read(bag, "evidence/manifest.json"))
        self._payload = checksums(read(bag, "manifest-sha256.txt"))
        self._tags = read(bag, "tagmanifest-sha256.txt")
        self._interview = str(self._manifest["interview"])

    def nodes(self) -> list[Node]:
        """Files, takes with how each came to be, the viewing copy's rendering, custody, and what holds them."""
        vidne = self._node("uco-tool:Tool", "vidne", {"uco-core:name": "Vidne"})
        files = {path: self._file(path) for path in sorted(self._payload)}
        found = [vidne, *files.values(), *self._takes(files, vidne)]
        originals = [node for path, node in files.items() if path.startswith("data/original/")]
        viewing = [node for path, node in files.items() if path.startswith("data/viewing/")]
        if viewing and originals:
            made = _moment(parse_utc(self._copy["made"]))
            found.append(
                self._action(
                    "rendered", "Viewing copy rendered from the originals, for watching only", made, made,
                    {"uco-action:object": _refs(originals), "uco-action:result": _refs(viewing),
                     "uco-action:instrument": _ref(vidne)},
                )
            )  # fmt: skip
        found += self._custody(originals)
        holds = {"uco-core:object": _refs(found), "uco-core:name": f"Interview {self._interview}"}
        package = hashlib.sha256(self._tags).hexdigest()
        holds["uco-core:description"] = [
            f"Derived view of evidence copy {self._copy['copy']}, whose tagmanifest-sha256.txt has SHA-256 {package}. "
            "It proves nothing: check the copy itself."
        ]
        return [self._node("case-investigation:Investigation", "interview", holds), *found]

    def _takes(self, files: dict[str, Node], vidne: Node) -> list[Node]:
        described = {(each["enrolment"], int(each["number"])): each for each in self._copy["takes"]}
        found = []
        for listed in self._manifest["takes"]:
            copied = described[listed["enrolment"], int(listed["take"])]
            media = [files[each["path"]] for each in copied["files"]]
            if not media:
                continue
            words = [f"Ended: {listed['how']}. Signed by device {listed['enrolment']} as its take {listed['take']}."]
            if listed.get("doubtful") is not None:
                words.append("DOUBTFUL: the device was revoked, and this came after what is trusted of it.")
            words += [self._gap(gap) for gap in self._manifest["gaps"] if gap["take"] == listed["take"]]
            record = self._node(
                "case-investigation:ProvenanceRecord", f"record {copied['take']}",
                {
                    "case-investigation:exhibitNumber": copied["take"], "uco-core:description": words,
                    "uco-core:object": _refs(media),
                },
            )  # fmt: skip
            action = self._action(
                f"recorded {copied['take']}", "Interview recorded, sealed as it was recorded",
                _moment(int(listed["first_media"])) if listed["first_media"] else None,
                _moment(int(listed["last_media"])) if listed["last_media"] else None,
                {"uco-action:instrument": _ref(vidne), "uco-action:result": _refs([record, *media])},
            )  # fmt: skip
            found += [record, action]
        return found

    def _gap(self, gap: Node) -> str:
        ends = "its end" if gap["to"] is None else f"{utc_text(int(gap['to']))[:23]}Z"
        return f"Gap ({gap['reason']}) on {gap['track'] or 'all tracks'}: {utc_text(int(gap['from']))[:23]}Z to {ends}"

    def _custody(self, originals: list[Node]) -> list[Node]:
        """Each entry as an act, without who did it: the package's own custody names them."""
        found = []
        for entry in json.loads(read(self._bag, "evidence/custody.json"))["entries"]:
            at = _moment(parse_utc(entry["body"]["at"]))
            role = entry["body"]["actor"]["role"] or entry["body"]["actor"]["kind"]
            words = f"Custody entry {entry['index']} of the ledger, by: {role}"
            about = {"uco-core:description": [words], "uco-action:object": _refs(originals)}
            found.append(self._action(f"custody {entry['index']}", str(entry["body"]["verb"]), at, at, about))
        return found

    def _file(self, path: str) -> Node:
        size, plain = self._bag.size(path), PurePosixPath(path)
        kind = "audio" if "-audio-" in plain.name else "video"
        content = {
            "uco-observable:hash": [
                self._facet(
                    "uco-types:Hash", f"hash {path}",
                    {
                        "uco-types:hashMethod": "SHA256",
                        "uco-types:hashValue": _typed("xsd:hexBinary", self._payload[path]),
                    },
                )
            ],
            "uco-observable:sizeInBytes": size,
        }  # fmt: skip
        if (mime := _MIME.get(plain.suffix)) is not None:
            content["uco-observable:mimeType"] = mime.replace("video/mp4", f"{kind}/mp4")
        about = {
            "uco-observable:fileName": plain.name, "uco-observable:filePath": path,
            "uco-observable:extension": plain.suffix.removeprefix("."), "uco-observable:isDirectory": False,
            "uco-observable:sizeInBytes": size,
        }  # fmt: skip
        facets = [
            self._facet("uco-observable:FileFacet", f"file {path}", about),
            self._facet("uco-observable:ContentDataFacet", f"content {path}", content),
        ]
        return self._node("uco-observable:File", path, {"uco-core:hasFacet": facets})

    def _action(self, key: str, name: str, begins: Node | None, ends: Node | None, members: Node) -> Node:
        times = {"uco-action:startTime": begins, "uco-action:endTime": ends}
        said = {name: value for name, value in times.items() if value is not None}
        return self._node(
            "case-investigation:InvestigativeAction", f"action {key}", {"uco-core:name": name, **said, **members}
        )

    def _facet(self, kind: str, key: str, members: Node) -> Node:
        return self._node(kind, f"facet {key}", members)

    def _node(self, kind: str, key: str, members: Node) -> Node:
        """Its id follows from interview and key: the same thing in two copies of an interview is one node."""
        return {"@id": f"kb:{uuid.uuid5(_SPACE, f'{self._interview} {key}')}", "@type": kind, **members}


def _ref(node: Node) -> Node:
    return {"@id": node["@id"]}


def _refs(nodes: list[Node]) -> list[Node]:
    return [_ref(node) for node in nodes]


def _typed(kind: str, value: str) -> Node:
    return {"@type": kind, "@value": value}


def _moment(ns: int) -> Node:
    """To the microsecond: more digits are dropped by what reads xsd:dateTime, and by some refused."""
    return _typed("xsd:dateTime", f"{utc_text(ns)[:26]}Z")
