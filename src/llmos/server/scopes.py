"""Which scope a key needs for a route: declared where the route is, checked by the gate before anything else happens.

    router = ScopedRouter(Scope.JOBS, prefix="/api/v1", tags=["Jobs"])          the scope of all its routes
    @router.get("/runners", openapi_extra=needs(Scope.ADMIN))                   one route that needs another
    @router.post("/jobs", openapi_extra=needs(makes="job"))                     counted against the key's quota of jobs
    @router.post("/v1/files", openapi_extra=needs(makes="file", upload=True))   against its disk; the body is not read by the gate

Every route comes from a ScopedRouter (tests/server/test_scopes.py), so no route is without one. What changes something (any method
but GET and HEAD, unless the scope is INFERENCE) is written into the audit log by the gate, under `action`: the module's and the
function's name, "jobs.cancel", unless `needs(action=…)` gives another. Its target is what stands in the path's {parameters}, or else
"id" or "name" of the JSON answer; `audit_target(request, "…")` of server/guard.py overrules both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.routing import APIRoute

from llmos.access.base import Scope

MARK = "x-llmos-scope"
_RULE = "x-llmos-rule"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
Makes = Literal["", "job", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the gate knows of a route. scope None: open to everybody. path: its template. action: its name in the audit log, ""
    when it changes nothing. makes: what counts against a quota. upload: its body goes to the route as it comes."""

    path: str
    scope: Scope | None
    action: str = ""
    makes: Makes = ""
    upload: bool = False


def needs(scope: Scope | None = None, *, action: str = "", makes: Makes = "", upload: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route of a ScopedRouter. scope None: the router's."""
    own = {"action": action, "makes": makes, "upload": upload}
    return {**({MARK: scope.value} if scope else {}), _RULE: {name: value for name, value in own.items() if value}}


class ScopedRouter(APIRouter):
    """An APIRouter whose routes all have a scope; None: they are open to everybody (health)."""

    def __init__(self, scope: Scope | None, **options: Any) -> None:
        super().__init__(**options)
        self.scope = scope
        self.rules: dict[int, Rule] = {}  # by id of the route

    def add_api_route(
        self, path: str, endpoint: Callable[..., Any], *, openapi_extra: dict[str, Any] | None = None, **options: Any
    ) -> None:
        extra = dict(openapi_extra or {})
        told: dict[str, Any] = extra.pop(_RULE, {})
        scope = Scope(extra[MARK]) if MARK in extra else self.scope
        if scope is not None:
            extra[MARK] = scope.value
        super().add_api_route(path, endpoint, openapi_extra=extra or None, **options)
        route = self.routes[-1]
        assert isinstance(route, APIRoute)
        changes = scope not in (None, Scope.INFERENCE) and not methods_of(route) <= SAFE_METHODS
        name = f"{endpoint.__module__.rpartition('.')[2]}.{endpoint.__name__}"
        action = told.pop("action", name) if changes else ""
        self.rules[id(route)] = Rule(path=route.path, scope=scope, action=action, **told)


def methods_of(route: APIRoute) -> frozenset[str]:
    return frozenset(route.methods or ())


class RouteTable:
    """Finds the rule of a request as the router behind finds its route: the first whose path and method fit."""

    def __init__(self, routers: Iterable[ScopedRouter]) -> None:
        self._routes: list[tuple[re.Pattern[str], frozenset[str], Rule]] = []
        literal: list[tuple[str, str]] = []
        for router in routers:
            for route in router.routes:
                assert isinstance(route, APIRoute)
                self._routes.append((route.path_regex, methods_of(route), router.rules[id(route)]))
                if not route.param_convertors:
                    literal += [(method, route.path) for method in methods_of(route)]
        self._known = {place: found for place in literal if (found := self._search(*place)) is not None}

    def find(self, method: str, path: str) -> tuple[Rule | None, dict[str, str]]:
        """The rule and what stands in the path's parameters; None when there is no such route."""
        return self._known.get((method, path)) or self._search(method, path) or (None, {})

    def _search(self, method: str, path: str) -> tuple[Rule, dict[str, str]] | None:
        for pattern, methods, rule in self._routes:
            if method in methods and (found := pattern.match(path)):
                return rule, found.groupdict()
        return None
