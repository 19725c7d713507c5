"""Time stamps in a package: the files, and what a checker makes of them (docs/formats/package.md#stamps)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509

from evidence_store.canonical import parse
from evidence_store.copies.bag import Bag, read
from evidence_store.copies.layout import take_folder
from evidence_store.copies.stamps_before import KINDS, PATH, before_files, before_path, check_before, read_before
from evidence_store.copies.walk import Walk
from evidence_store.errors import ChainBroken, InvalidInput
from evidence_store.identifiers import parse_utc, utc_text
from evidence_store.stamps.carried import Chain, Collected
from evidence_store.stamps.stamp import TOLERANCE_NS, Stamp, TimeAuthority, authority_from_pem, check_chain
from evidence_store.stamps.subjects import HEAD_TYPE, Kind, claimed

FOLDER: Final = "evidence/stamps"
LIST: Final = f"{FOLDER}/stamps.txt"
HEADER: Final = "# vidne/stamps/1: stamp about previous authority\n"
_MANIFEST: Final = "evidence/manifest.json"
_ABOUT: Final = re.compile(
    r"evidence/(?:takes/([0-9a-f]{32})-([0-9]+)/(start|close)\.json|(manifest)\.json"
    r"|stamps/(head)-([0-9a-f]{32})-([0-9]+)-([0-9]+)\.json)"
)
_LOST_ABOUT: Final = re.compile(r"takes/([0-9a-f]{32})/([0-9]+)/(?:(start|close)\.json|head-([0-9]+))")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the list. `previous`: the stamp that this one renews. `authority`: a fingerprint."""

    stamp: str
    about: str
    previous: str | None
    authority: str


@dataclass(slots=True)
class Timed:
    """What was found. `stamps`: how many; `by` whom, fingerprints, called `names`; `unknown`: those of them that were
    not given from outside. `first`: when each thing existed at the latest. `after`: when a take had not begun yet.
    `lost`: what those are about that the store had, lost and declared.
    `manifest`: who stamped that, and when first.
    """

    stamps: int = 0
    by: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    manifest: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)


# Writing


def stamp_files(collected: Collected) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of every file. Nothing at all where there is no stamp."""
    lines, heads = [], {}
    for chain in collected.chains:
        about = about_path(chain)
        if chain.kind is Kind.HEAD and chain.data is not None:
            heads[about] = chain.data
        previous = "-"
        for number, (authority, response) in enumerate(chain.links):
            path = f"{FOLDER}/{_label(chain)}.{chain.chain[:16]}.{number}.tsr"
            yield path, response
            lines.append(f"{path} {about} {previous} {authority}\n")
            previous = path
    if lines:
        yield from heads.items()
        yield LIST, (HEADER + "".join(lines)).encode("ascii")
    for before in collected.before:
        yield from before_files(before)
    if lines or collected.before:
        for fingerprint, pem in collected.authorities.items():
            yield authority_path(fingerprint), pem


def authority_path(fingerprint: str) -> str:
    return f"{FOLDER}/authorities/{fingerprint}.pem"


def about_path(chain: Chain) -> str:
    """Where in the package that lies which a stamp is about."""
    if chain.kind is Kind.MANIFEST:
        return _MANIFEST
    if chain.kind is Kind.HEAD:
        return f"{FOLDER}/{_label(chain)}.json"
    enrolment, number = _take(chain)
    return f"{take_folder(bytes.fromhex(enrolment), number)}/{chain.kind.value}.json"


def _label(chain: Chain) -> str:
    if chain.kind is Kind.MANIFEST:
        return "manifest"
    enrolment, number = _take(chain)
    tick = f"-{int(chain.name.rpartition('-')[2])}" if chain.kind is Kind.HEAD else ""
    return f"{chain.kind.value}-{enrolment}-{number}{tick}"


def _take(chain: Chain) -> tuple[str, int]:
    _, enrolment, number, _ = chain.name.split("/")
    return enrolment, int(number)


# Checking


def check_stamps(
    bag: Bag,
    walks: Sequence[Walk | None],
    ledger: x509.Certificate,
    entered: Mapping[str, Mapping[str, Any]],
    given: Sequence[str],
    lost: Mapping[str, str],
) -> Timed:
    """Every stamp of the package, and each claimed time against it.

    `entered`: what custody says of each stamp (details of `stamp:obtained`), by SHA-256 (hex); `lost`: those of them
    that custody declares lost, and what each is about. `given`: fingerprints of
    authorities that are known from outside. Raises SignatureInvalid, ChainBroken, InvalidInput.
    """
    found = Timed()
    own = {path for path in bag.paths() if path.startswith(f"{FOLDER}/")}
    lines = parse_list(read(bag, LIST)) if LIST in own else []
    before = [read_before(bag, path) for path in sorted(own) if PATH.fullmatch(path)]
    named = [*(line.authority for line in lines), *(each.authority for each in before)]
    authorities = {each: _authority(bag, each) for each in dict.fromkeys(named)}
    listed = {line.stamp for line in lines} | {authority_path(each) for each in authorities}
    listed |= {line.about for line in lines if line.about.startswith(FOLDER)} | ({LIST} if lines else set())
    listed |= {before_path(each, kind) for each in before for kind in KINDS}
    if own != listed:
        raise ChainBroken("stamps and their list do not agree", code="stamps-mismatch")
    seen = set()
    for chain in _chains(lines):
        responses = [read(bag, line.stamp) for line in chain]
        data, kind = _about(bag, chain[0].about, walks)
        links = [(response, authorities[line.authority]) for response, line in zip(responses, chain, strict=True)]
        stamps = check_chain(links, data)
        seen |= {hashlib.sha256(response).hexdigest() for response in responses}
        _note(found, chain, stamps, claimed(kind, data))
    for each in before:
        walk = next((walk for walk in walks if walk is not None and _is(walk, each.enrolment, each.take)), None)
        if walk is None:
            raise ChainBroken("a stamp is of no take that is here", code="stamps-mismatch")
        found.after[f"take {each.take}"] = check_before(each, walk.start, ledger, authorities[each.authority])
        found.stamps += 1
        found.by[each.authority] += 1
    if set(lost) - set(entered):
        raise ChainBroken("a stamp is declared lost that custody never had", code="stamps-mismatch")
    found.lost = [about for stamp, about in lost.items() if stamp not in seen]
    for stamp in set(lost) - seen:
        _check_lost(bag, walks, entered[stamp])
    if missing := set(entered) - seen - set(lost):
        raise ChainBroken(f"{len(missing)} stamps that custody names are not here", code="stamps-mismatch")
    if seen - set(entered):
        raise ChainBroken("a stamp is here that custody does not name", code="stamps-mismatch")
    wanted = {re.sub(r"[^0-9a-f]", "", each.lower()) for each in given}
    found.names = {fingerprint: authority.name for fingerprint, authority in authorities.items()}
    found.unknown = set(authorities) - wanted
    if wanted and not wanted & set(authorities):
        raise ChainBroken("no stamp is of an authority that was given", code="stamp-authority")
    return found


def words(found: Timed) -> str:
    """What it comes to, for people."""
    return _words(found) + _lost_words(found)


def _lost_words(found: Timed) -> str:
    if not found.lost:
        return ""
    about = ", ".join(dict.fromkeys(found.lost))
    return (
        f"; DECLARED LOSS: {len(found.lost)} stamps that the store had are lost, and the ledger says so ({about}). What"
        " they said of that time is not shown; all else stands"
    )


def _words(found: Timed) -> str:
    if not found.stamps:
        return "no outside time: every time here is the word of recorder and store"
    makers = [
        f"{found.by[each]} by {name!r} ({each}{', NOT GIVEN FROM OUTSIDE: whose clock that is, is not known' * (each in found.unknown)})"  # noqa: E501
        for each, name in found.names.items()
    ]
    times = [
        f"{path.removeprefix('evidence/')} existed at {utc_text(first)[:19]}Z"
        for path, first in found.first.items()
        if not path.startswith(FOLDER)
    ]
    times += [f"{take} began after {utc_text(moment)[:19]}Z" for take, moment in found.after.items()]
    return f"{found.stamps} stamps: {'; '.join(makers)}; {'; '.join(times)}"


def parse_list(data: bytes) -> list[Line]:
    """Raises InvalidInput `stamps-form`."""
    text = data.decode("ascii", "replace")
    if not text.startswith(HEADER):
        raise InvalidInput("not a list of stamps", code="stamps-form")
    lines, seen = [], set()
    for row in text.removeprefix(HEADER).splitlines():
        cells = row.split(" ")
        if len(cells) != 4 or not _ABOUT.fullmatch(cells[1]) or not re.fullmatch(r"[0-9a-f]{64}", cells[3]):
            raise InvalidInput("not a list of stamps", code="stamps-form")
        if cells[0] in seen or not re.fullmatch(rf"{FOLDER}/[a-z0-9-]+\.[0-9a-f]{{16}}\.[0-9]+\.tsr", cells[0]):
            raise InvalidInput("not a list of stamps", code="stamps-form")
        seen.add(cells[0])
        lines.append(Line(cells[0], cells[1], None if cells[2] == "-" else cells[2], cells[3]))
    return lines


def _chains(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Each first stamp with its renewals. A renewal follows the line of what it renews, and is about the same."""
    chain: list[Line] = []
    for line in lines:
        if line.previous is None:
            if chain:
                yield chain
            chain = []
        elif not chain or (line.previous, line.about) != (chain[-1].stamp, chain[-1].about):
            raise ChainBroken("a renewed stamp does not follow what it renews", code="stamps-mismatch")
        chain.append(line)
    if chain:
        yield chain


def _authority(bag: Bag, fingerprint: str) -> TimeAuthority:
    authority = authority_from_pem(read(bag, authority_path(fingerprint)))
    if authority.fingerprint != fingerprint:
        raise ChainBroken("a time authority's certificate is another than its name says", code="stamp-authority")
    return authority


def _about(bag: Bag, path: str, walks: Sequence[Walk | None]) -> tuple[bytes, Kind]:
    """Bytes and kind of what a stamp is about. A head has to be the journal's own at that tick."""
    match = _ABOUT.fullmatch(path)
    assert match is not None  # noqa: S101 - the list was parsed with it
    data, kind = read(bag, path), Kind(match[3] or match[4] or match[5])
    if kind is Kind.HEAD:
        record, tick = parse(data), int(match[8])
        walk = next((each for each in walks if each is not None and _is(each, match[6], int(match[7]))), None)
        if walk is None or tick >= len(walk.heads):
            raise ChainBroken("a stamped head is of no tick of the journal", code="stamps-mismatch")
        own = {
            "enrolment": match[6], "head": walk.heads[tick].hex(), "i": record.get("i"), "t": tick,
            "take": walk.start.take, "type": HEAD_TYPE, "utc": str(walk.moments[tick]),
        }  # fmt: skip
        if record != own:
            raise ChainBroken(f"the head that was stamped at tick {tick} is not the journal's", code="stamps-mismatch")
    return data, kind


def _check_lost(bag: Bag, walks: Sequence[Walk | None], said: Mapping[str, Any]) -> None:
    """What custody entered of a stamp that is lost, against the claim: a loss hides no contradiction."""
    about, time = str(said["about"]), parse_utc(str(said["time"]))
    claim = None
    if (match := _LOST_ABOUT.fullmatch(about)) is not None:
        enrolment, number, kind, tick = match[1], int(match[2]), match[3], match[4]
        path = f"{take_folder(bytes.fromhex(enrolment), number)}/{kind}.json"
        walk = next((each for each in walks if each is not None and _is(each, enrolment, number)), None)
        if tick is not None:
            claim = walk.moments[int(tick)] if walk is not None and int(tick) < len(walk.moments) else None
        elif path in bag.paths():
            claim = claimed(Kind(kind), read(bag, path))
    elif str(said["what"]) == Kind.MANIFEST.value:
        manifest = read(bag, _MANIFEST)
        if about.endswith(f"/manifest-{int(parse(manifest)['number']):03d}.json"):
            claim = claimed(Kind.MANIFEST, manifest)
    if "claim" in said["contradicts"] or (claim is not None and claim - time > TOLERANCE_NS):
        raise ChainBroken(f"{about} claims a time after that of its stamp, which is lost", code="time-contradiction")


def _is(walk: Walk, enrolment: str, take: int) -> bool:
    return (walk.start.enrolment.hex(), walk.start.take) == (enrolment, take)


def _note(found: Timed, chain: Sequence[Line], stamps: Sequence[Stamp], claim: int | None) -> None:
    about = chain[0].about
    if claim is not None and claim - stamps[0].time > TOLERANCE_NS:
        late = (claim - stamps[0].time) / 10**9
        raise ChainBroken(f"{about} claims a time {late:.0f} s after it was stamped", code="time-contradiction")
    found.stamps += len(stamps)
    found.by.update(line.authority for line in chain)
    if about == _MANIFEST:
        first = chain[0].authority
        found.manifest[first] = min(found.manifest.get(first, stamps[0].time), stamps[0].time)
    found.first[about] = min(found.first.get(about, stamps[0].time), stamps[0].time)
