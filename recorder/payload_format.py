"""Payload formats as offers name them: which can be recorded, which of them is best, and who can be shown it.

Of several codecs the best for what comes after is taken, not the client's first (RFC 3264, section 6.1, leaves it to
the answerer). H.264: coded by cameras' own hardware, and shown by every browser but a Firefox without its OpenH264
download, every player and every court. VP9, then AV1: shown live and from the store by every browser, but a browser
camera codes them on its processor, AV1 at the greater cost. VP8: shown live by every browser, stored by few players.
H.265 last: shown only where the viewer's own hardware can. A viewer is sent what the camera sends, or nothing.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["video", "audio"]
KINDS: tuple[Kind, ...] = ("video", "audio")

# 4:2:0, 8 bits: what browsers and courtroom players decode. 0x42 baseline, 0x4d main, 0x58 extended, 0x64 high.
_H264_PROFILES = ("42", "4d", "58", "64")
NAMES = {name.lower(): name for name in ("H264", "VP9", "AV1", "VP8", "H265", "opus")}
"""As the formats are registered, the best first."""
_RANKS = {name: rank for rank, name in enumerate(NAMES.values())}
SPOKEN = {"H264": "H.264", "H265": "H.265", "opus": "Opus"}


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload format of a section. `fmtp` is the offered text; `rtx` its retransmission payload type (RFC 4588)."""

    kind: Kind
    name: str
    payload_type: int
    clock_rate: int
    channels: int | None
    fmtp: str = ""
    feedback: tuple[str, ...] = ()
    rtx: int | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """`fmtp` as pairs, names in lower case."""
        pairs = (item.strip().partition("=") for item in self.fmtp.split(";") if item.strip())
        return {name.lower(): value for name, _, value in pairs}

    @property
    def profile(self) -> str | None:
        """H.264's profile-level-id in lower case (RFC 6184, section 8.1; absent: 42000a); None for other formats."""
        return self.parameters.get("profile-level-id", "42000a").lower() if self.name == "H264" else None

    @property
    def accepted(self) -> bool:
        """Whether it can be recorded: pictures of 4:2:0, Opus at 48 kHz."""
        return self.clock_rate == (90000 if self.kind == "video" else 48000) and _accepted(self.name, self.parameters)

    @property
    def rank(self) -> tuple[int, bool]:
        """The less the better. H.264 that may fragment NAL units comes before H.264 that may not."""
        return _RANKS[self.name], self.parameters.get("packetization-mode") != "1"

    @property
    def variant(self) -> str:
        """What of the parameters a decoder must be made for: H.264's profile (with its constraints), the others'."""
        match self.name:
            case "H264":
                return (self.profile or "")[:4]
            case "VP9":
                return self.parameters.get("profile-id", "0")
            case "H265":
                return self.parameters.get("profile-id", "1")
        return ""

    def shows(self, sent: Codec) -> bool:
        """Whether who offers this can decode the other; decoders of H.264 know more profiles than they name."""
        return self.name == sent.name and (self.name == "H264" or self.variant == sent.variant)

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        """Parameter sets told beforehand, for senders that do not repeat them in the stream (RFC 6184, RFC 7798)."""
        found = []
        for name in ("sprop-vps", "sprop-sps", "sprop-pps", "sprop-parameter-sets"):
            for text in self.parameters.get(name, "").split(","):
                with contextlib.suppress(ValueError):  # told in vain: they have to come in the stream
                    found.append(base64.b64decode(text, validate=True))
        return tuple(each for each in found if each)


def _accepted(name: str, parameters: Mapping[str, str]) -> bool:
    """RFC 6184, 8.1; RFC 9628, 6; AV1's RTP payload format, 7.2; RFC 7798, 7.1. VP8 and Opus have nothing to choose."""
    match name:
        case "H264":
            profile = parameters.get("profile-level-id", "42000a").lower()[:2]
            return parameters.get("packetization-mode", "0") in ("0", "1") and profile in _H264_PROFILES
        case "VP9":
            return parameters.get("profile-id", "0") in ("0", "2")
        case "AV1":
            return parameters.get("profile", "0") == "0"
        case "H265":
            # With a decoding order of its own each payload would have a number before it.
            in_order = parameters.get("sprop-max-don-diff", "0") == "0" and parameters.get("tx-mode", "SRST") == "SRST"
            return in_order and parameters.get("profile-id", "1") in ("1", "2")
    return True
