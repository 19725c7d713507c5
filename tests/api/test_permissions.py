"""Every route against every role, with real requests; the expectation is written out here a second time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from api.app import create_app
from api.identity.permissions import PERMISSIONS, Allow, Machine, Public, every_route, gates_of, machine, permitted
from evidence_store.identifiers import CaseNumber
from evidence_store.people import Role
from tests.api.conftest import Browser, SignedIn
from tests.api.fake_people import BY_ROLE, CASE
from tests.api.fakes import World, settings

O, H, P, A = Role.OPERATOR, Role.HOUSE_STAFF, Role.PROSECUTOR, Role.ADMINISTRATOR  # noqa: E741

EXPECTED: dict[tuple[str, str], set[Role]] = {
    ("GET", "/"): {O, H, P, A},
    ("POST", "/log-ud"): {O, H, P, A},
    ("GET", "/afhoering"): {O},
    ("POST", "/afhoering"): {O},
    ("GET", "/afhoering/{interview_id}"): {O},
    ("POST", "/afhoering/{interview_id}/start"): {O},
    ("POST", "/afhoering/{interview_id}/stop"): {O},
    ("POST", "/afhoering/{interview_id}/begrundelse"): {O},
    ("GET", "/afhoering/{interview_id}/journalnummer"): {O},
    ("POST", "/afhoering/{interview_id}/journalnummer"): {O},
    ("GET", "/afhoering/{interview_id}/kvittering"): {O, P},
    ("GET", "/afhoering/{interview_id}/kvittering.svg"): {O, P},
    ("GET", "/monitorrum"): {O, H, P},
    ("GET", "/rum/afhoering"): {O},
    ("GET", "/rum/monitorrum"): {O, H, P},
    ("GET", "/rum/system"): {A},
    ("POST", "/live/{room}/{camera}"): {O, H, P},
    ("PUT", "/live/{room}/{camera}/{session}/lease"): {O, H, P},
    ("DELETE", "/live/{room}/{camera}/{session}"): {O, H, P},
    ("GET", "/sager"): {P},
    ("POST", "/sager"): {P},
    ("GET", "/sager/{interview_id}"): {P},
    ("GET", "/sager/{interview_id}/beviskaede"): {O, P},
    ("POST", "/sager/{interview_id}/gennemsyn"): {P},
    ("GET", "/gennemsyn/{viewing_id}"): {P},
    ("GET", "/gennemsyn/{viewing_id}/indeks"): {P},
    ("GET", "/gennemsyn/{viewing_id}/{take}/{track}/init/{epoch}"): {P},
    ("GET", "/gennemsyn/{viewing_id}/{take}/{track}/{number}"): {P},
    ("GET", "/sager/{interview_id}/kopi"): {P},
    ("POST", "/sager/{interview_id}/kopi"): {P},
    ("GET", "/sager/{interview_id}/sletning"): {P},
    ("POST", "/sager/{interview_id}/sletning"): {P},
    ("POST", "/sager/{interview_id}/sletning/tilbage"): {P},
    ("POST", "/sager/{interview_id}/sletning/godkend"): {P},
    ("POST", "/sager/{interview_id}/spaerring"): {P},
    ("POST", "/sager/{interview_id}/spaerring/{hold_id}/ophaev"): {P},
    ("GET", "/kopier/{copy_id}"): {P},
    ("GET", "/kopier/{copy_id}/tilstand"): {P},
    ("GET", "/kopier/{copy_id}/hent"): {P},
    ("GET", "/system"): {A},
    ("POST", "/system/kameraer/{camera}"): {A},
    ("GET", "/openapi.json"): {A},
}

PUBLIC = {("GET", "/log-ind"), ("POST", "/log-ind"), ("GET", "/healthz")}


def declared(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in every_route(app.routes):
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                if route.path == "/rum/{view}":
                    for view in ("afhoering", "monitorrum", "system"):
                        yield method, f"/rum/{view}"
                else:
                    yield method, route.path


def test_every_route_is_in_this_table(app: FastAPI) -> None:
    assert set(declared(app)) == EXPECTED.keys() | PUBLIC


def test_every_route_declares_one_gate(app: FastAPI) -> None:
    for route in every_route(app.routes):
        if isinstance(route, APIRoute):
            (gate,) = gates_of(route)
            assert isinstance(gate, Allow | Public | Machine)


def test_a_route_without_a_gate_is_not_served(made: World) -> None:
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> str:
        return "?"

    with pytest.raises(ValueError, match="/forgotten"):
        create_app(made.services, settings(), [router])


def test_a_machine_route_can_be_added(made: World) -> None:
    router = APIRouter()

    @router.put("/intake/segment", dependencies=[Depends(machine())])
    def intake() -> str:
        return "ok"

    create_app(made.services, settings(), [router])


def test_an_unknown_permission_is_nobodys() -> None:
    assert not any(permitted(role, "interview:media:delete") for role in Role)
    with pytest.raises(KeyError):
        Allow("interview:media:delete")


def test_the_administrator_holds_nothing_of_a_case() -> None:
    held = {name for name in PERMISSIONS if permitted(Role.ADMINISTRATOR, name)}
    own = {"system:status:read", "system:camera:confirm", "system:api:describe"}
    assert held == {"account:session:use", "room:state:read", *own}


@pytest.mark.parametrize("role", [None, *Role], ids=str)
async def test_matrix(role: Role | None, made: World, anybody: Browser, signed_in: SignedIn) -> None:
    """Permitted is anything but 401 and 403; denied is 403 and stands in custody; nobody is 401."""
    case = CaseNumber.parse(CASE)
    interview = made.interviews.create(case, 1, BY_ROLE[O]).id
    await made.interviews.start(interview, BY_ROLE[O])
    await made.interviews.stop(interview, BY_ROLE[O])
    copy = made.copies.request(interview, BY_ROLE[P], "Fremlæggelse", "age1")
    made.copies.finish(copy)
    browser = anybody if role is None else await signed_in(role)
    browser.http.headers["Accept"] = "application/json"
    person = BY_ROLE[role or P]
    viewing = made.media.open_viewing(interview, person, "Gennemsyn", made.clock()).id
    values = {
        "interview_id": interview,
        "viewing_id": viewing,
        "copy_id": copy,
        "hold_id": "0" * 32,
        "room": "rum-1",
        "camera": "wide",
        "session": "abcdefgh12345678",
        "take": 1,
        "track": "wide-video",
        "epoch": 0,
        "number": 0,
    }
    for (method, path), roles in EXPECTED.items():
        if path == "/log-ud":
            continue
        made.custody.denials.clear()
        response = await browser.send(method, path.format(**values))
        expected = "nobody" if role is None else "permitted" if role in roles else "denied"
        outcome = {401: "nobody", 403: "denied"}.get(response.status_code, "permitted")
        assert outcome == expected, (method, path, response.status_code)
        assert response.status_code < 500, (method, path)
        assert bool(made.custody.denials) == (expected == "denied"), (method, path)
