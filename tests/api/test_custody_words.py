"""What the custody page says of an act's details: Danish, whole, and nothing that only a program can use."""

from __future__ import annotations

from typing import Any

import pytest

from api.desk.custody import said
from evidence_store.custody import Verb

CAMERAS = {"wide": "Vid"}
TEN = 1_767_258_000_250_000_000
"""1 January 2026, 10.00.00,250 in Copenhagen."""


@pytest.mark.parametrize(
    ("verb", "details", "expected"),
    [
        (Verb.INTERVIEW_STARTED, {"room": "demo"}, ""),
        (Verb.INTERVIEW_CREATED, {"child": 2}, "Barn 2"),
        (Verb.VIEWER_JOINED, {"take": 1, "t": 47, "camera": "wide", "viewer": "0a"}, "Kamera Vid"),
        (Verb.TAKE_CLOSED, {"take": 7, "how": "crashed", "head": "ab" * 32, "close": "cd"},
         f"Optagelse nr. 7 · afbrudt og lukket bagefter · kontroltal {'ab' * 32}"),
        (Verb.GAP, {"take": 7, "t": 3, "reason": "loss", "from": str(TEN), "to": str(TEN + 10**9), "track": 0},
         "Optagelse nr. 7 · pakker gik tabt på vej fra kameraet · fra kl. 10.00.00,250 til 10.00.01,250"),
        (Verb.OBSERVED, {"take": 7, "t": 3, "act": "ended", "kind": "black", "camera": "wide", "measure": 3,
                         "from": str(TEN), "to": str(TEN + 10**9), "track": 0},
         "Optagelse nr. 7 · kamera Vid · billedet er sort · ophørt · fra kl. 10.00.00,250 til 10.00.01,250"),
        (Verb.STAMP_OBTAINED, {"what": "start", "about": "takes/0a/000007/start.json", "authority": "ab" * 32,
                               "time": "2026-01-01T09:00:00.000000000Z", "contradicts": ["claim"], "number": 0,
                               "offset_ms": 3},
         "Optagelsens begyndelse fandtes 1. jan. 2026 kl. 10.00.00 · angiver selv en senere tid"),
        (Verb.STAMP_REFUSED, {"about": "takes/0a/000007/start.json", "authority": "ab" * 32, "code": "stamp-nonce"},
         "Fejlkode stamp-nonce"),
        (Verb.COPY_REQUESTED, {"recipient": "age1" + "q" * 58}, f"Til nøglen age1{'q' * 58}"),
        (Verb.INTERVIEW_STARTED, {"act": "start", "by": "room", "emergency": True, "t": 0, "take": 7},
         "Optagelse nr. 7 · på rummets egen side, uden lager"),
        (Verb.CHECKS_OVERRIDDEN, {"take": 7, "failed": [
            {"camera": "wide", "code": "camera-lost"}, {"camera": None, "code": "clock-not-set"}]},
         "Optagelse nr. 7 · et kamera sender ikke (Vid) · maskinens ur er ikke stillet efter en tidstjeneste"),
        (Verb.TAKE_TEST_FAILED, {"take": 7, "code": "ciphertext"}, "Optagelse nr. 7 · fejlkode ciphertext"),
    ],
)  # fmt: skip
def test_details_are_said_in_danish(verb: Verb, details: dict[str, Any], expected: str) -> None:
    assert said(verb, details, CAMERAS) == expected
