"""P28: secrets of ten kinds are never in logs, metrics, errors or the database; control characters of strangers are never raw.

A secret that a user writes into a prompt is in the answer he gets, and with LLMOS_LOG_CONTENTS the prompt is in the request log:
there too it is replaced.
"""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from llmos.access.keytext import new_key
from llmos.infra import logs
from llmos.settings import Settings
from tests.server.locked import ADMIN, Locked, locked

SECRETS = {
    "own key": new_key(),
    "hugging face": "hf_" + "Qx7" * 11,
    "openai": "sk-proj-" + "aB3" * 12,
    "anthropic": "sk-ant-api03-" + "Zk9" * 12,
    "github": "ghp_" + "m4N" * 12,
    "aws": "AKIA" + "Q7" * 8,
    "json web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXZhbHVl",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7x\n-----END RSA PRIVATE KEY-----",
    "password in a url": "postgresql://user:hunter2pass@db.example/x",
    "named field": "password=correcthorsebattery",
}
CORES = {  # what must not be seen of each
    "private key": "MIIEpAIBAAKCAQEA7x",
    "password in a url": "hunter2pass",
    "named field": "correcthorsebattery",
}
HOSTILE = "name\r\nINFO forged line\x1b[2J\x1b]0;title\x07\u202etxt.exe\u2066\x00\x85\u2028"


def core(kind: str) -> str:
    return CORES.get(kind, SECRETS[kind])


def everywhere(service: Locked, text: str) -> list[str]:
    """Sends the text to wherever a client can write, and gives the answers that are not its own."""
    answers = [
        service.ask("GET", "/v1/models", headers={"x-api-key": "x", "user-agent": ascii(text), "cookie": ascii(text)}),
        service.client.get("/v1/models", headers={"authorization": f"Bearer {text!a}"}),
        service.client.get("/v1/models", params={"key": text}),
        service.ask("GET", "/v1/files", params={"after": text[:60]}),
        service.ask("POST", "/v1/completions", json={"model": "fake", "prompt": text, "max_tokens": 2, "user": text[:100]}),
        service.ask("POST", "/v1/completions", json={"model": "fake-fail", "prompt": f"fail {text}", "max_tokens": 2}),
        service.ask("PUT", "/api/v1/projects/lab", json={"log_contents": text}),
        service.ask("POST", "/api/v1/keys", json={"name": text[:128]}),
        service.ask("POST", "/api/v1/jobs", json={"kind": text[:60], "params": {"model": text}}),
    ]
    return [answer.text for answer in answers]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that logs all there is to log."""
    folder = tmp_path_factory.mktemp("p28")
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_LOG_LEVEL": "DEBUG"})
    file = folder / "server.log"
    logs.configure(settings, file=file)
    try:
        with locked(folder / "home", LLMOS_LOG_CONTENTS="1", LLMOS_LOG_LEVEL="DEBUG") as running:
            yield running, folder
    finally:
        logs.shutdown()


def test_ten_kinds_are_nowhere(service: Any) -> None:
    running, folder = service
    assert len(SECRETS) == 10
    for kind, secret in SECRETS.items():
        for answer in everywhere(running, secret):
            assert core(kind) not in answer, kind
    metrics = running.ask("GET", "/metrics").text
    audit = running.ask("GET", "/api/v1/audit", params={"limit": 1000}).text
    running.state_is_written()
    on_disk = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "secret")
    for kind in SECRETS:
        assert core(kind) not in metrics, kind
        assert core(kind) not in audit, kind
        assert core(kind).encode() not in on_disk, kind
    assert ADMIN not in metrics + audit
    assert b"[redacted]" in on_disk  # the contents were logged, without what was secret


def test_control_characters_are_never_raw(service: Any) -> None:
    running, folder = service
    for answer in everywhere(running, HOSTILE):
        assert not raw_controls(answer), answer
    assert not raw_controls(running.ask("GET", "/metrics").text)
    running.state_is_written()
    for path in [folder / "server.log", folder / "home/logs/requests.jsonl"]:
        text = path.read_text()
        assert "forged line" in text or path.name == "server.log"
        assert not any(line.startswith("INFO forged") for line in text.splitlines())
        assert not raw_controls(text), path


def raw_controls(text: str) -> list[str]:
    """Characters that would move a cursor, end a line or turn the direction; a line end of the file's own is fine."""
    return [one for one in text if one != "\n" and unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp")]


def test_the_command_line_shows_no_raw_control_characters(tmp_path: Path) -> None:
    env = {"LLMOS_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "PATH": "/usr/bin:/bin"}
    for arguments in (
        ["keys", "show", HOSTILE.replace("\x00", "")],
        ["show", HOSTILE.replace("\x00", "")],
        ["alias", HOSTILE.replace("\x00", ""), "x"],
    ):
        done = subprocess.run([sys.executable, "-m", "llmos", *arguments], env=env, capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2)
        assert not raw_controls(done.stdout + done.stderr), arguments


def test_a_log_line_of_any_library_is_redacted(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path)})
    stream = io.StringIO()
    logs.configure(settings, stream=stream)
    try:
        for secret in SECRETS.values():
            logging.getLogger("somebody.else").warning("connecting with %s", secret, extra={"token": secret, "url": secret})
        try:
            raise RuntimeError(f"failed for {SECRETS['openai']}")
        except RuntimeError:
            logging.getLogger("llmos.engine").exception("an error")
    finally:
        logs.shutdown()
    for kind in SECRETS:
        assert core(kind) not in stream.getvalue(), kind
    assert len(stream.getvalue().splitlines()) == len(SECRETS) + 1
