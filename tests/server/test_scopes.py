"""Every route has a scope, and the gate finds the same route as the router behind it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from starlette.routing import Match

from llmos.access.base import Scope
from llmos.server import routes, schema
from llmos.server.app import ROUTES
from llmos.server.gate import OPEN_PAGES, OPEN_PATHS
from llmos.server.scopes import MARK, SAFE_METHODS, RouteTable, Rule, ScopedRouter, methods_of

TABLE = RouteTable(module.router for module in ROUTES)
FOUND = [(route, module.router.rules[id(route)]) for module in ROUTES for route in module.router.routes]


def test_every_route_has_a_scope_but_health_and_open_pages() -> None:
    assert len(FOUND) > 50
    for route, rule in FOUND:
        assert (rule.scope is None) == (route.path in (*OPEN_PATHS, *OPEN_PAGES)), route.path


def test_no_route_goes_round_the_table() -> None:
    """Routes are declared on a ScopedRouter and nowhere else."""
    for path in Path(routes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            assert named not in ("APIRouter", "add_route", "mount", "Mount", "Route"), path.name
    assert all(isinstance(module.router, ScopedRouter) for module in ROUTES)


def test_the_document_says_the_scope() -> None:
    paths = json.loads(schema.text())["paths"]
    said = {(method.upper(), path): told.get(MARK) for path, methods in paths.items() for method, told in methods.items()}
    assert said["POST", "/v1/chat/completions"] == "inference"
    assert said["POST", "/api/v1/keys"] == "admin"
    assert said["GET", "/metrics"] == "metrics"
    assert {path for (_, path), scope in said.items() if scope is None} == set(OPEN_PATHS)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/models/pull"),
        ("GET", "/api/v1/models/pull"),
        ("DELETE", "/api/v1/models/a/b:c"),
        ("POST", "/api/v1/models/verify"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/org/name"),
        ("GET", "/healthz"),
        ("PUT", "/healthz"),
        ("GET", "/nothing"),
        ("GET", "/api/v1/keys/"),
        ("POST", "/api/v1/keys/x/revoke"),
        ("HEAD", "/v1/models"),
        ("GET", "/api/v1/models/%2e%2e"),
    ],
)
def test_the_gate_sees_the_route_that_the_router_takes(method: str, path: str) -> None:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    taken = next((rule for route, rule in FOUND if route.matches(scope)[0] is Match.FULL), None)
    assert TABLE.find(method, path)[0] == taken


def test_what_changes_something_has_a_name_in_the_audit_log() -> None:
    for route, rule in FOUND:
        changes = rule.scope not in (None, Scope.INFERENCE) and not methods_of(route) <= SAFE_METHODS
        assert bool(rule.action) == changes, (route.path, rule)
    named = {(rule.path, rule.action) for _, rule in FOUND if rule.action}
    assert ("/api/v1/models/pull", "library.pull") in named
    assert ("/api/v1/keys", "keys.create") in named


def test_who_may_do_what() -> None:
    """The decision, route by route: a new route must be put here on purpose when it is not for everybody with a key."""
    wanted = {rule.path: rule.scope for _, rule in FOUND if rule.action or rule.scope is Scope.ADMIN}
    for path in ("/api/v1/keys", "/api/v1/audit", "/api/v1/aliases/{name}", "/api/v1/models/gc", "/api/v1/loaded/{name:path}"):
        assert wanted[path] is Scope.ADMIN
    for path in ("/api/v1/models/pull", "/api/v1/models/{name:path}"):
        assert wanted[path] is Scope.LIBRARY
    assert TABLE.find("GET", "/api/v1/usage")[0] == Rule(path="/api/v1/usage", scope=Scope.INFERENCE)
