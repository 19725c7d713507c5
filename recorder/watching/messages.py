"""What goes over the feed for the watch: access units one way, observations the other (`recorder/feed.py`).

unit         number 4 octets ‖ flags 1 (1 key frame, 2 whole) ‖ RTP time 4 ‖ the access unit
observation  JSON {"act": "began" | "ended", "camera", "medium", "kind", "from", "at", "measure"}, `from` and `at`
             nanoseconds of the machine's monotonic clock, `measure` an integer: nothing else is taken
"""

from __future__ import annotations

import json
import struct
from typing import Any

from recorder.fragments import Heard
from recorder.sdp import KINDS
from recorder.watching.judge import Act, Observation
from recorder.watching.kinds import RULES, Kind

UNIT = struct.Struct("!LBL")
KEY, WHOLE = 1, 2
_LARGEST = 1024
_ACTS: tuple[Act, ...] = ("began", "ended")
_MEMBERS = {"act", "at", "camera", "from", "kind", "measure", "medium"}
_GREATEST_MEASURE = 2**31
_GREATEST_TIME = 2**63


def unit_message(heard: Heard) -> tuple[bytes, bytes]:
    """What goes before a unit, and the unit: a key frame with the parameter sets in force, if it has none itself."""
    unit, data = heard.unit, heard.unit.data
    if heard.setup is not None and not unit.parameter_sets:
        data = b"".join(struct.pack(">I", len(each)) + each for each in heard.setup.sets) + data
    flags = KEY * unit.key | WHOLE * unit.complete
    return UNIT.pack(heard.number & 0xFFFFFFFF, flags, unit.rtp_time), data


def observation_body(observation: Observation) -> bytes:
    told = {
        "act": observation.act,
        "at": observation.at_ns,
        "camera": observation.camera,
        "from": observation.from_ns,
        "kind": observation.kind.value,
        "measure": observation.measure,
        "medium": observation.medium,
    }
    return json.dumps(told).encode()


def parse_observation(body: bytes) -> Observation:
    """Strictly: what a process says that decodes strangers' streams. Raises ValueError."""
    if len(body) > _LARGEST:
        raise ValueError("longer than an observation")
    told: Any = json.loads(body)
    if not isinstance(told, dict) or set(told) != _MEMBERS:
        raise ValueError("not an observation's members")
    if not all(type(told[name]) is int for name in ("from", "at", "measure")):
        raise ValueError("not a number")
    kind = Kind(told["kind"])
    act = next((act for act in _ACTS if act == told["act"]), None)
    medium = next((medium for medium in KINDS if medium == told["medium"]), None)
    if act is None or medium is None or RULES[kind].medium not in (None, medium):
        raise ValueError("no such observation")
    if not 0 <= told["from"] <= told["at"] < _GREATEST_TIME or abs(told["measure"]) >= _GREATEST_MEASURE:
        raise ValueError("no such time or measure")
    if not isinstance(told["camera"], str):
        raise ValueError("no such camera")
    return Observation(act, told["camera"], medium, kind, told["from"], told["at"], told["measure"])
