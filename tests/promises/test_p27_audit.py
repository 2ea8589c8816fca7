"""P27: every state change and refusal is in the audit log, by server, command line and SDK; edits and cuts are detected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llmos.access.audit import HEAD
from llmos.infra.database import Database
from llmos.infra.tables import audit
from llmos.sdk.client import LLMOS
from llmos.server.app import ROUTES
from llmos.server.scopes import SAFE_METHODS, methods_of
from tests.server.locked import ADMIN, bearer, locked


def llmos(home: Path, *arguments: str, code: int = 0) -> str:
    """The command as a user runs it; its stdout."""
    env = os.environ | {"LLMOS_HOME": str(home), "HF_HOME": str(home / "hf")}
    done = subprocess.run([sys.executable, "-m", "llmos", *arguments], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def rows(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(llmos(home, "audit", "list", "--limit", "1000", "--json"))["rows"]
    return found[::-1]


def test_every_change_through_the_server(tmp_path: Path) -> None:
    """One successful call of the routes that change something and can succeed here, and the row that it leaves."""
    with locked(tmp_path) as service:
        ask = service.ask
        key = ask("POST", "/api/v1/keys", json={"name": "alice", "scopes": ["jobs"], "project": "shop"}).json()
        files = {"file": ("in.jsonl", b"{}\n")}
        file = service.client.post("/v1/files", headers=bearer(key["key"]), data={"purpose": "batch"}, files=files).json()
        job = ask("POST", "/api/v1/jobs", json={"kind": "pull", "params": {"model": "hf:nobody/nothing"}}).json()
        ask("POST", f"/api/v1/jobs/{job['id']}/pause")
        ask("POST", f"/api/v1/jobs/{job['id']}/resume")
        ask("POST", f"/api/v1/jobs/{job['id']}/cancel")
        ask("DELETE", f"/v1/files/{file['id']}", key["key"])
        ask("PUT", "/api/v1/projects/lab", json={"log_contents": True})
        new = ask("POST", "/api/v1/keys/alice/rotate", json={}).json()
        ask("POST", f"/api/v1/keys/{new['id']}/revoke")
        found = [(row["action"], row["actor"], row["project"], row["target"]) for row in service.audited(limit=1000)][::-1]
    wanted = [
        ("keys.create", "env", "default", key["id"]),
        ("files.create", key["id"], "shop", file["id"]),
        ("jobs.submit", "env", "default", job["id"]),
        ("files.delete", key["id"], "shop", file["id"]),
        ("projects.set", "env", "default", "lab"),
        ("keys.rotate", "env", "default", f"{key['id']} -> {new['id']}"),
        ("keys.revoke", "env", "default", new["id"]),
    ]
    assert [row for row in found if row in wanted] == wanted
    assert {row for row in found if row not in wanted} <= {
        (f"jobs.{how}", "env", "default", job["id"]) for how in ("pause", "resume", "cancel")
    }


def test_no_route_that_changes_something_is_without_a_row() -> None:
    """The gate writes it, so that no route can forget to: it needs only the name."""
    for module in ROUTES:
        for route in module.router.routes:
            rule = module.router.rules[id(route)]
            if rule.scope in ("jobs", "library", "admin") and not methods_of(route) <= SAFE_METHODS:
                assert rule.action, route.path


def test_every_refusal(tmp_path: Path) -> None:
    with locked(tmp_path) as service:
        limited = service.key("limited", requests_per_day=1)
        service.ask("GET", "/v1/models", limited)
        service.ask("GET", "/v1/models", limited)  # 429
        service.ask("GET", "/v1/models", "wrong")  # 401
        service.client.get("/nothing")  # 401
        service.ask("GET", "/api/v1/keys", service.key("narrow"))  # 403
        service.ask("POST", "/api/v1/keys", json={"name": "x"}, headers={"origin": "http://evil.example"})  # 403
        reasons: set[Any] = set()
        for _ in range(600):
            reasons = {(row["action"], row["details"]["reason"]) for row in service.audited() if row["outcome"] == "refused"}
            if len(reasons) == 5:
                break
            time.sleep(0.1)
    assert reasons == {
        ("GET /v1/models", "rate_limit_exceeded"),
        ("GET /v1/models", "permission_denied"),
        ("GET (none)", "permission_denied"),
        ("GET /api/v1/keys", "scope_missing"),
        ("POST /api/v1/keys", "foreign_origin"),
    }


def test_a_flood_of_refusals_is_a_few_rows(tmp_path: Path) -> None:
    with locked(tmp_path) as service:
        for number in range(300):
            service.client.get(f"/nothing/{number}", headers=bearer(f"guess {number}"))
    assert sum(row["outcome"] == "refused" for row in rows(tmp_path)) <= 4
    assert sum(row["details"].get("times", 1) for row in rows(tmp_path)) == 300


@pytest.fixture
def model(asset: Any) -> Path:
    found: Path = next(asset("smollm2").glob("*.gguf"))
    return found


def test_every_change_by_command_line_and_sdk(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    llmos(home, "import", str(model), "--name", "mine")
    llmos(home, "alias", "prod", "mine")
    llmos(home, "alias", "prod", "smollm2-135m-instruct")
    llmos(home, "alias", "prod", "--rollback")
    llmos(home, "alias", "prod", "--remove")
    llmos(home, "keys", "create", "alice", "--project", "shop")
    llmos(home, "keys", "rotate", "alice")
    llmos(home, "keys", "revoke", "alice")
    llmos(home, "projects", "set", "shop", "--log-contents")
    llmos(home, "rm", "mine")
    with LLMOS(home=home) as sdk:
        sdk.import_model(model, name="again")
        sdk.set_alias("best", "again")
        sdk.remove_alias("best")
        sdk.remove("again")
        sdk.gc()
    found = rows(home)
    assert [row["action"] for row in found] == [
        "library.import",
        "alias.set",
        "alias.set",
        "alias.rollback",
        "alias.remove",
        "keys.create",
        "keys.rotate",
        "keys.revoke",
        "projects.set",
        "library.remove",
        "library.import",
        "alias.set",
        "alias.remove",
        "library.remove",
        "library.gc",
    ]
    assert {row["actor"].partition(":")[0] for row in found} == {"user"}
    llmos(home, "audit", "verify")


@pytest.mark.parametrize("how", ["edit", "remove", "cut", "seal"])
def test_what_was_done_to_the_log_is_found(tmp_path: Path, how: str) -> None:
    with locked(tmp_path) as service:
        for number in range(6):
            service.key(f"key {number}")
    llmos(tmp_path, "audit", "verify")
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    with database.begin() as connection:
        if how == "edit":
            connection.execute(sa.update(audit).where(audit.c.seq == 2).values(actor="somebody else"))
        elif how == "remove":
            connection.execute(sa.delete(audit).where(audit.c.seq == 2))
        elif how == "cut":
            connection.execute(sa.delete(audit).where(audit.c.seq > 2))
        else:
            sealed = json.loads((tmp_path / HEAD).read_text())
            (tmp_path / HEAD).write_text(json.dumps(sealed | {"seq": 2}))
    database.close()
    llmos(tmp_path, "audit", "verify", code=1)
    with locked(tmp_path) as service:  # and over the network
        found = service.ask("GET", "/api/v1/audit/verify")
        first = {"edit": 2, "remove": 2, "cut": 3}.get(how)
        assert found.status_code == (507 if how == "seal" else 200)
        assert how == "seal" or (found.json()["ok"], found.json()["first_bad"]) == (False, first)
        assert service.ask("GET", "/v1/models", ADMIN).status_code == 200
