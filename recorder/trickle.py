"""ICE information that comes after the offer, by PATCH (RFC 9725, section 4.3; RFC 8840, section 4.4; WHEP the same).

Decides what a PATCH means; giving the candidates to ICE is the endpoint's work. Trickling is supported, restarting is
not: every candidate of ours is in the answer, and a client whose network has changed sends a new offer, which takes the
place of the stale session. A refusal changes nothing: the session goes on as it was.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from evidence_store.errors import InvalidInput
from recorder.sdp import LIMIT, MOST_CANDIDATES, USABLE_CANDIDATE

FRAGMENT = "application/trickle-ice-sdpfrag"
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')


@dataclass(slots=True)
class IceSession:
    """What a PATCH is measured against: the client's `ufrag`, and the tag that names this ICE session."""

    ufrag: str
    tag: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def etag(self) -> str:
        """A strong entity-tag (RFC 9110, section 8.8.3), as it is sent."""
        return f'"{self.tag}"'

    def trickled(self, content_type: str | None, body: bytes, if_match: str | None) -> tuple[str, ...]:
        """The usable candidates of a PATCH (without `a=candidate:`), at most MOST_CANDIDATES.

        mDNS names, TCP and whatever else cannot be used are left out: the client's own checks reach us all the same.
        Raises InvalidInput, in this order: `not-sdpfrag` (415), `sdp-too-large` (413), `sdp-malformed` (400),
        `no-precondition` (428), `precondition-failed` (412), `no-ice-restart` (422).
        """
        if media_type(content_type) != FRAGMENT:
            raise InvalidInput(f"The body must be ICE candidates, with Content-Type: {FRAGMENT}.", code="not-sdpfrag")
        lines = _lines(body)
        if if_match is None:
            raise InvalidInput("Name the ICE session in If-Match, by its ETag.", code="no-precondition")
        if not matches(if_match, self.tag):
            raise InvalidInput("If-Match names another ICE session than this one.", code="precondition-failed")
        ufrag = next((line.removeprefix("a=ice-ufrag:") for line in lines if line.startswith("a=ice-ufrag:")), None)
        if ufrag is not None and ufrag != self.ufrag:
            raise InvalidInput(
                "ICE restarts are not supported, and this session goes on. Send a new offer to change networks.",
                code="no-ice-restart",
            )
        candidates = [line.removeprefix("a=candidate:") for line in lines if line.startswith("a=candidate:")]
        return tuple(value for value in candidates if USABLE_CANDIDATE.fullmatch(value))[:MOST_CANDIDATES]


def media_type(content_type: str | None) -> str:
    """Without parameters, in lower case; "" for none."""
    return (content_type or "").partition(";")[0].strip().lower()


def matches(if_match: str, tag: str) -> bool:
    """Whether an If-Match field names this tag (RFC 9110, section 13.1.1: strong comparison).

    `*` is any; RFC 9725's examples write it in quotes.
    """
    named = [(weak, opaque) for weak, opaque in _TAG.findall(if_match)]
    return if_match.strip() == "*" or any(not weak and opaque in ("*", tag) for weak, opaque in named)


def _lines(body: bytes) -> list[str]:
    """Raises InvalidInput `sdp-too-large`, `sdp-malformed`."""
    if len(body) > LIMIT:
        raise InvalidInput(f"The fragment is larger than {LIMIT} octets.", code="sdp-too-large")
    try:
        lines = body.decode("utf-8").replace("\r\n", "\n").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput("The fragment is not UTF-8.", code="sdp-malformed") from error
    if any(not re.match(r"[a-z]=\S", line) for line in lines):
        raise InvalidInput(
            "The fragment is not SDP: each line must be a letter, '=' and a value.", code="sdp-malformed"
        )
    return lines
