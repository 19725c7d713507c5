"""Who people are to the store: an account, a name to show, a role. Pure; passwords and sessions live elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person is in an interview. What each may do is decided by the permission table, not here."""

    OPERATOR = "operator"
    HOUSE_STAFF = "house_staff"
    PROSECUTOR = "prosecutor"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account. `id` is opaque and stays the same when the name or the user name changes."""

    id: str
    username: str
    display_name: str
    role: Role
