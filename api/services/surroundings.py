"""What the web application must know of its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

from evidence_store.people import Role


@dataclass(frozen=True, slots=True)
class DemoAccount:
    username: str
    password: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class CameraName:
    """A camera of the room profile, as pages name it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the web application must know of its surroundings.

    `secure` is true when browsers reach it over TLS: cookies are then `__Host-`, and HSTS is sent. `hosts` are the
    names it answers to; `origins` the exact origins unsafe requests may come from. `body_limits` maps a path prefix to
    a greatest body in bytes, beside `body_limit` for everything else. `cameras` are those of the room profile, in the
    order they are shown. `fingerprint` is that of the store's root certificate, which is given out beforehand;
    `ledger_key` is the ledger's verifier key, which witnesses are given.
    """

    house: str = "Børnehus"
    room: str = "rum-1"
    room_name: str = "Afhøringsrum 1"
    cameras: tuple[CameraName, ...] = (CameraName("wide", "Hele rummet"), CameraName("close", "Nær"))
    secure: bool = False
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    origins: tuple[str, ...] = ()
    demo: tuple[DemoAccount, ...] = ()
    body_limit: int = 64 * 1024
    body_limits: tuple[tuple[str, int], ...] = ()
    fingerprint: str = ""
    ledger_key: str = ""
