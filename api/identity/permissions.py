"""Who may do what: one table. What is not in it is refused.

A permission is `scope:resource:action`. A route declares exactly one gate: `allow(permission)` for people,
`public()` for what anybody may see, `machine()` for what carries a bearer token of its own and checks it itself.
`undeclared` finds the routes that declare none; `create_app` refuses to start with one.
"""

# No postponed annotations here: FastAPI reads those of `__call__`, and finds no names through an instance.
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Mount

from evidence_store.errors import NotAuthenticated, NotPermitted
from evidence_store.people import Role

if TYPE_CHECKING:
    from api.services import Account, Services


EVERYONE: Final = frozenset(Role)

PERMISSIONS: Final[dict[str, frozenset[Role]]] = {
    "account:session:use": EVERYONE,
    "room:state:read": EVERYONE,
    "room:live:watch": frozenset({Role.OPERATOR, Role.HOUSE_STAFF, Role.PROSECUTOR}),
    "interview:session:prepare": frozenset({Role.OPERATOR}),
    "interview:session:control": frozenset({Role.OPERATOR}),
    "interview:case:assign": frozenset({Role.OPERATOR}),
    "interview:receipt:read": frozenset({Role.OPERATOR, Role.PROSECUTOR}),
    "interview:case:read": frozenset({Role.PROSECUTOR}),
    "interview:media:play": frozenset({Role.PROSECUTOR}),
    "interview:custody:read": frozenset({Role.OPERATOR, Role.PROSECUTOR}),
    "interview:copy:request": frozenset({Role.PROSECUTOR}),
    "interview:copy:retrieve": frozenset({Role.PROSECUTOR}),
    # Two different people: `evidence_store.retention` sees to that. The administrator holds nothing of a case.
    "interview:hold:set": frozenset({Role.PROSECUTOR}),
    "interview:erasure:request": frozenset({Role.PROSECUTOR}),
    "interview:erasure:approve": frozenset({Role.PROSECUTOR}),
    "system:status:read": frozenset({Role.ADMINISTRATOR}),
    "system:camera:confirm": frozenset({Role.ADMINISTRATOR}),
    "system:api:describe": frozenset({Role.ADMINISTRATOR}),
}


def permitted(role: Role, permission: str) -> bool:
    """False for every pair that is not in the table, unknown permissions included."""
    return role in PERMISSIONS.get(permission, frozenset())


class Gate:
    """Marks a route as decided on. Subclasses say how."""


class Allow(Gate):
    """Only a signed-in person whose role holds the permission. Gives the route the account."""

    def __init__(self, permission: str, *, passive: bool = False) -> None:
        if permission not in PERMISSIONS:
            raise KeyError(permission)
        self.permission = permission
        self._passive = passive

    async def __call__(self, request: Request) -> "Account":
        """Raises NotAuthenticated, or NotPermitted after the refusal has been written into custody."""
        services: Services = request.app.state.services
        token = request.app.state.cookies.read(request)
        now = services.clock()
        account = None
        if token:
            account = await run_in_threadpool(services.accounts.who, token, now, passive=self._passive)
        if account is None or token is None:
            raise NotAuthenticated("no live session")
        request.state.account = account
        if not permitted(account.role, self.permission):
            await run_in_threadpool(services.custody.denied, account, self.permission, now)
            raise NotPermitted(f"{account.role} lacks {self.permission}")
        await request.app.state.csrf.check(request, token)
        return account


class Public(Gate):
    """Anybody. Unsafe methods must still come from our own pages; there is no session yet to bind a token to."""

    async def __call__(self, request: Request) -> None:
        request.app.state.csrf.check_origin(request)


class Machine(Gate):
    """A part of Vidne or a camera, never a browser's session: the route checks the bearer token it carries."""

    async def __call__(self) -> None:
        return None


def allow(permission: str, *, passive: bool = False) -> Allow:
    """A gate for people. `passive` is for requests that a page makes by itself and that show nobody is there."""
    return Allow(permission, passive=passive)


def public() -> Public:
    return Public()


def machine() -> Machine:
    return Machine()


def every_route(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """The routes of an application, included routers opened."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from every_route(included.routes)
        else:
            yield route


def gates_of(route: APIRoute) -> list[Gate]:
    found: list[Gate] = []
    pending: list[Dependant] = [route.dependant]
    while pending:
        dependant = pending.pop()
        if isinstance(dependant.call, Gate):
            found.append(dependant.call)
        pending.extend(dependant.dependencies)
    return found


def undeclared(routes: Iterable[BaseRoute]) -> list[str]:
    """Paths of the routes that do not declare exactly one gate. Static files are the only mount there may be."""
    missing = []
    for route in every_route(routes):
        if isinstance(route, APIRoute):
            if len(gates_of(route)) != 1:
                missing.append(route.path)
        elif not (isinstance(route, Mount) and route.name == "static"):
            missing.append(getattr(route, "path", repr(route)))
    return missing
