"""`llmos serve`, `ps` and `stop` against real server processes."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.cli.conftest import CHAT, CLI, COMMAND, check_stderr


def test_the_life_of_a_loaded_model(cli: CLI, live_server: str) -> None:
    cli("run", "--url", live_server, "--raw", "--max-tokens", "2", "Hello")
    listed = cli("ps", "--url", live_server)
    assert listed.stdout.startswith("MODEL") and CHAT in listed.stdout
    loaded = {item["name"]: item for item in json.loads(cli("ps", "--url", live_server, "--json").stdout)}
    assert loaded[CHAT]["memory_bytes"] > 50_000_000 and loaded[CHAT]["running"] == 0
    assert cli("stop", CHAT, "--url", live_server).stdout == f"{CHAT}\n"
    assert CHAT not in {item["name"] for item in json.loads(cli("ps", "--url", live_server, "--json").stdout)}
    assert "is not loaded" in cli("stop", CHAT, "--url", live_server, code=1).stderr


def test_without_a_server_the_way_to_one_is_said(cli: CLI) -> None:
    for arguments in (("ps",), ("stop", CHAT)):
        done = cli(*arguments, code=1, env={"LLMOS_PORT": "9"})
        assert "http://127.0.0.1:9 cannot be reached" in done.stderr and "llmos serve" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_says_where_it_listens_and_stops_when_told(user_env: dict[str, str], cli: CLI, number: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "serve", "--port", "0"], env=user_env, stdout=-1, stderr=-1, text=True) as server:
        assert server.stdout is not None and server.stderr is not None
        line = next(line for line in server.stderr if "http://127.0.0.1:" in line)
        url = "http://127.0.0.1:" + "".join(letter for letter in line.partition("http://127.0.0.1:")[2][:5] if letter.isdigit())
        assert "No model is in memory" in cli("ps", "--url", url).stderr
        server.send_signal(number)
        out, err = server.communicate(timeout=60)
    assert server.returncode == 0, err
    assert out == ""
    check_stderr(err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "--tls-cert"),
        (("--port", "70000"), "--port"),
        (("--tls-cert", "cert.pem"), "belong together"),
        (("-m",), "-m"),
    ],
)
def test_mistakes_are_usage(cli: CLI, arguments: tuple[str, ...], said: str) -> None:
    done = cli("serve", *arguments, code=2)
    assert said in done.stderr and done.stdout == ""
