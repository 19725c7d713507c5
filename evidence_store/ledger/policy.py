"""The witness policy: who witnesses this house's ledger, how many of them it takes, and how late they may be. Pure.

A TOML file that people agree on (docs/operations.md#witnesses); the software follows it. What a witness's silence
means, and what its no, is decided here: **an outage is not a veto**. Silence is declared when it has lasted longer
than the policy allows, and nothing stops. A no stops what people do, and no recording.
"""

from __future__ import annotations

import datetime
import ipaddress
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from evidence_store.errors import InvalidInput
from evidence_store.ledger.cosignature import CosignatureVerifier

_MEMBER: Final = {"name", "url", "key", "authority", "old_key", "old_key_until"}
_MOST_WITNESSES: Final = 16


@dataclass(frozen=True, slots=True)
class Member:
    """One witness. `name`: for people; `url`: its submission prefix; `authority`: PEM file for its certificate, None
    for the machine's own; `old_key`: what it cosigned with before, believed for cosignatures up to `old_key_until`
    (seconds since 1970)."""

    name: str
    url: str
    key: CosignatureVerifier
    authority: Path | None = None
    old_key: CosignatureVerifier | None = None
    old_key_until: int | None = None

    @property
    def id(self) -> str:
        """Its present verifier key: what the database and events name it by."""
        return str(self.key)

    @property
    def keys(self) -> tuple[CosignatureVerifier, ...]:
        return (self.key,) if self.old_key is None else (self.key, self.old_key)

    def believes(self, key: str, at: int) -> bool:
        """Whether a cosignature by that verifier key, made then (seconds since 1970), is this witness's."""
        if key == str(self.key):
            return True
        return self.old_key is not None and key == str(self.old_key) and at <= (self.old_key_until or 0)


@dataclass(frozen=True, slots=True)
class Policy:
    """`quorum`: so many witnesses make a size covered. `greatest_lag`: seconds that a checkpoint may wait."""

    members: tuple[Member, ...]
    quorum: int
    greatest_lag: int

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Raises OSError, InvalidInput `witness-policy` in words for whoever wrote the file."""
        return cls.parse(path.read_text(encoding="utf-8"), path.parent)

    @classmethod
    def parse(cls, text: str, folder: Path = Path()) -> Policy:
        """`folder`: where the file is; the authorities' paths begin there. Raises InvalidInput `witness-policy`."""
        try:
            given = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _wrong(f"not TOML: {error}") from error
        _only(given, {"witness", "quorum", "greatest_lag"}, "the policy")
        rows = given.get("witness")
        if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_WITNESSES:
            raise _wrong(f"there have to be 1 to {_MOST_WITNESSES} tables [[witness]]")
        members = tuple(_member(row, folder) for row in rows)
        keys = [str(key) for member in members for key in member.keys]
        if len(set(keys)) != len(keys):
            raise _wrong("a key is given twice: two witnesses are two keys")
        quorum = _whole(given, "quorum")
        if quorum > len(members):
            raise _wrong(f"quorum is {quorum}, and there are {len(members)} witnesses")
        return cls(members, quorum, _whole(given, "greatest_lag"))


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A cosignature that was verified: by which verifier key, of which size, when (seconds since 1970)."""

    key: str
    size: int
    at: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A witness's no. `code`: `ledger-rolled-back` (it holds a larger head than there is) or `ledger-rewritten` (it
    holds another history); `size`: of the head it was shown; `held`: what it says it holds; `at`: seconds."""

    code: str
    size: int
    held: int | None
    at: int


class State(StrEnum):
    COVERED = "covered"
    LAGGING = "lagging"
    VETOED = "vetoed"


@dataclass(frozen=True, slots=True)
class MemberState:
    """`covered`: the largest size that it cosigned, 0 for none; `cosigned_at`: when (seconds since 1970)."""

    member: Member
    covered: int
    cosigned_at: int | None
    late: bool
    refused: Refused | None


@dataclass(frozen=True, slots=True)
class Decision:
    """`covered`: the size up to which a quorum stands for the ledger."""

    state: State
    covered: int
    members: tuple[MemberState, ...]

    @property
    def vetoes(self) -> tuple[MemberState, ...]:
        return tuple(each for each in self.members if each.refused is not None)


def decide(
    policy: Policy,
    cosigned: Sequence[Cosigned],
    refused: Mapping[str, Refused],
    signed_after: Callable[[int], int | None],
    now: int,
) -> Decision:
    """What the policy makes of what is known.

    `refused`: standing refusals by `Member.id`; of somebody who is no witness any more they count for nothing.
    `signed_after(size)`: when the first checkpoint beyond that size was signed (seconds), None where there is none.
    """

    def late(covered: int) -> bool:
        waiting_since = signed_after(covered)
        return waiting_since is not None and now - waiting_since > policy.greatest_lag

    states = []
    for member in policy.members:
        own = [each for each in cosigned if member.believes(each.key, each.at)]
        best = max(own, key=lambda each: (each.size, each.at), default=None)
        covered = 0 if best is None else best.size
        at = None if best is None else best.at
        states.append(MemberState(member, covered, at, late(covered), refused.get(member.id)))
    # One witness is one voice, under however many keys: cosigning a size, it stands for every smaller one.
    covered = sorted((each.covered for each in states), reverse=True)[policy.quorum - 1]
    if any(each.refused is not None for each in states):
        state = State.VETOED
    else:
        state = State.LAGGING if late(covered) else State.COVERED
    return Decision(state, covered, tuple(states))


def _member(row: Any, folder: Path) -> Member:
    if not isinstance(row, dict):
        raise _wrong("a witness is a table")
    _only(row, _MEMBER, "a witness")
    name, url = _text(row, "name"), _text(row, "url").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise _wrong(f"{name}: url is an address as in https://witness.example:7810")
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise _wrong(f"{name}: beyond this machine url has to begin with https://")
    until = row.get("old_key_until")
    if (until is None) != ("old_key" not in row):
        raise _wrong(f"{name}: old_key and old_key_until go together")
    authority = _text(row, "authority") if "authority" in row else None
    return Member(
        name,
        url,
        _key(row, "key"),
        None if authority is None else folder / authority,
        None if until is None else _key(row, "old_key"),
        None if until is None else _moment(until, name),
    )


def _moment(value: Any, name: str) -> int:
    """A day lasts to its end, UTC."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise _wrong(f"{name}: old_key_until needs its time zone, or is a date alone")
        return int(value.timestamp())
    if isinstance(value, datetime.date):
        end = datetime.datetime.combine(value, datetime.time(23, 59, 59), datetime.UTC)
        return int(end.timestamp())
    raise _wrong(f"{name}: old_key_until is a date, as in 2027-01-31")


def _key(row: Mapping[str, Any], name: str) -> CosignatureVerifier:
    try:
        return CosignatureVerifier.parse(_text(row, name))
    except InvalidInput as error:
        raise _wrong(f"{name} is not a verifier key as `vidne witness` prints it") from error


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 500:
        raise _wrong(f"a witness needs {name}, a text")
    return value


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if type(value) is not int or value < 1:
        raise _wrong(f"{name} has to be a whole number from 1 on")
    return value


def _only(row: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(set(row) - known):
        raise _wrong(f"{what} has no {', '.join(unknown)}")


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wrong(message: str) -> InvalidInput:
    return InvalidInput(f"witness policy: {message}", code="witness-policy")
