"""`llmos chat`: every slash command without a terminal, a real conversation in one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos import LLMOS, Message
from llmos.cli.chat import Conversation
from llmos.errors import InvalidValue
from tests.cli.conftest import CHAT, CLI, Terminal


@pytest.fixture(scope="module")
def llmos(home: Path) -> Iterator[LLMOS]:
    with LLMOS(home=home, notify=lambda _: None) as made:
        yield made


@pytest.fixture
def conversation(llmos: LLMOS) -> Conversation:
    talk = Conversation(llmos, llmos.load_model(CHAT))
    talk.messages = [Message(role="user", content="Hello"), Message(role="assistant", content="Good day")]
    return talk


def test_help_names_every_command(conversation: Conversation) -> None:
    said = conversation.command("/help")
    commands = {name.removeprefix("_do_") for name in dir(conversation) if name.startswith("_do_")}
    assert commands == {line.split()[0].removeprefix("/") for line in said.splitlines() if line.startswith("/")}


def test_instructions_come_first_and_go_again(conversation: Conversation) -> None:
    assert conversation.command("/system Be brief.") == "Instructions set."
    assert [(turn.role, turn.content) for turn in conversation.prompt("Why?")] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Good day"),
        ("user", "Why?"),
    ]
    assert conversation.command("/system") == "Instructions removed."
    assert conversation.prompt("Why?")[0].role == "user"


def test_undo_and_clear(conversation: Conversation) -> None:
    assert conversation.command("/undo") == "Taken back."
    assert conversation.messages == []
    assert conversation.command("/undo") == "There is nothing to take back."
    conversation.messages = [Message(role="user", content="Hello"), Message(role="assistant", content="Good day")]
    conversation.command("/clear")
    assert conversation.messages == []


def test_options_are_set_shown_and_checked(conversation: Conversation) -> None:
    assert conversation.command("/set temperature 0") == "temperature is 0."
    assert "temperature=0" in conversation.command("/set")
    for line in ("/set temperature 9", "/set temprature 0", "/set max_tokens many"):
        with pytest.raises(InvalidValue):
            conversation.command(line)
    assert conversation.options["temperature"] == 0 and conversation.options["max_tokens"] == 1024


def test_a_conversation_survives_a_file(conversation: Conversation, tmp_path: Path) -> None:
    conversation.command("/system Be brief.")
    before = conversation.prompt("Why?")
    assert conversation.command(f"/save {tmp_path / 'talk.json'}").startswith("3 messages")
    assert json.loads((tmp_path / "talk.json").read_text())["messages"][0] == {"role": "system", "content": "Be brief."}
    conversation.command("/clear")
    conversation.command("/system")
    assert conversation.command(f"/load {tmp_path / 'talk.json'}") == "2 messages read."
    assert conversation.prompt("Why?") == before


@pytest.mark.parametrize(
    "content",
    [
        None,
        "no JSON",
        "[]",
        '{"messages": 3}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "king", "content": "x"}]}',
    ],
)
def test_a_file_that_is_no_conversation_changes_nothing(conversation: Conversation, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "talk.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidValue, match="could not be read"):
        conversation.command(f"/load {path}")
    assert len(conversation.messages) == 2


def test_mistakes_are_said(conversation: Conversation, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no command /dance"):
        conversation.command("/dance")
    with pytest.raises(InvalidValue, match="needs a file name"):
        conversation.command("/save")
    with pytest.raises(InvalidValue, match="cannot be written: No such file"):
        conversation.command(f"/save {tmp_path / 'missing' / 'talk.json'}")
    with pytest.raises(EOFError):
        conversation.command("/quit")


def test_going_on_with_another_model_keeps_what_was_said(conversation: Conversation, llmos: LLMOS) -> None:
    assert CHAT in conversation.command("/model")
    llmos.set_alias("twin", CHAT)
    assert "Going on with" in conversation.command("/model twin")
    assert len(conversation.messages) == 2


def test_lines_through_a_pipe(cli: CLI) -> None:
    lines = "/set temperature 0\n/set max_tokens 12\n\nSay hello.\n/dance\n/save\nSay it again.\n"
    done = cli("chat", stdin=lines)
    assert len(done.stdout.strip()) > 5 and ">>>" not in done.stdout
    assert "temperature is 0." in done.stderr and "no command /dance" in done.stderr and "needs a file name" in done.stderr
    assert done.stderr.count(" tokens, ") == 2


def test_a_session_in_a_terminal(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    shell = terminal("chat", "--system", "Answer in a few words.")
    for keys, answer in (
        ("/set max_tokens 8\r", "max_tokens is 8."),
        ("What is the capital\x1b\rof France?\r", " tokens/s, first after"),
        ("/set max_tokens 4000\r", "max_tokens is 4000."),
        ("/set ignore_eos true\r", "ignore_eos is True."),
    ):
        shell.wait_for(">>>")
        shell.send(keys)
        shell.wait_for(answer)
    shell.wait_for(">>>")
    shell.send("Count to a million.\r")
    shell.wait_for("Count to a million.")
    shell.wait_for_more(80)
    shell.send("\x03")
    shell.wait_for("(stopped)")
    shell.wait_for(">>>")
    shell.send(f"/save {tmp_path / 'talk.json'}\r")
    shell.wait_for("5 messages written")
    shell.wait_for(">>>")
    shell.send("\x04")
    assert shell.finish() == 0, shell.shown
    turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert turns[1]["content"] == "What is the capital\nof France?"
    assert all(turn["content"] for turn in turns)
