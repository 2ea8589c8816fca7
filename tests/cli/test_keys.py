"""`llmos keys`, `projects` and `audit`, on this machine's home and against a server that asks for a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import CLI
from tests.server.locked import ADMIN, Locked, locked

KEY = re.compile(r"llmos_[0-9A-Za-z]{49}\n")


@pytest.fixture
def own(cli: CLI, tmp_path: Path) -> Any:
    """own("keys") with a home of the test's own."""

    def run(*arguments: str, code: int = 0) -> Any:
        return cli(*arguments, code=code, env={"LLMOS_HOME": str(tmp_path / "home")})

    return run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked(tmp_path_factory.mktemp("cli")) as running:
        yield running


def test_the_life_of_a_key(own: Any) -> None:
    made = own("keys", "create", "alice", "--scope", "inference", "--scope", "jobs", "--expires", "90d", "--disk", "1GB")
    assert KEY.fullmatch(made.stdout)
    assert "not shown again" in made.stderr
    [key] = json.loads(own("keys", "list", "--json").stdout)["keys"]
    assert (key["name"], key["scopes"], key["quotas"]["disk_bytes"]) == ("alice", ["inference", "jobs"], 10**9)
    assert made.stdout.strip() not in json.dumps(key)
    assert "inference, jobs" in own("keys", "show", "alice").stdout
    assert KEY.fullmatch(own("keys", "rotate", "alice", "--grace", "0s").stdout)
    assert "revoked" in own("keys", "revoke", "alice").stderr
    listed = own("keys").stdout.splitlines()
    assert [line.split()[-2] for line in listed[1:]] == ["revoked", "expired"]


def test_what_is_wrong_is_said(own: Any) -> None:
    for arguments, said in (
        (("keys", "create", "a", "--scope", "inferance"), "inferance"),
        (("keys", "create", "a", "--expires", "soon"), "90d"),
        (("keys", "--json", "list"), "after the command"),
    ):
        assert said in own(*arguments, code=2).stderr, arguments


def test_projects_and_audit(own: Any) -> None:
    own("keys", "create", "alice", "--project", "shop")
    assert "are logged" in own("projects", "set", "lab", "--log-contents").stderr
    projects = json.loads(own("projects", "--json").stdout)["projects"]
    assert {one["name"]: (one["keys"], one["log_contents"]) for one in projects} == {
        "default": (0, False),
        "lab": (0, True),
        "shop": (1, False),
    }
    rows = json.loads(own("audit", "list", "--json").stdout)["rows"]
    assert [(row["action"], row["target"]) for row in rows[:1]] == [("projects.set", "lab")]
    assert "projects.set" in own("audit", "list").stdout
    assert "2 rows" in own("audit", "verify").stderr


def test_against_a_server(cli: CLI, served: Locked) -> None:
    url, env = ("--url", served.running.url), {"LLMOS_API_KEY": ADMIN}
    key = cli("keys", "create", "remote", "--requests-per-minute", "7", *url, env=env).stdout.strip()
    assert served.ask("GET", "/v1/models", key).headers["x-ratelimit-limit-requests"] == "7"
    assert json.loads(cli("keys", "show", "remote", "--json", *url, env=env).stdout)["quotas"]["requests_per_minute"] == 7
    new = cli("keys", "rotate", "remote", "--grace", "1h", *url, env=env).stdout.strip()
    assert served.ask("GET", "/v1/models", new).status_code == 200
    cli("keys", "revoke", "remote", *url, env=env)
    assert served.ask("GET", "/v1/models", new).status_code == 401
    served.ask("POST", "/v1/completions", json={"model": "fake", "prompt": "a", "max_tokens": 2})
    assert "fake" in cli("keys", "usage", "--days", "2", *url, env=env).stdout
    cli("projects", "set", "lab", "--log-contents", *url, env=env)
    assert "keys.revoke" in cli("audit", "list", "--action", "keys.", *url, env=env).stdout


def test_against_a_server_with_a_wrong_key(cli: CLI, served: Locked) -> None:
    done = cli("keys", "list", "--url", served.running.url, env={"LLMOS_API_KEY": "wrong"}, code=1)
    assert "not valid" in done.stderr
