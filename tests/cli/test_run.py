"""`llmos run`: answers on stdout, everything else on stderr, and the exit codes of the manual."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import CHAT, CLI, COMMAND, check_stderr

FRANCE = ("run", "--raw", "--temperature", "0", "--max-tokens", "4")
ENDLESS = ("run", "--raw", "--temperature", "0", "--max-tokens", "4000", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,")
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def test_the_answer_and_nothing_else_is_on_stdout(cli: CLI) -> None:
    done = cli(*FRANCE, "The capital of France is")
    assert "Paris" in done.stdout and done.stdout.endswith("\n")
    assert "\x1b" not in done.stdout + done.stderr
    assert "Paris" not in done.stderr and "tokens/s" not in done.stderr
    assert "(stopped at --max-tokens)" in done.stderr


def test_the_question_comes_through_a_pipe_or_from_both_sides(cli: CLI) -> None:
    assert "Paris" in cli(*FRANCE, stdin="The capital of France is").stdout
    assert "Paris" in cli(*FRANCE, "-", stdin="The capital of France is").stdout
    alone, both = (
        json.loads(cli("run", "--json", "--max-tokens", "1", "Hello.", stdin=more).stdout) for more in ("", "one two three")
    )
    assert both["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"] + 2


def test_json_says_how_the_answer_came_about(cli: CLI) -> None:
    answer = json.loads(cli(*FRANCE, "--json", "The capital of France is").stdout)
    assert answer["model"] == CHAT and "/" in answer["engine"]
    assert answer["usage"]["completion_tokens"] == 4 and answer["finish_reason"] == "length"
    assert "Paris" in answer["text"]


def test_instructions_reach_the_model(cli: CLI) -> None:
    short, long = (
        json.loads(cli("run", "--json", "--max-tokens", "1", "--system", text, "Hello.").stdout)["usage"]["prompt_tokens"]
        for text in ("Be brief.", "Be brief. " * 20)
    )
    assert long > short + 30
    assert "--system" in cli("run", "--raw", "--system", "Be brief.", "Hello.", code=2).stderr


def test_a_schema_binds_the_answer(cli: CLI, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    for given in (json.dumps(SCHEMA), f"@{tmp_path / 'schema.json'}"):
        answer = cli("run", "--json-schema", given, "--max-tokens", "40", "Name a colour as JSON.").stdout
        assert json.loads(answer)["colour"] in ("red", "green")


def test_an_alias_says_what_it_stands_for(cli: CLI) -> None:
    done = cli(*FRANCE, "-m", "gpt-3", "The capital of France is")
    assert "gpt-3" in done.stderr and CHAT in done.stderr
    assert "Paris" in done.stdout and CHAT not in done.stdout


def test_a_server_answers_too(cli: CLI, live_server: str) -> None:
    assert "Paris" in cli(*FRANCE, "--url", live_server, "The capital of France is").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("hi", "-m", "no-such-model-anywhere"), 1, "There is no model 'no-such-model-anywhere'"),
        (("hi", "--engine", "steam"), 1, "steam"),
        (("hi", "--url", "http://127.0.0.1:9"), 1, "llmos serve"),
        (("hi", "--nope"), 2, "No such option: --nope"),
        (("hi", "--max-tokens", "many"), 2, "--max-tokens"),
        (("hi", "--max-tokens", "0"), 2, "--max-tokens"),
        (("hi", "--temperature", "9"), 2, "temperature"),
        ((), 2, "There is no question"),
        (("-",), 2, "There is no question"),
        (("hi", "--json-schema", "{"), 2, "--json-schema is not JSON"),
        (("hi", "--json-schema", "[]"), 2, "must be a JSON object"),
        (("hi", "--json-schema", "@/no/such/file.json"), 2, "/no/such/file.json cannot be read: No such file"),
    ],
)
def test_mistakes(cli: CLI, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = cli("run", *arguments, code=code)
    assert done.stdout == ""
    assert said in done.stderr


def test_what_is_not_text_is_refused(cli: CLI) -> None:
    assert "UTF-8" in cli("run", "What is this?", stdin=b"\x89PNG\xff\xfe", code=2).stderr


def test_interrupting_is_130(user_env: dict[str, str]) -> None:
    command = ["env", "--default-signal=INT", *COMMAND, *ENDLESS]  # a test run in the background inherits an ignored SIGINT
    with subprocess.Popen(command, env=user_env, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.read(5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    check_stderr(err)


def test_a_reader_that_leaves_is_no_drama(user_env: dict[str, str]) -> None:
    with subprocess.Popen([*COMMAND, *ENDLESS], env=user_env, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stderr is not None and process.stdout.read(5)
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 1
    check_stderr(err)
    assert "BrokenPipe" not in err
