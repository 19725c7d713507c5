"""Offers and answers (RFC 8866, RFC 9429): what a client sent, checked strictly, made whole, and answered.

aiortc never sees a client's own text. An offer is parsed here, a codec is chosen for each medium, and `canonical()`
writes a small offer of our own that holds nothing but what was chosen; aiortc answers that. `answer()` then puts the
client's payload types, format parameters and refused sections back. So a client's odd line reaches no further than this
module, and any codec, profile and level is echoed as it was offered, whatever aiortc knows.

Bundle-only sections (RFC 9143, section 6) carry no transport lines of their own: RFC 9725's own example offer is such a
one. They take those of the first section in the bundle. Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from evidence_store.errors import InvalidInput
from recorder.capture_time import URI as CAPTURE_TIME

from .payload_format import KINDS, NAMES, SPOKEN, Codec, Kind

__all__ = ["KINDS", "LIMIT", "Choice", "Codec", "Kind", "Offer", "Section", "answer", "canonical", "parse_offer"]

LIMIT = 64 * 1024
"""Octets of an offer that are read at all."""
MOST_CANDIDATES = 16

_MEDIA = re.compile(r"m=(\w+) (\d{1,5})(?:/\d+)? ([A-Z/]+)((?: [\x21-\x7e]+)+)")
_ENCODING = re.compile(r"(\w{3,8})/(\d{4,6})(?:/(\d))?")
_TOKEN = re.compile(r"[\x21-\x7e]{1,64}")
_CREDENTIAL = re.compile(r"[\x21-\x7e]{4,256}")
_FINGERPRINT = re.compile(r"(sha-256|sha-384|sha-512) ((?:[0-9A-F]{2}:){31,63}[0-9A-F]{2})", re.IGNORECASE)
USABLE_CANDIDATE = re.compile(
    r"[\x21-\x7e]{1,32} 1 udp \d{1,10} ([0-9a-fA-F.:]+) \d{1,5} typ (?:host|srflx|relay)\b.*", re.IGNORECASE
)
_SETUP = ("actpass", "active", "passive")
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_FEEDBACK: Mapping[str, tuple[str, ...]] = {"video": ("nack", "nack pli", "ccm fir", "goog-remb"), "audio": ("nack",)}
_NOT_RECORDED = (
    "has no codec that can be recorded: H.264 (4:2:0, not interleaved), VP9, AV1, VP8 or H.265, and Opus. "
    "Choose one in the camera's settings."
)
_NOT_SHOWN = (
    "has no {}, which is what the camera sends. Watch in Chrome or Edge: Firefox has no H.264 without its OpenH264 "
    "download, and H.265 needs a computer whose own hardware decodes it."
)
# Fixed in the canonical offer, because aiortc knows neither payload types below 96 nor every profile and level.
_CANONICAL: Mapping[str, tuple[int, str, str]] = {
    "video": (102, "H264/90000", "packetization-mode=1;profile-level-id=42e01f"),
    "audio": (111, "opus/48000/2", ""),
}


def malformed(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, code="sdp-malformed")


@dataclass(frozen=True, slots=True)
class Section:
    """One m= section, with the transport lines that apply to it."""

    media: str
    protocol: str
    formats: str
    mid: str
    port: int
    bundle_only: bool
    direction: str
    codecs: tuple[Codec, ...]
    ufrag: str | None
    password: str | None
    fingerprints: tuple[str, ...]
    setup: str | None
    rtcp_mux: bool
    candidates: tuple[str, ...]
    ssrc: int | None
    """The first announced source, if any."""
    capture_time: int | None = None
    """The id of the header extension abs-capture-time, where it is offered."""

    @property
    def disabled(self) -> bool:
        return self.port == 0 and not self.bundle_only


@dataclass(frozen=True, slots=True)
class Choice:
    """A section with the one codec chosen for it."""

    section: Section
    codec: Codec


@dataclass(frozen=True, slots=True)
class Offer:
    sections: tuple[Section, ...]

    @property
    def fingerprint(self) -> str:
        """Of the client's DTLS certificate: `sha-256 AB:CD:…`."""
        return next(s for s in self.sections if not s.disabled).fingerprints[0]

    def publisher(self) -> tuple[Choice, ...]:
        """What is recorded of a camera's or microphone's offer: of each medium the codec that ranks best, and of that
        the client's first.

        Raises InvalidInput: `too-many-media`, `wrong-direction`, `codec-unsupported`, `no-media`.
        """
        chosen = self._choose(("sendonly", "sendrecv"), "A camera must send: offer its media as sendonly.")
        if not chosen:
            raise InvalidInput("The offer has nothing to record: offer a picture, sound, or both.", code="no-media")
        return chosen

    def viewer(self, camera: Mapping[Kind, Codec]) -> tuple[Choice, ...]:
        """What a viewer is sent of a camera: what the camera sends, with the profile nearest to its.

        Raises InvalidInput: `too-many-media`, `wrong-direction`, `codec-unsupported`, `no-video`.
        """
        chosen = self._choose(("recvonly", "sendrecv"), "A viewer must receive: offer its media as recvonly.", camera)
        if "video" in camera and not any(choice.codec.kind == "video" for choice in chosen):
            raise InvalidInput("The viewer's offer has no video section to show the picture in.", code="no-video")
        return chosen

    def _choose(
        self, directions: tuple[str, ...], sentence: str, camera: Mapping[Kind, Codec] | None = None
    ) -> tuple[Choice, ...]:
        for kind in KINDS:
            if sum(section.media == kind for section in self.sections) > 1:
                raise InvalidInput(
                    f"The offer has more than one {kind} section; send one camera each.", code="too-many-media"
                )
        chosen = []
        for section in self.sections:
            if section.media not in KINDS or section.disabled or (camera is not None and section.media not in camera):
                continue
            if section.direction not in directions:
                raise InvalidInput(sentence, code="wrong-direction")
            codecs = [codec for codec in section.codecs if codec.accepted]
            if camera is None:
                codecs.sort(key=lambda codec: codec.rank)
                refusal = _NOT_RECORDED
            else:
                sent = camera[section.media]
                codecs = [codec for codec in codecs if codec.shows(sent)]
                codecs.sort(key=lambda codec, sent=sent: (codec.rank, codec.variant != sent.variant))  # type: ignore[misc]
                refusal = _NOT_SHOWN.format(SPOKEN.get(sent.name, sent.name))
            if not codecs:
                raise InvalidInput(f"The offer's {section.media} section {refusal}", code="codec-unsupported")
            chosen.append(Choice(section, codecs[0]))
        return tuple(chosen)


def parse_offer(body: bytes) -> Offer:
    """Raises InvalidInput (`sdp-malformed`; `sdp-too-large`; `not-bundled`) naming what is wrong."""
    if len(body) > LIMIT:
        raise InvalidInput(f"The offer is larger than {LIMIT} octets.", code="sdp-too-large")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed("The offer is not UTF-8.") from error
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines[0] != "v=0" or any(not re.match(r"[a-z]=", line) for line in lines):
        raise malformed("The offer is not SDP: each line must be a letter, '=' and a value, the first v=0.")
    starts = [number for number, line in enumerate(lines) if line.startswith("m=")]
    if not starts:
        raise malformed("The offer has no m= section.")
    session = lines[: starts[0]]
    sections = [_section(lines[a:b], session) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    if len({section.mid for section in sections}) != len(sections):
        raise malformed("Two sections of the offer have the same mid.")
    bundle = next((line.split()[1:] for line in session if line.startswith("a=group:BUNDLE")), [])
    return Offer(tuple(_whole(sections, bundle)))


def _attributes(lines: list[str], name: str) -> Iterator[str]:
    for line in lines:
        if line == f"a={name}":
            yield ""
        elif line.startswith(f"a={name}:"):
            yield line.removeprefix(f"a={name}:")


def _section(lines: list[str], session: list[str]) -> Section:
    head = _MEDIA.fullmatch(lines[0])
    if head is None:
        raise malformed("An m= line of the offer cannot be read.")
    media, port, protocol, formats = head.groups()

    def first(name: str, pattern: re.Pattern[str]) -> str | None:
        value = next(iter([*_attributes(lines, name), *_attributes(session, name)]), None)
        if value is not None and not pattern.fullmatch(value):
            raise malformed(f"The offer's a={name} cannot be read.")
        return value

    setup = first("setup", re.compile("|".join((*_SETUP, "holdconn"))))
    fingerprints = [*_attributes(lines, "fingerprint")] or [*_attributes(session, "fingerprint")]
    found = (next(_attributes(lines, d), None) is not None and d for d in _DIRECTIONS)
    announced = next((value.split(" ")[0] for value in _attributes(lines, "ssrc")), "")
    # Unusable candidates are skipped, not refused: mDNS names (browsers), TCP, second components. The client's own
    # checks reach us whatever it lists.
    candidates = [value for value in _attributes(lines, "candidate") if USABLE_CANDIDATE.fullmatch(value)]
    return Section(
        media=media,
        protocol=protocol,
        formats=formats.strip(),
        mid=first("mid", _TOKEN) or "",
        port=int(port),
        bundle_only=next(_attributes(lines, "bundle-only"), None) is not None,
        direction=next((d for d in found if d), "sendrecv"),
        codecs=tuple(_codecs(media, formats.split(), lines)),
        ufrag=first("ice-ufrag", _CREDENTIAL),
        password=first("ice-pwd", _CREDENTIAL),
        fingerprints=tuple(value for value in fingerprints if _FINGERPRINT.fullmatch(value)),
        setup=setup if setup in _SETUP else None,
        rtcp_mux=next(_attributes(lines, "rtcp-mux"), None) is not None,
        candidates=tuple(candidates[:MOST_CANDIDATES]),
        ssrc=int(announced) if announced.isdecimal() and int(announced) < 1 << 32 else None,
        capture_time=_extension(lines, CAPTURE_TIME),
    )


def _extension(lines: list[str], uri: str) -> int | None:
    """The id under which a header extension is offered (RFC 8285, 5)."""
    for value in _attributes(lines, "extmap"):
        number, _, rest = value.partition(" ")
        identifier = number.partition("/")[0]
        if rest.split(" ")[0] == uri and identifier.isdecimal() and 0 < int(identifier) < 256:
            return int(identifier)
    return None


def _codecs(media: str, formats: list[str], lines: list[str]) -> Iterator[Codec]:
    """The section's formats that we know, in the client's order of preference. Others are passed over."""
    if media not in KINDS:
        return
    kind: Kind = "video" if media == "video" else "audio"
    maps = {format_: rest for format_, _, rest in (value.partition(" ") for value in _attributes(lines, "rtpmap"))}
    fmtp = {format_: rest for format_, _, rest in (value.partition(" ") for value in _attributes(lines, "fmtp"))}
    rtx = {
        fmtp.get(format_, "").partition("apt=")[2].split(";")[0]: int(format_)
        for format_, rest in maps.items()
        if rest.lower().startswith("rtx/") and format_.isdecimal() and int(format_) < 128
    }
    for format_ in formats:
        encoding = _ENCODING.fullmatch(maps.get(format_, ""))
        name = NAMES.get(encoding[1].lower(), "") if encoding is not None else ""
        if (
            encoding is None
            or (kind == "audio") != (name == "opus")
            or not name
            or not format_.isdecimal()
            or not 0 <= int(format_) < 128
        ):
            continue
        feedback = [
            value.partition(" ")[2] for value in _attributes(lines, "rtcp-fb") if value.split(" ")[0] in (format_, "*")
        ]
        yield Codec(
            kind=kind,
            name=name,
            payload_type=int(format_),
            clock_rate=int(encoding[2]),
            channels=int(encoding[3]) if encoding[3] else None,
            fmtp=fmtp.get(format_, ""),
            feedback=tuple(dict.fromkeys(feedback)),
            rtx=rtx.get(format_),
        )


def _whole(sections: list[Section], bundle: list[str]) -> Iterator[Section]:
    """Each section with its transport lines, those of the bundle's first section lent to the others (RFC 9143)."""
    used = [section for section in sections if not section.disabled]
    if not used:
        raise malformed("Every section of the offer is switched off (port 0).")
    if len(used) > 1 and not {section.mid for section in used} <= set(bundle):
        raise InvalidInput(
            "The offer's sections are not in one a=group:BUNDLE; offer with max-bundle.", code="not-bundled"
        )
    lender = next((section for section in used if section.mid == bundle[0]), used[0]) if bundle else used[0]
    for section in sections:
        if section.disabled:
            yield section
            continue
        whole = Section(
            **{name: getattr(section, name) for name in Section.__slots__}
            | {
                "ufrag": section.ufrag or lender.ufrag,
                "password": section.password or lender.password,
                "fingerprints": section.fingerprints or lender.fingerprints,
                "setup": section.setup or lender.setup,
                "rtcp_mux": section.rtcp_mux or (section is not lender and lender.rtcp_mux),
                "candidates": section.candidates or lender.candidates,
            }
        )
        if not whole.ufrag or not whole.password:
            raise malformed("The offer has no a=ice-ufrag and a=ice-pwd.")
        if not whole.fingerprints:
            raise malformed("The offer has no a=fingerprint with sha-256, sha-384 or sha-512.")
        if whole.setup is None:
            raise malformed("The offer has no usable a=setup (actpass, active or passive).")
        if whole.media in KINDS and not whole.rtcp_mux:
            raise malformed("The offer has no a=rtcp-mux; RTCP on a port of its own is not supported.")
        yield whole


def canonical(chosen: tuple[Choice, ...], direction: Literal["sendonly", "recvonly"]) -> str:
    """The offer that aiortc answers: only what was chosen; no end of candidates, so that later ones are learnt."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(choice.section.mid for choice in chosen))
    for section in (choice.section for choice in chosen):
        payload_type, encoding, fmtp = _CANONICAL[section.media]
        lines += [f"m={section.media} 9 UDP/TLS/RTP/SAVPF {payload_type}", "c=IN IP4 0.0.0.0", f"a=mid:{section.mid}"]
        lines += [f"a={direction}", "a=rtcp-mux", f"a=rtpmap:{payload_type} {encoding}"]
        lines += [f"a=fmtp:{payload_type} {fmtp}"] * bool(fmtp)
        # Who can be either is asked to begin the handshake, as in RFC 9725's example: a certificate of RSA, such as
        # GStreamer's, is then no obstacle, since the cipher suite follows from ours.
        setup = "active" if section.setup == "actpass" else section.setup
        lines += [f"a=ice-ufrag:{section.ufrag}", f"a=ice-pwd:{section.password}", f"a=setup:{setup}"]
        lines += [f"a=fingerprint:{value}" for value in section.fingerprints]
        lines += [f"a=candidate:{value}" for value in section.candidates]
    return "\r\n".join(lines) + "\r\n"


def answer(offer: Offer, chosen: tuple[Choice, ...], local: str, *, rtx: bool, bitrate_hint: str = "") -> str:
    """aiortc's answer to `canonical()`, in the client's own terms: its payload types and formats, one for each medium,
    refused sections in their places (RFC 3264, section 6), rtcp-mux-only. `rtx`: for a camera, whose retransmission
    streams are accepted and whose sound is asked for in stereo.
    `bitrate_hint`: format parameters added for senders that heed REMB (libwebrtc)."""
    session, *sections = re.split(r"(?m)^(?=m=)", local.replace("\r\n", "\n"))
    lines = [line for line in session.split("\n") if line and not line.startswith("a=group:")]
    lines.append("a=group:BUNDLE " + " ".join(choice.section.mid for choice in chosen))
    lines.append("a=ice-options:trickle ice2")
    ours = {choice.section.mid: (choice, text) for choice, text in zip(chosen, sections, strict=True)}
    for section in offer.sections:
        if section.mid in ours:
            lines += _answer_section(*ours[section.mid], rtx, bitrate_hint)
        else:
            lines += [f"m={section.media} 0 {section.protocol} {section.formats}", "c=IN IP4 0.0.0.0", "a=inactive"]
            lines += [f"a=mid:{section.mid}"] * bool(section.mid)
    return "\r\n".join(lines) + "\r\n"


def _answer_section(choice: Choice, text: str, rtx: bool, bitrate_hint: str) -> list[str]:
    codec = choice.codec
    hint = bitrate_hint if codec.kind == "video" and "goog-remb" in codec.feedback else ""
    if codec.kind == "audio" and rtx and "stereo" not in codec.parameters:
        # A sender may mix two microphones into one unless both are asked for (RFC 7587, 6.1).
        hint = "stereo=1"
    fmtp = ";".join(part for part in (codec.fmtp, hint) if part)
    head, *rest = [line for line in text.split("\n") if line]
    again = codec.rtx if rtx else None
    formats = [str(codec.payload_type), *([str(again)] if again is not None else [])]
    lines = [" ".join(head.split(" ")[:3] + formats)]
    lines += [line for line in rest if not re.match(r"a=(rtpmap|fmtp|rtcp-fb):", line)]
    channels = f"/{codec.channels}" if codec.channels else ""
    lines.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
    lines += [f"a=fmtp:{codec.payload_type} {fmtp}"] * bool(fmtp)
    lines += [f"a=rtcp-fb:{codec.payload_type} {value}" for value in codec.feedback if value in _FEEDBACK[codec.kind]]
    if again is not None:
        lines += [f"a=rtpmap:{again} rtx/{codec.clock_rate}", f"a=fmtp:{again} apt={codec.payload_type}"]
    if rtx and choice.section.capture_time is not None:
        # Of what a publisher offers; a viewer gets headers of ours, which have none.
        lines.append(f"a=extmap:{choice.section.capture_time} {CAPTURE_TIME}")
    lines.append("a=rtcp-mux-only")
    return lines
