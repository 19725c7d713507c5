"""An offer of ours, for a player whose own cannot be answered (draft-ietf-wish-whep-03, "Server Sends Counter-offer").

It offers what the camera sends and nothing else: nothing is encoded here, so there is nothing to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evidence_store.errors import InvalidInput
from recorder.sdp import Choice, Codec, Kind, Offer, answer, malformed, parse_offer

_FEEDBACK: Mapping[str, tuple[str, ...]] = {"video": ("nack", "nack pli"), "audio": ("nack",)}


def counter_offer(live: Mapping[Kind, Codec], local: str) -> tuple[str, tuple[Choice, ...]]:
    """aiortc's own offer, rewritten to the camera's codecs in their terms; and what it offers, section by section."""
    own = parse_offer(local.encode())
    chosen = tuple(
        Choice(section, replace(codec, feedback=_FEEDBACK[codec.kind]))
        for section in own.sections
        for kind, codec in live.items()
        if kind == section.media
    )
    return answer(own, chosen, local, rtx=False), chosen


def accepted(offered: tuple[Choice, ...], reply: Offer) -> tuple[Choice, ...]:
    """What of our offer the player takes. Raises InvalidInput.

    `sdp-malformed`: not an answer to it (RFC 3264, section 6); `codec-unsupported`: it does not take what the camera
    sends; `wrong-direction`: it would not receive.
    """
    if [section.mid for section in reply.sections] != [choice.section.mid for choice in offered]:
        raise malformed("The answer's sections are not those of the offer, in its order.")
    taken = []
    for choice, section in zip(offered, reply.sections, strict=True):
        if section.disabled or choice.codec.payload_type not in {codec.payload_type for codec in section.codecs}:
            raise InvalidInput(
                f"The player does not take {choice.codec.name}, which is what the camera sends. "
                "Watch in Chrome or Edge.",
                code="codec-unsupported",
            )
        if section.setup not in ("active", "passive"):
            raise malformed("An answer's a=setup is active or passive.")
        if section.direction != "recvonly":
            raise InvalidInput("A viewer must receive: answer as recvonly.", code="wrong-direction")
        taken.append(Choice(section, choice.codec))
    return tuple(taken)
