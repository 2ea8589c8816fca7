"""The command as a whole: help, version, exit codes, what a terminal of 80 columns shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from llmos import __version__
from llmos.cli.main import app
from tests.cli.conftest import CHAT, CLI, Terminal

COMMANDS = (
    *("run", "chat", "pull", "list", "show", "rm", "alias", "import", "verify", "gc", "serve", "ps", "stop"),
    *("logs", "cancel", "pause", "resume", "top", "doctor", "batch", "jobs", "data", "annotate", "keys", "projects", "audit"),
)


def test_version(cli: CLI) -> None:
    assert cli("--version").stdout == f"llmos {__version__}\n"


def test_help_shows_where_to_start(cli: CLI) -> None:
    shown = cli("--help").stdout
    assert 'llmos run "Why is the sky blue?"' in shown
    assert [
        line.split()[0] for line in shown.partition("Commands:")[2].partition("Examples:")[0].splitlines() if line.strip()
    ] == list(COMMANDS)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "Usage: llmos [OPTIONS]" in cli(code=2).stderr


def test_every_command_has_examples_of_itself() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup) and set(group.commands) == set(COMMANDS)
    for name, command in group.commands.items():
        page = command.get_help(typer.Context(command, info_name=name))
        examples = page.partition("Examples:")[2].strip().splitlines()
        assert examples and all(f"llmos {name}" in line for line in examples), page
        assert all(len(line) <= 80 for line in page.splitlines()), page


def test_usage_errors_are_2(cli: CLI) -> None:
    assert "No such command 'rnu'" in cli("rnu", code=2).stderr
    assert "Missing argument 'name'" in cli("show", code=2).stderr
    bad = cli("list", env={"LLMOS_PORT": "http"}, code=2)
    assert "LLMOS_PORT" in bad.stderr and "'http'" in bad.stderr


def test_a_terminal_shows_tables_that_fit(terminal: Callable[..., Terminal]) -> None:
    shell = terminal("list", "--all")
    assert shell.finish() == 0
    lines = shell.shown.splitlines()
    here = next(line.split() for line in lines if line.startswith(CHAT))
    assert lines[0].split() == ["NAME", "HERE", "FAMILY", "SIZE", "PARAMS", "LICENCE"]
    assert here[1:3] == ["yes", "causal"] and any(line.startswith("t5-base ") and " yes " not in line for line in lines)
    assert len(lines) > 30 and all(len(line) <= 80 for line in lines)


def test_progress_is_for_terminals_only(cli: CLI, tmp_path: Path, asset: Callable[[str], Path]) -> None:
    done = cli("import", str(asset("minilm")), "--name", "copy", env={"LLMOS_HOME": str(tmp_path)})
    assert done.stdout == "copy\n"
    assert len(done.stderr.splitlines()) == 1 and "copy:" in done.stderr


def test_the_doctor(cli: CLI, user_env: dict[str, str], tmp_path: Path) -> None:
    report = json.loads(cli("doctor", "--json", "--no-measure").stdout)
    assert report["problems"] == []
    assert report["sections"]["processor"]["cores"]["value"] >= 1
    assert report["sections"]["hubs"]["Hugging Face"]["value"] is True
    installed = report["sections"]["engines"]
    assert {"llamacpp", "openvino", "transformers", "remote"} <= set(installed)
    assert all("pip install" not in engine["why"] for engine in installed.values() if engine["value"])
    assert "No problems." in cli("doctor", "--no-measure").stdout
    (tmp_path / "file").touch()
    ill = cli("doctor", "--no-measure", env={"LLMOS_HOME": str(tmp_path / "file" / "home")}, code=1)
    assert "Problem: " in ill.stdout and "LLMOS_HOME" in ill.stdout


@pytest.mark.parametrize("command", ["list", "alias", "verify"])
def test_tables_in_a_pipe_are_plain(cli: CLI, command: str) -> None:
    done = cli(command)
    assert done.stdout and "\x1b" not in done.stdout
