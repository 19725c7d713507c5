"""The custody chain for display, and refusals on their way into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from api.desk.accounts import actor_of
from api.desk.moments import moment, nanoseconds
from api.services import Account
from api.services import CustodyEvent as ShownEvent
from api.web import local_date, local_time, words
from evidence_store.custody import CustodyEvent, Verb
from evidence_store.identifiers import parse_interview_id, parse_utc
from evidence_store.ledger import custody_log
from evidence_store.ledger.book import Book

_LONGEST: Final = 80
_ACCOUNTED: Final = frozenset({Verb.VIEWER_JOINED, Verb.VIEWER_LEFT})
"""Acts whose take says nothing that the time does not."""


class CustodyDesk:
    def __init__(self, book: Book, cameras: Mapping[str, str]) -> None:
        """`cameras`: each camera's name for people, by its id."""
        self._book = book
        self._cameras = cameras

    def events(self, interview: str) -> Sequence[ShownEvent]:
        with self._book.reading() as session:
            logged = custody_log.of_interview(session, parse_interview_id(interview))
        return [
            ShownEvent(
                at=moment(each.event.at),
                verb=each.event.verb.value,
                who=each.event.actor.name,
                role=each.event.actor.role or each.event.actor.kind.value,
                purpose=each.event.reason or "",
                detail=said(each.event.verb, each.event.details, self._cameras),
                index=each.index,
            )
            for each in logged
        ]

    def denied(self, account: Account, permission: str, now: datetime) -> None:
        self._book.record(
            CustodyEvent(Verb.ACCESS_DENIED, nanoseconds(now), actor_of(account), details={"permission": permission})
        )


def said(verb: Verb, details: Mapping[str, Any], cameras: Mapping[str, str]) -> str:
    """The details that a person can use, in Danish and in one line. The whole record is in every evidence copy."""
    parts = []
    take = details.get("take")
    if take is not None and verb not in _ACCOUNTED:
        parts.append(f"optagelse nr. {take}")
    camera = details.get("camera")
    if camera is not None:
        parts.append(f"kamera {cameras.get(camera, camera)}")
    for name, table in (("how", words.ENDINGS), ("reason", words.GAPS)):
        code = details.get(name)
        if code is not None:
            parts.append(_lower(words.danish(table, str(code))))
    if details.get("kind") is not None:
        parts.append(_lower(words.danish(words.ALARMS, str(details["kind"])).removesuffix(".")))
        parts.append(_lower(words.danish(words.OBSERVATION_ACTS, str(details.get("act")))))
    if details.get("what") is not None and details.get("time") is not None:
        stamped = _lower(words.danish(words.STAMPED, str(details["what"])))
        when = moment(parse_utc(str(details["time"])))
        parts.append(f"{stamped} fandtes {local_date(when)} kl. {local_time(when, seconds=True)}")
        parts += [_lower(words.danish(words.CONTRADICTED, str(each))) for each in details.get("contradicts") or ()]
    parts += [_lower(words.danish(words.CAMERA_MARKS, str(each))) for each in details.get("differs") or ()]
    if details.get("emergency"):
        parts.append("på rummets egen side, uden lager")
    for failed in details.get("failed") or ():
        at = "" if failed.get("camera") is None else f" ({cameras.get(failed['camera'], failed['camera'])})"
        parts.append(_lower(words.danish(words.CHECKS, str(failed.get("code")))).rstrip(".") + at)
    if details.get("from") is not None:
        until = "" if details.get("to") is None else f" til {_precise(details['to'])}"
        parts.append(f"fra kl. {_precise(details['from'])}{until}")
    if details.get("child") is not None:
        parts.append(f"barn {details['child']}")
    if details.get("recipient") is not None:
        parts.append(f"til nøglen {_short(str(details['recipient']))}")
    for name, word in (("head", "kontroltal"), ("manifest_sha256", "kontroltal"), ("sha256", "kontroltal for kopien")):
        if details.get(name) is not None:
            parts.append(f"{word} {details[name]}")
    if details.get("code") is not None:
        parts.append(f"fejlkode {details['code']}")
    line = " · ".join(parts)
    return line[:1].upper() + line[1:]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _precise(nanoseconds_utc: Any) -> str:
    """`05.00.07,250`, Copenhagen time."""
    at = moment(int(nanoseconds_utc))
    return f"{local_time(at, seconds=True)},{at.microsecond // 1000:03d}"


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST else f"{key[: _LONGEST - 1]}…"
